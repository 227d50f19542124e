"""The summary of a night in the terminal, at the end of `ple nightly`."""

import json
from datetime import date
from typing import Any

from pipeline.home import Home
from pipeline.monitoring.summary import ALARMING, SUMMARY
from pipeline.servers import addresses

WIDTH = 124


def read_summary(home: Home, as_of: date) -> dict[str, Any]:
    """The summary that the monitoring asset of an as-of date wrote."""
    return json.loads((home.reports / f"as_of={as_of}" / SUMMARY).read_text())


def print_summary(home: Home, as_of: date) -> None:
    """Print the table that a person reads when the night is over."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    summary = read_summary(home, as_of)
    console = Console(width=max(WIDTH, Console().width), highlight=False, soft_wrap=True)
    table = Table(
        title=f"\nScores as of {as_of} · {summary['dataset']}", title_justify="left", box=SIMPLE, pad_edge=False
    )
    for column in summary["tasks"][0]:
        table.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for row in summary["tasks"]:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    console.print(summary["legend"] + "\n")
    facts = Table.grid(padding=(0, 2))
    for name, value in [*summary["facts"].items(), ("look at it", "make ui"), *addresses().items()]:
        facts.add_row(name, escape(str(value)), style="bold red" if name in ALARMING else None)
    console.print(facts)
    console.print(f"\n{summary['notice']}")
