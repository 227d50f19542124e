"""Shards of customers: a hash that no version, machine or process changes."""

from __future__ import annotations

import hashlib

import polars as pl


def stable_shard(customer_ids: pl.Series, n: int) -> pl.Series:
    """Shard number in [0, n) of each customer.

    Args:
        customer_ids: String series of any length.
        n: number of shards, ≥ 1.
    """
    if n < 1:
        raise ValueError(f"number of shards is {n}, expected at least 1")
    numbers = [
        int.from_bytes(hashlib.blake2b(str(c).encode(), digest_size=8).digest(), "big") % n for c in customer_ids
    ]
    return pl.Series("shard", numbers, dtype=pl.UInt32)
