"""Check that every column and side input is informative (FEATURES §2 rule 6), on a data set at one as-of date.

The check examines the inputs of the model (`build.assemble`): scaled columns, raw columns, side inputs. A column fails
when it is constant, missing throughout, or a copy of another (|ρ| > 0.9999 where both are known). Groups and single
columns whose source the data set does not have are reported as absent, with the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets import registry
from feature_assets.build import assemble, compute_all
from feature_assets.events.view import View
from feature_assets.group import PADDING, SideInput
from feature_assets.state import FeatureState

COPY = 0.9999
FEW = 20  # rows on which both columns of a pair must be known


@dataclass(frozen=True)
class Checked:
    """Result of the check.

    Attributes:
        rows: number of customers.
        present: number of columns that the data set has, of `registry.width()`.
        faults: input, group, fault; one row a violation.
        absent: group, columns (number), missing source; one row for each absent group, and for each source that some
            columns of a group lack.
    """

    rows: int
    present: int
    faults: pl.DataFrame
    absent: pl.DataFrame

    @property
    def passed(self) -> bool:
        return self.faults.is_empty()


def check(view: View, state: FeatureState, progress: Callable[[str], None] = lambda _: None) -> Checked:
    """Compute every group of `state` for `view` and check each column and side input."""
    progress("computing all groups")
    outputs = compute_all(view, state)
    matrix = assemble(view, outputs, state)
    progress("comparing columns")
    faults = [
        *_never_varied(view, state),
        *_dull(matrix, state),
        *_copies(matrix, state),
        *_dull_sides(matrix, state),
    ]
    owner = {c.name: group.name for group in registry.registry().values() for c in group.columns}
    owner |= {s.name: group.name for group in registry.registry().values() for s in group.side_inputs}
    rows = [{"input": name, "group": owner[name.split("[")[0]], "fault": why} for name, why in faults]
    return Checked(
        view.customers.height,
        len(state.present),
        pl.DataFrame(rows, schema={"input": pl.String, "group": pl.String, "fault": pl.String}),
        absent(view),
    )


def absent(view: View) -> pl.DataFrame:
    """Groups and columns that this data set does not have: group, columns, missing source."""
    rows = []
    for group in registry.registry().values():
        lost = [source for source in group.sources if not view.has(source)]
        count: dict[str, int] = {}
        if lost:
            count[", ".join(lost)] = len(group.columns)
        else:
            for column in group.columns:
                missing = ", ".join(source for source in column.sources if not view.has(source))
                if missing:
                    count[missing] = count.get(missing, 0) + 1
        rows += [{"group": group.name, "columns": n, "missing source": source} for source, n in count.items()]
    return pl.DataFrame(rows, schema={"group": pl.String, "columns": pl.Int64, "missing source": pl.String})


def _never_varied(view: View, state: FeatureState) -> list[tuple[str, str]]:
    """Columns that have a source, but were constant or missing in the fit."""
    dropped = state.groups["normalise"].meta["dropped"]
    return [(name, why) for name, why in dropped.items() if _has_sources(name, view)]


def _has_sources(name: str, view: View) -> bool:
    return all(view.has(source) for source in registry.columns()[registry.positions()[name]].sources)


def _values(matrix: pl.DataFrame, names: list[str]) -> np.ndarray:
    return np.column_stack([matrix[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names])


def _dull(matrix: pl.DataFrame, state: FeatureState) -> list[tuple[str, str]]:
    values = _values(matrix, state.present)
    known = np.isfinite(values)
    found = []
    for i, name in enumerate(state.present):
        column = values[known[:, i], i]
        if not len(column):
            found.append((name, "missing throughout"))
        elif column.min() == column.max():
            found.append((name, f"constant ({column[0]:.6g})"))
    return found


def _copies(matrix: pl.DataFrame, state: FeatureState) -> list[tuple[str, str]]:
    rho = correlations(_values(matrix, state.present))
    return [
        (state.present[b], f"copy of {state.present[a]} (ρ = {rho[a, b]:.6f})")
        for a, b in np.argwhere(np.triu(np.abs(rho) > COPY, 1))
    ]


def correlations(values: np.ndarray) -> np.ndarray:
    """Pearson's ρ of each pair of columns of `values` [n, C] over the rows on which both are known (NaN = missing):
    [C, C], 0 where fewer than `FEW` rows or no variance are left."""
    known = np.isfinite(values)
    k = known.astype(np.float64)
    count = np.maximum(k.sum(axis=0), 1)
    x = np.where(known, values - np.where(known, values, 0.0).sum(axis=0) / count, 0.0)
    scale = np.sqrt((x**2).sum(axis=0) / count)
    x /= np.where(scale > 0, scale, 1.0)
    rows = k.T @ k
    both = np.maximum(rows, 1)
    mean = x.T @ k / both  # [a, b]: mean of a where b is known as well
    square = (x**2).T @ k / both
    variance = np.maximum(square - mean**2, 0.0)
    spread = np.sqrt(variance * variance.T)
    enough = (rows >= FEW) & (np.minimum(variance, variance.T) > 1e-9)
    return np.where(enough, (x.T @ x / both - mean * mean.T) / np.where(enough, spread, 1.0), 0.0)


def _dull_sides(matrix: pl.DataFrame, state: FeatureState) -> list[tuple[str, str]]:
    found = []
    for name, group in registry.registry().items():
        if name not in state.groups:
            continue
        for side in group.side_inputs:
            given = matrix[side.name].drop_nulls()
            if given.is_empty():
                found.append((side.name, "absent for every customer"))
                continue
            flat = given.explode().cast(pl.Float32).to_numpy().reshape(len(given), -1)
            if (flat == flat[0]).all():
                found.append((side.name, "the same for every customer"))
            found += _dull_channels(side, flat, state.groups[name].meta)
    return found


def _dull_channels(side: SideInput, flat: np.ndarray, meta: Mapping[str, object]) -> list[tuple[str, str]]:
    """Named channels that never vary, of those that the data set has (`channels_present` of the group's state).
    Channels called `PADDING` only fill a width."""
    if not side.channels:
        return []
    present = meta.get("channels_present", side.channels)
    assert isinstance(present, list | tuple)
    channels = flat.reshape(-1, len(side.channels))
    return [
        (f"{side.name}[{name}]", f"constant ({channels[0, i]:.6g})")
        for i, name in enumerate(side.channels)
        if name in present and name != PADDING and (channels[:, i] == channels[0, i]).all()
    ]
