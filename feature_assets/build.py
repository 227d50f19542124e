"""From tables to fitted state, from a View and its state to columns, and from columns to the feature matrix.

Groups are taken from the registry in dependency order. The state is fitted on the given training dates and on nothing
else; every later step takes it as an argument and checks that it belongs to the data set and the schema at hand. There
is no default state. Source: ARCHITECTURE §2, FEATURES §2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from feature_assets import normalise, registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, StateError
from feature_assets.state import FeatureState

MAX_DATES = 8  # training dates that the fit looks at: evenly spread, first and last included
MAX_ROWS = 20_000  # (customer, date) rows of the fit, over all of its dates


class FeatureError(ValueError):
    """Columns that differ from their declaration in the registry, or belong to other customers."""


def sample_views(tables: Tables, dates: Sequence[date], max_rows: int = MAX_ROWS) -> list[View]:
    """The training rows of the fit: at most `MAX_DATES` dates and about `max_rows` (customer, date) rows.

    Where a date has more customers than its share of the rows, each date takes another shard of a stable hash.
    """
    unique = sorted(set(dates))
    if not unique:
        raise ValueError("there is no training date to fit the features on")
    picks = sorted(set(np.linspace(0, len(unique) - 1, min(MAX_DATES, len(unique))).round().astype(int).tolist()))
    share = max(1, max_rows // len(picks))
    views = []
    for i, pick in enumerate(picks):
        known = View(tables, unique[pick]).customers.height
        shards = -(-known // share)
        views.append(View(tables, unique[pick], (i % shards, shards) if shards > 1 else None))
    return views


def fit_state(
    tables: Tables,
    plan_train_dates: Sequence[date],
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> FeatureState:
    """Fit every group that the data set has, then its scaling, in dependency order.

    Args:
        tables: the data set; only events before the training dates are used.
        plan_train_dates: as-of dates of the training snapshots.
        seed: of every random choice.
        progress: called with the name of each group before its fit.
    """
    outputs: list[dict[str, pl.DataFrame]] = [{} for _ in sample_views(tables, plan_train_dates)]  # normalised
    states: dict[str, GroupState] = {}
    scalers: list[GroupState] = []
    present: set[str] = set()
    dropped: dict[str, str] = {}
    for group in registry.registry().values():
        if not _available(group, tables.has):
            continue
        if progress is not None:
            progress(group.name)
        views = sample_views(tables, plan_train_dates)  # fresh ones, so that the caches of a group are freed with it
        states[group.name] = fitted = group.fit(views, outputs, seed)
        if not group.columns:
            continue
        frames = [
            _checked(group, view, group.compute(view, fitted, up)) for view, up in zip(views, outputs, strict=True)
        ]
        usable = [c.name for c in group.columns if all(tables.has(source) for source in c.sources)]
        matrix = np.concatenate([_matrix(frame, usable) for frame in frames])
        faults = normalise.degenerate(usable, matrix)
        dropped |= faults
        kept = [name for name in usable if name not in faults]
        present.update(kept)
        scaled = [name for name in kept if registry.is_normalised(name)]
        if scaled:
            scaler = normalise.fit(scaled, matrix[:, [usable.index(name) for name in scaled]])
            scalers.append(scaler)
            for i, frame in enumerate(frames):
                outputs[i][group.name] = normalise.apply(scaler, frame)
    scaling, views = normalise.merge(scalers), sample_views(tables, plan_train_dates)
    meta = {
        **scaling.meta,
        "dataset": tables.dataset.name,
        "seed": seed,
        "dates": [view.as_of.isoformat() for view in views],
        "rows": sum(view.customers.height for view in views),
        "dropped": dropped,
    }
    states["normalise"] = GroupState(scaling.arrays, meta)
    return FeatureState(states, [name for name in registry.names() if name in present])


def groups_of(state: FeatureState) -> tuple[str, ...]:
    """The groups that the state was fitted with, in dependency order."""
    return tuple(name for name in registry.registry() if name in state.groups)


def compute_group(name: str, view: View, state: FeatureState, outputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One group in natural units: `customer_id`, its columns, its side inputs, one row a customer of the view.

    `outputs` holds the natural-unit frames of the groups that it needs.
    """
    _belongs(view, state)
    groups = groups_of(state)
    if name not in groups:
        raise StateError(f"group {name} is not in this state; it was fitted with {list(groups)}")
    group = registry.registry()[name]
    if not _available(group, view.has):
        lost = [source for source in group.sources if not view.has(source)]
        raise StateError(f"group {name} was fitted with table {lost}, which this delivery does not have")
    scaler = state.groups["normalise"]
    upstream = {}
    for need in group.needs:
        if need not in groups:
            continue  # absent in this data set, as it was in the fit
        if need not in outputs:
            raise FeatureError(f"group {name} reads group {need}, which was not computed")
        upstream[need] = normalise.apply(scaler, _checked(registry.registry()[need], view, outputs[need]))
    return _checked(group, view, group.compute(view, state.groups[name], upstream))


