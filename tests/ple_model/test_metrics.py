"""Metrics against scikit-learn and scipy, masks, and what happens where a metric is not defined."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as oracle

from ple_model.evaluation.metrics import (
    HEADLINE,
    Kind,
    evaluate,
    expected_calibration_error,
    metric_names,
    positive_ranks,
    ranking_parts,
)

KINDS: tuple[Kind, ...] = ("binary", "multiclass", "regression", "contrastive")


def sample(kind: Kind, rows: int, seed: int = 0, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if kind == "binary":
        return rng.random(rows).round(2), (rng.random(rows) < 0.3).astype(np.float32)
    if kind == "multiclass":
        return rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows)
    if kind == "regression":
        y = rng.normal(3, 1, rows)
        return y + rng.normal(0, 0.5, rows), y
    labels = np.argsort(rng.random((rows, 20)), axis=1)[:, :4]
    labels[:, 2:][rng.random((rows, 2)) < 0.5] = -1
    return rng.random((rows, 20)), labels


@given(st.integers(0, 10_000), st.integers(30, 300))
@settings(max_examples=20, deadline=None)
def test_binary_agrees_with_scikit_learn(seed: int, rows: int) -> None:
    p, y = sample("binary", rows, seed)
    p = np.clip(p, 0.01, 0.99)
    y[:2] = [0, 1]
    got = evaluate("binary", p, y).values
    assert got["auc"] == pytest.approx(oracle.roc_auc_score(y, p))
    assert got["log_loss"] == pytest.approx(oracle.log_loss(y, p))
    assert got["brier"] == pytest.approx(oracle.brier_score_loss(y, p))
    assert got["base_rate"] == pytest.approx(y.mean())


@given(st.integers(0, 10_000), st.integers(60, 300))
@settings(max_examples=20, deadline=None)
def test_multiclass_agrees_with_scikit_learn(seed: int, rows: int) -> None:
    p, y = sample("multiclass", rows, seed)
    y[:6] = range(6)
    got = evaluate("multiclass", p, y).values
    said = p.argmax(axis=1)
    assert got["log_loss"] == pytest.approx(oracle.log_loss(y, p, labels=range(6)), rel=1e-4)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(y, said))
    assert got["macro_f1"] == pytest.approx(oracle.f1_score(y, said, average="macro"))
    assert got["macro_auc"] == pytest.approx(oracle.roc_auc_score(y, p, multi_class="ovr", average="macro"))


def test_macro_f1_counts_the_classes_that_occur() -> None:
    p = np.eye(6)[[0, 0, 1, 5]]
    y = np.array([0, 1, 1, 0])
    assert evaluate("multiclass", p, y).values["macro_f1"] == pytest.approx(
        oracle.f1_score(y, p.argmax(axis=1), average="macro")
    )


@given(st.integers(0, 10_000), st.integers(3, 300))
@settings(max_examples=20, deadline=None)
def test_regression_agrees_with_scikit_learn(seed: int, rows: int) -> None:
    x, y = sample("regression", rows, seed)
    got = evaluate("regression", x, y).values
    assert got["rmse"] == pytest.approx(oracle.root_mean_squared_error(y, x))
    assert got["mae"] == pytest.approx(oracle.mean_absolute_error(y, x))
    assert got["r2"] == pytest.approx(oracle.r2_score(y, x))
    assert got["spearman"] == pytest.approx(spearmanr(x, y).statistic)


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
    assert evaluate("contrastive", np.zeros((1, 500)), labels).values["recall_at_10"] == 0


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
def test_masked_rows_count_for_nothing(kind: Kind) -> None:
    predictions, labels = sample(kind, 200)
    mask = np.arange(200) % 3 > 0
    clean = evaluate(kind, predictions[mask], labels[mask])
    labels = labels.astype(np.float64) if labels.ndim == 1 else labels.copy()
    labels[~mask] = np.nan if labels.ndim == 1 else -1
    predictions[~mask] = np.nan
    assert evaluate(kind, predictions, labels, mask) == clean
    assert clean.rows == mask.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["no rows", "one row", "not finite", "flat labels", "flat predictions"])
def test_what_is_not_defined_is_none_with_a_reason(kind: Kind, case: str) -> None:
    predictions, labels = sample(kind, 50)
    if case == "no rows":
        got = evaluate(kind, predictions, labels, np.zeros(50, dtype=bool))
    elif case == "one row":
        got = evaluate(kind, predictions[:1], labels[:1])
    elif case == "not finite":
        predictions[7] = np.inf
        got = evaluate(kind, predictions, labels)
    elif case == "flat labels":
        got = evaluate(kind, predictions, np.repeat(labels[:1], 50, axis=0))
    else:
        got = evaluate(kind, np.repeat(predictions[:1], 50, axis=0), labels)
    assert tuple(got.values) == metric_names(kind)
    json.dumps(got.to_dict(), allow_nan=False)
    assert set(got.reasons) == {name for name, value in got.values.items() if value is None}
    if case in ("no rows", "not finite"):
        assert got.headline is None
    if case == "flat labels" and kind in ("binary", "regression"):
        assert got.headline is None
        assert got.reasons[HEADLINE[kind].metric]


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
def test_an_unmasked_label_that_is_none_is_an_error(kind: Kind, labels: list) -> None:
    with pytest.raises(ValueError, match="unmasked labels"):
        evaluate(kind, sample(kind, 2)[0], np.array(labels))
