"""Looking at files that nobody described: how they are written, and what each column could be. Guesses, with reasons.

Reads a sample of each file. What a description makes of it belongs to `proposal.py`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.mapping import ColumnMapping, TextFormat
from feature_assets.sources.files import scan
from feature_assets.sources.own.places import PARQUET_SUFFIXES
from feature_assets.sources.own.text_files import (
    TEXT_SUFFIXES,
    WIDE,
    opened_bytes,
    scan_text,
    separator_of,
    suffix_of,
    told_separator,
    unreadable,
)
from feature_assets.sources.own.values import Values

SAMPLE = 20_000  # rows of a file that are looked at
HEAD = 1 << 20  # bytes by which an encoding is told
FITS = 0.99  # share of a column's values that must have a form
SIGNS = (("", "."), ("", ","), (",", "."), (".", ","), ("'", "."), (" ", ","))
"""Signs of thousands and decimals, the plainest first."""
DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
CURRENCIES = "$€£¥₩₹"
ZONE = "UTC"  # of no consequence for a look


@dataclass(frozen=True)
class Look:
    """A column of a file.

    Attributes:
        filled: share of rows that have a value.
        different: number of different values in the sample.
        shown: the first different values.
        number: whether its values are numbers.
        formats: of dates that fit; () where none does. More than one: which is meant cannot be told.
        first, last: its earliest and latest time, where it is one.
        least: its smallest number, where it is one.
    """

    name: str
    filled: float
    different: int
    shown: tuple[str, ...]
    number: bool
    formats: tuple[str, ...]
    first: object = None
    last: object = None
    least: float | None = None


@dataclass(frozen=True)
class Seen:
    """Files with the same columns.

    Attributes:
        paths: the files, by name.
        rows: of all of them.
        text: how they are written.
        reasons: of what `text` says.
        sample: the first rows, as they stand there.
    """

    paths: tuple[Path, ...]
    rows: int
    text: TextFormat
    reasons: tuple[str, ...]
    sample: pl.DataFrame

    @cached_property
    def columns(self) -> dict[str, Look]:
        """Name → what the column looks like."""
        values = Values(dict(self.sample.schema), self.text, ZONE)
        return {name: _look(self.sample, name, values) for name in self.sample.columns}

    @property
    def values(self) -> Values:
        """The reading of its columns."""
        return Values(dict(self.sample.schema), self.text, ZONE)


def look_at(folder: Path) -> list[Seen]:
    """The files of a folder, those with the same columns together; most rows first.

    Raises:
        DeliveryError: there is no folder, or no text or Parquet file in it; or one cannot be read at all.
    """
    if not folder.is_dir():
        raise DeliveryError(f"{folder} is not a folder: give the folder of your files")
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith((".", "_"))]
    known = [path for path in found if suffix_of(path) in (*TEXT_SUFFIXES, *PARQUET_SUFFIXES)]
    if not known:
        held = ", ".join(path.name for path in found[:6]) or "nothing"
        raise DeliveryError(
            f"{folder} holds no file that can be read ({', '.join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))}); it holds "
            f"{held}. Export spreadsheets as CSV."
        )
    alike: dict[tuple[object, ...], list[Seen]] = {}
    for path in known:
        seen = _look_at(path)
        alike.setdefault((tuple(seen.sample.columns), suffix_of(path), seen.text.encoding), []).append(seen)
    return sorted((_together(group) for group in alike.values()), key=lambda seen: -seen.rows)


def _together(group: Sequence[Seen]) -> Seen:
    first = group[0]
    return Seen(tuple(s.paths[0] for s in group), sum(s.rows for s in group), first.text, first.reasons, first.sample)


def _look_at(path: Path) -> Seen:
    if suffix_of(path) in PARQUET_SUFFIXES:
        frame = scan("of your own", path)
        return Seen((path,), frame.select(pl.len()).collect().item(), TextFormat(), (), frame.head(SAMPLE).collect())
    text, reasons = _written(path)
    frame = scan_text("of your own", path, text)
    try:
        rows, sample = frame.select(pl.len()).collect().item(), frame.head(SAMPLE).collect()
    except pl.exceptions.PolarsError as error:
        raise unreadable("of your own", path, error) from error
    text, more = _numbers(sample, text)
    return Seen((path,), rows, text, (*reasons, *more), sample)


def _written(path: Path) -> tuple[TextFormat, list[str]]:
    """Encoding, separator and line of names of a text file."""
    with opened_bytes(path) as file:
        head = file.read(HEAD)
    encoding, why = _encoding(head)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    lines = [line for line in codecs.getincrementaldecoder(codec)().decode(head).splitlines()[:50] if line.strip()]
    if not lines:
        raise DeliveryError(f"{path} is empty. Deliver it again, or take it away.")
    reasons = [why] if why else []
    told = told_separator(lines[0])
    if told:
        return TextFormat.model_validate({"encoding": encoding}), [*reasons, f"its first line says sep={told}"]
    separator = separator_of(lines[0])
    fields = [line.split(separator) for line in lines]
    if separator not in lines[0] and len({len(line.split()) for line in lines}) == 1 and len(lines[0].split()) > 1:
        separator, fields = "blanks", [line.split() for line in lines]
        reasons.append("its columns stand between blanks")
    if any(_no_name(field) for field in fields[0]) and len(lines) > 1:
        names = [f"column_{i}" for i in range(1, len(fields[0]) + 1)]
        reasons.append("its first line holds numbers or dates, so it names no columns")
        return TextFormat.model_validate(
            {"encoding": encoding, "separator": separator, "header": False, "names": names}
        ), reasons
    settings = {"encoding": encoding} | ({"separator": separator} if separator == "blanks" else {})
    return TextFormat.model_validate(settings), reasons


def _encoding(head: bytes) -> tuple[str, str]:
    if head.startswith(WIDE) or head[:200].count(b"\0") > len(head[:200]) // 4:
        return "utf-16", "every second byte is 0" if not head.startswith(WIDE) else "it begins with the mark of UTF-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        if any(0x80 <= byte < 0xA0 for byte in head):
            return "cp1252", f"byte {error.start} is not UTF-8, and some bytes are signs of Windows only"
        return "latin-1", f"byte {error.start} is not UTF-8"
    return "utf-8", ""


def _no_name(field: str) -> bool:
    return bool(re.fullmatch(r"\s*[\"']?[-+]?\d[\d.,:/ -]*[\"']?\s*", field))


def _numbers(sample: pl.DataFrame, text: TextFormat) -> tuple[TextFormat, list[str]]:
    """The form of numbers that fits most columns of text, the plainest first."""
    symbols = "".join(sorted({sign for name in sample.columns for sign in _currencies(sample[name])}))
    best, most = text, -1
    for thousands, decimal in SIGNS:
        form = text.model_copy(update={"decimal": decimal, "thousands": thousands, "symbols": symbols})
        values = Values(dict(sample.schema), form, ZONE)
        fitting = sum(_is_number(sample, name, values) for name in sample.columns)
        if fitting > most:
            best, most = form, fitting
    reasons = []
    if (best.decimal, best.thousands) != (".", ""):
        reasons.append(f"with numbers like 1{best.thousands}234{best.decimal}5 most columns are numbers")
    if symbols:
        reasons.append(f"{symbols} stands at numbers")
    return best, reasons


def _currencies(column: pl.Series) -> Iterable[str]:
    if column.dtype != pl.String:
        return ()
    text = "".join(column.drop_nulls().head(200).to_list())
    return set(text) & set(CURRENCIES)


def _is_number(sample: pl.DataFrame, name: str, values: Values) -> bool:
    if sample.schema[name].is_numeric():
        return True
    if sample.schema[name] != pl.String:
        return False
    reading = values.number(name)
    counts = sample.select(value=reading.value.is_not_null().sum(), unread=reading.unread.sum()).row(0)
    return counts[0] > 0 and counts[0] >= FITS * sum(counts)


def _look(sample: pl.DataFrame, name: str, values: Values) -> Look:
    text = sample.select(values.text(name).value.alias(name)).to_series()
    known = text.drop_nulls()
    shown = tuple(known.unique(maintain_order=True).head(3))
    number = _is_number(sample, name, values)
    formats = _formats(sample, name, values, number)
    first = last = least = None
    if formats:
        days = sample.select(values.day(name, ColumnMapping(column=name, format=formats[:1])).value).to_series()
        first, last = days.min(), days.max()
    elif number:
        least = sample.select(values.number(name).value.cast(pl.Float64).min()).item()
    filled = len(known) / max(len(text), 1)
    return Look(name, filled, known.n_unique(), shown, number and not formats, formats, first, last, least)


def _formats(sample: pl.DataFrame, name: str, values: Values, number: bool) -> tuple[str, ...]:
    dtype = sample.schema[name]
    if dtype.is_temporal():
        return ("iso",)
    timely = bool(re.search(r"date|time|day|datum|fecha|zeit|\bat\b|stamp|when|jour", name.lower()))
    if number and not timely:
        return ()
    found = [given for given in _candidates(number) if _fits(sample, name, values, given)]
    return tuple(given for given in found if not number or _sensible(sample, name, values, given))[:2]


def _candidates(number: bool) -> Iterable[str]:
    if number:
        return ("iso", "epoch_s", "epoch_ms", "excel")
    return ("iso", *(day + clock for day in DAYS for clock in CLOCKS))


def _fits(sample: pl.DataFrame, name: str, values: Values, given: str) -> bool:
    few = sample.head(200)  # most formats fail at once
    for rows in (few, sample):
        reading = values.instant(name, ColumnMapping(column=name, format=(given,)))
        known, unread = rows.select(reading.value.is_not_null().sum(), b=reading.unread.sum()).row(0)
        if not known or known < FITS * (known + unread):
            return False
    return True


def _sensible(sample: pl.DataFrame, name: str, values: Values, given: str) -> bool:
    """Whether numbers make days between 1970 and 2099."""
    days = sample.select(values.day(name, ColumnMapping(column=name, format=(given,))).value.dt.year()).to_series()
    return float(days.is_between(1971, 2098).mean() or 0.0) > FITS
