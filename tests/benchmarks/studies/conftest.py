"""A study on material made by hand: one origin, two variants of a network of one expert, the baselines, two seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies import run
from benchmarks.studies.nights import cell, origin
from benchmarks.studies.nights.files import NightFiles
from benchmarks.studies.nights.study import NightStudy
from benchmarks.studies.store import Cell, Store, save_arrays
from benchmarks.studies.study import Comparison, Variant
from pipeline.training import baselines
from tests.pipeline.small_training import AS_OF, CUSTOMERS, fill, plan_of, settings_of

CHANGED = {"losses", "network", "training", "columns", "boosting", "tuned_trees"}
SMALL = settings_of(Path("/nowhere")).model_dump(mode="json", include=CHANGED)
STUDY = NightStudy(
    name="small",
    title="A small study",
    question="Does the harness do what it says?",
    dataset="completejourney",
    origins=(str(AS_OF),),
    seeds=(1, 2),
    variants=(
        Variant("default"),
        Variant("learned weights", {"network.weighting.strategy": "uncertainty"}, why="weights that move"),
        Variant("trees", run="trees"),
        Variant("training dates", stopping="training dates"),
    ),
    comparisons=(
        Comparison("default/network", ("learned weights/network", "default/own past"), "The network"),
        Comparison(
            "default/network",
            ("learned weights/network", "default/constant", "trees/LightGBM", "training dates/network"),
            "A matrix",
        ),
    ),
    settings=SMALL,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of the material made by hand."""
    monkeypatch.setattr(cell.material, "training_plan", lambda *_: plan_of())


def make(root: Path, study: NightStudy = STUDY) -> Store:
    """Prepare the origin of the study by hand."""
    store = Store(root)
    files = NightFiles.of(store.origin(study, str(AS_OF)))
    made = fill(files.folder)
    files.describe(study.origin_settings(root).load_dataset())
    tasks = origin.tasks_of(files.workspace, made.plan)
    rows = {"train": 3 * CUSTOMERS}
    for role in origin.roles_of(study):
        keys, judged = origin.save_judged(files, role, tasks)
        rows[role] = len(keys)
        past = np.tile(np.float32([3, 0, 0]), (int(judged.mask["brand_prediction"].sum()), 1))
        save_arrays(files.extra(role, baselines.OWN_PAST), {"brand_prediction": past})
    files.finish(origin.about(tasks, made.plan, rows, len(made.state.present), 1.0))
    return store


def here(function: Any, *arguments: Any) -> Any:
    """Instead of a process of its own."""
    return function(*arguments)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    make(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell.material, "training_plan", lambda *_: plan_of())
        for task in run_cells(root):
            run.compute(task, lambda _: None)
    return root


def run_cells(root: Path) -> list[Cell]:
    """All cells of the study, one thread each."""
    return run.cells_of(STUDY, root, threads=1)


@pytest.fixture
def finished(_finished: Path) -> Path:
    """The folder of the study with every cell finished; not to be written to."""
    return _finished
