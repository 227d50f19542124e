"""Calibrators find planted faults, never hurt, and survive JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from ple_model.evaluation.calibration import (
    BinaryCalibrator,
    Calibrator,
    ContrastiveCalibrator,
    MulticlassCalibrator,
    RegressionCalibrator,
    fit_calibrator,
    from_dict,
)
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS


def planted(kind: str, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs that are miscalibrated in a known way, and labels."""
    rng = np.random.default_rng(seed)
    if kind == "binary":  # truth = σ(0.5·x − 1)
        x = rng.normal(0, 3, rows)
        return x, (rng.random(rows) < expit(0.5 * x - 1)).astype(np.float64)
    if kind == "multiclass":  # truth = softmax(0.4·x + bias)
        x = rng.normal(0, 3, (rows, 5))
        p = softmax(0.4 * x + np.array([1.0, 0.5, 0, -0.5, -1.0]), axis=1)
        return x, (p.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    if kind in ("regression", "uplift"):  # truth = 2 + 0.5·x, noisier where x is high
        x = rng.normal(0, 2, rows)
        return x, 2 + 0.5 * x + rng.normal(size=rows) * np.exp(0.3 * x)
    x = rng.normal(0, 1, (rows, 30))  # truth = softmax(3·x)
    first = (softmax(3 * x, axis=1).cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    return x, np.stack([first, np.full(rows, -1)], axis=1)


def identity(kind: str) -> Calibrator:
    return KINDS[kind].calibrator(planted(kind, 1)[0]).identity()


def fitted_all(rows: int = 600) -> list[tuple[Calibrator, np.ndarray]]:
    return [(fit_calibrator(KINDS[kind], *planted(kind, rows)), planted(kind, rows, 1)[0]) for kind in KINDS]


def test_recovers_planted_miscalibration() -> None:
    binary = fit_calibrator(KINDS["binary"], *planted("binary", 20_000))
    assert isinstance(binary, BinaryCalibrator)
    assert (binary.slope, binary.intercept) == pytest.approx((0.5, -1.0), abs=0.05)
    multi = fit_calibrator(KINDS["multiclass"], *planted("multiclass", 20_000))
    assert isinstance(multi, MulticlassCalibrator)
    assert multi.slope == pytest.approx(0.4, abs=0.02)
    assert np.array(multi.bias) - np.mean(multi.bias) == pytest.approx([1.0, 0.5, 0, -0.5, -1.0], abs=0.07)
    line = fit_calibrator(KINDS["regression"], *planted("regression", 20_000))
    assert isinstance(line, RegressionCalibrator)
    assert (line.slope, line.intercept) == pytest.approx((0.5, 2.0), abs=0.05)
    x, y = planted("regression", 500)
    line = fit_calibrator(KINDS["regression"], x, y)
    assert isinstance(line, RegressionCalibrator)
    assert (line.slope, line.intercept) == pytest.approx(tuple(np.polyfit(x, y, 1)))
    brands = fit_calibrator(KINDS["contrastive"], *planted("contrastive", 5_000))
    assert isinstance(brands, ContrastiveCalibrator)
    assert brands.slope == pytest.approx(3, abs=0.15)


def test_few_rows_stay_nearer_to_the_identity_and_predict_better_for_it() -> None:
    """Against plain maximum likelihood on 120 rows of a network that is calibrated as it is."""
    fresh = np.random.default_rng(0).normal(0, 1.5, 20_000)
    truth = expit(fresh)

    def loss(p: np.ndarray) -> float:
        return float(-(truth * np.log(p) + (1 - truth) * np.log1p(-p)).mean())

    losses = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = rng.normal(0, 1.5, 120)
        y = (rng.random(120) < expit(x)).astype(np.float64)
        fitted = fit_calibrator(KINDS["binary"], x, y)
        plain = LogisticRegression(C=np.inf).fit(x[:, None], y)
        assert isinstance(fitted, BinaryCalibrator)
        losses.append((loss(fitted.apply(fresh)), loss(plain.predict_proba(fresh[:, None])[:, 1])))
    ours, maximum = np.mean(losses, axis=0) - loss(truth)
    assert ours < 0.75 * maximum


def test_calibrated_probabilities_have_a_small_calibration_error_on_other_rows() -> None:
    x, y = planted("binary", 8_000, seed=1)
    before = evaluate(KINDS["binary"], identity("binary").apply(x), y).values["ece"]
    after = evaluate(KINDS["binary"], fit_calibrator(KINDS["binary"], *planted("binary", 4_000)).apply(x), y).values[
        "ece"
    ]
    assert before is not None
    assert after is not None
    assert after < 0.03 < 0.1 < before


@given(st.integers(0, 10_000), st.integers(100, 400), st.floats(-5, 5), st.floats(0.05, 30))
@settings(max_examples=25, deadline=None)
def test_never_worse_than_the_identity_on_validation_rows(seed: int, rows: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(shift, scale, rows), (rng.random(rows) < 0.3).astype(np.float64)
    logits, classes = rng.normal(0, scale, (rows, 4)), rng.integers(0, 4, rows)
    pairs = [("binary", x, y), ("multiclass", logits, classes)]
    for kind, outputs, labels in pairs:
        fitted = evaluate(KINDS[kind], fit_calibrator(KINDS[kind], outputs, labels).apply(outputs), labels).values[
            "log_loss"
        ]
        plain = evaluate(KINDS[kind], identity(kind).apply(outputs), labels).values["log_loss"]
        assert fitted is not None
        assert plain is not None
        assert fitted <= plain + 1e-12
    positives = np.stack([classes, (classes + 1) % 4], axis=1)
    slope = fit_calibrator(KINDS["contrastive"], logits, positives)
    likelihood = [
        np.take_along_axis(log_softmax(s * logits, axis=1), positives, axis=1).mean() for s in (slope.slope, 1.0)
    ]
    assert likelihood[0] >= likelihood[1] - 1e-9


def test_order_is_kept_even_where_the_model_is_upside_down() -> None:
    x, y = planted("binary", 2_000)
    calibrated = fit_calibrator(KINDS["binary"], x, 1 - y).apply(x)
    assert (np.diff(calibrated[np.argsort(x)]) >= 0).all()
    assert evaluate(KINDS["binary"], calibrated, y).values["auc"] == evaluate(KINDS["binary"], x, y).values["auc"]
    x, y = planted("regression", 2_000)
    assert (np.diff(fit_calibrator(KINDS["regression"], x, -y).apply(np.sort(x))) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_rows_give_the_identity_and_say_so(kind: str) -> None:
    x, y = planted(kind, 200)
    fitted = fit_calibrator(KINDS[kind], x, y, np.arange(200) < 60)
    assert "60 validation rows" in fitted.note
    assert np.array_equal(fitted.apply(x), identity(kind).apply(x))
    assert from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_too_few_of_a_class_give_the_identity() -> None:
    x, _ = planted("binary", 300)
    assert "3 rows of the rarer class" in fit_calibrator(KINDS["binary"], x, (np.arange(300) < 3).astype(float)).note


def test_a_class_without_validation_rows_stays_finite() -> None:
    x, y = planted("multiclass", 500)
    fitted = fit_calibrator(KINDS["multiclass"], x, np.minimum(y, 3))
    p = fitted.apply(x)
    assert np.isfinite(p).all()
    assert (p > 0).all()
    assert p.sum(axis=1) == pytest.approx(1)


def test_masked_rows_are_not_looked_at() -> None:
    for kind in KINDS:
        x, y = planted(kind, 600)
        mask = np.arange(600) % 2 == 0
        clean = fit_calibrator(KINDS[kind], x[mask], y[mask])
        x[~mask] = np.nan
        assert fit_calibrator(KINDS[kind], x, y, mask) == clean


def test_json_gives_back_the_same_map() -> None:
    for fitted, x in fitted_all():
        again = from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        assert again == fitted
        assert np.array_equal(again.apply(x), fitted.apply(x))
    with pytest.raises(ValueError, match="unknown kind"):
        from_dict({"kind": "ranking"})
    with pytest.raises(TypeError):
        from_dict({"kind": "binary", "gradient": 1.0})


def test_a_row_has_the_same_bytes_in_every_batch() -> None:
    for fitted, x in fitted_all():
        whole = fitted.apply(x)
        for size in (1, 3, 17):
            parts = np.concatenate([fitted.apply(x[i : i + size]) for i in range(0, len(x), size)])
            assert parts.tobytes() == whole.tobytes()


def test_outputs_that_are_not_finite_are_an_error() -> None:
    x, y = planted("binary", 300)
    x[5] = np.nan
    with pytest.raises(ValueError, match="1 validation cells are not finite"):
        fit_calibrator(KINDS["binary"], x, y)
