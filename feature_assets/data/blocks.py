"""Blocks of customers: ranges of their ids, so that one machine computes for more customers than its memory holds.

Ids stand in their order in every table, so what is computed block by block stands in the order of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Block:
    """Customers with an id from `first` to `last`, both included."""

    first: str
    last: str

    def of(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of a table that belong to these customers; all rows of a table of things."""
        if "customer_id" not in rows.collect_schema():
            return rows
        return rows.filter(pl.col("customer_id").is_between(pl.lit(self.first), pl.lit(self.last)))


def blocks_of(customers: Path, size: int) -> list[Block]:
    """The blocks of at most `size` customers of a stored table of customers (sorted by id), in their order.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"{size} customers at a time: expected at least 1")
    ids = pl.read_parquet(customers, columns=["customer_id"])["customer_id"]
    starts = range(0, len(ids), size)
    return [Block(ids[start], ids[min(start + size, len(ids)) - 1]) for start in starts]
