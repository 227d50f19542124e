"""A list as a CSV file that a spreadsheet opens without running anything.

A text that begins as a formula does gets an apostrophe in front, which spreadsheets take for "this is text"; numbers
stay numbers, negative ones too. Lists become texts, their items apart by blanks.
"""

from collections.abc import Iterator

import polars as pl

FORMULA = r"^[\s\x00]*[=+\-@＝＋－＠|%]|^[\t\r\n]"
"""How a text begins that a spreadsheet may run."""
ROWS = 20_000
"""Of a part of the file."""


def parts(frame: pl.DataFrame) -> Iterator[bytes]:
    """The file in parts: UTF-8 with its mark, which spreadsheets want, and a header."""
    for start in range(0, max(frame.height, 1), ROWS):
        part = harmless(frame.slice(start, ROWS))
        yield part.write_csv(include_bom=start == 0, include_header=start == 0).encode()


def harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without lists, and without texts that a spreadsheet takes for formulas."""
    flat = frame.with_columns(pl.col(n).cast(pl.List(pl.String)).list.join(" ") for n in _nested(frame))
    texts = [name for name, kind in flat.schema.items() if kind == pl.String]
    return flat.with_columns(
        pl.when(pl.col(name).str.contains(FORMULA)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in texts
    )


def _nested(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind.is_nested()]
