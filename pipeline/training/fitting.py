"""The fitted feature state: fitted on training dates only, once a training."""

from collections.abc import Callable

import polars as pl

from feature_assets import registry
from feature_assets.build import fit_state
from feature_assets.data.tables import Tables
from feature_assets.group import GroupState
from feature_assets.snapshots import SnapshotPlan
from feature_assets.state import FeatureState
from pipeline.training.workspace import Workspace


def fit(
    workspace: Workspace, tables: Tables, plan: SnapshotPlan, seed: int, log: Callable[[str], None]
) -> FeatureState:
    """Fit the state on the plan's training dates, or load the one that an interrupted training left."""
    if workspace.has_state():
        return workspace.state()
    state = fit_state(tables, plan.train, seed=seed, progress=log)
    workspace.save_state(state)
    return state


def state_table(state: FeatureState) -> pl.DataFrame:
    """Fitted groups, how many arrays and values each holds, and what a person should know of the fit."""
    return pl.DataFrame(
        [
            {
                "group": name,
                "arrays": len(g.arrays),
                "values": sum(a.size for a in g.arrays.values()),
                "fitted": ", ".join(f"{what} {found}" for what, found in _facts(name, g).items()),
            }
            for name, g in state.groups.items()
        ]
    )


def _facts(name: str, state: GroupState) -> dict[str, str]:
    group = registry.registry().get(name)  # none is called "normalise"
    return {} if group is None else group.facts(state)
