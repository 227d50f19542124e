"""numba kernels: loops over each customer's own rows, compiled once and cached; every one has an oracle in the tests.

A kernel takes arrays sorted by customer and time with offsets, and touches only a customer's own slice, so that its
result depends neither on other customers nor on threads. Frames and column names do not belong here.
"""
