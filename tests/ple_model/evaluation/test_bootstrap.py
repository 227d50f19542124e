"""Resampled metrics equal the point metrics of copied rows; intervals cover; pairing narrows differences."""

import json

import numpy as np
import pytest

from ple_model.evaluation.bootstrap import draw_counts, resample
from ple_model.evaluation.compare import compare, markdown, table
from ple_model.evaluation.constant import constant_prediction, own_past_brands, repeat
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS
from tests.ple_model.evaluation.test_metrics import sample


@pytest.mark.parametrize("kind", KINDS)
def test_weights_equal_copied_rows(kind: str) -> None:
    """Two ways to compute the same: weighted sums by customer, and the metric of rows copied as often as drawn."""
    predictions, labels = sample(kind, 240, seed=5)
    cluster = np.random.default_rng(1).integers(0, 40, 240)
    cluster[:40] = np.arange(40)
    counts = draw_counts(40, 12, seed=2)
    assert (counts.sum(axis=1) == 40).all()
    for name in KINDS[kind].resampled:
        drawn = KINDS[kind].statistic(name, predictions.astype(np.float64), labels, cluster, 40)(counts)
        for weights, got in zip(counts, drawn, strict=True):
            copied = np.repeat(np.arange(240), weights[cluster].astype(int))
            assert got == pytest.approx(evaluate(KINDS[kind], predictions[copied], labels[copied]).values[name])


@pytest.mark.parametrize("kind", KINDS)
def test_point_estimates_and_masks(kind: str) -> None:
    predictions, labels = sample(kind, 300)
    mask = np.arange(300) % 4 > 0
    customers = np.array([f"c{i % 60}" for i in range(300)])
    got = resample(KINDS[kind], {"a": predictions}, labels, mask, customers, subject="a", metrics=KINDS[kind].resampled)
    point = evaluate(KINDS[kind], predictions, labels, mask)
    assert (got.rows, got.customers) == (mask.sum(), len(set(customers[mask])))
    for name, interval in got.metrics["a"].items():
        assert interval.estimate == pytest.approx(point.values[name])
        assert interval.low is not None
        assert interval.high is not None
        assert interval.low <= interval.estimate <= interval.high


def test_intervals_cover_the_truth_where_customers_are_clusters() -> None:
    """A customer's rows share their error: resampling rows would give intervals half as wide as they must be."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        customers = np.repeat(np.arange(80), 8)
        error = np.repeat(rng.normal(size=80), 8) + 0.1 * rng.normal(size=640)
        got = resample(
            KINDS["regression"], {"m": error}, np.zeros(640), None, customers, subject="m", metrics=["rmse"], seed=seed
        ).metrics["m"]["rmse"]
        assert got.low is not None
        assert got.high is not None
        covered += got.low <= np.sqrt(1.01) <= got.high
    assert covered >= 51  # nominal 57 of 60


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=2_000)
    good = y + rng.normal(0, 1.0, 2_000)
    better = y + (good - y) * 0.97
    got = resample(
        KINDS["regression"],
        {"better": better, "good": good, "same": better},
        y,
        None,
        np.arange(2_000) // 4,
        subject="better",
        metrics=["rmse"],
    )
    difference, own = got.differences["good"]["rmse"], got.metrics["better"]["rmse"]
    assert difference.beyond_zero
    assert difference.high is not None
    assert own.low is not None
    assert own.high is not None
    assert difference.high - difference.low < (own.high - own.low) / 10
    same = got.differences["same"]["rmse"]
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
    assert not same.beyond_zero


def test_same_seed_same_interval_other_seed_another() -> None:
    p, y = sample("binary", 400)
    ids = np.arange(400) // 2
    first, again, other = (
        resample(KINDS["binary"], {"m": p}, y, None, ids, subject="m", seed=seed).metrics["m"]["auc"]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_without_an_interval_there_is_a_reason() -> None:
    p, y = sample("binary", 60)
    lonely = np.zeros(60)
    lonely[0] = 1  # a third of all resamples draw no positive
    for labels, ids, mask in [
        (lonely, np.arange(60), None),
        (y, np.zeros(60, dtype=int), None),
        (y, np.arange(60), np.zeros(60, dtype=bool)),
        (np.zeros(60), np.arange(60), None),
    ]:
        interval = resample(KINDS["binary"], {"m": p}, labels, mask, ids, subject="m").metrics["m"]["auc"]
        assert interval.low is None
        assert interval.reason
        json.dumps(interval.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="ece"):
        resample(KINDS["binary"], {"m": p}, y, None, np.arange(60), subject="m", metrics=["ece"])


@pytest.mark.parametrize("kind", KINDS)
def test_constants_are_what_uses_no_features(kind: str) -> None:
    _, labels = sample(kind, 500)
    constant = constant_prediction(KINDS[kind], labels, None, {"multiclass": 6, "contrastive": 20}.get(kind, 1))
    values = evaluate(KINDS[kind], repeat(constant, 500), labels).values
    if kind == "binary":
        assert values["auc"] == 0.5
        assert values["ece"] == pytest.approx(0)
    elif kind == "multiclass":
        assert constant.sum() == pytest.approx(1)
        assert values["macro_auc"] == 0.5
    elif kind == "uplift":
        assert values["qini"] == pytest.approx(0)
    elif kind == "regression":
        assert values["r2"] == pytest.approx(0)
    else:
        assert constant.argmax() == np.bincount(labels[labels >= 0]).argmax()
        assert ((constant > 0) & (constant < 1)).all()
    with pytest.raises(ValueError, match="no training row"):
        constant_prediction(KINDS[kind], labels, np.zeros(500, dtype=bool), 20)


def test_own_past_brands_lead_and_popularity_fills_in() -> None:
    scores = own_past_brands(np.array([[0, 0, 9], [0, 0, 0]]), np.array([0.5, 0.3, 0.1]))
    assert scores.argsort(axis=1)[:, ::-1].tolist() == [[2, 0, 1], [0, 1, 2]]
    assert scores.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_names_the_winner_in_the_metric_s_own_direction(kind: str) -> None:
    predictions, labels = sample(kind, 600, seed=7)
    if kind == "contrastive":
        predictions[np.arange(600), labels[:, 0]] += 1
    elif kind == "multiclass":
        predictions = 0.5 * predictions + 0.5 * np.eye(6)[labels]
    elif kind == "binary":
        predictions = 0.7 * predictions + 0.3 * labels
    constant = repeat(constant_prediction(KINDS[kind], labels, None, predictions.shape[-1]), 600)
    models = {"model": predictions, "constant": constant, "twin": predictions}
    ids = np.arange(600) // 3
    got = compare("t", KINDS[kind], models, labels, None, ids)
    assert {name: b.verdict for name, b in got.baselines.items()} == {"constant": "ahead", "twin": "level"}
    turned = compare("t", KINDS[kind], models, labels, None, ids, subject="constant")
    assert turned.baselines["model"].verdict == "behind"
    empty = compare("t", KINDS[kind], models, labels, np.zeros(600, dtype=bool), ids)
    assert empty.baselines["constant"].verdict == "unknown"
    json.dumps([got.to_dict(), empty.to_dict()], allow_nan=False)
    assert [row["constant"][-1] for row in table([got, turned, empty]) if "constant" in row] == ["▲", "?"]
    assert len(markdown([got, turned, empty]).splitlines()) == 5
