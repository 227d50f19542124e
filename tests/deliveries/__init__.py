"""Deliveries for tests: sound ones of each source, and small changes that damage them, to be composed.

`makers.py` writes, ingests and changes any delivery; the other files hold one sound delivery each.
"""
