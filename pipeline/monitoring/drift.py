"""Drift of a night: its inputs and scores beside the reference of the version that scored it, and what earlier nights
had. One row a column and night is kept, counts as a list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipeline.monitoring import alarm, distances
from pipeline.monitoring.alarm import Judged
from pipeline.monitoring.bins import add_up, count
from pipeline.resources.lake import Lake
from pipeline.settings import DriftLimits

TABLE = "drift"
"""The asset's table in the lake."""
OF_AN_EMBEDDING = r"^(.+)__\d+$"
"""Columns that another version's fit orders anew: the dimensions of an embedding, by number."""
SHOWN = 30
"""Columns of the table for people."""


@dataclass(frozen=True)
class Drift:
    """The drift of one night.

    columns: names, in the order of the night's rows. nights: dates of the earlier nights that count, then tonight.
    index: [N, C] their population stability index. judged: of tonight.
    """

    columns: list[str]
    nights: list[date]
    index: np.ndarray
    judged: Judged

    @property
    def alarms(self) -> list[str]:
        """Columns that alarm, worst first."""
        return [self.columns[at] for at in self.worst if self.judged.alarms[at]]

    @property
    def worst(self) -> list[int]:
        """Positions of all columns: alarms first, then those that are over tonight, then by index."""
        keys = (-np.nan_to_num(self.index[-1]), -self.judged.in_a_row, ~self.judged.alarms)
        return [int(at) for at in np.lexsort(keys)]


def rows_of(
    tonight: Iterable[pl.DataFrame], reference: pl.DataFrame, name: str, counts: bool, limits: DriftLimits
) -> pl.DataFrame:
    """What is kept of a night: column, counts, expected (counts of the reference), index, distance, noise, reference,
    counts_as_usual.

    Args:
        tonight: inputs and scores (`reference.watched`), a slice of the customers at a time.
        reference: `bins.SCHEMA`.
        name: of the reference.
        counts: whether the night may be compared at all; one scored in hindsight or without a source may not.
        limits: of the settings.
    """
    counted = add_up(count(rows, reference) for rows in tonight)
    own, other = distances.table_of(counted), distances.table_of(reference["counts"].to_list())
    return reference.select(
        "column",
        pl.Series("counts", counted, dtype=pl.List(pl.Int64)),
        pl.col("counts").alias("expected"),
        pl.Series("index", distances.stability_index(own, other)),
        pl.Series("distance", distances.jensen_shannon(own, other)),
        pl.Series("noise", distances.noise(own, other, limits.false_alarms)),
        pl.lit(name).alias("reference"),
        pl.lit(counts).alias("counts_as_usual"),
    )


def earlier_nights(lake: Lake, as_of: date, limits: DriftLimits) -> list[tuple[date, pl.DataFrame]]:
    """(date, column, index, noise, reference) of the last nights before a date that may be compared, oldest first."""
    published = lake.published(TABLE)
    found: list[tuple[date, pl.DataFrame]] = []
    for day, frame in published.sound(day for day in reversed(published.dates()) if day < as_of.isoformat()):
        rows = frame.select("column", "index", "noise", "reference", "counts_as_usual")
        if rows.height and rows["counts_as_usual"][0]:
            found.append((date.fromisoformat(day), rows))
        if len(found) == limits.compared:
            break
    return found[::-1]


def judge(
    as_of: date, tonight: pl.DataFrame, earlier: Sequence[tuple[date, pl.DataFrame]], limits: DriftLimits
) -> Drift:
    """Tonight's rows (`rows_of`) beside those of earlier nights. A night that may not be compared alarms nothing.

    Dimension 7 of an embedding is another one in the next version: of nights of other versions, the largest index among
    the dimensions stands for each of them.
    """
    names, version = tonight.select("column"), tonight["reference"].first()
    own = [rows if rows["reference"][0] == version else exchanged(rows) for _, rows in earlier]
    frames = [names.join(rows, on="column", how="left", maintain_order="left") for rows in own] + [tonight]
    index, noise = (
        np.array([frame[name].to_numpy() for frame in frames], dtype=np.float64) for name in ("index", "noise")
    )
    nights, columns = [*(day for day, _ in earlier), as_of], names["column"].to_list()
    judged = alarm.judge(index, noise, alarm.accepted(nights, columns, limits.accepted), limits)
    if tonight.height and not tonight["counts_as_usual"][0]:
        nothing = np.zeros(len(columns), dtype=np.int64)
        judged = Judged(judged.earlier, nothing, nothing > 0)
    return Drift(columns, nights, index, judged)


def exchanged(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a night with the largest index of its embedding in place of each dimension's own."""
    embedding = pl.col("column").str.extract(OF_AN_EMBEDDING)
    largest = pl.col("index").max().over(embedding)
    return rows.with_columns(pl.when(embedding.is_null()).then("index").otherwise(largest).alias("index"))


def table(drift: Drift, tonight: pl.DataFrame, limits: DriftLimits) -> pl.DataFrame:
    """For people, the worst first: column, index, distance, earlier maximum, nights in a row, words."""
    counts, expected = tonight["counts"].to_list(), tonight["expected"].to_list()
    rows: list[dict[str, Any]] = []
    for at in drift.worst[:SHOWN]:
        lasted, most = int(drift.judged.in_a_row[at]), drift.judged.earlier[at]
        if drift.judged.alarms[at]:
            words = f"ALARM, for {lasted} nights"
        elif lasted:
            words = f"unusual tonight; an alarm after {limits.nights_in_a_row} nights in a row"
        else:
            words = "as usual" if len(drift.nights) > limits.least_nights else "too few earlier nights to tell"
        rows.append(
            {
                "column": drift.columns[at],
                "index": float(drift.index[-1, at]),
                "distance": float(tonight["distance"][at]),
                "earlier maximum": None if np.isnan(most) else float(most),
                "nights in a row": lasted,
                "words": words,
                "what moved most": moved(counts[at], expected[at]),
            }
        )
    kinds = {"earlier maximum": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None)


def moved(counts: Sequence[int], expected: Sequence[int]) -> str:
    """The bin whose share changed most, in words."""
    own, other = (np.asarray(table) / max(sum(table), 1) for table in (counts, expected))
    at = int(np.abs(own - other).argmax())
    which = "missing" if at == len(counts) - 1 else f"bin {at + 1} of {len(counts) - 1}"
    return f"{which}: {other[at]:.1%} → {own[at]:.1%}"
