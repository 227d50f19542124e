"""Applying a declaration to delivered rows: good rows go on, every other row is set aside with its reason.

Nothing is dropped silently and nothing good is lost with the bad. The rules themselves belong to the declarations
(`contract.py`, `sources/`). Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dataframely as dy
import polars as pl

from feature_assets.data.coercion import Wrong, coerce, require_columns
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.local_time import today
from feature_assets.data.records import (
    COLLAPSED,
    DROPPED,
    POSITION,
    Fault,
    ReasonCount,
    counts_of,
    records,
    without,
)
from feature_assets.data.references import refer
from feature_assets.data.sentinels import without_stand_ins

KEY_RULE, INVALID = "primary_key", "invalid"


@dataclass(frozen=True)
class Validated:
    """One table after validation.

    Attributes:
        good: rows that go on, in delivered order, in declared types.
        quarantine: table, key, reason, action, row (JSON of the row as delivered); one record a row and reason.
        counts: one entry a reason, most rows first.
        delivered: rows delivered.
        dropped: rows that do not go on (collapsed copies and kept rows are not among them).
        limit_share: share of dropped rows in [0, 1] above which the night must stop.
        lost: key columns of the dropped rows.
        notes: values of good rows that stand for none, in words.
    """

    table: str
    good: pl.DataFrame
    quarantine: pl.DataFrame
    counts: tuple[ReasonCount, ...]
    delivered: int
    dropped: int
    limit_share: float
    lost: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def dropped_share(self) -> float:
        """Dropped rows over delivered rows, in [0, 1]."""
        return self.dropped / self.delivered if self.delivered else 0.0

    @property
    def over_limit(self) -> bool:
        """Whether more rows were dropped than the table's limit allows."""
        return self.dropped_share > self.limit_share


def validate(
    table: Table,
    frame: pl.DataFrame,
    dataset: DatasetConfig,
    references: Mapping[str, pl.DataFrame],
    *,
    lost: Mapping[str, pl.DataFrame] | None = None,
    delivered: int | None = None,
    unread: Mapping[str, Sequence[Wrong]] | None = None,
    now: datetime | None = None,
    rivals: pl.DataFrame | None = None,
) -> Validated:
    """Apply a declaration to a delivered frame. Bad rows are set aside, never raised; wrong columns or types are.

    The order decides the reason of a row with two faults: type, ranges, time, exact copies, conflicting keys,
    references. A row that is bad in itself does not make its key conflict with a good row.

    Args:
        table: the declaration.
        frame: the delivered rows; columns that are not declared are ignored.
        dataset: gives the covered days and the limit.
        references: good rows of the tables that `table` refers to; a reference to a table that is not here is skipped.
        lost: key columns of the rows of those tables that were set aside.
        delivered: number of rows delivered, where `frame` is only the part of them that is used.
        unread: column → where the reader could not read its value (null there) and why; "" → rows at fault as a whole.
        now: wall clock, to recognise events in the future (default: the current instant).
        rivals: keys that other good rows of the delivery have as well, with different contents.

    Raises:
        DeliveryError: a column is missing or has a wrong type.
    """
    require_columns(table.name, frame.schema, table.types)
    aside: list[Fault] = []
    doubts: list[tuple[pl.Series, str]] = []
    taken: list[Fault] = []
    notes: list[str] = []
    columns: list[pl.Series] = []
    position = pl.int_range(frame.height, dtype=pl.UInt32, eager=True).alias(POSITION)
    odd = pl.repeat(False, frame.height, eager=True)
    for column in table.columns:
        converted, wrong = coerce(table.name, frame[column.name], column.dtype)
        converted, more = without_stand_ins(table, column, converted, notes)
        columns.append(converted)
        for bad, words in [*(unread or {}).get(column.name, ()), *wrong, *more]:
            reason = f"{table.name}.{column.name} {words}"
            if column.told_by_events:
                doubts.append((position.filter(bad), reason))
            elif column.soft:
                taken.append((position.filter(bad), reason, f"kept without {column.name}"))
            else:
                aside.append((position.filter(bad & ~odd), reason, DROPPED))
                odd = odd | bad
    for bad, words in (unread or {}).get("", ()):
        aside.append((position.filter(bad & ~odd), f"{table.name}: {words}", DROPPED))
        odd = odd | bad
    aside += [
        (left, reason, action)
        for at, reason, action in taken
        if len(left := at.filter(~at.is_in(position.filter(odd).implode())))
    ]
    whole = pl.DataFrame([*columns, position])

    good, faults, same_key = _rules(table, whole.filter(~odd))
    aside += faults
    times = _times(table, good, dataset, now or datetime.now(UTC))
    if table.told_by_events:
        good, faults = _doubted(table, table.told_by_events, good, [*doubts, *times])
    else:
        faults = [(bad, reason, DROPPED) for bad, reason in times]
        good = without(good, faults)
    aside += faults
    good, faults = _keys(table, good, same_key, rivals)
    aside += faults
    for reference in table.references:
        if reference.table in references:
            of = reference.table
            good, faults = refer(table, good, reference, references[of], (lost or {}).get(of), dataset.zone)
            aside += faults

    quarantine = records(table, frame, aside)
    return Validated(
        table=table.name,
        good=good.drop(POSITION),
        quarantine=quarantine,
        counts=counts_of(quarantine),
        delivered=frame.height if delivered is None else delivered,
        dropped=sum(len(rows) for rows, _, action in aside if action == DROPPED),
        limit_share=dataset.quarantine_limit(table.name),
        lost=_lost(table, whole, aside),
        notes=tuple(notes),
    )


