"""Nights: which are due, in what order they are made, and who is told.

What a night does belongs to `assets/`.
"""
