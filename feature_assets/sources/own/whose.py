"""Whose the rows of the user's own files are: by which columns of which file of a delivery, as a description maps them.

Reads and says; who goes, and that a file is written, belongs to `pipeline/intake/forgotten.py`.
Source: docs/decisions/0017.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.mapping import ColumnMapping, TextFormat
from feature_assets.sources.files import scan
from feature_assets.sources.own.mapped import read_column
from feature_assets.sources.own.places import PARQUET_SUFFIXES, place_of
from feature_assets.sources.own.text_files import scan_text, suffix_of, written
from feature_assets.sources.own.values import Values

CUSTOMER = "customer_id"


@dataclass(frozen=True)
class Part:
    """A file of a delivery whose rows are about customers.

    Attributes:
        table: for which it is read.
        path: where it lies.
        customer: its mapping to the table's customers.
        text: how it is written, if it is text.
        values: how its texts are read.
        zone: of the data set.
        as_asked: it was read from a database, and may lack what was not asked for then.
    """

    table: str
    path: Path
    customer: ColumnMapping
    text: TextFormat
    values: TextFormat
    zone: str
    as_asked: bool

    @property
    def parquet(self) -> bool:
        """Whether it is Parquet, and not text."""
        return suffix_of(self.path) in PARQUET_SUFFIXES

    def rows(self, path: Path | None = None) -> pl.LazyFrame:
        """Its rows as they stand there, or those of a file of the same form elsewhere.

        Raises:
            DeliveryError: it cannot be read.
        """
        path = path or self.path
        return scan(self.table, path) if self.parquet else scan_text(self.table, path, self.text)

    def lacking(self) -> list[str]:
        """Columns that name its customers, by the description, and are not there."""
        there = self.rows().collect_schema().names()
        return [column for column in self.customer.columns if column not in there]

    def whose(self) -> pl.Expr:
        """Whose each row is, in the form of the tables: an expression over `rows`; null where that is nobody.

        Raises:
            DeliveryError: the file lacks the column.
        """
        schema, lacking = dict(self.rows().collect_schema()), self.lacking()
        if lacking and not (self.customer.optional or self.as_asked):
            raise DeliveryError(
                f"table {self.table}: {self.path} lacks column {lacking[0]!r}, which names its customers: mend the "
                f"description, or write `optional: true` at the column"
            )
        if lacking:
            return pl.lit(None, pl.String)
        reading, dtype = read_column(self.table, CUSTOMER, self.customer, Values(schema, self.values, self.zone))
        return reading.value.cast(dtype)

    def without(self, kept: pl.DataFrame) -> bytes | None:
        """The content of the text file with these rows of it alone; None where a file of this form must have rows."""
        if kept.is_empty() and not self.text.header:
            return None
        return written(self.table, self.path, self.text, kept)


def parts(dataset: DatasetConfig, folder: Path) -> Iterator[Part]:
    """The files of a delivery whose rows are about customers, one after the other: a file may be rewritten before the
    next is asked for. One that several tables read comes once for each column that names a customer.

    Raises:
        DeliveryError: a folder holds something strange.
    """
    done: list[tuple[Path, ColumnMapping, TextFormat, TextFormat]] = []
    for name, mapping in dataset.tables.items():
        if (customer := mapping.columns.get(CUSTOMER)) is None:
            continue
        of = dataset.tables[mapping.rows_of] if mapping.rows_of else mapping
        for path in place_of(name, dataset, folder).files():
            if (same := (path, customer, of.text, mapping.text)) not in done:
                done.append(same)
                yield Part(name, path, customer, of.text, mapping.text, dataset.zone, of.database is not None)
