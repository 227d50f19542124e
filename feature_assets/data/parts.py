"""Parts of contract tables that count as sources of their own: a data set may have the table and not the part."""

from __future__ import annotations

import polars as pl

from feature_assets.data.contract import INFLOWS, OUTFLOWS

PARTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "inflows": ("transactions", "kind", INFLOWS),
    "outflows": ("transactions", "kind", OUTFLOWS),
    "refunds": ("transactions", "kind", ("refund",)),
    "overseas": ("transactions", "is_overseas", ()),
}
"""Part → the table, the column, and the values of it, if only some count. A data set has the part if its table has a
row with such a value."""


def table_of(source: str) -> str:
    """The contract table of a source: of a part, or of a table itself."""
    return PARTS[source][0] if source in PARTS else source


def has_part(part: str, rows: pl.LazyFrame) -> bool:
    """Whether the table's rows hold the part."""
    _, column, values = PARTS[part]
    if column not in rows.collect_schema():
        return False
    kept = pl.col(column).is_in(values) if values else pl.col(column).is_not_null()
    return bool(rows.select(kept.any()).collect(engine="streaming").item())
