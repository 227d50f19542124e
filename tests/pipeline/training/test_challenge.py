"""A challenger beside the champion: evaluation fits, rows that neither has learnt from, classes of both."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from feature_assets.data.dataset import DatasetConfig
from pipeline.resources.tracking import RegisteredVersion
from pipeline.settings import PromotionSettings
from pipeline.training import challenge, fits, model, promotion
from pipeline.training.challenge import CHAMPION, Beside, Challenge, Judge, Standing, by_common_classes, margin_of
from pipeline.training.rehearsal import Rehearsal
from ple_model.serving.bundle import Fit, load_bundle, save_refit
from ple_model.serving.scorer import Scorer, inputs_from_frame
from ple_model.tasks import kind_of
from tests.pipeline.small_training import AS_OF, WINDOWS, Material, some_evaluation

FITS: tuple[Fit, Fit] = ("registered", "evaluation")
CUSTOMERS = np.repeat(np.arange(400), 3)
SOUND = Rehearsal(1, 1, [], {}, "", 0.0)


def version_of(material: Material) -> RegisteredVersion:
    state = material.state.version
    return RegisteredVersion("6", "r", AS_OF, state, "completejourney", material.workspace.candidate)


def matrices(material: Material) -> challenge.Matrices:
    return lambda day: pl.read_parquet(material.workspace.snapshot(day))


def challenged(material: Material, champion: RegisteredVersion | None) -> Challenge:
    return challenge.challenge(material.workspace, champion, matrices(material), material.settings, lambda _: None)


# --- a real bundle ------------------------------------------------------------------------------------------------


def test_a_model_beside_itself_is_level_on_the_same_rows(trained: Material) -> None:
    found = challenged(trained, version_of(trained))
    tested = trained.workspace.labels().filter(role="test").height
    assert set(found.against) == {"LightGBM", CHAMPION}
    assert found.counted_from == trained.plan.holdout_start.isoformat()
    for beside in found.of(CHAMPION).values():
        if beside.measured:
            assert beside.rows == tested
            assert beside.difference["estimate"] == beside.difference["low"] == beside.difference["high"] == 0
            assert beside.verdict == "level"
            assert beside.no_worse
    assert {task for task, beside in found.of(CHAMPION).items() if beside.measured} >= {"churn", "engagement"}
    assert Challenge.load(trained.workspace.challenge) == found
    shown = found.table()
    assert shown["task"].to_list() == list(WINDOWS)
    assert "+0.0000 [+0.0000, +0.0000]" in shown["less champion [95 %]"].to_list()


def test_without_a_champion_there_are_only_the_trees(trained: Material) -> None:
    found = challenged(trained, None)
    assert set(found.against) == {"LightGBM"}
    assert (found.champion, found.counted_from) == ("", "")


def noted(material: Material, folder: Path, until: str | None) -> RegisteredVersion:
    """A copy of the bundle as the champion, which says until when it has learnt, or does not."""
    shutil.copytree(material.workspace.bundle, folder)
    file = folder / "model.json"
    described = json.loads(file.read_text())
    assert described["meta"].pop(fits.LEARNT_UNTIL) == material.plan.holdout_start.isoformat()
    described["meta"] |= {fits.LEARNT_UNTIL: until} if until else {}
    file.write_text(json.dumps(described))
    return replace(version_of(material), folder=folder)


def test_rows_that_the_champion_has_learnt_from_do_not_count(trained: Material, tmp_path: Path) -> None:
    """Nor those of a version that does not say what it has learnt from, before its training date."""
    for name, until in (("later", "2017-09-04"), ("silent", None)):
        found = challenged(trained, noted(trained, tmp_path / name, until))
        churn = found.of(CHAMPION)["churn"]
        assert churn.rows == 0
        assert not churn.measured
        assert "rows before" in churn.note
        evidence = promotion.Evidence(some_evaluation(churn="ahead"), found, SOUND, (), 7)
        assert not promotion.judge(evidence, PromotionSettings()).promote, "nobody can say whether it is worse"


def test_a_champion_whose_files_were_altered_is_named(trained: Material, tmp_path: Path) -> None:
    shutil.copytree(trained.workspace.bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "calibration.json").write_text("{}")
    found = challenged(trained, replace(version_of(trained), folder=tmp_path / "bundle"))
    assert "cannot be run by this code" in found.refused
    assert CHAMPION not in found.against


def test_the_evaluation_fit_of_a_refitted_champion_answers(trained: Material, tmp_path: Path) -> None:
    """The fit that scores has other weights here; the comparison does not see them."""
    evaluated = load_bundle(trained.workspace.bundle)
    other = load_bundle(trained.workspace.bundle).model
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)))
    save_refit(tmp_path / "both", trained.workspace.bundle, other, evaluated.trees, {})
    champion = replace(version_of(trained), folder=tmp_path / "both")
    [rows] = [pl.read_parquet(trained.workspace.snapshot(day)) for day in trained.plan.holdout]
    inputs = inputs_from_frame(rows, evaluated.model.config.inputs)
    scores, answers = (Scorer(load_bundle(champion.folder, fit)).predict(inputs) for fit in FITS)
    assert not np.allclose(scores.predictions["churn"], answers.predictions["churn"])
    found = challenged(trained, champion).of(CHAMPION)["churn"]
    assert found.difference["low"] == found.difference["high"] == 0


def test_a_challenger_of_shuffled_labels_is_refused_and_the_real_one_takes_over(
    made: Material, dataset: DatasetConfig, tmp_path: Path
) -> None:
    """Whole trainings on the small material: labels of customers in another order teach nothing."""
    labels = made.workspace.labels()
    rng = np.random.default_rng(3)
    learnt = labels.filter(pl.col("role") != "test")
    shuffled = learnt.with_columns(pl.col(task).gather(pl.Series(rng.permutation(len(learnt)))) for task in WINDOWS)
    made.workspace.save_labels(pl.concat([shuffled, labels.filter(role="test")]))
    more = {"phase1_epochs": 12, "phase2_epochs": 1, "learning_rate": 0.02}
    material = replace(
        made,
        settings=made.settings.model_copy(
            update={
                "training": made.settings.training.model_copy(update=more),
                "bootstrap_resamples": 100,
            }
        ),
    )
    model.train(material.workspace, material.plan, dataset, material.settings, lambda _: None, lambda _: None)
    material.workspace.save_labels(labels)

    honest = replace(material, workspace=material.workspace.for_another_model(tmp_path / "honest"))
    shutil.rmtree(honest.workspace.folder / "trees", ignore_errors=True)
    (honest.workspace.folder / "trees").unlink(missing_ok=True)
    model.train(honest.workspace, honest.plan, dataset, honest.settings, lambda _: None, lambda _: None)

    def judged(challenger: Material, champion: Material) -> promotion.Judgement:
        found = challenged(challenger, version_of(champion))
        evidence = promotion.Evidence(some_evaluation(churn="ahead"), found, SOUND, (), 99)
        return promotion.judge(evidence, PromotionSettings(critical=("churn", "engagement")))

    sabotaged = judged(material, honest)
    assert not sabotaged.promote
    assert "worse than the champion" in sabotaged.reason
    better = judged(honest, material)
    assert better.promote, better.reason
    assert "better than the champion on" in better.reason


# --- synthetic predictions ----------------------------------------------------------------------------------------


LOOKING = {"churn": {"window_days": 28}}


def signal(seed: int, noise: float) -> tuple[NDArray, NDArray]:
    """Labels, and probabilities that know them through so much noise."""
    truth = np.random.default_rng(1).normal(size=len(CUSTOMERS))
    labels = (truth > 0).astype(np.float32)
    return labels, 1 / (1 + np.exp(-truth - np.random.default_rng(seed).normal(scale=noise, size=len(truth))))


def judge_of(made: Material) -> Judge:
    return Judge("churn", kind_of("binary"), CUSTOMERS, made.settings.model_copy(update={"bootstrap_resamples": 200}))


def test_a_champion_that_memorises_wins_only_by_the_fit_that_learnt_the_rows(made: Material) -> None:
    """Its refit knows every label; its evaluation fit is worse than the challenger, and that is what counts."""
    labels, challenger = signal(2, 1.0)
    _, evaluated = signal(3, 3.0)
    memory = np.where(labels == 1, 0.999, 0.001)
    everyone = np.ones(len(labels), dtype=bool)

    def beside(champion: NDArray) -> Beside:
        config = SimpleNamespace(task=lambda _: SimpleNamespace(kind="binary"))
        bundle: Any = SimpleNamespace(model=SimpleNamespace(config=config), classes={}, described=LOOKING)
        return Standing(bundle, {"churn": champion}).beside(judge_of(made), challenger, labels, everyone, (), "", 28)

    fair, unfair = beside(evaluated), beside(memory)
    assert fair.verdict == "ahead"
    assert unfair.verdict == "behind", "the test would see a comparison with the refit"

    def promoted(found: Beside) -> bool:
        against = Challenge("6", "2017-09-01", "", {CHAMPION: [found]})
        evidence = promotion.Evidence(some_evaluation(churn="ahead"), against, SOUND, (), 7)
        return promotion.judge(evidence, PromotionSettings()).promote

    assert promoted(fair)
    assert not promoted(unfair)


def test_the_margin_of_a_task() -> None:
    auc, loss = kind_of("binary").headline, kind_of("multiclass").headline
    own = PromotionSettings(margins={"cvr": 0.03, "nba": 0.05})
    assert margin_of("churn", auc, 0.8, own) == pytest.approx(0.02)
    assert margin_of("cvr", auc, 0.8, own) == pytest.approx(0.03)
    assert margin_of("nba", loss, 2.0, own) == pytest.approx(0.1)
    assert margin_of("life_stage", loss, 2.0, own) == pytest.approx(0.04)


def test_classes_that_only_one_version_knows_are_left_out_of_both() -> None:
    own = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]])
    other = np.array([[0.2, 0.6, 0.2], [0.4, 0.2, 0.4], [0.1, 0.8, 0.1]])
    ours, theirs, labels, shared = by_common_classes(
        own, other, np.array([0, 1, 2]), ["a", "b", "new"], ["b", "gone", "a"]
    )
    assert np.allclose(ours, [[0.625, 0.375], [0.5, 0.5], [0.5, 0.5]])
    assert np.allclose(theirs, [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    assert shared.tolist() == [True, True, False]
    assert labels[shared].tolist() == [0, 1]
    brands = np.array([[2, 0, -1], [2, -1, -1], [1, 0, 2]])
    ours, theirs, mapped, shared = by_common_classes(own, other, brands, ["a", "b", "new"], ["b", "gone", "a"])
    assert ours.tolist() == own[:, [0, 1]].tolist()
    assert theirs.tolist() == other[:, [2, 0]].tolist()
    assert mapped[:, :2].tolist() == [[0, -1], [-1, -1], [1, 0]]
    assert shared.tolist() == [True, False, True]


def test_tasks_that_are_not_the_same_question_do_not_compare(made: Material) -> None:
    labels, predicted = signal(2, 1.0)
    everyone = np.ones(len(labels), dtype=bool)

    def beside(
        task: str, kind: str = "binary", known: tuple[str, ...] = ("churn", "life_stage"), days: int = 28
    ) -> Beside:
        config = SimpleNamespace(task=lambda _: SimpleNamespace(kind=kind))
        bundle: Any = SimpleNamespace(model=SimpleNamespace(config=config), classes={}, described=LOOKING)
        judge = replace(judge_of(made), task=task)
        standing = Standing(bundle, dict.fromkeys(known, predicted))
        return standing.beside(judge, predicted, labels, everyone, (), "", days)

    assert beside("churn").comparable
    assert "does not have this task" in beside("cvr").note
    assert "another kind" in beside("churn", kind="regression").note
    assert "fitted anew" in beside("life_stage").note
    assert "another number of days" in beside("churn", days=7).note
    assert not any(found.comparable for found in (beside("cvr"), beside("life_stage")))


def test_the_first_unseen_date() -> None:
    version: Any = SimpleNamespace(as_of=date(2017, 10, 1))
    told: Any = SimpleNamespace(meta={fits.LEARNT_UNTIL: "2017-07-01"})
    silent: Any = SimpleNamespace(meta={})
    assert challenge.first_unseen(told, version) == date(2017, 7, 1)
    assert challenge.first_unseen(silent, version) == date(2017, 10, 1)
