"""A refit learns from every matured label and takes over everything else of the evaluation fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from feature_assets.data.dataset import DatasetConfig
from pipeline.training import fits, model, refit, training_set, trees
from pipeline.training.workspace import Workspace
from ple_model.serving.bundle import EVALUATION_FIT, Bundle, load_bundle
from ple_model.serving.scorer import Scorer
from ple_model.training import trainer
from tests.pipeline.small_training import CUSTOMERS, WINDOWS, Material, fill

EPOCHS = {"phase1_epochs": 3, "phase2_epochs": 2, "best_epoch": "task", "learning_rate": 0.01}


class Killed(Exception):
    """The process was killed here."""


def prepared(folder: Path) -> Material:
    """The small training with more epochs, its trees among the predictions, and the labels of a refit."""
    made = fill(folder)
    labels = made.workspace.labels()
    made.workspace.save_refit_labels(labels.with_columns(role=pl.lit(training_set.REFIT)))
    changed = made.settings.training.model_copy(update=EPOCHS)
    return replace(made, settings=made.settings.model_copy(update={"training": changed, "refit": "on"}))


def evaluated(made: Material, dataset: DatasetConfig) -> None:
    model.train(made.workspace, made.plan, dataset, made.settings, lambda _: None, lambda _: None)


def again(made: Material) -> trainer.FitResult:
    return refit.fit_again(made.workspace, made.settings, lambda _: None)


def digest(bundle: Path) -> str:
    return str(json.loads((bundle / "model.json").read_text())["digest"])


@pytest.fixture(autouse=True)
def _trees_on_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ple_model.boosting.fit.MIN_ROWS", 40)


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory, dataset: DatasetConfig) -> Material:
    made = prepared(tmp_path_factory.mktemp("refit") / "training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ple_model.boosting.fit.MIN_ROWS", 40)
        evaluated(made, dataset)
        again(made)
    return made


@pytest.fixture
def both(refitted: Material, tmp_path: Path) -> Material:
    """A training after its refit."""
    shutil.copytree(refitted.workspace.folder, tmp_path / "training")
    return replace(refitted, workspace=Workspace(tmp_path / "training"))


@pytest.fixture
def first(both: Material) -> Material:
    """The same before its refit."""
    for path in both.workspace.folder.glob("refit_*"):
        if path.is_dir():
            shutil.rmtree(path)
    return both


def loaded(made: Material) -> tuple[Bundle, Bundle]:
    folder = made.workspace.candidate
    return load_bundle(folder, "evaluation"), load_bundle(folder)


def predictions(made: Material, bundle: Bundle) -> dict[str, np.ndarray]:
    rows = model.tensors(made.workspace, "test", bundle.model.config)
    return Scorer(bundle).predict(rows.inputs).predictions


def test_it_takes_over_all_that_the_evaluation_fit_found(both: Material) -> None:
    before, after = loaded(both)
    assert after.model.config == before.model.config  # columns and their bounds among it
    assert list(after.model.config.inputs.bounds) == [both.columns.bounds[n] for n in both.columns.read]
    assert after.calibration == before.calibration
    assert any(task.weight < 1 for task in after.calibration.values())
    assert set(after.trees) == set(before.trees) != set()
    for task, boosted in after.trees.items():
        assert boosted.rounds == before.trees[task].rounds
        assert boosted.columns == before.trees[task].columns
        assert boosted.train_rows == 4 * CUSTOMERS > before.trees[task].train_rows
        assert boosted.models != before.trees[task].models
    found = both.workspace.found()
    assert set(found.epochs) == set(WINDOWS)
    for bundle in (before, after):
        assert getattr(bundle.model, "epochs", found.epochs) == found.epochs
    same = [torch.equal(a, b) for a, b in zip(before.model.parameters(), after.model.parameters(), strict=True)]
    assert not all(same)


def test_the_evaluation_fit_beside_it_is_the_one_that_was_measured(both: Material) -> None:
    measured, kept = load_bundle(both.workspace.bundle), loaded(both)[0]
    ours, theirs = predictions(both, measured), predictions(both, kept)
    assert all(np.array_equal(ours[task], theirs[task]) for task in ours)


def test_the_switch_changes_the_scores(both: Material) -> None:
    before, after = (predictions(both, bundle) for bundle in loaded(both))
    for task, values in after.items():
        assert values.shape == before[task].shape
        assert not np.array_equal(values, before[task]), task


def test_the_refit_sees_test_rows_and_the_evaluation_fit_does_not(
    both: Material, dataset: DatasetConfig, tmp_path: Path
) -> None:
    """Test rows get labels of their own; nothing else differs."""
    marked = prepared(tmp_path / "marked")
    role = marked.workspace.labels()["role"]
    planted = (
        marked.workspace.labels()
        .with_columns(pl.when(role == "test").then(pl.lit(7.0)).otherwise("engagement").alias("engagement"))
        .select(marked.workspace.labels().columns)
    )
    marked.workspace.save_labels(planted)
    marked.workspace.save_refit_labels(planted.with_columns(role=pl.lit(training_set.REFIT)))
    evaluated(marked, dataset)
    assert digest(marked.workspace.bundle) == digest(both.workspace.bundle)
    again(marked)
    ours, theirs = (predictions(m, load_bundle(m.workspace.candidate)) for m in (marked, both))
    assert ours["engagement"].mean() > theirs["engagement"].mean() + 0.2
    both_first = [load_bundle(m.workspace.candidate, "evaluation") for m in (marked, both)]
    ours, theirs = (predictions(m, b) for m, b in zip((marked, both), both_first, strict=True))
    assert all(np.array_equal(ours[task], theirs[task]) for task in ours)


@pytest.mark.parametrize("where", ["in the network", "before the trees", "before the bundle"])
def test_a_refit_that_was_killed_ends_with_the_same_bundle(
    first: Material, refitted: Material, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    real, epochs = trainer.fit, []

    def counted(*given: Any, on_epoch: Any, **options: Any) -> trainer.FitResult:
        def report(epoch: Any) -> None:
            epochs.append((epoch.phase, epoch.epoch))
            on_epoch(epoch)
            if where == "in the network" and len(epochs) == 1:
                raise Killed

        return real(*given, on_epoch=report, **options)

    monkeypatch.setattr(trainer, "fit", counted)
    with monkeypatch.context() as patch:
        if where == "before the trees":
            patch.setattr(trees, "grow_again", dies)
        if where == "before the bundle":
            patch.setattr(Workspace, "save_refit_bundle", dies)
        with pytest.raises(Killed):
            again(first)
    assert first.workspace.candidate == first.workspace.bundle
    assert first.workspace.has_trees("refit") is (where == "before the bundle")
    result = again(first)
    assert result.resumed_from is not None
    assert len(epochs) == len(set(epochs)) == len(result.history), "no epoch is trained twice"
    assert digest(first.workspace.candidate) == digest(refitted.workspace.candidate)


def test_a_refit_of_a_refit_is_the_same(both: Material, refitted: Material) -> None:
    again(both)
    assert digest(both.workspace.candidate) == digest(refitted.workspace.candidate)


def test_the_card_says_which_is_which(both: Material) -> None:
    before, after = load_bundle(both.workspace.bundle), load_bundle(both.workspace.candidate)
    assert before.meta[fits.SCORES] == "by the evaluation fit, which saw no test row"
    assert after.meta[fits.SCORES] == (
        "by the refit: trained again, after the evaluation, on all labels matured by 2017-10-01 "
        "(480 rows, test rows among them)"
    )
    assert after.meta[fits.FIGURES].endswith(f"it is kept in {EVALUATION_FIT}/")
    told = after.described["churn"]
    assert told["trained_on"] == "480 labels of 4 dates, 2017-05-14 to 2017-09-03"
    assert told["figures_of_a_fit_on"] == before.described["churn"]["trained_on"]
    assert before.described["churn"]["trained_on"] == "360 labels of 3 dates, 2017-05-14 to 2017-07-09"


def test_labels_of_both_fits_by_task(both: Material) -> None:
    table = fits.label_table(both.workspace.labels(), both.workspace.refit_labels(), both.plan)
    assert table["task"].to_list() == list(WINDOWS)
    assert table.row(0) == ("churn", 28, 360, "2017-07-09", 480, "2017-09-03")
