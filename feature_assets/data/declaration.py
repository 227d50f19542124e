"""The record that declares one table: columns, keys, ranges, references and rules.

Contract tables and the delivered tables of a source are declared alike. Which tables exist belongs to `contract.py` and
`sources/`, applying a declaration to rows to `quarantine.py`. Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import dataframely as dy
import polars as pl

TEXT, WHOLE, NUMBER, FLAG, DAY = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date()
INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        dtype: the type of the validated column.
        meaning: for people.
        key: whether it belongs to the primary key.
        nullable: whether a row may lack the value.
        optional: whether a data set may lack the column; such a column is nullable.
        least, most: smallest and largest value of a number.
        among: the values of a text, if they are a closed list.
        soft: a value out of range or out of the list is taken out and the rest of the row is kept.
        known_from: the Date column after the end of which the value is known, where that is later than its row.
        open_ended: of a required Date: a sentinel of the far future is an end that never comes, and stays.
        told_by_events: of the Date on which a row's subject appears: where it is missing, a sentinel, in the future or
            after the first event that only the subject can have caused, the day of that event takes its place.
    """

    name: str
    dtype: pl.DataType
    meaning: str = ""
    key: bool = False
    nullable: bool = False
    optional: bool = False
    least: float | None = None
    most: float | None = None
    among: tuple[str, ...] = ()
    soft: bool = False
    known_from: str | None = None
    open_ended: bool = False
    told_by_events: bool = False

    @property
    def may_lack(self) -> bool:
        """Whether a row may lack the value."""
        return (self.nullable or self.optional) and not self.key

    @property
    def names_a_thing(self) -> bool:
        """Whether its values are names of customers, baskets, products …, of which none is blank."""
        return isinstance(self.dtype, pl.String) and self.name.endswith("_id")

    @property
    def delivered(self) -> Column:
        """The column as it may be delivered: any width of integer, instants naive in UTC, without what events tell."""
        if self.told_by_events:
            return replace(self, nullable=True)
        if self.dtype.is_integer():
            return replace(self, dtype=WHOLE)
        return replace(self, dtype=pl.Datetime("us")) if isinstance(self.dtype, pl.Datetime) else self

    def declare(self) -> dy.Column:
        """The dataframely column."""
        nullable, key, dtype = self.may_lack, self.key, self.dtype
        match dtype:
            case pl.String():
                return dy.String(nullable=nullable, primary_key=key)
            case pl.Boolean():
                return dy.Bool(nullable=nullable, primary_key=key)
            case pl.Date():
                return dy.Date(nullable=nullable, primary_key=key)
            case pl.Datetime():
                zone = dtype.time_zone
                return dy.Datetime(nullable=nullable, primary_key=key, time_unit="us", time_zone=zone)
            case pl.Float64():
                return dy.Float64(nullable=nullable, primary_key=key, min=self.least, max=self.most)
            case pl.Int32() | pl.Int64():
                kind = dy.Int32 if isinstance(dtype, pl.Int32) else dy.Int64
                bounds = [None if bound is None else int(bound) for bound in (self.least, self.most)]
                return kind(nullable=nullable, primary_key=key, min=bounds[0], max=bounds[1])
        raise TypeError(f"column {self.name}: type {dtype} cannot be declared")


@dataclass(frozen=True, eq=False)
class Rule:
    """A condition on a row that concerns several columns; a row for which it is null keeps it.

    Attributes:
        reason: of a row that breaks it.
        without: keep such a row without this column's value instead of dropping it.
    """

    holds: pl.Expr
    reason: str
    without: str | None = None

    def declare(self, _schema: type[dy.Schema]) -> pl.Expr:
        """The condition, in the form of a dataframely rule."""
        return self.holds


