"""Blocks of customers: ranges of their ids, so that one machine computes for more customers than its memory holds.

Ids stand in their order in every table, so what is computed block by block stands in the order of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from feature_assets.data.shards import stable_shard

ID = "customer_id"


@dataclass(frozen=True)
class Block:
    """Customers with an id from `first` on and before `end`, None where the range is open; a missing id comes first."""

    first: str | None
    end: str | None

    def of(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of a table that belong to these customers; all rows of a table of things."""
        dtype = rows.collect_schema().get(ID)
        if dtype is None:
            return rows
        customer = pl.col(ID) if dtype == pl.String else pl.col(ID).cast(pl.String)
        if self.first is not None:
            rows = rows.filter(customer >= pl.lit(self.first))
        if self.end is not None:
            before = customer < pl.lit(self.end)
            rows = rows.filter(before if self.first is not None else before.fill_null(True))
        return rows


@dataclass(frozen=True)
class Sample:
    """One of every `of_each` customers, by a stable hash of their ids."""

    ids: pl.Series
    of_each: int

    @classmethod
    def of_stored(cls, customers: Path, size: int) -> Sample:
        """About `size` customers of a stored table of customers."""
        ids = pl.read_parquet(customers, columns=[ID])[ID]
        of_each = -(-len(ids) // size)
        return cls(ids.filter(stable_shard("sample:" + ids, of_each) == 0), of_each)

    def of(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of a table that belong to these customers; all rows of a table of things."""
        if ID not in rows.collect_schema():
            return rows
        return rows.join(self.ids.to_frame(ID).lazy(), on=ID, how="semi", maintain_order="left")


def blocks_among(ids: pl.Series, size: int) -> list[Block]:
    """Blocks of at most `size` of some customers, into one of which every id falls; in their order.

    Args:
        ids: of the customers, sorted, each once.
        size: customers of a block.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"{size} customers at a time: expected at least 1")
    starts = ids.gather_every(size, offset=size).to_list()
    return [Block(first, end) for first, end in zip([None, *starts], [*starts, None], strict=True)]


def blocks_of(customers: Path, size: int) -> list[Block]:
    """The blocks of a stored table of customers."""
    return blocks_among(pl.read_parquet(customers, columns=[ID])[ID], size)
