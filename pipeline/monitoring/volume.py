"""Tonight's delivery beside the last good ones: rows, customers, days, distinct keys and unknown keys of each table.

A delivery of one merchant, or of one customer in 300, breaks no rule of the contract; only the nights before show that
something is wrong. Where deliveries add up the merged tables never shrink: there each arrival is compared with earlier
ones before it is taken in. Rules about single rows belong to the contract, their limits to `quarantine_limits`.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.declaration import Table
from feature_assets.data.local_time import local_day
from feature_assets.sources import Ingested
from pipeline.intake.arrivals import Judge, Verdict
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
FEW = 3
"""Arrivals that it takes to stop one: a single one before it may have brought a correction of many days."""
Measures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Finding:
    """A measure that leaves the range of the last good deliveries: in words, and whether it stops the night."""

    words: str
    stops: bool


def measure(
    tables: Mapping[str, pl.LazyFrame], zone: str, delivered: Mapping[str, int], counts: pl.DataFrame
) -> dict[str, Any]:
    """The volume of a delivery.

    Args:
        tables: validated, by name.
        zone: of local days.
        delivered: delivered table → its rows.
        counts: reasons of the quarantine (table, reason, rows).

    Returns:
        measures: table → measure → value; filled: contract table → columns that have a value.
    """
    measures: dict[str, dict[str, float]] = {}
    for name, rows in tables.items():
        measures[name] = {**_sizes(CONTRACT[name], rows), **_days(CONTRACT[name], rows, zone)}
    unknown = counts.filter(pl.col("reason").str.contains(_NO_REFERENCE)).group_by("table").agg(pl.col("rows").sum())
    pointless = dict(unknown.select("table", "rows").iter_rows())
    for name, height in delivered.items():
        measures.setdefault(name, {})[UNKNOWN] = pointless.get(name, 0) / max(height, 1)
    return {"measures": measures, "filled": {name: _filled(rows) for name, rows in tables.items()}}


def measure_arrival(tables: Mapping[str, Table], arrival: Ingested) -> dict[str, Any]:
    """The volume of one arrival by its delivered tables, as `measure`; days are left out, late rows bring any number.

    Args:
        tables: their declarations.
        arrival: with its references resolved over all that is known; a table's good rows are there.
    """
    measures, filled = {}, {}
    for name, found in arrival.validated.items():
        pointless = sum(count.rows for count in found.counts if re.search(_NO_REFERENCE, count.reason))
        measures[name] = {**_sizes(tables[name], found.good.lazy()), UNKNOWN: pointless / max(found.delivered, 1)}
        filled[name] = _filled(found.good.lazy())
    return {"measures": measures, "filled": filled}


def _sizes(table: Table, rows: pl.LazyFrame) -> dict[str, float]:
    """Rows, and distinct values of each key that points at another table."""
    there = rows.collect_schema()
    keys = dict.fromkeys(column for reference in table.references for column in reference.columns if column in there)
    distinct = {f"distinct {key}": _different(rows.select(key).drop_nulls()) for key in keys}
    return {ROWS: rows.select(pl.len()).collect(engine="streaming").item(), **distinct}


def _days(table: Table, rows: pl.LazyFrame, zone: str) -> dict[str, float]:
    """Local days with a row, of a table whose rows have a time."""
    there, instant = rows.collect_schema(), str(table.instant)
    if instant not in there:
        return {}
    local = pl.col(instant) if there[instant] == pl.Date else local_day(pl.col(instant), zone)
    return {DAYS: _different(rows.select(local))}


def _different(column: pl.LazyFrame) -> int:
    """Different values of a column, of which no more than these are in memory."""
    return int(column.unique().select(pl.len()).collect(engine="streaming").item())


def _filled(rows: pl.LazyFrame) -> list[str]:
    counts = rows.select(pl.all().count()).collect(engine="streaming").row(0, named=True)
    return [name for name, count in counts.items() if count]


def last_good(lake: Lake, digest: str, limits: VolumeLimits) -> list[dict[str, Any]]:
    """The volumes of the last good deliveries other than tonight's, newest first."""
    files = [file for file in lake.path(FOLDER).glob("*.json") if file.stem != digest]
    volumes = [volume for file in files if (volume := _read(file)) is not None]
    now = datetime.now(UTC).isoformat()  # what was noted before the clock was set back counts as the oldest
    volumes.sort(key=lambda volume: volume["at"] if volume["at"] <= now else "", reverse=True)
    return volumes[: limits.compared]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError):
        logging.getLogger(__name__).warning("%s was altered: nothing is compared with it", file)
        return None


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
        may_lack: whether a table that is gone only warns (`missing_sources: mask`). A column without any value stops:
            nothing masks what depends on it.
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
    gone = set(last["filled"]) - set(tonight["filled"])
    for table, columns in last["filled"].items():
        if table in gone:
            yield Finding(f"{table}: not delivered, in the last good delivery it was", not may_lack)
            continue
        pointing = {c for r in CONTRACT[table].references if r.table in gone for c in r.columns}
        for column in sorted(set(columns) - set(tonight["filled"][table])):
            follows = may_lack and column in pointing  # from a table that is gone, and what needs that is masked
            yield Finding(f"{table}.{column}: no value at all, in the last good delivery it had some", not follows)


