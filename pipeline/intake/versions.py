"""The versions of an arrival in the lake: its new and corrected rows, the counts, and what was set aside."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from feature_assets.data.quarantine import Validated
from feature_assets.data.records import QUARANTINE_SCHEMA, ReasonCount
from feature_assets.sources.arrivals import ARRIVED, Arrival
from pipeline.resources.digests import seal
from pipeline.resources.files import empty_beside, publish_folder, publish_frame, publish_json

NOTE = "arrival.json"
"""What is noted of an arrival, here and beside the files as they came."""
REASONS_SCHEMA = {
    "table": pl.String, "reason": pl.String, "action": pl.String, "rows": pl.Int64, "first": pl.String
}  # fmt: skip


def save(arrival: Arrival, folder: Path) -> None:
    """Write an arrival; the folder appears whole or not at all."""
    beside = empty_beside(folder)
    for name, frame in arrival.versions.items():
        publish_frame(frame, beside / "rows" / f"{name}.parquet")
    publish_frame(arrival.counts, beside / "counts.parquet")
    aside = arrival.aside.values()
    schema = {**QUARANTINE_SCHEMA, ARRIVED: pl.Date}
    rows = [result.quarantine for result in aside if result.quarantine.height]
    publish_frame(pl.concat(rows) if rows else pl.DataFrame(schema=schema), beside / "quarantine.parquet")
    reasons = [(result.table, c.reason, c.action, c.rows, c.first) for result in aside for c in result.counts]
    publish_frame(pl.DataFrame(reasons, schema=REASONS_SCHEMA, orient="row"), beside / "reasons.parquet")
    repeats = str(arrival.repeats) if arrival.repeats else None
    note = {ARRIVED: str(arrival.arrived_on), "digest": arrival.digest, "repeats": repeats}
    publish_json(note, beside / NOTE)
    seal(beside)
    publish_folder(beside, folder)


def load(folder: Path) -> Arrival:
    """Read what `save` wrote."""
    note: dict[str, Any] = json.loads((folder / NOTE).read_text())
    counts, rows, reasons = (pl.read_parquet(folder / f"{n}.parquet") for n in ("counts", "quarantine", "reasons"))
    repeats = date.fromisoformat(note["repeats"]) if note["repeats"] else None
    aside = {} if repeats else {row["table"]: _aside(row, rows, reasons) for row in counts.iter_rows(named=True)}
    versions = {file.stem: pl.read_parquet(file) for file in sorted((folder / "rows").glob("*.parquet"))}
    return Arrival(date.fromisoformat(note[ARRIVED]), note["digest"], repeats, versions, counts, aside)


def _aside(row: Mapping[str, Any], rows: pl.DataFrame, reasons: pl.DataFrame) -> Validated:
    table = row["table"]
    counts = tuple(
        ReasonCount(r["reason"], r["action"], r["rows"], r["first"])
        for r in reasons.filter(pl.col("table") == table).iter_rows(named=True)
    )
    mine = rows.filter(pl.col("table") == table)
    return Validated(table, pl.DataFrame(), mine, counts, row["delivered"], row["set aside"], 1.0)
