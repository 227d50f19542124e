"""Tonight's delivery beside the last good ones: rows, customers, days, distinct keys and unknown keys of each table.

A delivery of one merchant, or of one customer in 300, breaks no rule of the contract; only the nights before show that
something is wrong. Rules about single rows belong to the contract, their limits to `quarantine_limits`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.local_time import local_day
from feature_assets.data.tables import Tables
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.settings import VolumeLimits

ROWS, DAYS, UNKNOWN = "rows", "days", "share of rows with an unknown key"
FOLDER = "volumes"
"""Where the lake keeps the volume of each good delivery, one file a digest."""
VOLUME = "volume.json"
"""What is unusual tonight, beside the delivery of an as-of date."""
_NO_REFERENCE = r"unknown|not a target"
"""Reasons of rows that point at nothing."""
Measures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Finding:
    """A measure that leaves the range of the last good deliveries: in words, and whether it stops the night."""

    words: str
    stops: bool


def measure(tables: Tables, delivered: Mapping[str, int], counts: pl.DataFrame) -> dict[str, Any]:
    """The volume of a delivery.

    Args:
        tables: validated.
        delivered: delivered table → its rows.
        counts: reasons of the quarantine (table, reason, rows).

    Returns:
        measures: table → measure → value; filled: contract table → columns that have a value.
    """
    measures: dict[str, dict[str, float]] = {}
    for name, frame in tables.frames.items():
        table = CONTRACT[name]
        own: dict[str, float] = {ROWS: frame.height}
        if table.instant in frame.columns:
            at = frame[str(table.instant)]
            local = (
                at
                if at.dtype == pl.Date
                else frame.select(local_day(pl.col(str(table.instant)), tables.dataset.zone)).to_series()
            )
            own[DAYS] = local.n_unique()
        for key in dict.fromkeys(column for reference in table.references for column in reference.columns):
            if key in frame.columns:
                own[f"distinct {key}"] = frame[key].drop_nulls().n_unique()
        measures[name] = own
    unknown = counts.filter(pl.col("reason").str.contains(_NO_REFERENCE)).group_by("table").agg(pl.col("rows").sum())
    pointless = dict(unknown.select("table", "rows").iter_rows())
    for name, rows in delivered.items():
        measures.setdefault(name, {})[UNKNOWN] = pointless.get(name, 0) / max(rows, 1)
    filled = {
        name: [column.name for column in frame.iter_columns() if column.null_count() < frame.height]
        for name, frame in tables.frames.items()
    }
    return {"measures": measures, "filled": filled}


def last_good(lake: Lake, digest: str, limits: VolumeLimits) -> list[dict[str, Any]]:
    """The volumes of the last good deliveries other than tonight's, newest first."""
    files = [file for file in lake.path(FOLDER).glob("*.json") if file.stem != digest]
    volumes = sorted((json.loads(file.read_text()) for file in files), key=lambda volume: volume["at"], reverse=True)
    return volumes[: limits.compared]


def passed_before(lake: Lake, digest: str) -> bool:
    """Whether this very delivery was a good one already: it is then not stopped when it is read again."""
    return lake.path(FOLDER, f"{digest}.json").exists()


def keep(volume: Mapping[str, Any], lake: Lake, digest: str) -> None:
    """Note the volume of a good delivery."""
    publish_json({**volume, "at": datetime.now(UTC).isoformat()}, lake.path(FOLDER, f"{digest}.json"))


def compare(
    tonight: Mapping[str, Any], before: Sequence[Mapping[str, Any]], limits: VolumeLimits, may_lack: bool
) -> list[Finding]:
    """What is unusual about tonight's delivery, what stops the night first.

    Args:
        tonight: its volume.
        before: volumes of the last good deliveries, newest first; without any there is nothing to compare with.
        limits: of the settings.
        may_lack: whether a table that is gone only warns (`missing_sources: mask`).
    """
    if not before:
        return []
    found = [*_gone(tonight, before[0], may_lack)]
    for table, own in tonight["measures"].items():
        for name, value in own.items():
            known = [v["measures"][table][name] for v in before if name in v["measures"].get(table, {})]
            if known:
                found += _outside(f"{table}: {name}", value, min(known), max(known), limits)
    return sorted(found, key=lambda finding: not finding.stops)


def _gone(tonight: Mapping[str, Any], last: Mapping[str, Any], may_lack: bool) -> Iterable[Finding]:
    for table, columns in last["filled"].items():
        if table not in tonight["filled"]:
            yield Finding(f"{table}: not delivered, in the last good delivery it was", not may_lack)
            continue
        for column in sorted(set(columns) - set(tonight["filled"][table])):
            yield Finding(f"{table}.{column}: no value at all, in the last good delivery it had some", not may_lack)


def _outside(what: str, value: float, low: float, high: float, limits: VolumeLimits) -> list[Finding]:
    if what.endswith(UNKNOWN):
        more = value - high
        if more <= limits.unknown_warns:
            return []
        return [Finding(f"{what} is {value:.2%}, before at most {high:.2%}", more > limits.unknown_stops)]
    if value < low * (1 - limits.fall_warns):
        words = f"{what} fell to {value:,.0f}, before at least {low:,.0f}"
        return [Finding(words, value < low * (1 - limits.fall_stops))]
    if value > high * (1 + limits.rise_warns):
        return [Finding(f"{what} rose to {value:,.0f}, before at most {high:,.0f}", False)]
    return []


def refusal(stopping: Sequence[Finding], digest: str, compared: int) -> str:
    """Why the night stops, and what to do."""
    return (
        f"the delivery is far smaller than the last {compared} good ones: {'; '.join(f.words for f in stopping)}. "
        f"Deliver it whole; or, if it is right, accept it in settings.yaml with `volume: {{accepted: [{digest}]}}`"
    )