@dataclass(frozen=True)
class Reference:
    """Rows of a table point at rows of another by `columns` (the same names in both).

    Attributes:
        reason: of a row that points at nothing.
        keep_without: keep such a row without this column instead of dropping it; the good rows then carry a Boolean
            column `<column>__unknown`.
        since: the Date column of the other table before which no row may point at its row.
        at_any_time: rows to which `since` does not apply.
    """

    columns: tuple[str, ...]
    table: str
    reason: str
    keep_without: str | None = None
    since: str | None = None
    at_any_time: pl.Expr | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """The declaration of one table. A table without a key is a plain list of events, of which exact copies collapse:
    rows that are equal in every column are the same row, in one delivery and across deliveries.

    Attributes:
        meaning: of a row, for people.
        required: whether a delivery without it is refused.
        references: the rows of other tables that its rows point at.
        instant: the column that says when a row happened and became known, if any: an instant (known at once) or a
            local Date (known after its end). It must lie in the days that the data set covers.
        may_precede: whether rows may have happened before the first covered day.
        rules: name → rule over several columns.
        static: whether further text columns of a delivery belong to it, as facts of the data set.
        order: columns by which validated rows are sorted; without it the key.
        series: of a table of statements, the columns that, with the customer, name the series that a row continues.
        own: of a table of events, the rows that only the customer can have caused; all without it.
    """

    name: str
    columns: tuple[Column, ...]
    meaning: str = ""
    required: bool = False
    references: tuple[Reference, ...] = ()
    instant: str | None = None
    may_precede: bool = False
    rules: Mapping[str, Rule] = field(default_factory=dict)
    static: bool = False
    order: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    own: pl.Expr | None = None

    @cached_property
    def schema(self) -> type[dy.Schema]:
        """The dataframely schema of all columns, with every rule."""
        columns = {column.name: column.declare() for column in self.columns}
        rules = {name: dy.rule()(rule.declare) for name, rule in self._rules.items()}
        return type(self.name, (dy.Schema,), {**columns, **rules})

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        """The rules, one for each closed list of values, and one for each required name of a thing."""
        lists = {
            f"known_{c.name}": Rule(
                pl.col(c.name).is_in(c.among), f"{c.name} is none of {', '.join(c.among)}", c.name if c.soft else None
            )
            for c in self.columns
            if c.among
        }
        filled = {
            f"filled_{c.name}": Rule(pl.col(c.name).str.contains(r"\S"), f"{c.name} is empty")
            for c in self.columns
            if c.names_a_thing and not c.may_lack
        }
        return lists | filled | dict(self.rules)

    @property
    def types(self) -> dict[str, pl.DataType]:
        """Column → type."""
        return {column.name: column.dtype for column in self.columns}

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key; () without one."""
        return tuple(column.name for column in self.columns if column.key)

    @property
    def told_by_events(self) -> str | None:
        """The column that events can tell, if any."""
        return next((column.name for column in self.columns if column.told_by_events), None)

    @property
    def of_customers(self) -> bool:
        """Whether its rows are events of customers rather than things."""
        return any(reference.table == "customers" for reference in self.references)

    @property
    def reasons(self) -> dict[str, str]:
        """Rule → reason."""
        return {name: rule.reason for name, rule in self._rules.items()}

    @property
    def soft(self) -> dict[str, str]:
        """Column with a soft range, or rule → the column that a row which breaks it is kept without."""
        columns = {column.name: column.name for column in self.columns if column.soft}
        return columns | {name: rule.without for name, rule in self._rules.items() if rule.without is not None}

    @property
    def optional(self) -> dict[str, pl.DataType]:
        """Column that a data set may lack → type."""
        return {column.name: column.dtype for column in self.columns if column.optional}

    @property
    def meanings(self) -> dict[str, str]:
        """Column → meaning, for people."""
        return {column.name: column.meaning for column in self.columns}

    @property
    def delivered(self) -> Table:
        """The same table as it may be delivered (`Column.delivered`)."""
        return replace(self, columns=tuple(column.delivered for column in self.columns))

    def only(self, delivered: Mapping[str, object]) -> Table:
        """The same table without the optional columns that were not delivered."""
        return replace(self, columns=tuple(c for c in self.columns if not c.optional or c.name in delivered))


def by_name(*tables: Table) -> dict[str, Table]:
    """Name → table, in the given order, which must be that of their references.

    Raises:
        ValueError: a table refers to one that comes later, or to none.
    """
    named: dict[str, Table] = {}
    for table in tables:
        for reference in table.references:
            if reference.table not in named:
                raise ValueError(f"table {table.name} refers to {reference.table}, which is not declared before it")
        named[table.name] = table
    return named
