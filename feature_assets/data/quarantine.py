"""Applying a declaration to delivered rows: good rows go on, every other row is set aside with its reason.

Nothing is dropped silently and nothing good is lost with the bad. The rules themselves belong to the declarations
(`contract.py`, `sources/`). Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dataframely as dy
import polars as pl

from feature_assets.data.coercion import NOT_CONVERTED, coerce, require_columns
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Reference, Table
from feature_assets.data.local_time import today

Fault = tuple[pl.Series, str, str]
"""Positions of rows in the delivered frame, reason, action."""

QUARANTINE_SCHEMA = dict.fromkeys(("table", "key", "reason", "action", "row"), pl.String)
DROPPED, COLLAPSED = "dropped", "collapsed"
UNKNOWN = "__unknown"  # ends the name of the flag that marks a kept row whose reference points at nothing
POSITION, KEY_RULE, INVALID = "row_position", "primary_key", "invalid"


@dataclass(frozen=True)
class ReasonCount:
    """Number of rows of a table that were set aside for one reason, and the first of them."""

    reason: str
    action: str
    rows: int
    first: str


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
    """

    table: str
    good: pl.DataFrame
    quarantine: pl.DataFrame
    counts: tuple[ReasonCount, ...]
    delivered: int
    dropped: int
    limit_share: float

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
    delivered: int | None = None,
    now: datetime | None = None,
) -> Validated:
    """Apply a declaration to a delivered frame. Bad rows are set aside, never raised; wrong columns or types are.

    The order decides the reason of a row with two faults: type, ranges, time, exact copies, conflicting keys,
    references. A row that is bad in itself does not make its key conflict with a good row.

    Args:
        table: the declaration.
        frame: the delivered rows; columns that are not declared are ignored.
        dataset: gives the covered days and the limit.
        references: good rows of the tables that `table` refers to; a reference to a table that is not here is skipped.
        delivered: number of rows delivered, where `frame` is only the part of them that is used.
        now: wall clock, to recognise events in the future (default: the current instant).

    Raises:
        DeliveryError: a column is missing or has a wrong type.
    """
    require_columns(table.name, frame.schema, table.types)
    aside: list[Fault] = []
    columns: list[pl.Series] = []
    position = pl.int_range(frame.height, dtype=pl.UInt32, eager=True).alias(POSITION)
    odd = pl.repeat(False, frame.height, eager=True)
    for name, dtype in table.types.items():
        converted, bad = coerce(table.name, frame[name], dtype)
        columns.append(converted)
        if bad is not None:
            aside.append((position.filter(bad & ~odd), f"{table.name}.{name} {NOT_CONVERTED[type(dtype)]}", DROPPED))
            odd = odd | bad
    good = pl.DataFrame([*columns, position]).filter(~odd)

    good, faults, same_key = _rules(table, good)
    aside += faults
    good, faults = _times(table, good, dataset, now or datetime.now(UTC))
    aside += faults
    good, faults = _keys(table, good, same_key)
    aside += faults
    for reference in table.references:
        if reference.table in references:
            good, faults = _refer(table, good, reference, references[reference.table])
            aside += faults

    quarantine, counts = _records(table, frame, aside)
    return Validated(
        table=table.name,
        good=good.drop(POSITION),
        quarantine=quarantine,
        counts=counts,
        delivered=frame.height if delivered is None else delivered,
        dropped=sum(len(rows) for rows, _, action in aside if action == DROPPED),
        limit_share=dataset.quarantine_limit(table.name),
    )


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
    return _without(rows, faults), faults, same_key


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


def _times(table: Table, rows: pl.DataFrame, dataset: DatasetConfig, now: datetime) -> tuple[pl.DataFrame, list[Fault]]:
    """Set aside the rows that happened before the first covered day, or after the last one or the present."""
    if table.instant is None:
        return rows, []
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
    faults = [(bad[POSITION], reason, DROPPED) for rule, reason in rules if (bad := rows.filter(rule)).height]
    return _without(rows, faults), faults


