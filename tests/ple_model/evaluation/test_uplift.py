"""AUUC and Qini against the drawn curve and against closed forms; an uplift task from labels to scores."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_task
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.config import ModelConfig
from ple_model.evaluation import uplift
from ple_model.evaluation.bootstrap import resample
from ple_model.evaluation.calibration import OutputsCalibrator, fit_calibrator, from_dict
from ple_model.evaluation.compare import compare
from ple_model.evaluation.constant import constant_prediction, repeat
from ple_model.evaluation.metrics import evaluate
from ple_model.evaluation.uncertainty import BaseRates, TaskUncertainty, Validation, fit_uncertainty
from ple_model.serving.bundle import load_bundle
from ple_model.serving.frames import inputs_from_frame
from ple_model.serving.scorer import Scorer
from ple_model.tasks import KINDS, TaskConfig, kind_of
from ple_model.training.data import TensorTable, targets_from_frame
from ple_model.training.finish import finish
from ple_model.training.initial import build
from ple_model.training.trainer import fit
from tests.ple_model import samples

UPLIFT = KINDS["uplift"]


def area_by_drawing(x: NDArray, z: NDArray) -> float:
    """The mean over random orders of tied rows is the straight line across them: trapezoids over the groups of ties."""
    shares, gains = [0.0], [0.0]
    for level in sorted(set(x), reverse=True):
        targeted = x >= level
        shares.append(targeted.mean())
        gains.append(z[targeted].sum() / len(z))
    return float(np.trapezoid(gains, shares))


def randomised(rows: int, seed: int, propensity: float = 0.9) -> tuple[NDArray, NDArray, NDArray]:
    """(true effect [n], transformed outcome [n], a feature that tells the effect [n]) of an experiment."""
    rng = np.random.default_rng(seed)
    told = rng.normal(size=rows)
    effect = 0.5 + 0.5 * told
    treated = rng.random(rows) < propensity
    outcome = rng.normal(1.0, 1.0, rows) + treated * effect
    return effect, outcome * (treated - propensity) / (propensity * (1 - propensity)), told


@given(st.integers(0, 10_000), st.integers(2, 80), st.sampled_from([1, 3, 1_000]))
@settings(max_examples=40, deadline=None)
def test_areas_equal_those_of_the_drawn_curve(seed: int, rows: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.integers(0, levels, rows).astype(np.float64), rng.normal(size=rows)
    assert uplift.auuc(x, z) == pytest.approx(area_by_drawing(x, z), abs=1e-12)
    shares, gains = uplift.uplift_curve(x, z)
    assert np.trapezoid(gains, shares) == pytest.approx(uplift.auuc(x, z), abs=1e-12)
    assert (shares[0], gains[0], shares[-1]) == (0, 0, 1)
    assert gains[-1] == pytest.approx(z.mean(), abs=1e-12)
    assert uplift.qini(x, z) == pytest.approx(area_by_drawing(x, z) - z.mean() / 2, abs=1e-12)


def test_closed_forms() -> None:
    z = np.array([1.0, 0.0, 0.0, 0.0])
    assert uplift.auuc(np.array([4.0, 3, 2, 1]), z) == pytest.approx((1 / 4) * (1 - 1 / 8))  # full gain from the first
    assert uplift.auuc(np.array([1.0, 2, 3, 4]), z) == pytest.approx((1 / 4) * (1 / 8))
    assert uplift.auuc(np.zeros(4), z) == pytest.approx(1 / 8)  # a constant: half the average effect
    assert uplift.qini(np.zeros(4), z) == 0
    assert uplift.top_uplift(np.array([4.0, 3, 2, 1]), z, share=0.25) == 1.0
    # Effects uniform on [0, 1], in perfect order: the curve is φ − φ²/2, its area 1/3, the line's 1/4.
    effect = (np.arange(100_000) + 0.5) / 100_000
    assert uplift.auuc(effect, effect) == pytest.approx(1 / 3, abs=1e-6)
    assert uplift.qini(effect, effect) == pytest.approx(1 / 12, abs=1e-6)


def test_only_the_order_of_predictions_counts() -> None:
    effect, z, _ = randomised(500, 0)
    assert uplift.auuc(np.exp(3 * effect), z) == pytest.approx(uplift.auuc(effect, z), abs=1e-12)


def test_transformed_outcomes_estimate_the_area_of_the_true_effects() -> None:
    """With the effects known the area needs no outcome; the estimate lies within four of its standard errors."""
    effect, z, told = randomised(200_000, 1)
    share = (np.argsort(np.argsort(told)) + 0.5) / len(told)
    error = (z * share).std() / len(z) ** 0.5
    assert abs(uplift.auuc(told, z) - uplift.auuc(told, effect)) < 4 * error
    true_top, estimate = effect[share > 0.9].mean(), uplift.top_uplift(told, z)
    assert abs(estimate - true_top) < 4 * z[share > 0.9].std() / (0.1 * len(z)) ** 0.5


def test_a_good_order_beats_a_constant_beyond_the_interval_and_noise_does_not() -> None:
    _, z, told = randomised(6_000, 2)
    constant = repeat(constant_prediction(UPLIFT, z, None, 1), len(z))
    noise = np.random.default_rng(3).normal(size=len(z))
    models = {"model": told, "constant": constant, "noise": noise}
    got = compare("uplift", UPLIFT, models, z, None, np.arange(len(z)))
    assert (got.metric, got.title, got.better) == ("auuc", "AUUC", 1)
    assert got.baselines["constant"].verdict == "ahead"
    assert got.baselines["constant"].headline.estimate == pytest.approx(z.mean() / 2)
    turned = compare("uplift", UPLIFT, models, z, None, np.arange(len(z)), subject="noise")
    assert turned.baselines["constant"].verdict in ("level", "open"), "not beyond the interval"
    drawn = resample(UPLIFT, {"model": told}, z, None, np.arange(len(z)), subject="model", metrics=["qini"])
    assert drawn.metrics["model"]["qini"].estimate == pytest.approx(uplift.qini(told, z))


def test_several_outputs_are_judged_by_their_sum_and_one_by_one() -> None:
    parts = [randomised(400, seed) for seed in (4, 5, 6)]
    x, z = (np.stack([part[i] for part in parts], axis=1) for i in (2, 1))
    got = evaluate(UPLIFT, x, z)
    assert tuple(got.values) == UPLIFT.metric_names(3)
    assert got.values["auuc"] == pytest.approx(uplift.auuc(x.sum(axis=1), z.sum(axis=1)))
    assert got.values["qini_2"] == pytest.approx(uplift.qini(x[:, 2], z[:, 2]))
    assert got.values["average_effect"] == pytest.approx(z.sum(axis=1).mean())
    empty = evaluate(UPLIFT, x, z, np.zeros(400, dtype=bool))
    assert tuple(empty.values) == UPLIFT.metric_names(3)
    json.dumps(got.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="do not belong together"):
        evaluate(UPLIFT, x[:, :2], z)
    z[7, 1] = np.nan
    with pytest.raises(ValueError, match="1 unmasked labels are none"):
        evaluate(UPLIFT, x, z)


def test_calibration_and_uncertainty_of_several_outputs() -> None:
    parts = [randomised(800, seed, propensity=0.5) for seed in (7, 8)]
    x, z = 3 * np.stack([part[2] for part in parts], axis=1), np.stack([part[1] for part in parts], axis=1)
    fitted = fit_calibrator(UPLIFT, x, z)
    assert isinstance(fitted, OutputsCalibrator)
    for i in range(2):
        alone = fit_calibrator(UPLIFT, x[:, i], z[:, i])
        assert np.array_equal(fitted.apply(x)[:, i], alone.apply(x[:, i]))
    again = from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert again == fitted
    few = fit_calibrator(UPLIFT, x[:20], z[:20])
    assert np.array_equal(few.apply(x), x)
    assert from_dict(json.loads(json.dumps(few.to_dict()))) == few
    posterior, mask = np.full((800, 4), 0.25), np.ones(800, dtype=bool)
    rates = BaseRates.fit(UPLIFT, z, mask, posterior, 2)
    assert rates.population == pytest.approx(z.mean(axis=0))
    rows = Validation(fitted.apply(x), z, mask, np.arange(800), posterior, {"spread": np.abs(x).sum(axis=1)})
    state = fit_uncertainty(UPLIFT, rows, rates)
    judged = state.judge(fitted.apply(x), posterior, rows.signals)
    assert judged.u is None  # nobody sees by how much an effect was missed
    assert judged.region is None
    assert np.array_equal(judged.predictions, fitted.apply(x))
    assert TaskUncertainty.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_each_output_is_boosted_on_its_own() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 4)).astype(np.float32)
    z = np.stack([3.0 * x[:, 0], 3.0 * x[:, 1] + 1.0, np.full(900, 2.0)], axis=1)
    trees = TreeBudget(rounds=20, early_stopping=5, learning_rate=0.1, leaves=7, column_share=1.0)
    matrix = BinnedMatrix(x, np.arange(600), np.arange(600, 900))
    fitted = fit_task(matrix, BoostingTask(UPLIFT, z, np.ones(900, dtype=bool), 3), BoostingBudget(single=trees))
    predictions = fitted.predict(x)
    assert predictions.shape == (900, 3)
    assert np.corrcoef(predictions[:, 1], z[:, 1])[0, 1] > 0.9
    assert (predictions[:, 2] == 2.0).all()
    assert fitted.note == "one model for each of 2 outputs, the mean for the other 1"


def test_only_squared_error_estimates_an_effect() -> None:
    with pytest.raises(ValueError, match="loss 'huber' does not fit kind 'uplift'; use mse"):
        TaskConfig(name="uplift", group="engagement", kind="uplift", loss="huber")


def test_labels_of_several_outputs_are_lists() -> None:
    task = TaskConfig(name="by_category", group="g", kind="uplift", loss="mse", out=2)
    column = pl.Series("by_category", [[1.0, 2.0], None, [3.0, 4.0]])
    targets = targets_from_frame(pl.DataFrame([column]), [task])
    assert targets.values["by_category"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert targets.mask["by_category"].tolist() == [True, False, True]
    assert targets_from_frame(pl.DataFrame([column.cast(pl.Array(pl.Float64, 2))]), [task]).mask.keys()
    for wrong, expected in (([[1.0]], "lists of 2 numbers"), ([[1.0, None]], "finite"), ([[1.0, np.inf]], "finite")):
        with pytest.raises(ValueError, match=expected):
            targets_from_frame(pl.DataFrame({"by_category": wrong}), [task])


def test_uplift_tasks_train_and_score(tmp_path: Path) -> None:
    """One output and several, from labels to the score table, in a model beside other tasks."""
    mixed = tuple(task for task in samples.config().tasks if task.name in ("churn", "retention", "ltv"))
    tasks = (
        *mixed,
        TaskConfig(name="uplift", group="engagement", kind="uplift", loss="mse"),
        TaskConfig(name="by_category", group="consumption", kind="uplift", loss="mse", out=3),
    )
    config: ModelConfig = samples.config(tasks=tasks)
    tables, frames = [], []
    for seed, rows in ((0, 320), (1, 260)):
        frame = samples.features(rows, seed)
        signal = frame[samples.COLUMNS[0]].fill_null(0.0).to_numpy()
        rng = np.random.default_rng(seed)
        outcomes = pl.DataFrame(
            {
                "uplift": 5 + 20 * signal + rng.normal(size=rows),
                "by_category": [[s, -s, 0.5] for s in (signal + rng.normal(size=rows)).tolist()],
            }
        )
        labels = pl.concat([samples.labels(frame, seed), outcomes], how="horizontal")
        tables.append(TensorTable.of(inputs_from_frame(frame, config.inputs), targets_from_frame(labels, config.tasks)))
        frames.append((frame, outcomes))
    model = build(config, tables[0], seed=0)
    assert model.scale("uplift").mean.item() == pytest.approx(frames[0][1]["uplift"].mean(), rel=1e-4)
    result = fit(model, *tables, samples.training(phase1_epochs=4, phase2_epochs=0), progress=False)
    assert result.history[-1].skill["uplift"] > 0.3
    classes = {"by_category": ["food", "fuel", "fees"]}
    finish(model, *tables, tmp_path / "bundle", classes, {}, {"uplift": {"unit": "USD", "meaning": "added spend"}})
    bundle = load_bundle(tmp_path / "bundle")
    frame, outcomes = frames[1]
    scores = Scorer(bundle).score(frame)
    each = np.array(scores["by_category__each"].to_list())
    assert scores["by_category"].to_numpy() == pytest.approx(each.sum(axis=1))
    assert scores["by_category__u"].is_between(0, 1).all()
    assert uplift.qini(scores["uplift"].to_numpy(), outcomes["uplift"].to_numpy()) > 0
    meanings = kind_of("uplift").score_meanings(bundle.described["uplift"])
    assert meanings["uplift"] == "calibrated uplift in USD: added spend"
    empty = Scorer(bundle).score(frame.head(0))
    assert empty.schema == scores.schema
