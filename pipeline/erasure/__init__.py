"""Erasure: everything that a home holds about a customer is taken out, and nothing about anybody else.

Who is forgotten, and that no delivery brings them back, belongs to `pipeline/intake/forgotten.py`.
Source: docs/decisions/0017-erasure.md.
"""
