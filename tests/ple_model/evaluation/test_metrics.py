"""Metrics against brute force and scikit-learn, masks, and reasons where a metric is not defined."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from ple_model.evaluation.metrics import (
    evaluate,
    expected_calibration_error,
    positive_ranks,
    ranking_parts,
)
from ple_model.tasks import KINDS


def sample(kind: str, rows: int, seed: int = 0, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if kind == "binary":
        return rng.random(rows).round(2), (rng.random(rows) < 0.3).astype(np.float32)
    if kind == "multiclass":
        return rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows)
    if kind in ("regression", "uplift"):
        y = rng.normal(3, 1, rows)
        return y + rng.normal(0, 0.5, rows), y
    labels = np.argsort(rng.random((rows, 20)), axis=1)[:, :4]
    labels[:, 2:][rng.random((rows, 2)) < 0.5] = -1
    return rng.random((rows, 20)), labels


def auc_by_pairs(score: np.ndarray, label: np.ndarray) -> float:
    """Share of pairs of a 1 and a 0 in which the 1 scores higher; ties count one half."""
    ones, zeros = score[label == 1][:, None], score[label != 1]
    return float(((ones > zeros) + (ones == zeros) / 2).mean())


def f1_by_hand(said: np.ndarray, label: np.ndarray) -> float:
    scores = []
    for k in set(said) | set(label):
        both = ((said == k) & (label == k)).sum()
        scores.append(2 * both / ((said == k).sum() + (label == k).sum()))
    return float(np.mean(scores))


@given(st.integers(0, 10_000), st.integers(30, 300))
@settings(max_examples=20, deadline=None)
def test_binary_agrees_with_counting_pairs_and_scikit_learn(seed: int, rows: int) -> None:
    p, y = sample("binary", rows, seed)
    p = np.clip(p, 0.01, 0.99)
    y[:2] = [0, 1]
    got = evaluate(KINDS["binary"], p, y).values
    assert got["auc"] == pytest.approx(auc_by_pairs(p, y), abs=1e-12)
    assert got["log_loss"] == pytest.approx(oracle.log_loss(y, p))
    assert got["brier"] == pytest.approx(oracle.brier_score_loss(y, p))
    assert got["base_rate"] == pytest.approx(y.mean())


@given(st.integers(0, 10_000), st.integers(60, 300))
@settings(max_examples=20, deadline=None)
def test_multiclass_agrees_with_brute_force_and_scikit_learn(seed: int, rows: int) -> None:
    p, y = sample("multiclass", rows, seed)
    y[:6] = range(6)
    got = evaluate(KINDS["multiclass"], p, y).values
    said = p.argmax(axis=1)
    assert got["log_loss"] == pytest.approx(oracle.log_loss(y, p, labels=range(6)), rel=1e-4)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(y, said))
    assert got["macro_f1"] == pytest.approx(f1_by_hand(said, y), abs=1e-12)
    areas = [auc_by_pairs(p[:, k], y == k) for k in range(6)]
    assert got["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-12)


def test_macro_f1_counts_the_classes_that_occur() -> None:
    p = np.eye(6)[[0, 0, 1, 5]]
    y = np.array([0, 1, 1, 0])
    # 2·right / (true + predicted): class 0 2/4, class 1 2/3, class 5 0/1.
    assert evaluate(KINDS["multiclass"], p, y).values["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 3, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(3, 300))
@settings(max_examples=20, deadline=None)
def test_regression_agrees_with_its_definitions(seed: int, rows: int) -> None:
    x, y = sample("regression", rows, seed)
    got = evaluate(KINDS["regression"], x, y).values
    assert got["rmse"] == pytest.approx(oracle.root_mean_squared_error(y, x))
    assert got["mae"] == pytest.approx(oracle.mean_absolute_error(y, x))
    assert got["r2"] == pytest.approx(1 - ((y - x) ** 2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-12)
    ranks = [(values[:, None] > values).sum(axis=1) + (values[:, None] == values).sum(axis=1) / 2 for values in (x, y)]
    assert got["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_ranking_agrees_with_sorting_each_row(seed: int) -> None:
    scores, labels = sample("contrastive", 40, seed)
    parts = ranking_parts(scores, labels)
    for row in range(40):
        order = list(np.argsort(-scores[row]))
        good = {int(b) for b in labels[row] if b >= 0}
        for k in (1, 5, 10):
            hits = len(good & {int(b) for b in order[:k]})
            assert parts[f"recall_at_{k}"][row] == pytest.approx(hits / min(k, len(good)))
        assert parts["mrr"][row] == pytest.approx(1 / (1 + min(order.index(b) for b in good)))


def test_a_scorer_without_an_opinion_earns_nothing_from_the_order_of_brands() -> None:
    labels = np.array([[0, 1, -1]])
    assert positive_ranks(np.zeros((1, 500)), labels).tolist() == [[500, 500, np.inf]]
    assert evaluate(KINDS["contrastive"], np.zeros((1, 500)), labels).values["recall_at_10"] == 0


def test_calibration_error_of_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(3_000)
    y = rng.random(3_000) < p**2
    order = np.argsort(p)
    by_hand = sum(abs(p[part].sum() - y[part].sum()) for part in np.array_split(order, 15)) / len(p)
    assert expected_calibration_error(p, y) == pytest.approx(by_hand, abs=1e-3)
    # Equal confidences share one bin: a constant at the base rate is calibrated, in whatever order rows come.
    assert expected_calibration_error(np.full(3_000, y.mean()), y) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_masked_rows_count_for_nothing(kind: str) -> None:
    predictions, labels = sample(kind, 200)
    mask = np.arange(200) % 3 > 0
    clean = evaluate(KINDS[kind], predictions[mask], labels[mask])
    labels = labels.astype(np.float64) if labels.ndim == 1 else labels.copy()
    labels[~mask] = np.nan if labels.ndim == 1 else -1
    predictions[~mask] = np.nan
    assert evaluate(KINDS[kind], predictions, labels, mask) == clean
    assert clean.rows == mask.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["no rows", "one row", "not finite", "flat labels", "flat predictions"])
def test_what_is_not_defined_is_none_with_a_reason(kind: str, case: str) -> None:
    predictions, labels = sample(kind, 50)
    if case == "no rows":
        got = evaluate(KINDS[kind], predictions, labels, np.zeros(50, dtype=bool))
    elif case == "one row":
        got = evaluate(KINDS[kind], predictions[:1], labels[:1])
    elif case == "not finite":
        predictions[7] = np.inf
        got = evaluate(KINDS[kind], predictions, labels)
    elif case == "flat labels":
        got = evaluate(KINDS[kind], predictions, np.repeat(labels[:1], 50, axis=0))
    else:
        got = evaluate(KINDS[kind], np.repeat(predictions[:1], 50, axis=0), labels)
    assert tuple(got.values) == KINDS[kind].metric_names()
    json.dumps(got.to_dict(), allow_nan=False)
    assert set(got.reasons) == {name for name, value in got.values.items() if value is None}
    if case in ("no rows", "not finite"):
        assert got.values[KINDS[kind].headline.metric] is None
    if case == "flat labels" and kind in ("binary", "regression"):
        assert got.values[KINDS[kind].headline.metric] is None
        assert got.reasons[KINDS[kind].headline.metric]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("binary", [0.0, np.nan]),
        ("binary", [0, 2]),
        ("multiclass", [0, 6]),
        ("regression", [1.0, np.inf]),
        ("contrastive", [[0, -1], [-1, -1]]),
    ],
)
def test_an_unmasked_label_that_is_none_is_an_error(kind: str, labels: list) -> None:
    with pytest.raises(ValueError, match="unmasked labels"):
        evaluate(KINDS[kind], sample(kind, 2)[0], np.array(labels))
