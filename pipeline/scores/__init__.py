"""The table of scores, the reasons of a prediction, and one customer.

Pages about them belong to `browser/` and `reports/`.
"""
