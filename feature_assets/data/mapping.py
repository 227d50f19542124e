"""How the user's own files become contract tables: the section `tables` of a description, typed and closed.

Here belongs what may be written and whether it makes sense by itself. Reading files by it belongs to `sources/own/`.
Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import polars as pl
from pydantic import BeforeValidator, Field, field_validator, model_validator

from feature_assets.closed import Closed, Misplaced, nearest
from feature_assets.data.contract import CONTRACT
from feature_assets.data.database import DatabaseTable
from feature_assets.data.expressions import parse
from feature_assets.data.local_time import Hour

Formats = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
"""One format of dates, or several in the order in which they are tried."""
ISO, EPOCHS = "iso", ("epoch_s", "epoch_ms", "excel")
DIRECTIVES = frozenset("YymdBbHMSfIpjzTFeDRk%39+:.")  # letters that may follow a % in a format of dates
OF_ANY_TEXT = frozenset({"missing", "strip", "symbols"})
"""Keys of `text` that go with a database."""
MUST: dict[str, tuple[str, ...]] = {
    "transactions": ("customer_id", "at", "amount"),
    "customers": ("customer_id",),
    "merchants": ("merchant_id", "category_l1"),
    "products": ("product_id", "category_l1"),
    "campaigns": ("campaign_id", "starts_on", "ends_on"),
    "campaign_events": ("customer_id", "campaign_id", "at", "event"),
    "sessions": ("customer_id", "at"),
    "holdings": ("customer_id", "product_kind", "opened_on", "as_of"),
    "balances": ("customer_id", "account_id", "on", "balance", "kind"),
    "contacts": ("customer_id", "at", "kind"),
}
"""Contract table → columns that a description must map; the others have a default (`sources/own/defaults.py`)."""


class TextFormat(Closed):
    """How a text file is written.

    Attributes:
        separator: of columns: one character, `auto` (told by the first line), or `blanks` (any number of them).
        encoding: of the file. A byte order mark of UTF-8 is skipped.
        quote: around values that hold the separator; empty for none.
        header: whether the first line names the columns (an Excel line `sep=;` before it is skipped).
        names: of the columns, where no line names them.
        decimal: sign before the decimals of a number.
        thousands: sign between groups of three digits; empty for none.
        symbols: characters that are left out of numbers, such as a currency sign.
        missing: texts that stand for no value, beside the empty one.
        strip: whether blanks around texts are left out.
    """

    separator: str = "auto"
    encoding: Literal["utf-8", "utf-16", "latin-1", "cp1252"] = "utf-8"
    quote: str = '"'
    header: bool = True
    names: tuple[str, ...] = ()
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", "'", " "] = ""
    symbols: str = ""
    missing: tuple[str, ...] = ()
    strip: bool = False

    @field_validator("separator")
    @classmethod
    def _one_sign(cls, separator: str) -> str:
        if separator not in ("auto", "blanks") and (len(separator) != 1 or separator in '"\n\r'):
            raise ValueError(f"expected one character, auto or blanks, not {separator!r}")
        return separator

    @field_validator("quote")
    @classmethod
    def _one_quote(cls, quote: str) -> str:
        if len(quote) > 1:
            raise ValueError(f"expected one character or nothing, not {quote!r}")
        return quote

    @field_validator("symbols")
    @classmethod
    def _no_digits(cls, symbols: str) -> str:
        if wrong := sorted(set(symbols) & set("0123456789.,+-")):
            raise ValueError(f"{''.join(wrong)!r} belongs to numbers and cannot be left out of them")
        return symbols

    @model_validator(mode="after")
    def _agree(self) -> TextFormat:
        if self.decimal == self.thousands:
            raise Misplaced(f"{self.decimal!r} cannot be both decimal and thousands sign", "thousands")
        if self.header and self.names:
            raise Misplaced("give names of columns only with header: false", "names")
        if not self.header and not self.names:
            raise Misplaced("header: false needs names: the columns in their order", "header")
        if len(set(self.names)) < len(self.names):
            raise Misplaced("a name stands there twice", "names")
        if self.separator == "auto" and not self.header:
            raise Misplaced("header: false needs a separator: it is told by the line of names", "header")
        return self


class ColumnMapping(Closed):
    """Where a contract column comes from: `column`, `expression` or `value`, and how it is read.

    Attributes:
        column: of the user's file.
        expression: over columns of the file (`data/expressions.py`); a number, or true and false.
        value: the same in every row.
        map: value of the file → value of the contract.
        default: for values that `map` does not name; without it, such a row is set aside.
        key: of a name of things: `text` keeps it as it stands (`00123`); `whole` reads `12345`, `12345.0` and `012345`
            as one. Unstated, it is text, and a column that holds two such forms of one number is refused.
        format: of dates: `iso`, `epoch_s`, `epoch_ms`, `excel` (days), or one with % signs; the first one that fits.
        zone: in which times without an offset are meant; by default that of the data set.
        removed_hour: what a time means in the hour that daylight saving leaves out.
        doubled_hour: which of both is meant in the hour that it repeats.
        optional: whether a file of the table may lack the column.
    """

    column: str | None = None
    expression: str | None = None
    value: str | int | float | bool | None = None
    map: dict[str, str] = Field(default_factory=dict)
    default: str | None = None
    key: Literal["text", "whole"] | None = None
    format: Formats = (ISO,)
    zone: str | None = None
    removed_hour: Hour = "later"
    doubled_hour: Hour = "earlier"
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @field_validator("value", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(f"expected a text, a number, true or false, not {str(value)[:60]!r}")
        return value

    @field_validator("format")
    @classmethod
    def _known_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return _checked_formats(formats)

    @field_validator("map", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        """Keys that YAML reads as numbers are texts of the file; as true and false they are not."""
        if not isinstance(given, dict):
            return given
        if truths := [key for key in given if isinstance(key, bool)]:
            raise ValueError(f"YAML reads a key as {truths[0]}: put it in quotes")
        return {str(key): value for key, value in given.items()}

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        return None if zone is None else known_zone(zone)

    @field_validator("expression")
    @classmethod
    def _parsed(cls, expression: str | None) -> str | None:
        if expression is not None:
            parse(expression)
        return expression

    @model_validator(mode="after")
    def _one_source(self) -> ColumnMapping:
        given = [name for name in ("column", "expression", "value") if getattr(self, name) is not None]
        if len(given) != 1:
            stands = " and ".join(given) or "none of them"
            raise ValueError(f"needs one of column, expression and value; {stands} stand there")
        if self.default is not None and not self.map:
            raise Misplaced("default is for values that map does not name: write map as well", "default")
        if self.map and self.column is None:
            raise Misplaced("map reads the values of a column: give column", "map")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the file that it reads."""
        if self.column is not None:
            return (self.column,)
        return parse(self.expression).columns if self.expression is not None else ()