def _lost(table: Table, whole: pl.DataFrame, aside: list[Fault]) -> pl.DataFrame:
    gone = [positions for positions, _, action in aside if action == DROPPED]
    rows = whole[pl.concat(gone)] if gone else whole.clear()
    return rows.select(table.key).drop_nulls()


def _doubted(
    table: Table, column: str, rows: pl.DataFrame, doubts: list[tuple[pl.Series, str]]
) -> tuple[pl.DataFrame, list[Fault]]:
    """Take a value that events can tell out of the rows where it is in doubt; drop them where another row of the same
    key has a value. Which of the others no event helps is seen once all tables are read (`agreement.py`)."""
    told = pl.concat([at for at, _ in doubts]) if doubts else rows[POSITION].clear()
    rows = rows.with_columns(pl.when(~pl.col(POSITION).is_in(told.implode())).then(pl.col(column)).alias(column))
    empty = rows.filter(pl.col(column).is_null())
    doubts = [
        *doubts,
        (empty[POSITION].filter(~empty[POSITION].is_in(told.implode())), f"{table.name}.{column} is missing"),
    ]
    rivalled = empty.join(rows.filter(pl.col(column).is_not_null()), on=table.key, how="semi")[POSITION].implode()
    faults: list[Fault] = []
    for at, reason in doubts:
        at = at.filter(at.is_in(rows[POSITION].implode()))
        faults += [
            (at.filter(at.is_in(rivalled)), reason, DROPPED),
            (at.filter(~at.is_in(rivalled)), reason, told_action(column)),
        ]
    faults = [fault for fault in faults if len(fault[0])]
    return without(rows, faults), faults


def told_action(column: str) -> str:
    """What is done with a row whose value is told by events."""
    return f"kept with {column} of the first event"


def _rules(table: Table, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Fault], pl.Series]:
    """Set aside, or keep without a value, the rows that break a rule of the schema other than its key.

    Also returns the positions of the rows that share a key with another row (none for a table without a key).
    """
    failed = _filter(table, rows)
    soft = table.soft
    broken = sorted((c for c in failed.columns if c not in rows.columns), key=lambda rule: _severity(rule, soft))
    same_key = failed.filter(pl.col(KEY_RULE) == INVALID)[POSITION] if KEY_RULE in broken else failed[POSITION].clear()
    faults: list[Fault] = []
    rest = failed
    for rule in broken:
        if rule == KEY_RULE:
            continue
        bad = rest.filter(pl.col(rule) == INVALID)
        if not bad.height:
            continue
        column = soft.get(rule.partition("|")[0])
        if column is None:
            faults.append((bad[POSITION], _reason(table, rule), DROPPED))
            rest = rest.filter(pl.col(rule) != INVALID)
        else:
            faults.append((bad[POSITION], _reason(table, rule), f"kept without {column}"))
            lost = pl.col(POSITION).is_in(bad[POSITION].implode())
            rows = rows.with_columns(pl.when(~lost).then(pl.col(column)).alias(column))
    return without(rows, faults), faults, same_key


