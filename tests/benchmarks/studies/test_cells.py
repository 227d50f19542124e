"""A cell holds what a registered version would predict; finished ones stay, equal ones are one, failures are told."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.studies import run as running
from benchmarks.studies import store
from benchmarks.studies.libraries import PeerError
from benchmarks.studies.nights import cell, peers
from benchmarks.studies.nights import study as night_study
from benchmarks.studies.nights.content import model_code
from benchmarks.studies.nights.files import NightFiles
from benchmarks.studies.run import cells_of, run
from benchmarks.studies.store import Judged, Store
from benchmarks.studies.study import Variant
from pipeline.training import baselines, columns, model
from pipeline.training.workspace import Workspace
from ple_model.baselines import BASELINES
from ple_model.serving.bundle import load_bundle
from ple_model.serving.scorer import Scorer
from tests.benchmarks.studies.conftest import STUDY, here, make, run_cells
from tests.pipeline.small_training import AS_OF, CUSTOMERS, WINDOWS, plan_of


def cell_of(root: Path, variant: str, seed: int = 1) -> store.CellFiles:
    return Store(root).cell(STUDY, str(AS_OF), STUDY.variant(variant), seed)


def test_predictions_are_those_of_the_bundle_on_labelled_rows(finished: Path, tmp_path: Path) -> None:
    origin = NightFiles.of(Store(finished).origin(STUDY, str(AS_OF)))
    work = origin.workspace.for_another_model(tmp_path / "work")
    settings = STUDY.settings_of(STUDY.variant("default"), 1, finished)
    columns.choose(work, plan_of(), settings, lambda _: None)
    model.train(work, plan_of(), settings.load_dataset(), settings, lambda _: None, lambda _: None)
    scorer = Scorer(load_bundle(work.bundle))
    predicted = scorer.predict(model.tensors(work, "test", scorer.config).inputs)
    stored, judged = cell_of(finished, "default").load("test"), Judged.load(origin.judged("test"))
    for task in WINDOWS:
        mask = judged.mask[task]
        assert stored[f"model|{task}"] == pytest.approx(predicted.predictions[task][mask], abs=1e-6)
        assert stored[f"network|{task}"] == pytest.approx(predicted.network[task][mask], abs=1e-6)
        assert (f"model|{task}|u" in stored) is (task in predicted.u)
        if task in predicted.u:
            assert stored[f"model|{task}|u"] == pytest.approx(predicted.u[task][mask], abs=1e-6)
        assert (f"model|{task}|held" in stored) is (task in predicted.regions)
    about = cell_of(finished, "default").about()
    assert about is not None
    assert about.best.startswith("1.")
    assert about.code == model_code()
    assert not cell_of(finished, "default").work.exists()


def test_seeds_and_variants_differ_and_the_baselines_are_there(finished: Path) -> None:
    churn = {
        (variant, seed): cell_of(finished, variant, seed).load("test")["network|churn"]
        for variant in ("default", "learned weights")
        for seed in (1, 2)
    }
    values = [tuple(v.tolist()) for v in churn.values()]
    assert len(set(values)) == 4
    told = cell_of(finished, "trees").load("validation")
    assert {key.split("|")[0] for key in told} == {baselines.CONSTANT, baselines.BOOSTING, baselines.OWN_PAST}
    same = cell_of(finished, "default").load("validation")
    for key in told:  # the same trees, grown once, and the same calibration
        assert same[key] == pytest.approx(told[key], abs=1e-6)
    assert same.keys() - told.keys() == {key for key in same if key.startswith(("model|", "network|"))}
    assert (told["own past|brand_prediction"].argmax(axis=1) == 0).all()
    assert len(told["LightGBM|churn"]) == len(
        Judged.load(Store(finished).origin(STUDY, str(AS_OF)).judged("validation")).customers
    )


def test_other_dates_choose_the_epoch_and_the_holdout_calibrates() -> None:
    plan = plan_of()
    ids = pl.Series("customer_id", [f"c{i:03d}" for i in range(CUSTOMERS)])
    labels = pl.concat(
        [pl.DataFrame({"customer_id": ids, "role": plan.role(ids, day)}).with_columns(as_of=day) for day in plan.dates]
    )
    moved = cell.stop_on_training_dates(labels, plan)
    held = set(labels.filter(pl.col("role") == "validation")["customer_id"])
    validation = moved.filter(pl.col("role") == "validation")
    assert set(validation["customer_id"]) == held
    assert set(validation["as_of"]) == set(plan.train[-cell.STOPPING_DATES :])
    assert not held & set(moved.filter(pl.col("role") == "train")["customer_id"])  # three dates only: all are late
    assert moved.filter(pl.col("role") == "test").equals(labels.filter(pl.col("role") == "test"))
    assert set(moved.filter(pl.col("role") == "unused")["as_of"]) == set(plan.holdout)


def test_a_version_that_was_fitted_again_stands_beside_itself(tmp_path: Path) -> None:
    study = replace(STUDY, variants=(Variant("default", run="refit"),), seeds=(1,), comparisons=())
    work = NightFiles.of(make(tmp_path, study).origin(study, str(AS_OF))).workspace
    work.save_refit_labels(work.labels().with_columns(role=pl.lit("refit")))
    (task,) = cells_of(study, tmp_path, threads=1)
    running.compute(task, lambda _: None)
    told = task.files.load("test")
    for name in WINDOWS:
        for source, again in (("model", "refit"), ("network", "refit network")):
            assert told[f"{again}|{name}"].shape == told[f"{source}|{name}"].shape
            assert not np.array_equal(told[f"{again}|{name}"], told[f"{source}|{name}"])
    assert "refit|churn|fallback" in told


def test_another_way_of_stopping_gives_another_network(finished: Path) -> None:
    one, other = (cell_of(finished, name).load("test") for name in ("default", "training dates"))
    assert not np.array_equal(one["network|churn"], other["network|churn"])


def test_what_is_finished_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    computed: list[str] = []

    def compute(task: store.Cell, *_: Any) -> store.CellAbout:
        computed.append(task.title)
        if task.variant.name == "trees" and task.seed == 2:
            raise RuntimeError("out of luck")
        about = store.CellAbout("small", task.origin, task.variant.name, task.seed, model_code(), "", 1, 1)
        task.files.finish(about)
        return about

    monkeypatch.setattr(running, "compute", compute)
    said: list[str] = []
    failed = run(STUDY, tmp_path, said.append, threads=1, alone=here)
    assert len(computed) == 8
    assert failed == [f"{AS_OF} · trees · seed 2: RuntimeError: out of luck"]
    assert any("left" in line for line in said)
    computed.clear()
    assert run(STUDY, tmp_path, said.append, threads=1, alone=here, workers=2) == failed
    assert len(computed) == 1
    computed.clear()
    monkeypatch.setattr(night_study, "model_code", lambda: "other code")
    run(STUDY, tmp_path, said.append, threads=1, any_code=True, only=["default"], alone=here)
    assert computed == []
    run(STUDY, tmp_path, said.append, threads=1, only=["default"], alone=here)
    assert len(computed) == 2


def test_an_unknown_setting_stops_a_study_before_its_first_cell(tmp_path: Path) -> None:
    wrong = replace(STUDY, variants=(*STUDY.variants, Variant("wrong", {"network.experts.nobody": None})))
    with pytest.raises(ValueError, match="nobody"):
        run(wrong, tmp_path, print, alone=here)
    assert list(tmp_path.iterdir()) == []


def test_cells_of_equal_content_are_one(tmp_path: Path) -> None:
    renamed = replace(STUDY, name="other", variants=(Variant("as it is"),), comparisons=())
    files = Store(tmp_path)
    one = files.cell(STUDY, str(AS_OF), STUDY.variant("default"), 1)
    assert files.cell(renamed, str(AS_OF), renamed.variants[0], 1) == one
    assert len({task.files.folder for task in cells_of(STUDY, tmp_path)}) == 8
    bigger = replace(STUDY, settings={**STUDY.settings, "max_training_rows": 5_000})
    assert files.origin(bigger, str(AS_OF)) != files.origin(STUDY, str(AS_OF))
    assert files.cell(bigger, str(AS_OF), bigger.variant("default"), 1) != one
    network = replace(STUDY, settings={**STUDY.settings, "training.patience": 3})
    assert files.origin(network, str(AS_OF)) == files.origin(STUDY, str(AS_OF))


def test_a_training_goes_on_only_with_the_code_that_began_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    task = run_cells(tmp_path)[0]
    kept: list[bool] = []

    def train(work: Workspace, *_: Any) -> Any:
        kept.append((work.folder / "trace").exists())
        (work.folder / "trace").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "train", train)
    codes = iter(["a", "a", "b"])
    for code in codes:
        monkeypatch.setattr(night_study, "model_code", lambda code=code: code)
        with pytest.raises(KeyboardInterrupt):
            running.compute(task, lambda _: None)
    assert kept == [False, True, False]
    assert not task.files.done(any_code=True)
    shutil.rmtree(task.files.folder)
    assert NightFiles.of(Store(tmp_path).origin(STUDY, str(AS_OF))).workspace.labels().height == 4 * CUSTOMERS


@pytest.mark.parametrize("name", ["shared_bottom", "xgboost"])
def test_a_peer_is_calibrated_on_the_same_rows(tmp_path: Path, name: str) -> None:
    if name in peers.LIBRARIES:
        pytest.importorskip(name)
    study = replace(STUDY, variants=(Variant(name, run="peer", peer=name),), seeds=(1,), comparisons=())
    make(tmp_path, study)
    (task,) = cells_of(study, tmp_path, threads=1)
    running.compute(task, lambda _: None)
    judged = Judged.load(Store(tmp_path).origin(study, str(AS_OF)).judged("test"))
    told = task.files.load("test")
    wanted = {"churn", "engagement", "channel"} | ({"brand_prediction"} if name not in peers.LIBRARIES else set())
    assert set(told) == {f"peer|{task}" for task in wanted}
    for task_name in wanted:
        assert len(told[f"peer|{task_name}"]) == judged.mask[task_name].sum()
    assert told["peer|churn"].std() > 0
    np.testing.assert_allclose(told["peer|channel"].sum(axis=1), 1, atol=1e-5)


def test_the_names_of_published_networks_are_those_of_the_package() -> None:
    assert set(peers.PUBLISHED) == set(BASELINES)


def test_a_library_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(PeerError, match=r"xgboost is not installed: pip install .*\[studies\]"):
        peers.xgboost("binary", (np.zeros((2, 1)),) * 2, (np.zeros(2),) * 2, 1, 0, 1)


def test_a_task_with_too_few_labels_at_an_origin_is_left_out(tmp_path: Path) -> None:
    study = replace(STUDY, variants=(Variant("default"),), seeds=(1,), comparisons=())
    work = NightFiles.of(make(tmp_path, study).origin(study, str(AS_OF))).workspace
    work.save_label_state(work.label_state().model_copy(update={"off": {"channel": "3 labels, 100 are needed"}}))
    work.save_labels(work.labels().drop("channel"))
    (task,) = cells_of(study, tmp_path, threads=1)
    running.compute(task, lambda _: None)
    told = {key.split("|")[1] for key in task.files.load("test")}
    assert told == set(WINDOWS) - {"channel"}
