"""Values of files as values of the contract: texts, numbers, flags, days and instants, and where one cannot be read.

Expressions to expressions, so that nothing is read into memory here. Which column is read how belongs to `mapped.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from feature_assets.data.coercion import EXACT
from feature_assets.data.expressions import Columns, Reading, sure
from feature_assets.data.local_time import instants, local_day
from feature_assets.data.mapping import EPOCHS, ISO, ColumnMapping, TextFormat

TRUE, FALSE = ("true", "yes", "1", "t", "y"), ("false", "no", "0", "f", "n")
TIMED = "%H|%I|%M|%S|%T|%R|%s|%X|%c"
BLANKS = "\u00a0\u202f\t"  # beside the common one, those that spreadsheets put into numbers
NAIVE = pl.Datetime("us")
DAY_ONE = pl.datetime(1970, 1, 1, time_unit="us")
EXCEL_DAY_ZERO = pl.datetime(1899, 12, 30, time_unit="us")


@dataclass(frozen=True)
class Values:
    """How the columns of one file are read.

    Attributes:
        schema: of the file.
        text_format: of text files; numbers and missing values are those that it says.
        zone: in which times without an offset are meant.
    """

    schema: Mapping[str, pl.DataType]
    text_format: TextFormat
    zone: str

    @property
    def columns(self) -> Columns:
        """For expressions."""
        return Columns(self.number, self.text)

    def text(self, name: str) -> Reading:
        """A column as text; the empty one and those of `missing` are none."""
        column, dtype = pl.col(name), self.schema[name]
        if dtype.is_float():
            exact = (column.abs() < EXACT[str(dtype)]) & (column == column.round())
            whole = pl.when(exact).then(column).cast(pl.Int64, strict=False).cast(pl.String)
            text = pl.when(exact).then(whole).otherwise(column.fill_nan(None).cast(pl.String))
        else:
            text = column.cast(pl.String)
        if self.text_format.strip:
            text = text.str.strip_chars()
        none = text.is_in(["", *self.text_format.missing])
        return sure(pl.when(~none).then(text))

    def name(self, name: str, whole: bool) -> Reading:
        """A column as names of things; `whole`: whole numbers without their zeros and decimals."""
        text, dtype = self.text(name).value, self.schema[name]
        vague = pl.lit(False)
        if dtype.is_float():  # one such float stands for several names
            vague = (pl.col(name).abs() >= EXACT[str(dtype)]).fill_null(False)
        if not whole:
            return Reading(pl.when(~vague).then(text), vague)
        digits = text.str.strip_chars().str.extract(r"^0*(\d+?)(?:\.0*)?$", 1)
        return Reading(pl.when(~vague).then(digits), vague | (text.is_not_null() & digits.is_null()))

    def number(self, name: str) -> Reading:
        """A column as Float64, by the declared signs; whole numbers of a Parquet file stay what they are."""
        dtype = self.schema[name]
        if dtype.is_integer():
            return sure(pl.col(name))
        if dtype.is_numeric():
            return sure(pl.col(name).cast(pl.Float64))
        form = self.text_format
        text = self.text(name).value
        bare = text.str.strip_chars(BLANKS + " ")
        if form.symbols:
            bare = bare.str.replace_all(f"[{re.escape(form.symbols)}]", "").str.strip_chars(BLANKS + " ")
        if form.thousands == " ":
            bare = bare.str.replace_all(f"[{BLANKS}]", " ")
        good = bare.str.contains(_pattern(form))
        after = pl.when(bare.str.ends_with("-")).then("-" + bare.str.strip_suffix("-")).otherwise(bare)
        if form.thousands:
            after = after.str.replace_all(form.thousands, "", literal=True)
        value = after.str.replace(form.decimal, ".", literal=True).cast(pl.Float64, strict=False)
        return Reading(pl.when(good).then(value), text.is_not_null() & ~good.fill_null(False))

    def flag(self, name: str) -> Reading:
        """A column as true or false."""
        if self.schema[name] == pl.Boolean:
            return sure(pl.col(name))
        text = self.text(name).value
        small = text.str.strip_chars().str.to_lowercase()
        value = pl.when(small.is_in(TRUE)).then(True).when(small.is_in(FALSE)).then(False)
        return Reading(value, text.is_not_null() & value.is_null())

    def mapped(self, name: str, column: ColumnMapping) -> Reading:
        """A column of texts whose values have other names in the contract."""
        text = self.text(name).value
        value = text.replace_strict(column.map, default=None, return_dtype=pl.String)
        if column.default is not None:
            return sure(value.fill_null(column.default))
        return Reading(value, text.is_not_null() & value.is_null())

    def day(self, name: str, column: ColumnMapping) -> Reading:
        """A column as local days."""
        zone = column.zone or self.zone
        days = [time.day if time.day is not None else _local_day(time, zone) for time in self._times(name, column)]
        return self._first(name, days)

    def instant(self, name: str, column: ColumnMapping) -> Reading:
        """A column as instants, naive in UTC."""
        zone = column.zone or self.zone
        found = []
        for time in self._times(name, column):
            if time.utc is not None:
                found.append(time.utc)
            elif time.local is not None:
                found.append(instants(time.local, zone, column.removed_hour, column.doubled_hour))
            else:  # a day begins at the first instant that its zone calls so
                found.append(instants(time.day.cast(NAIVE), zone, "later", "earlier"))  # type: ignore[union-attr]
        return self._first(name, found)

    def _first(self, name: str, values: Iterable[pl.Expr]) -> Reading:
        value = pl.coalesce(*values)
        there = self.text(name).value if self.schema[name] == pl.String else pl.col(name)
        return Reading(value, there.is_not_null() & value.is_null())

    def _times(self, name: str, column: ColumnMapping) -> list[_Time]:
        dtype = self.schema[name]
        if isinstance(dtype, pl.Date):
            return [_Time(day=pl.col(name))]
        if isinstance(dtype, pl.Datetime):
            micro = pl.col(name).cast(pl.Datetime("us", dtype.time_zone))
            if dtype.time_zone is None:
                return [_Time(local=micro)]
            return [_Time(utc=micro.dt.convert_time_zone("UTC").dt.replace_time_zone(None))]
        text = self.text(name).value.str.strip_chars()
        return [time for given in column.format for time in self._in_format(name, text, given)]

    def _in_format(self, name: str, text: pl.Expr, given: str) -> list[_Time]:
        if given in EPOCHS:
            number = self.number(name).value.cast(pl.Float64)
            if given == "excel":
                micro = (number * 86_400_000_000).round().cast(pl.Int64, strict=False)
                return [_Time(local=EXCEL_DAY_ZERO + micro.cast(pl.Duration("us")))]
            micro = (number * (1_000_000 if given == "epoch_s" else 1_000)).round().cast(pl.Int64, strict=False)
            return [_Time(utc=DAY_ONE + micro.cast(pl.Duration("us")))]
        if given == ISO:
            return _iso(text)
        if "%z" in given or "%:z" in given or "%#z" in given:
            aware = text.str.to_datetime(given, time_unit="us", time_zone="UTC", strict=False)
            return [_Time(utc=aware.dt.replace_time_zone(None))]
        if re.search(TIMED, given.replace("%-", "%")):
            return [_Time(local=text.str.to_datetime(given, time_unit="us", strict=False))]
        return [_Time(day=text.str.to_date(given, strict=False))]


@dataclass(frozen=True)
class _Time:
    """What a format tells: an instant, a local time or a local day."""

    utc: pl.Expr | None = None
    local: pl.Expr | None = None
    day: pl.Expr | None = None


def _iso(text: pl.Expr) -> list[_Time]:
    spaced = text.str.replace("[Tt]", " ")
    offset = spaced.str.replace("(?: ?[Zz]| UTC)$", "+00:00")
    aware = [f"%Y-%m-%d {clock}%#z" for clock in ("%H:%M:%S%.f", "%H:%M")]
    local = [f"%Y-%m-%d {clock}" for clock in ("%H:%M:%S%.f", "%H:%M")]
    known = [offset.str.to_datetime(given, time_unit="us", time_zone="UTC", strict=False) for given in aware]
    return [
        *(_Time(day=text.str.to_date(given, strict=False)) for given in ("%Y-%m-%d", "%Y%m%d")),
        *(_Time(local=spaced.str.to_datetime(given, time_unit="us", strict=False)) for given in local),
        *(_Time(utc=instant.dt.replace_time_zone(None)) for instant in known),
    ]


def _local_day(time: _Time, zone: str) -> pl.Expr:
    if time.local is not None:
        return time.local.dt.date()
    return local_day(time.utc.dt.replace_time_zone("UTC"), zone)  # type: ignore[union-attr]


def _pattern(form: TextFormat) -> str:
    """The whole of a number, by its signs; a minus may stand behind it."""
    decimal, thousands = re.escape(form.decimal), re.escape(form.thousands)
    grouped = rf"\d{{1,3}}(?:{thousands}\d{{3}})+|" if form.thousands else ""
    power = r"(?:[eE][+-]?\d+)?" if form.decimal == "." and not form.thousands else ""
    body = rf"(?:(?:{grouped}\d+)(?:{decimal}\d*)?|{decimal}\d+){power}"
    return rf"^(?:[+-]?{body}|{body}-)$"