def judge_delivery(size: Mapping[str, Any], lake: Lake, digest: str, limits: VolumeLimits, may_lack: bool) -> Verdict:
    """The verdict on a delivery that replaces the last one; it passes if it passed before or is accepted."""
    before = last_good(lake, digest, limits)
    found = compare(size, before, limits, may_lack)
    passes = digest in limits.accepted or passed_before(lake, digest)
    stopping = [] if passes else [finding for finding in found if finding.stops]
    why = refusal(stopping, digest, len(before)) if stopping else ""
    return Verdict(size, tuple(finding.words for finding in found), len(before), why)


def judge_of_arrivals(limits: VolumeLimits) -> Judge:
    """Compares each arrival with earlier ones before it is taken in, where deliveries add up."""

    def judge(
        tables: Mapping[str, Table], arrival: Ingested, digest: str, earlier: Sequence[Mapping[str, Any]]
    ) -> Verdict:
        size = measure_arrival(tables, arrival)
        found = compare_arrival(size, earlier, limits)
        stopping = [finding for finding in found if finding.stops and digest not in limits.accepted]
        compared = min(max(len(earlier) - 1, 0), limits.arrivals)
        why = refusal(stopping, digest, compared) if stopping else ""
        return Verdict(size, tuple(finding.words for finding in found), compared, why)

    return judge


def compare_arrival(
    tonight: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], limits: VolumeLimits
) -> list[Finding]:
    """What is unusual about an arrival, what stops it first.

    The first arrival of a table brings its history, so none is compared with it; fewer than `FEW` later ones only warn.
    A table of which an arrival held less than `limits.smallest` rows changes by chance alone.

    Args:
        tonight: its volume.
        earlier: volumes of the arrivals before it, newest first.
        limits: of the settings.
    """
    found: list[Finding] = []

    def add(words: str, stops: bool) -> None:
        found.append(Finding(words, stops and len(held) >= FEW))

    for table in dict.fromkeys(table for volume in earlier for table in volume["measures"]):
        first = max(place for place, volume in enumerate(earlier) if table in volume["measures"])
        held = [volume for volume in earlier[:first] if table in volume["measures"]][: limits.arrivals]
        if not held or min(volume["measures"][table][ROWS] for volume in held) < limits.smallest:
            continue
        if table not in tonight["measures"]:
            if all(table in volume["measures"] for volume in earlier[:first][: limits.arrivals]):
                add(f"{table}: not delivered, in the arrivals before it was", True)
            continue
        always = set.intersection(*(set(volume["filled"][table]) for volume in held))
        for column in sorted(always - set(tonight["filled"][table])):
            add(f"{table}.{column}: no value at all, before it always had some", True)
        for name, value in tonight["measures"][table].items():
            known = [v["measures"][table][name] for v in held if name in v["measures"][table]]
            if known:
                for finding in _outside(f"{table}: {name}", value, min(known), max(known), limits):
                    add(finding.words, finding.stops)
    return sorted(found, key=lambda finding: not finding.stops)


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
