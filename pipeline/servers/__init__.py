"""The user interfaces on loopback, and what guards them.

What they show belongs to `assets/`, `reports/` and `browser/`.
"""
