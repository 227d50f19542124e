"""The summary of a night: written by the monitoring asset, printed at the end of `ple nightly`."""

import json
from datetime import date
from typing import Any

from pipeline.home import Home
from pipeline.servers import addresses

SUMMARY = "summary.json"
WIDTH = 124


def read_summary(home: Home, as_of: date) -> dict[str, Any]:
    """What the night's monitoring asset wrote."""
    return json.loads((home.reports / f"as_of={as_of}" / SUMMARY).read_text())


def print_summary(home: Home, as_of: date) -> None:
    """The table that a person reads when the night is over."""
    from rich.box import SIMPLE
    from rich.console import Console
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
        facts.add_row(name, str(value))
    console.print(facts)
    console.print(f"\n{summary['notice']}")
