"""Inputs of the model that carry no information tonight, and values that no column may have."""

from typing import Any

import polars as pl

from feature_assets import registry
from feature_assets.build import groups_of
from feature_assets.state import FeatureState
from pipeline.intake.lost_sources import Lost

_NOTHING = Lost()


def _counted(row: pl.LazyFrame) -> dict[str, Any]:
    """The one row of a frame by column, without its data in memory as a whole."""
    return dict(row.collect(engine="streaming").row(0, named=True)) if row.collect_schema().names() else {}


def unsound(frame: pl.DataFrame | pl.LazyFrame) -> dict[str, str]:
    """Column → what is wrong with it, in words: infinite values, or no value at all. A frame without rows is sound."""
    rows = frame.lazy()
    height = rows.select(pl.len()).collect().item()
    if not height:
        return {}
    infinite = _counted(rows.select(pl.selectors.float().is_infinite().sum()))
    found = {name: f"{name}: {count:,} infinite values" for name, count in infinite.items() if count}
    filled = _counted(rows.select(pl.all().count()))
    return found | {name: f"{name}: no value at all" for name, count in filled.items() if not count}


def uninformative(matrix: pl.DataFrame | pl.LazyFrame, state: FeatureState, lost: Lost = _NOTHING) -> pl.DataFrame:
    """Inputs without information tonight: columns that are missing throughout or constant, side inputs that are empty.
    Those that are masked are not among them.

    A single dull column informs; a group or a side input that is dull as a whole blocks (`blocks`). A side input that
    the fit had no source for is not among them: the model was trained without it.
    """
    rows: list[dict[str, object]] = []
    given = matrix.lazy()
    names = given.collect_schema().names()
    columns = [name for name in state.present if name in names]
    varied = _counted(given.select(pl.col(columns).min() != pl.col(columns).max()))
    several = given.select(pl.len() > 1).collect().item()
    dull = {name for name in columns if not varied[name]} if several else set()
    dull |= {name for name in state.present if name not in names}
    dull -= set(lost.columns)
    for name in groups_of(state):
        group = registry.registry()[name]
        own = [column.name for column in group.columns if column.name in state.present]
        flat = [column for column in own if column in dull]
        rows += [
            {
                "input": column,
                "group": name,
                "why": "missing or constant",
                "blocks": len(flat) == len(own),
            }
            for column in flat
        ]
        for side in group.side_inputs if name not in lost.groups else ():
            empty = side.name not in names or not _counted(given.select(pl.col(side.name).list.len().sum()))[side.name]
            if empty and state.groups[name].meta.get("channels_present", True):
                rows.append({"input": side.name, "group": name, "why": "empty side input", "blocks": True})
    kinds = {"input": pl.String, "group": pl.String, "why": pl.String, "blocks": pl.Boolean}
    return pl.DataFrame(rows, schema=kinds)