def compute_all(view: View, state: FeatureState, only: Iterable[str] | None = None) -> dict[str, pl.DataFrame]:
    """Each group of the state in natural units (`only`: these and what they need)."""
    wanted = set(groups_of(state)) if only is None else set(only)
    unknown = wanted - set(groups_of(state))
    if unknown:
        raise StateError(f"groups {sorted(unknown)} are not in this state; it has {list(groups_of(state))}")
    for name in reversed(groups_of(state)):
        if name in wanted:
            wanted |= set(registry.registry()[name].needs) & set(groups_of(state))
    outputs: dict[str, pl.DataFrame] = {}
    for name in groups_of(state):
        if name in wanted:
            outputs[name] = compute_group(name, view, state, outputs)
    return outputs


def assemble(view: View, outputs: Mapping[str, pl.DataFrame], state: FeatureState) -> pl.DataFrame:
    """The feature matrix: `customer_id`, `as_of`, every present column in schema order (the first
    `registry.normalised()` positions scaled, the rest in natural units, Float32, null = missing), then the side inputs.
    Rows in the order of `view.customers`.

    Raises:
        StateError: the state is not one of this data set and schema.
        FeatureError: a group of the state is missing, or its frame is not what it declares.
    """
    _belongs(view, state)
    missing = [name for name in groups_of(state) if name not in outputs]
    if missing:
        raise FeatureError(f"groups {missing} were not computed; the state was fitted with them")
    scaler = state.groups["normalise"]
    series: dict[str, pl.Series] = {}
    for name in groups_of(state):
        group = registry.registry()[name]
        frame = _checked(group, view, outputs[name])
        series |= {column.name: column for column in normalise.apply(scaler, frame).iter_columns()}
        series |= {c.name: frame[c.name].cast(pl.Float32) for c in group.columns if not registry.is_normalised(c.name)}
        series |= {side.name: frame[side.name] for side in group.side_inputs}
    sides = [side.name for name in groups_of(state) for side in registry.registry()[name].side_inputs]
    head = [
        view.customers["customer_id"],
        pl.Series("as_of", [view.as_of], dtype=pl.Date).new_from_index(0, view.customers.height),
    ]
    return pl.DataFrame([*head, *(series[name] for name in [*state.present, *sides])])


def _available(group: FeatureGroup, has: Callable[[str], bool]) -> bool:
    return all(has(source) for source in group.sources)


def _belongs(view: View, state: FeatureState) -> None:
    """StateError unless the state was fitted on this data set, under this schema, and is whole."""
    scaler = state.groups.get("normalise")
    if scaler is None:
        raise StateError("the state has no normaliser; it did not come from fit_state")
    if scaler.meta["dataset"] != view.dataset.name:
        raise StateError(f"the state was fitted on data set {scaler.meta['dataset']!r}, this is {view.dataset.name!r}")
    state.schema_digest  # noqa: B018 — raises when a present column is not in the schema
    expected = [name for name in state.present if registry.is_normalised(name)]
    if sorted(expected) != sorted(scaler.meta["columns"]):
        strangers = sorted(set(expected) ^ set(scaler.meta["columns"]))
        raise StateError(f"the state's present columns and its normaliser disagree: {strangers[:5]}")


def _checked(group: FeatureGroup, view: View, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame, if it has exactly the declared columns and the view's customers in order."""
    declared = ["customer_id", *(c.name for c in group.columns), *(s.name for s in group.side_inputs)]
    if frame.columns != declared:
        extra, lost = set(frame.columns) - set(declared), set(declared) - set(frame.columns)
        what = f"undeclared {sorted(extra)[:5]}, missing {sorted(lost)[:5]}" if extra or lost else "another order"
        raise FeatureError(f"group {group.name} returned other columns than it declares: {what}")
    if not frame["customer_id"].equals(view.customers["customer_id"]):
        raise FeatureError(
            f"group {group.name}: its customers are not those of the view of {view.as_of}, in their order"
        )
    return frame


def _matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """float64 [n, C], NaN = missing."""
    if not names:
        return np.zeros((frame.height, 0))
    return np.column_stack([frame[name].cast(pl.Float64).to_numpy() for name in names])
