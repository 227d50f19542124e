"""The scores of one as-of date as the browser reads them: verified once a version, then the columns and rows it needs.

A version never changes, so what was found about it holds. Its bytes are compared with its name when it is first opened.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.resources.lake import Lake
from pipeline.resources.publication import Place, PublicationError
from pipeline.scores.table import STATE_VERSION
from pipeline.training.row_groups import SEGMENTS

MATRIX = "features/matrix"
OF_ALL_ROWS = ("model_version", "hindsight", "missing_sources", STATE_VERSION)
"""Columns that are the same in every row."""
KEPT = 8
"""Versions that stay open."""


@dataclass(frozen=True)
class Night:
    """One date.

    Attributes:
        day: the as-of date.
        scores: the table of scores.
        schema: its columns.
        customers: its rows.
        told: column that is the same in every row → its value.
        traits: customer_id with segment (a name) and cluster (the likeliest one's number), of the features that were
            scored; without them where the features are gone or were made again by another state.
    """

    day: str
    scores: pl.LazyFrame
    schema: pl.Schema
    customers: int
    told: dict[str, Any]
    traits: pl.LazyFrame

    @property
    def known(self) -> Sequence[str]:
        """Names of the traits that are known."""
        return [name for name in self.traits.collect_schema().names() if name != "customer_id"]


@dataclass(frozen=True)
class Nights:
    """The published dates of a lake."""

    lake: Lake
    _open: dict[tuple[Place, Place | None], Night] = field(default_factory=dict)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def days(self) -> list[str]:
        """The dates, in order."""
        return self.lake.published("scores").dates()

    def night(self, day: str) -> Night:
        """A date as it is published now.

        Raises:
            PublicationError: nothing is published for the date, or it was altered.
        """
        features = self.lake.published(MATRIX)
        versions = (
            self.lake.published("scores").resolve(day),
            features.resolve(day) if features.has(day) else None,
        )
        found = self._open.get(versions)
        if found is None:
            found = self._opened(day)
            with self._changing:
                while len(self._open) >= KEPT:
                    self._open.pop(next(iter(self._open)))
                self._open[versions] = found
        return found

    def _opened(self, day: str) -> Night:
        scores = self.lake.published("scores").scan(day)
        schema = scores.collect_schema()
        same = [pl.col(name).first() for name in OF_ALL_ROWS if name in schema]
        told = scores.select(pl.len().alias("customers"), *same).collect().row(0, named=True)
        traits = self._traits(day, told.get(STATE_VERSION))
        return Night(
            day, scores, schema, told.pop("customers"), told, scores.select("customer_id") if traits is None else traits
        )

    def _traits(self, day: str, state_version: object) -> pl.LazyFrame | None:
        try:
            matrix = self.lake.published(MATRIX).scan(day)
        except PublicationError:
            return None
        schema = matrix.collect_schema()
        if STATE_VERSION not in schema:
            return None
        if matrix.select(pl.col(STATE_VERSION).first()).collect().item() != state_version:
            return None
        names = dict(enumerate(SEGMENTS))
        number = pl.col("segment").list.first().cast(pl.Int64)
        found = {
            "segment": number.replace_strict(names, default=None, return_dtype=pl.String),
            "cluster": pl.col("cluster_probs").list.arg_max().cast(pl.Int64),
        }
        own = [
            found[name].alias(name)
            for name, of in (("segment", "segment"), ("cluster", "cluster_probs"))
            if of in schema
        ]
        return matrix.select("customer_id", *own)
