"""The candidate as a version of the registered model: its bundle with the evaluation, logged once."""

import json
import shutil
from datetime import date
from pathlib import Path

import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline.resources.tracking import CHALLENGER, RegisteredVersion, Tracking
from pipeline.scores.table import STATE_VERSION, score_matrix
from pipeline.training import fits, log
from pipeline.training.evaluation import Evaluation
from pipeline.training.takeover import write_card
from pipeline.training.workspace import Workspace

EXAMPLE_ROWS = 2


def register(
    workspace: Workspace, tracking: Tracking, run_id: str, dataset: DatasetConfig, as_of: date
) -> RegisteredVersion:
    """Register the bundle as a version of the model and point the alias `challenger` at it.

    A version that an interrupted training registered is not registered again; its card and the end of its run are
    written again until it is judged, since the kill may have come before them.
    """
    version = tracking.version_of_run(run_id)
    if version is None:
        bundle, state = workspace.candidate, workspace.state()
        shutil.copy(workspace.evaluation, bundle / "evaluation.json")
        example = example_rows(workspace)
        version = tracking.register(
            run_id,
            bundle,
            example,
            score_matrix(example, bundle),
            tags={"as_of": as_of.isoformat(), "state_version": state.version, "dataset": dataset.name},
            metrics=log.headlines(Evaluation.load(workspace.evaluation)),
            about=f"Calibrated predictions about every customer of {dataset.title} (PLE-Cluster-adaTT). The alias "
            "`champion` scores the nights, `challenger` is the version that was trained last; the description of a "
            f"version is its model card. {dataset.notice}",
        )
    if not version.status:
        write_card(tracking, version)
        tracking.finish(run_id)
    workspace.save_version(version.version)
    tracking.set_alias(CHALLENGER, version.version)
    return version


def fits_of(bundle: Path) -> dict[str, str]:
    """The notes of a bundle on its fits (`fits.notes`)."""
    notes = json.loads((bundle / "model.json").read_text())["meta"]
    return {name: notes[name] for name in (fits.SCORES, fits.FIGURES)}


def example_rows(workspace: Workspace) -> pl.DataFrame:
    """Some rows of the newest snapshot, as a night writes its feature matrix."""
    newest = workspace.labels()["as_of"].max()
    assert isinstance(newest, date)
    rows = pl.read_parquet(workspace.snapshot(newest), n_rows=EXAMPLE_ROWS)
    return rows.with_columns(pl.lit(workspace.state().version).alias(STATE_VERSION))