class Latest(Closed):
    """Of rows with one key the one that is the newest by a column holds.

    Attributes:
        by: column of the file.
        format: of its dates, or `number`.
    """

    by: str
    format: Formats = (ISO,)

    @field_validator("format")
    @classmethod
    def _known_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return formats if formats == ("number",) else _checked_formats(formats)


class TableMapping(Closed):
    """One contract table: where it lies, and how its columns come about.

    Attributes:
        files: a file, a pattern or a folder, from the folder of the delivery on: text (.csv, .tsv, .txt, each also
            .gz) or Parquet (.parquet, .parq, .pq).
        database: instead of files: a table of a database; every value is read as text, as psql shows it.
        rows_of: the table of whose rows this one is a part; it has one row a key, with the values that are the
            commonest there.
        text: how text files are written; of a database only `missing`, `strip` and `symbols`.
        where: rows for which this does not hold are left out and counted.
        latest: which of several rows with one key holds.
        columns: contract column → where it comes from.
    """

    files: str | None = None
    database: DatabaseTable | None = None
    rows_of: str | None = None
    text: TextFormat = TextFormat()
    where: str | None = None
    latest: Latest | None = None
    columns: dict[str, ColumnMapping]

    @field_validator("where")
    @classmethod
    def _a_condition(cls, where: str | None) -> str | None:
        if where is not None and not parse(where).condition:
            raise ValueError(f"{where!r} is no condition, such as {where.split()[0]} != 0")
        return where

    @field_validator("files")
    @classmethod
    def _a_place(cls, files: str | None) -> str | None:
        if files is not None and not files.strip():
            raise ValueError("is empty: name a file, a pattern such as sales/*.csv, or a folder")
        return files

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the files that are read, without those of `latest`."""
        names = [name for column in self.columns.values() for name in column.columns]
        return tuple(dict.fromkeys([*names, *(parse(self.where).columns if self.where else ())]))

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the files that are read."""
        return tuple(dict.fromkeys([*self.reads, *([self.latest.by] if self.latest else [])]))

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Columns that a file may lack."""
        needed = {name for column in self.columns.values() if not column.optional for name in column.columns}
        return tuple(name for name in self.reads if name not in needed)


def check_tables(tables: dict[str, TableMapping]) -> None:
    """Whether the tables are those of the contract, with the columns that they need.

    Raises:
        Misplaced: an unknown table or column, with the nearest known one; a column that is missing, or read in a way
            that does not fit its type.
    """
    for name, table in tables.items():
        if name not in CONTRACT:
            raise Misplaced(f"there is no table {name!r}: {nearest(name, CONTRACT)}", name)
        _check_place(name, table, tables)
        _check_columns(name, table)
    if "transactions" not in tables:
        raise ValueError("the table transactions is missing: who bought when, and for how much")


def _check_place(name: str, table: TableMapping, tables: Iterable[str]) -> None:
    if sum(place is not None for place in (table.files, table.database, table.rows_of)) != 1:
        raise Misplaced("needs one of files, database and rows_of", name)
    if table.database is not None:
        _check_database(name, table, table.database)
    if table.rows_of is not None:
        if not CONTRACT[name].key or CONTRACT[name].instant not in (None, "joined_on"):
            raise Misplaced("only customers, merchants and products can be the rows of another table", name, "rows_of")
        if table.rows_of not in tables or table.rows_of == name:
            others = [other for other in tables if other != name]
            raise Misplaced(f"{table.rows_of!r} is no table here: {nearest(table.rows_of, others)}", name, "rows_of")
        if table.latest is not None:
            raise Misplaced("rows_of takes the commonest values; latest does not go with it", name, "latest")


def _check_database(name: str, table: TableMapping, database: DatabaseTable) -> None:
    stated = {key for key, value in table.text if value != TextFormat.model_fields[key].default}
    if wrong := sorted(stated - OF_ANY_TEXT):
        raise Misplaced(
            f"a database has one way to write its values: only {', '.join(sorted(OF_ANY_TEXT))} go with it",
            *(name, "text", wrong[0]),
        )
    once = database.since is not None and database.reread_days == 0
    if name == "transactions" and "transaction_id" not in table.columns and not once:
        raise Misplaced(
            "a row that is read again is known by its transaction_id: map it, or write since and reread_days: 0",
            *(name, "columns"),
        )


def _check_columns(name: str, table: TableMapping) -> None:
    declared = {column.name: column for column in CONTRACT[name].columns}
    for column, mapping in table.columns.items():
        place = (name, "columns", column)
        if column not in declared:
            if not CONTRACT[name].static:
                raise Misplaced(f"table {name} has no column {column!r}: {nearest(column, declared)}", *place)
            continue
        dtype, among = declared[column].dtype, declared[column].among
        temporal = isinstance(dtype, pl.Date | pl.Datetime)
        if mapping.expression is not None and not dtype.is_numeric() and not isinstance(dtype, pl.Boolean):
            raise Misplaced(f"an expression is a number, and {column} is none: map a column", *place, "expression")
        if mapping.expression is not None and parse(mapping.expression).condition != isinstance(dtype, pl.Boolean):
            what = "true or false" if isinstance(dtype, pl.Boolean) else "a number"
            raise Misplaced(f"{column} is {what}, and the expression is not", *place, "expression")
        if mapping.format != (ISO,) and not temporal:
            raise Misplaced(f"{column} is no date: format does not go with it", *place, "format")
        if mapping.map and not isinstance(dtype, pl.String | pl.Boolean):
            raise Misplaced(f"map gives texts, and {column} is none", *place, "map")
        if mapping.key is not None and not isinstance(dtype, pl.String):
            raise Misplaced(f"{column} is no text: key does not go with it", *place, "key")
        if mapping.value is not None and temporal:
            raise Misplaced(f"{column} cannot be the same in every row: map a column", *place, "value")
        if among:
            stated = {**mapping.map, "default": mapping.default, "value": mapping.value}
            for key, value in stated.items():
                if isinstance(value, str) and value not in among:
                    where = ("map", key) if key in mapping.map else (key,)
                    raise Misplaced(f"{value!r} is no {name}.{column}: {nearest(value, among)}", *place, *where)
    if missing := [column for column in MUST[name] if column not in table.columns]:
        raise Misplaced(f"table {name} needs {', '.join(missing)}", name, "columns")
    if table.latest is not None and (lacking := [c for c in CONTRACT[name].key if c not in table.columns]):
        raise Misplaced(f"which rows are one is told by {', '.join(lacking)}: map it", name, "latest")
    if table.latest is not None and not CONTRACT[name].key:
        raise Misplaced(f"table {name} has no key, so none of its rows replaces another", name, "latest")


def _checked_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    if not formats:
        raise ValueError(f"is empty: write {ISO}, {', '.join(EPOCHS)} or one such as '%d.%m.%Y %H:%M'")
    for given in formats:
        if given in (ISO, *EPOCHS):
            continue
        if "%" not in given:
            raise ValueError(
                f"{given!r} is no format: write {ISO}, {', '.join(EPOCHS)} or one such as '%d.%m.%Y %H:%M'"
            )
        signs = given.replace("%%", "").split("%")[1:]
        if wrong := [sign[:1] for sign in signs if sign[:1] not in DIRECTIVES or not sign]:
            raise ValueError(f"{given!r}: %{wrong[0]} means nothing; %d %m %Y %H %M %S are the usual ones")
        letters = {sign[:1] for sign in signs}
        if not letters & set("FDs") and not ({"Y", "y"} & letters and {"m", "b", "B", "j"} & letters):
            raise ValueError(f"{given!r} names no year and month, so no day: write both")
    return formats


def known_zone(zone: str) -> str:
    """The zone.

    Raises:
        ValueError: there is none of this name; names the nearest.
    """
    known = available_timezones()
    if zone not in known:
        raise ValueError(f"unknown time zone {zone!r}: {nearest(zone, sorted(known))}")
    return zone
