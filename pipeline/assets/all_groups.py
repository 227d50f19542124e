"""All feature groups of a large data set, computed together: a block of customers is read, joined and ordered once for
all of them, which costs a quarter of reading it for each.

The first group of a run computes those of the whole run; they wait in a folder of the run until the matrix is made.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

import dagster as dg
import polars as pl

from feature_assets.build import groups_of
from feature_assets.state import FeatureState
from pipeline.intake import lost_sources
from pipeline.intake.lost_sources import Lost
from pipeline.resources.blocks import Views
from pipeline.resources.files import empty_beside
from pipeline.resources.lake import Lake


def folder_of(lake: Lake, run_id: str) -> Path:
    """Where the groups of a run wait; what a killed run leaves is a stray."""
    return lake.path(f".groups-{run_id}.part")


def computed(context: dg.AssetExecutionContext, lake: Lake, views: Views, state: FeatureState, lost: Lost) -> Path:
    """A folder with a folder a group of this run, a file a block."""
    folder = folder_of(lake, context.run_id)
    if folder.exists():
        return folder
    groups = groups_of_run(context, state)
    beside, everybody, done = empty_beside(folder), views.customers().height, 0
    for number, view in enumerate(views):
        outputs = lost_sources.outputs_of(view, state, lost, groups)
        for name in groups:
            (beside / name).mkdir(exist_ok=True)
            outputs[name].write_parquet(beside / name / f"{number:05}.parquet", compression="lz4")
        done += view.customers.height
        context.log.info(f"{len(groups)} feature groups of {done:,} of {everybody:,} customers")
        del view, outputs  # before the next block is read
    if not done:
        raise dg.Failure(f"no customer is known before {views.as_of}", allow_retries=False)
    beside.rename(folder)
    return folder


def rows_of(folder: Path, group: str) -> pl.LazyFrame:
    """A group, its blocks one below the other."""
    return pl.scan_parquet(sorted((folder / group).glob("*.parquet")))


def groups_of_run(context: dg.AssetExecutionContext, state: FeatureState) -> Collection[str]:
    """The groups of the state that this run materialises."""
    steps, assets = context.run.step_keys_to_execute, context.run.asset_selection
    found = groups_of(state)
    if steps is not None:
        return [name for name in found if f"features__{name}" in steps]
    if assets is not None:
        return [name for name in found if dg.AssetKey(["features", name]) in assets]
    return found


def forget(lake: Lake, run_id: str) -> None:
    """Remove what waits for a run."""
    shutil.rmtree(folder_of(lake, run_id), ignore_errors=True)
