"""All feature groups of a large data set, computed together: a block of customers is read, joined and ordered once for
all of them, which costs a quarter of reading it for each.

The first group of a run computes those of the whole run; they wait in a folder of the lake until the matrix is made.
"""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import dagster as dg

from feature_assets.build import groups_of
from feature_assets.state import FeatureState
from pipeline.intake.lost_sources import Lost
from pipeline.resources.blocks import Views
from pipeline.resources.files import publish_bytes
from pipeline.resources.lake import Lake
from pipeline.settings import Settings
from pipeline.shards.step import ShardedStep
from pipeline.shards.tasks import Groups, stored_state

NAME = "groups"


def computed(
    context: dg.AssetExecutionContext, lake: Lake, views: Views, state: Path, lost: Lost, settings: Settings
) -> tuple[Path, str]:
    """The folder in which the groups of this run wait (`pipeline.shards.work.frames`), and what became of its shards.

    Args:
        state: folder of the fitted state.
    """
    fitted = stored_state(state)
    groups = tuple(groups_of_run(context, fitted))
    step = ShardedStep(Path(lake.root), NAME, settings, context.log.info)
    content = {"state": fitted.version, "lost": asdict(lost), "groups": groups}
    waiting = step.folder(views, content)
    mark = waiting / f"{context.run_id}.txt"  # this run has found it whole
    if not mark.exists():
        _, told = step.computed(Groups(state, lost, groups), views, content)
        publish_bytes(told.encode(), mark)
    return waiting, mark.read_text(encoding="utf-8")


def groups_of_run(context: dg.AssetExecutionContext, state: FeatureState) -> Collection[str]:
    """The groups of the state that this run materialises."""
    steps, assets = context.run.step_keys_to_execute, context.run.asset_selection
    found = groups_of(state)
    if steps is not None:
        return [name for name in found if f"features__{name}" in steps]
    if assets is not None:
        return [name for name in found if dg.AssetKey(["features", name]) in assets]
    return found


def forget(lake: Lake, settings: Settings) -> None:
    """Remove what waits."""
    ShardedStep(Path(lake.root), NAME, settings, str).forget()
