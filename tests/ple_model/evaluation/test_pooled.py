"""Pooled differences equal those of copied rows, their intervals cover, verdicts follow from their definition."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ple_model.evaluation.bootstrap import Interval, draw_counts, resample
from ple_model.evaluation.kind import Headline
from ple_model.evaluation.metrics import evaluate
from ple_model.evaluation.pooled import OriginRows, pool, pooled_calibration, seed_mean
from ple_model.evaluation.verdict import verdict
from ple_model.tasks import KINDS
from tests.ple_model.evaluation.test_metrics import sample


def origin(kind: str, seed: int, rows: int = 120, customers: int = 50) -> OriginRows:
    """Rows of some of the customers; two models, the second less sure."""
    predictions, labels = sample(kind, rows, seed)
    other, _ = sample(kind, rows, seed + 1_000)
    rng = np.random.default_rng(seed)
    ids = np.array([f"c{i:02d}" for i in rng.integers(0, customers, rows)])
    mask = rng.random(rows) < 0.8
    mixed = 0.5 * predictions + 0.5 * other
    return OriginRows(str(seed), ids, labels, mask, {"a": predictions, "b": mixed})


@pytest.mark.parametrize("kind", KINDS)
def test_resamples_equal_copied_rows(kind: str) -> None:
    """Brute force: every row of a customer, at every origin, copied as often as the customer is drawn."""
    origins = [origin(kind, seed) for seed in range(3)]
    got = pool(KINDS[kind], origins, "a", resamples=40, level=0.9, seed=3)
    everyone = sorted({c for o in origins for c in o.customers[o.mask]})
    metric = KINDS[kind].headline.metric

    def value(model: str, times: dict[str, int]) -> float:
        values = []
        for o in origins:
            at = np.flatnonzero(o.mask)
            copied = np.repeat(at, [times[c] for c in o.customers[at]])
            found = evaluate(KINDS[kind], o.predictions[model][copied], o.labels[copied]).values[metric]
            assert found is not None
            values.append(found)
        return float(np.mean(values))

    whole = dict.fromkeys(everyone, 1)
    drawn = []
    for row in draw_counts(len(everyone), 40, 3):
        times = dict(zip(everyone, row.astype(int).tolist(), strict=True))
        drawn.append(value("a", times) - value("b", times))
    low, high = np.quantile(drawn, [0.05, 0.95])
    interval = got.differences["b"].interval
    assert interval.estimate == pytest.approx(value("a", whole) - value("b", whole))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert got.differences["b"].width == pytest.approx(high - low)
    assert got.customers == len(everyone)
    assert got.rows == sum(o.mask.sum() for o in origins)
    json.dumps(got.to_dict(), allow_nan=False)


def test_one_origin_is_the_paired_bootstrap() -> None:
    o = origin("binary", 4)
    alone = pool(KINDS["binary"], [o], "a", resamples=100, seed=1)
    same = resample(KINDS["binary"], o.predictions, o.labels, o.mask, o.customers, subject="a", resamples=100, seed=1)
    assert alone.differences["b"].interval == same.differences["b"]["auc"]
    assert alone.values == {model: found["auc"] for model, found in same.metrics.items()}


def test_intervals_cover_where_customers_return_at_every_origin() -> None:
    """A customer's error is the same at all origins: rows drawn one by one would pretend to three times as many."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(2, 80))
        origins = []
        for number in range(3):
            label = rng.normal(size=80)
            errors = own + 0.1 * rng.normal(size=(2, 80))
            predictions = {"a": label + errors[0], "b": label + 1.2 * errors[1]}
            origins.append(OriginRows(str(number), np.arange(80), label, np.ones(80, dtype=bool), predictions))
        got = pool(KINDS["regression"], origins, "a", resamples=200, seed=seed).differences["b"].interval
        assert got.low is not None
        assert got.high is not None
        covered += got.low <= 0.44 * 1.01 <= got.high
    assert 86 <= covered <= 100  # nominal 95; percentile intervals of a ratio of 80 customers fall a little short


def test_seeds_are_averaged_in_probabilities() -> None:
    assert seed_mean([np.array([0.2, 0.4]), np.array([0.4, 0.8])]) == pytest.approx([0.3, 0.6])
    with pytest.raises(ValueError, match="shapes"):
        seed_mean([np.zeros(2), np.zeros(3)])
    with pytest.raises(ValueError, match="shapes"):
        seed_mean([])


@pytest.mark.parametrize(
    ("low", "estimate", "high", "better", "expected"),
    [
        (0.01, 0.02, 0.03, 1, "ahead"),
        (0.01, 0.02, 0.03, -1, "behind"),
        (-0.03, -0.02, -0.01, 1, "behind"),
        (-0.03, -0.02, -0.01, -1, "ahead"),
        (0.001, 0.002, 0.003, 1, "ahead"),
        (-0.01, 0.004, 0.02, 1, "level"),
        (-0.01, -0.004, 0.02, -1, "level"),
        (-0.01, 0.03, 0.07, 1, "open"),
        (-0.07, -0.03, 0.01, 1, "open"),
        (None, 0.03, None, 1, "unknown"),
    ],
)
def test_verdicts(low: float | None, estimate: float, high: float | None, better: int, expected: str) -> None:
    headline = Headline("auc", "AUC", 1 if better > 0 else -1, 0.01, "")
    assert verdict(Interval(estimate, low, high), headline, 0.5) == expected


def test_every_kind_has_a_margin_with_a_reason() -> None:
    for kind in KINDS.values():
        assert 0 < kind.headline.margin <= 0.05
        assert kind.headline.reason
    assert KINDS["binary"].headline.margin_at(0.8) == 0.01
    assert KINDS["multiclass"].headline.margin_at(2.0) == pytest.approx(0.02)


def test_an_origin_without_the_metric_is_left_out_and_named() -> None:
    good, empty, flat = (origin("binary", seed) for seed in range(3))
    empty = replace(empty, mask=np.zeros(120, dtype=bool))
    flat = replace(flat, labels=np.zeros(120))
    got = pool(KINDS["binary"], [good, empty, flat], "a", resamples=50)
    assert got.left_out.keys() == {"1", "2"}
    assert got.left_out["1"] == "no label"
    assert list(got.by_origin["a"]) == ["0"]
    assert got.rows == good.mask.sum()
    nothing = pool(KINDS["binary"], [empty], "a", resamples=50)
    assert nothing.differences["b"].verdict == "unknown"
    assert nothing.values["a"].reason
    with pytest.raises(ValueError, match="models"):
        pool(KINDS["binary"], [good, replace(flat, predictions={"a": flat.predictions["a"]})], "a")
    with pytest.raises(ValueError, match="models"):
        pool(KINDS["binary"], [good], "c")


def test_calibration_is_judged_over_all_origins() -> None:
    rng = np.random.default_rng(0)

    def rows(name: str) -> OriginRows:
        p = rng.uniform(0.1, 0.8, 600)
        y = (rng.random(600) < p).astype(np.float64)
        return OriginRows(name, np.arange(600), y, np.arange(600) > 99, {"good": p, "high": p + 0.15})

    origins = [rows("x"), rows("y")]
    good, high = (pooled_calibration(KINDS["binary"], origins, model) for model in ("good", "high"))
    assert good is not None
    assert high is not None
    assert (good.rows, good.customers) == (1_000, 500)
    assert not good.distinguishable
    assert high.distinguishable
    assert high.debiased == pytest.approx(0.15, abs=0.03)
    assert pooled_calibration(KINDS["regression"], [origin("regression", 0)], "a") is None
