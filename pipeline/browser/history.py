"""What is known of one customer before an as-of date: the newest rows of each table of the validated delivery."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.known import DIMENSIONS, KNOWN
from feature_assets.data.local_time import wall_times
from feature_assets.events.barrier import rows_before
from pipeline.reports.pages.page import Section

NEWEST = 50
"""Rows of a table."""
NAMED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "product_id": ("products", ("category_l1", "category_l2", "brand")),
    "merchant_id": ("merchants", ("category_l1", "category_l2", "brand")),
    "campaign_id": ("campaigns", ("kind",)),
}
"""Key of a row → the table that describes it, and the columns that say what it is."""
LEFT_OUT = ("customer_id", "transaction_id", "basket_id")


def history(folder: Path, customer: str, day: str, zone: str) -> list[Section]:
    """A section a table, newest row first; tables without a row of the customer are left out.

    Args:
        folder: of the validated tables behind the date.
        customer: its id.
        day: the as-of date: nothing that became known on it or later is shown.
        zone: of the data set; instants are shown in it.
    """
    sections = []
    for table in CONTRACT:
        file = folder / f"{table}.parquet"
        if table in DIMENSIONS or table == "customers" or not file.is_file():
            continue
        rows = pl.scan_parquet(file).filter(pl.col("customer_id") == customer).collect()
        rows = rows_before(table, rows, date.fromisoformat(day), zone)
        when = KNOWN[table].row
        if rows.is_empty() or when is None:
            continue
        newest = rows.sort(when, descending=True, maintain_order=True).head(NEWEST)
        words = f"The newest {NEWEST} of {rows.height:,} rows" if rows.height > NEWEST else f"All {rows.height:,} rows"
        sections.append(
            Section(
                f"Before {day}: {table.replace('_', ' ')}",
                f"{words} known before {day}, newest first{f', times in {zone}' if when == 'at' else ''}.",
                _for_people(_described(newest, folder), when, zone),
            )
        )
    return sections


def _described(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The rows with what their keys name, read for these keys only."""
    for key, (table, columns) in NAMED.items():
        file = folder / f"{table}.parquet"
        if key not in rows.columns or not file.is_file() or not rows[key].count():
            continue
        things = pl.scan_parquet(file).filter(pl.col(key).is_in(rows[key].drop_nulls().unique().implode()))
        named = things.select(key, *(pl.col(name).alias(f"{table.removesuffix('s')} {name}") for name in columns))
        rows = rows.join(named.collect(), on=key, how="left", maintain_order="left")
    return rows


def _for_people(rows: pl.DataFrame, when: str, zone: str) -> pl.DataFrame:
    """The time first, instants in the zone; without columns that say nothing here."""
    order = [when, *(name for name in rows.columns if name != when and name not in LEFT_OUT)]
    kept = [name for name in order if rows[name].count()]
    return rows.select(kept).with_columns(
        wall_times(pl.col(pl.Datetime), zone).dt.strftime("%Y-%m-%d %H:%M"),
        pl.col(pl.Boolean).replace_strict({True: "yes", False: "no"}, return_dtype=pl.String),
    )
