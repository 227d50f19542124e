"""Delivered tables: contract, description of a data set, validation, and `Tables` with their rows as arrays.

Reading a delivery belongs to `sources/`, cutting tables at an as-of date to `events/`.
"""
