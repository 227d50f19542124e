"""Text files as frames of text: encoding, separator, quotes and names of columns; no value is interpreted here.

The way back, for a file that loses rows, is `written`. A file in UTF-8 is scanned, so that it may be larger than
memory; any other encoding, a packed file, and columns between blanks are decoded in memory first.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.mapping import TextFormat

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
SEPARATORS = (";", ",", "\t", "|")
HEAD = 1 << 16  # bytes in which the line of names must end
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UNMARKED = f"utf-16-{sys.byteorder[0]}e"
"""As which UTF-16 without a mark is read."""


def suffix_of(path: Path) -> str:
    """The end of a file's name that says what it is, in small letters."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


@dataclass(frozen=True)
class Layout:
    """How one text file is laid out.

    Attributes:
        before: its lines before the rows, with their ends: Excel's `sep=;`, the names.
        separator: between columns; `blanks` for any number of them.
        names: of the columns.
        ending: of a line.
    """

    before: str
    separator: str
    names: tuple[str, ...]
    ending: str


def layout_of(table: str, path: Path, text: TextFormat) -> Layout:
    """The layout of a file, by its first lines.

    Raises:
        DeliveryError: it is empty, in another encoding, or a name of a column is there twice.
    """
    head = _head(table, path, text)
    lines = head.splitlines()
    told = told_separator(lines[0]) if lines else None
    skipped = 1 if told else 0
    if len(lines) <= skipped:
        raise DeliveryError(f"table {table}: {path} is empty. Deliver it again, or take it away.")
    separator = text.separator if text.separator != "auto" else told or separator_of(lines[skipped], text.quote)
    names = _names(table, path, lines[skipped], separator, text) if text.header else list(text.names)
    skipped += text.header
    ended = head.splitlines(keepends=True)
    ending = "\r\n" if ended[0].endswith("\r\n") else "\n"
    return Layout("".join(ended[:skipped]), separator, tuple(names), ending)


def scan_text(table: str, path: Path, text: TextFormat) -> pl.LazyFrame:
    """A text file as a lazy frame of String columns; its names are read at once.

    Raises:
        DeliveryError: it is empty, in another encoding, or a name of a column is missing or there twice.
    """
    layout = layout_of(table, path, text)
    separator, skipped = layout.separator, len(layout.before.splitlines())
    schema = dict.fromkeys(layout.names, pl.String())  # by their places: names are read here, without blanks around
    quote = text.quote or None
    plain = text.encoding == "utf-8" and separator != "blanks" and not suffix_of(path).endswith(".gz")
    if plain:
        return pl.scan_csv(
            path, separator=separator, quote_char=quote, has_header=False, skip_lines=skipped, schema=schema,
            glob=False,
        )  # fmt: skip
    content = _decoded(table, path, text)
    if separator == "blanks":
        content = "\n".join("\t".join(line.split()) for line in content.splitlines() if line.strip())
        separator = "\t"
    try:
        return pl.read_csv(
            io.BytesIO(content.encode()), separator=separator, quote_char=quote, has_header=False,
            skip_lines=skipped, schema=schema,
        ).lazy()  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, path, error) from error


def written(table: str, path: Path, text: TextFormat, rows: pl.DataFrame) -> bytes:
    """Rows of a file as the content of a file in the form of that one: its lines before the rows, separator, quotes,
    line ends, encoding with its mark, and packed where it is.

    Args:
        rows: some of those that `scan_text` reads from `path`.

    Raises:
        DeliveryError: as `layout_of`.
    """
    layout = layout_of(table, path, text)
    lines = rows.write_csv(
        include_header=False,
        separator=" " if layout.separator == "blanks" else layout.separator,
        line_terminator=layout.ending,
        quote_char=text.quote or '"',
        quote_style="necessary" if text.quote else "never",
    )
    marks = {"utf-8": (codecs.BOM_UTF8,), "utf-16": WIDE}.get(text.encoding, ())
    with opened_bytes(path) as file:
        mark = next((mark for mark in marks if file.peek(3).startswith(mark)), b"")
    encoding: str = text.encoding
    if encoding == "utf-16":
        encoding = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(mark, UNMARKED)
    content = mark + (layout.before + lines).encode(encoding)
    return gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content


def unreadable(table: str, path: Path | str, error: Exception) -> DeliveryError:
    """The error of a text file of which a line does not fit."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "utf" in said.lower():
        return DeliveryError(
            f"table {table}: {path} is not text in UTF-8. Write how it is encoded: `text: {{encoding: latin-1}}`, "
            f"cp1252 or utf-16."
        )
    return DeliveryError(f"table {table}: {path} cannot be read: {said}. Does the separator or the quote fit?")


def separator_of(line: str, quote: str = '"') -> str:
    """The separator that stands most often in a line of names, outside of quotes; a comma where none does."""
    outside = "".join(line.split(quote)[::2]) if quote else line
    return max(SEPARATORS, key=lambda sign: (outside.count(sign), sign == ","))


def opened_bytes(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file's bytes, unpacked."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def told_separator(line: str) -> str | None:
    """The separator that Excel's line `sep=;` tells."""
    bare = line.strip('\r\n"')
    return bare[4] if bare.lower().startswith("sep=") and len(bare) == 5 else None


def _head(table: str, path: Path, text: TextFormat) -> str:
    try:
        with opened_bytes(path) as file:
            head = file.read(HEAD)
    except (OSError, EOFError) as error:
        raise DeliveryError(f"table {table}: {path} cannot be read: {error}. Deliver it again.") from error
    if text.encoding != "utf-16" and head.startswith(WIDE):
        raise DeliveryError(f"table {table}: {path} is in UTF-16. Write `text: {{encoding: utf-16}}`.")
    whole = head.rpartition(b"\n")[0] if len(head) == HEAD and text.encoding != "utf-16" else head
    return _text(table, path, whole or head, text, final=len(head) < HEAD)


def _decoded(table: str, path: Path, text: TextFormat) -> str:
    try:
        with opened_bytes(path) as file:
            return _text(table, path, file.read(), text, final=True)
    except (OSError, EOFError) as error:
        raise DeliveryError(f"table {table}: {path} cannot be read: {error}. Deliver it again.") from error


def _text(table: str, path: Path, content: bytes, text: TextFormat, final: bool) -> str:
    encoding = "utf-8-sig" if text.encoding == "utf-8" else text.encoding
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, final)
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise DeliveryError(
            f"table {table}: {path} is not text in {text.encoding} (byte {at}). Write how it is encoded: "
            f"`text: {{encoding: ...}}` with utf-8, utf-16, latin-1 or cp1252."
        ) from error


def _names(table: str, path: Path, line: str, separator: str, text: TextFormat) -> list[str]:
    if separator == "blanks":
        names = line.split()
    else:
        quoting = {"quotechar": text.quote} if text.quote else {"quoting": csv.QUOTE_NONE}
        names = [name.strip() for name in next(csv.reader([line], delimiter=separator, **quoting))]
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise DeliveryError(f"table {table}: {path} names two columns {twice[0]!r}. Give each a name of its own.")
    return [name or f"column {i}" for i, name in enumerate(names, start=1)]
