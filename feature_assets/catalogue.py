"""The catalogue of the registry: every section, group, column and side input, as frames and as Markdown.

`docs/features.md` is the output of `markdown`, which a test compares. All descriptions come from the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feature_assets import registry
from feature_assets.closed import nearest

_HEAD = """\
# Features: the {width} columns and the side inputs

Generated from the registry by `ple features --markdown`; do not edit by hand. One row of the feature matrix is one
customer at one as-of instant t, and every value depends only on events strictly before t. Columns {first}–{last} are
scaled by statistics of the training dates; the rest keep their natural units. A column whose source tables a data set
does not have is absent. `ple features --check --dataset NAME` checks that each column is informative.
"""


def overview() -> pl.DataFrame:
    """One row a group in the order of the columns: positions, section, group, columns, side inputs, sources,
    description. Groups without columns come last."""
    rows = []
    for group in registry.registry().values():
        at = registry.group_positions(group.name)
        sections = [name for name, (first, end) in registry.ranges().items() if at and first <= at[0] < end]
        rows.append(
            {
                "positions": f"{at[0]}–{at[-1]}" if at else "–",
                "section": sections[0] if sections else "side inputs",
                "group": group.name,
                "columns": len(group.columns),
                "side inputs": ", ".join(f"{s.name} {list(s.shape)}" for s in group.side_inputs),
                "needs": ", ".join((*group.sources, *(f"group {name}" for name in group.needs))),
                "description": group.description,
                "order": at[0] if at else registry.width(),
            }
        )
    return pl.DataFrame(rows).sort("order", maintain_order=True).drop("order")


def explain(name: str, also: Sequence[str] = ()) -> pl.DataFrame:
    """The column of this name, or the columns and side inputs of a group, a section, or of the columns whose name
    contains `name`: position, name, meaning, unit, window, sources.

    Args:
        also: other names, which are known elsewhere, for the hint.

    Raises:
        KeyError: nothing bears that name; says the nearest.
    """
    table = registry.catalogue()
    found = table.filter((pl.col("group") == name) | (pl.col("section") == name))
    if found.is_empty():
        found = table.filter(pl.col("name") == name)
    if found.is_empty():
        found = table.filter(pl.col("name").str.contains(name, literal=True))
    group = registry.registry().get(name)
    sides = group.side_inputs if group else tuple(side for side in registry.side_inputs() if side.name == name)
    if found.is_empty() and not sides:
        known = [*registry.registry(), *registry.ranges(), *(side.name for side in registry.side_inputs())]
        hint = nearest(name, [*known, *also, *registry.names()])
        if not hint.startswith("did"):
            hint = nearest(name, known)
        raise KeyError(f"nothing is called {name!r}, no group, section, column, side input or task: {hint}")
    columns = found.select(pl.col("position").cast(pl.String), "name", "meaning", "unit", "window", "sources")
    more = [
        {
            "position": "side",
            "name": side.name,
            "meaning": side.meaning + (f" ({', '.join(side.channels)})" if side.channels else ""),
            "unit": f"{side.dtype.__name__}{list(side.shape)}",
            "window": "",
            "sources": "",
        }
        for side in sides
    ]
    return pl.concat([columns, pl.DataFrame(more, schema=columns.schema)])


def markdown() -> str:
    """The whole catalogue: an overview, then a table a group."""
    parts = [_HEAD.format(width=registry.width(), first=0, last=registry.normalised() - 1), _table(overview())]
    for row in overview().iter_rows(named=True):
        parts += [f"## {row['group']}\n", f"{row['description']}.\n", _table(explain(row["group"]))]
    return "\n".join(parts)


def _table(frame: pl.DataFrame) -> str:
    lines = [list(frame.columns), ["---"] * frame.width, *(list(row) for row in frame.iter_rows())]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)