def _filter(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that break a rule, with one column a rule that says "valid" or "invalid"."""
    schema: type[dy.Schema] = type(table.name, (table.schema,), {POSITION: dy.UInt32(nullable=False)})
    return schema.filter(rows).failure.details()


def _severity(rule: str, soft: Mapping[str, str]) -> tuple[bool, int, str]:
    """The order of rules: the first one that a row breaks names it; rules that keep the row come last."""
    name, _, kind = rule.partition("|")
    return name in soft, ("nullability", "nan", "inf").index(kind) if kind in ("nullability", "nan", "inf") else 3, rule


def _reason(table: Table, rule: str) -> str:
    column, _, kind = rule.partition("|")
    if not kind:
        return f"{table.name}: {table.reasons[rule]}"
    declared = table.schema.columns()[column]
    words = {
        "nullability": "is missing",
        "nan": "is not a number (NaN)",
        "inf": "is infinite",
        "min": f"is below {getattr(declared, 'min', None)}",
        "max": f"is above {getattr(declared, 'max', None)}",
    }
    return f"{table.name}.{column} {words[kind]}"


def _times(table: Table, rows: pl.DataFrame, dataset: DatasetConfig, now: datetime) -> list[tuple[pl.Series, str]]:
    """Positions of the rows that happened before the first covered day, or after the last one or the present."""
    if table.instant is None:
        return []
    name = f"{table.name}.{table.instant}"
    column = pl.col(table.instant)
    if rows[table.instant].dtype == pl.Date:
        tomorrow = today(dataset.zone, now) + timedelta(days=1)
        future = column >= min(dataset.covers_until, tomorrow)
        early = column < dataset.covers_from
    else:
        future = column >= min(dataset.instant(dataset.covers_until), now).astimezone(UTC).replace(tzinfo=None)
        early = column < dataset.instant(dataset.covers_from).replace(tzinfo=None)
    rules = [(future, f"{name} is in the future of the delivery")]
    if not table.may_precede:
        rules.append((early, f"{name} is before the first day of the delivery ({dataset.covers_from})"))
    return [(bad[POSITION], reason) for rule, reason in rules if (bad := rows.filter(rule)).height]


def _keys(
    table: Table, rows: pl.DataFrame, same_key: pl.Series, rivals: pl.DataFrame | None
) -> tuple[pl.DataFrame, list[Fault]]:
    """Collapse exact copies to the first of them, then drop every row whose key has different contents.

    Args:
        same_key: positions of rows whose key other rows have as well; without a key, every row is compared.
        rivals: keys that have different contents elsewhere.
    """
    key = table.key
    if rivals is not None:
        same_key = pl.concat([same_key, rows.join(rivals, on=key, how="semi")[POSITION]]).unique()
    suspects = rows.filter(pl.col(POSITION).is_in(same_key.implode())) if key else rows
    if suspects.is_empty():
        return rows, []
    faults: list[Fault] = []
    kept = suspects.unique(subset=list(table.types), keep="first", maintain_order=True)
    if kept.height < suspects.height:
        copies = suspects[POSITION].filter(~suspects[POSITION].is_in(kept[POSITION].implode()))
        faults.append((copies, f"{table.name}: exact copy of another row", COLLAPSED))
    differing = kept.filter(pl.struct(key).is_duplicated())[POSITION] if key else kept[POSITION].clear()
    if rivals is not None:
        differing = pl.concat([differing, kept.join(rivals, on=key, how="semi")[POSITION]]).unique().sort()
    if len(differing):
        faults.append((differing, f"{table.name}: same key ({', '.join(key)}) with different contents", DROPPED))
    return without(rows, faults), faults
