"""The one printer of what commands find: tables and facts for people, and the same as JSON for programs.

Tables are fitted to a terminal; in a pipe a row is one line.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import click

PIPE = 2_000  # characters of a line that is not a terminal's

json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs.")
"""Of every command that prints a table or a fact. Standard output then holds one JSON value and nothing else; progress
and errors go to standard error, the exit status is the same."""


def show(
    rows: Iterable[Sequence[Any]],
    columns: Sequence[str],
    keep: Collection[str] = (),
    right: Collection[str] = (),
    red: Collection[str] = (),
) -> None:
    """Print rows as a table.

    Args:
        rows: of cells; None is empty.
        columns: their names; no header where all are empty.
        keep: columns that are never broken into lines.
        right: columns whose cells stand to the right.
        red: first cells of rows that alarm.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=PIPE, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for name in columns:
        table.add_column(name, no_wrap=name in keep, justify="right" if name in right else "left")
    for row in rows:
        cells = ["" if cell is None else escape(str(cell)) for cell in row]
        table.add_row(*cells, style="bold red" if row[0] in red else None)
    with console.capture() as printed:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def show_records(records: Sequence[Mapping[str, Any]], keep: Collection[str] = (), right: Collection[str] = ()) -> None:
    """Print records with the same keys as a table; nothing where there is none."""
    if records:
        show([list(record.values()) for record in records], list(records[0]), keep, right)


def show_facts(facts: Mapping[str, Any], red: Collection[str] = ()) -> None:
    """Print names and values, one a line, those that alarm in red; nothing where there is none."""
    if facts:
        show(list(facts.items()), ["", ""], red=red)


def print_json(found: Any) -> None:
    """Print what a command found as one JSON value."""
    click.echo(json_text(found))


def json_text(found: Any) -> str:
    """A value as JSON; what JSON does not know is text, a number that is not finite is null."""
    return json.dumps(_plain(found), indent=1, ensure_ascii=False, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    """The value with null for numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
