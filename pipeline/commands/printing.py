"""The one printer of tables: fitted to a terminal, one line a row in a pipe."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

PIPE = 2_000  # characters of a line that is not a terminal's


def show(rows: Iterable[Sequence[Any]], columns: Sequence[str], keep: Collection[str] = ()) -> None:
    """Print rows as a table.

    Args:
        rows: of cells; None is empty.
        columns: their names.
        keep: columns that are never broken into lines.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=PIPE, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name in keep)
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    console.print(table)


def show_records(records: Sequence[Mapping[str, Any]], keep: Collection[str] = ()) -> None:
    """Print records with the same keys as a table; nothing where there is none."""
    if records:
        show([list(record.values()) for record in records], list(records[0]), keep)