def _keys(table: Table, rows: pl.DataFrame, same_key: pl.Series) -> tuple[pl.DataFrame, list[Fault]]:
    """Collapse exact copies to the first of them, then drop every row whose key has different contents.

    `same_key`: positions of rows whose key other rows have as well; without a key, every row is compared.
    """
    key = table.key
    suspects = rows.filter(pl.col(POSITION).is_in(same_key.implode())) if key else rows
    if suspects.is_empty():
        return rows, []
    faults: list[Fault] = []
    kept = suspects.unique(subset=list(table.types), keep="first", maintain_order=True)
    if kept.height < suspects.height:
        copies = suspects[POSITION].filter(~suspects[POSITION].is_in(kept[POSITION].implode()))
        faults.append((copies, f"{table.name}: exact copy of another row", COLLAPSED))
    differing = kept.filter(pl.struct(key).is_duplicated())[POSITION] if key else kept[POSITION].clear()
    if len(differing):
        faults.append((differing, f"{table.name}: same key ({', '.join(key)}) with different contents", DROPPED))
    return _without(rows, faults), faults


def _refer(
    table: Table, rows: pl.DataFrame, reference: Reference, target: pl.DataFrame
) -> tuple[pl.DataFrame, list[Fault]]:
    """Set aside, or keep without the column, the rows that point at nothing. A missing value points nowhere."""
    on = list(reference.columns)
    pointing = rows.select(POSITION, *on).drop_nulls()
    unknown = pointing.join(target.select(on).unique(), on=on, how="anti", maintain_order="left")
    reason = f"{table.name}.{'+'.join(on)}: {reference.reason}"
    if reference.keep_without is None:
        faults = [(unknown[POSITION], reason, DROPPED)] if unknown.height else []
        return _without(rows, faults), faults
    flag = f"{reference.keep_without}{UNKNOWN}"
    marked = rows.with_columns(pl.col(POSITION).is_in(unknown[POSITION].implode()).alias(flag))
    action = f"kept without {reference.keep_without}"
    return marked, [(unknown[POSITION], reason, action)] if unknown.height else []


def _without(rows: pl.DataFrame, faults: list[Fault]) -> pl.DataFrame:
    gone = [positions for positions, _, action in faults if action in (DROPPED, COLLAPSED)]
    return rows.filter(~pl.col(POSITION).is_in(pl.concat(gone).implode())) if gone else rows


def _records(table: Table, frame: pl.DataFrame, aside: list[Fault]) -> tuple[pl.DataFrame, tuple[ReasonCount, ...]]:
    """The quarantine frame of the rows set aside, and their counts, most rows first. A table without a key is named by
    the columns that cannot be missing."""
    required = [column.name for column in table.columns if not (column.nullable or column.optional)]
    key = [pl.format("{}={}", pl.lit(c), pl.col(c).cast(pl.String).fill_null("null")) for c in table.key or required]
    parts: list[pl.DataFrame] = []
    counts: list[ReasonCount] = []
    for positions, reason, action in aside:
        rows = frame[positions.sort()]
        rows = rows.select(_readable(rows))
        part = rows.select(
            table=pl.lit(table.name),
            key=pl.concat_str(key, separator=", "),
            reason=pl.lit(reason),
            action=pl.lit(action),
            row=pl.struct(pl.all()).struct.json_encode(),
        )
        parts.append(part)
        counts.append(ReasonCount(reason, action, part.height, part["row"][0]))
    quarantine = pl.concat(parts) if parts else pl.DataFrame(schema=QUARANTINE_SCHEMA)
    return quarantine, tuple(sorted(counts, key=lambda c: (-c.rows, c.reason)))


def _readable(frame: pl.DataFrame) -> Iterator[pl.Expr]:
    """Columns as JSON can hold them: NaN and infinity, which it cannot, as text."""
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype.is_float() and not bool(frame[name].is_finite().all()):
            column = column.cast(pl.String)
        yield column
