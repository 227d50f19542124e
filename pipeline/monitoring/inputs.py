"""Inputs of the model that carry no information tonight, and values that no column may have."""

import polars as pl

from feature_assets import registry
from feature_assets.build import groups_of
from feature_assets.state import FeatureState
from pipeline.intake.lost_sources import Lost

_NOTHING = Lost()


def unsound(frame: pl.DataFrame) -> dict[str, str]:
    """Column → what is wrong with it, in words: infinite values, or no value at all. A frame without rows is sound."""
    if frame.is_empty():
        return {}
    numbers = frame.select(pl.selectors.float())
    infinite = numbers.select(pl.all().is_infinite().sum()).row(0) if numbers.width else ()
    found = {
        name: f"{name}: {count:,} infinite values"
        for name, count in zip(numbers.columns, infinite, strict=True)
        if count
    }
    empty = [column.name for column in frame.iter_columns() if column.null_count() == frame.height]
    return found | {name: f"{name}: no value at all" for name in empty}


def uninformative(matrix: pl.DataFrame, state: FeatureState, lost: Lost = _NOTHING) -> pl.DataFrame:
    """Inputs without information tonight: columns that are missing throughout or constant, side inputs that are empty.
    Those that are masked are not among them.

    A single dull column informs; a group or a side input that is dull as a whole blocks (`blocks`). A side input that
    the fit had no source for is not among them: the model was trained without it.
    """
    rows: list[dict[str, object]] = []
    columns = [name for name in state.present if name in matrix.columns]
    distinct = matrix.select(pl.col(columns).drop_nulls().n_unique()).row(0) if columns else ()
    dull = {name for name, count in zip(columns, distinct, strict=True) if count <= 1} if matrix.height > 1 else set()
    dull |= {name for name in state.present if name not in matrix.columns}
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
            empty = side.name not in matrix.columns or not matrix[side.name].list.len().sum()
            if empty and state.groups[name].meta.get("channels_present", True):
                rows.append({"input": side.name, "group": name, "why": "empty side input", "blocks": True})
    kinds = {"input": pl.String, "group": pl.String, "why": pl.String, "blocks": pl.Boolean}
    return pl.DataFrame(rows, schema=kinds)
