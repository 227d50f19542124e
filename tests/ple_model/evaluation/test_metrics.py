"""Metrics against brute force and scikit-learn, masks, and reasons where a metric is not defined."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as oracle

from ple_model.evaluation.classes import top_k_accuracy
from ple_model.evaluation.intervals import PredictedIntervals, crps_of_normal, crps_of_quantiles
from ple_model.evaluation.metrics import evaluate
from ple_model.evaluation.ranking import positive_ranks, ranking_parts
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
    assert got["auc"] == pytest.approx(oracle.roc_auc_score(y, p), abs=1e-12)
    assert got["pr_auc"] == pytest.approx(oracle.average_precision_score(y, p), abs=1e-12)
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
    assert got["macro_f1"] == pytest.approx(oracle.f1_score(y, said, average="macro"), abs=1e-12)
    assert got["top_3_accuracy"] == pytest.approx(oracle.top_k_accuracy_score(y, p, k=3, labels=range(6)))
    assert got["brier"] == pytest.approx(((p - np.eye(6)[y]) ** 2).sum(axis=1).mean())
    areas = [auc_by_pairs(p[:, k], y == k) for k in range(6)]
    assert got["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-12)


def test_classes_that_are_tied_with_the_label_count_before_it() -> None:
    assert top_k_accuracy(np.full((2, 6), 1 / 6), np.array([0, 5])) == 0
    assert isinstance(top_k_accuracy(np.full((2, 3), 1 / 3), np.array([0, 2])), str)


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
    assert got["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert got["r2"] == pytest.approx(oracle.r2_score(y, x), abs=1e-12)


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
        gains = np.zeros(20)
        gains[list(good)] = 1
        for k in (5, 10):
            assert parts[f"ndcg_at_{k}"][row] == pytest.approx(oracle.ndcg_score([gains], [scores[row]], k=k))
        assert parts["mrr"][row] == pytest.approx(1 / (1 + min(order.index(b) for b in good)))


def test_a_scorer_without_an_opinion_earns_nothing_from_the_order_of_brands() -> None:
    labels = np.array([[0, 1, -1]])
    assert positive_ranks(np.zeros((1, 500)), labels).tolist() == [[500, 500, np.inf]]
    assert evaluate(KINDS["contrastive"], np.zeros((1, 500)), labels).values["recall_at_10"] == 0


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(-4, 4))
@settings(max_examples=20, deadline=None)
def test_crps_is_the_integral_of_its_definition(mean: float, scale: float, label: float) -> None:
    def squared(z: float) -> float:
        return float((stats.norm.cdf(z, mean, scale) - (label <= z)) ** 2)

    ends = sorted({mean - 12 * scale, mean, label, mean + 12 * scale})
    whole = sum(integrate.quad(squared, low, high)[0] for low, high in pairwise(ends))
    got = crps_of_normal(np.array([mean]), np.array([scale]), np.array([label]))
    assert got[0] == pytest.approx(whole, abs=1e-5)
    levels = (np.arange(2_000) + 0.5) / 2_000
    quantiles = stats.norm.ppf(levels, mean, scale)[None]
    assert crps_of_quantiles(levels.tolist(), quantiles, np.array([label]))[0] == pytest.approx(whole, abs=5e-3)


def test_intervals_of_the_true_distribution_cover_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    mean, scale = rng.normal(size=20_000), np.exp(rng.normal(size=20_000))
    y = mean + scale * rng.normal(size=20_000)
    mask = np.arange(20_000) % 5 > 0
    half = scale * stats.norm.ppf(0.95)

    def measured(half: np.ndarray) -> dict[str, float | None]:
        stated = PredictedIntervals(np.stack([mean - half, mean + half], axis=1), 0.9)
        return evaluate(KINDS["regression"], mean, y, mask, stated).values

    got = measured(half)
    assert got["coverage"] == pytest.approx(0.9, abs=0.01)
    assert got["width"] == pytest.approx(2 * half[mask].mean())
    assert got["crps"] == pytest.approx(crps_of_normal(mean, scale, y)[mask].mean())
    assert (measured(3 * half)["coverage"] or 0) > 0.99
    assert (measured(3 * half)["crps"] or 0) > (got["crps"] or 0)
    point = measured(np.zeros(20_000))
    assert point["crps"] == pytest.approx(point["mae"])


def test_intervals_of_several_outputs_hold_their_sum_and_other_kinds_have_none() -> None:
    y = np.array([[1.0, 2.0], [0.0, 1.0]])
    stated = PredictedIntervals(np.array([[2.0, 4.0], [2.0, 4.0]]), 0.9)
    got = evaluate(KINDS["regression"], y + 1, y, None, stated).values
    assert (got["coverage"], got["width"]) == (0.5, 2.0)
    assert "crps" not in evaluate(KINDS["uplift"], y[:, 0], y[:, 0], None, stated).values
    endless = PredictedIntervals(np.array([[-np.inf, np.inf], [2.0, 4.0]]), 0.9)
    none = evaluate(KINDS["regression"], y, y, None, endless)
    assert none.values["crps"] is None
    assert none.reasons["coverage"]
    with pytest.raises(ValueError, match="level"):
        PredictedIntervals(np.zeros((2, 2)), 1.0)
    with pytest.raises(ValueError, match="low first"):
        PredictedIntervals(np.array([[1.0, 0.0]]), 0.9)


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
