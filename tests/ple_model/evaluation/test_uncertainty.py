"""u stays in [0, 1], the threshold keeps the stated share, and a fallback row carries its clusters' base rate."""

import json

import numpy as np
import pytest

from ple_model.evaluation.calibration import BinaryCalibrator, RegressionCalibrator, fit_calibrator
from ple_model.evaluation.calibration.base import normalised_entropy
from ple_model.evaluation.uncertainty import TaskUncertainty, fit_uncertainty
from ple_model.tasks import KINDS

CLUSTERS = 4
WIDTH = {"binary": 1, "multiclass": 5, "regression": 1, "contrastive": 30, "uplift": 1}


def raw(kind: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw outputs, labels and posteriors; labels follow the cluster."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(CLUSTERS, 0.3), rows)
    cluster = posterior.argmax(axis=1)
    if kind == "binary":
        return rng.normal(0, 3, rows), (rng.random(rows) < 0.1 + 0.2 * cluster).astype(np.float64), posterior
    if kind == "multiclass":
        return rng.normal(0, 3, (rows, 5)), (cluster + rng.integers(0, 2, rows)) % 5, posterior
    if kind in ("regression", "uplift"):
        y = cluster + rng.normal(size=rows)
        return y + rng.normal(size=rows) * (1 + (y > 2)), y, posterior
    labels = np.stack([cluster, np.where(rng.random(rows) < 0.5, cluster + 7, -1)], axis=1)
    return rng.normal(0, 3, (rows, 30)), labels, posterior


def fitted(kind: str, coverage: float = 0.9) -> tuple[TaskUncertainty, np.ndarray]:
    x, y, _ = raw(kind, 1_000, 1)
    _, train_y, posterior = raw(kind, 3_000, 2)
    calibrator = fit_calibrator(KINDS[kind], x, y)
    mask = np.ones(3_000, dtype=bool)
    state = fit_uncertainty(KINDS[kind], calibrator, x, train_y, mask, posterior, WIDTH[kind], coverage)
    return state, calibrator.uncertainty(calibrator.apply(x), state.label_range)


def test_entropy_is_0_when_sure_and_1_when_level() -> None:
    p = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert normalised_entropy(p) == pytest.approx([0, 1, 0.5])
    binary = BinaryCalibrator()
    assert binary.uncertainty(np.array([0.5, 0.0, 1.0]), 0.0) == pytest.approx([1, 0, 0])
    u = binary.uncertainty(np.array([0.5, 0.7, 0.9, 0.99]), 0.0)
    assert (np.diff(u) < 0).all()
    assert RegressionCalibrator().uncertainty(np.array([3.0, 4.0]), 2.0).tolist() == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_u_is_a_share_and_the_threshold_keeps_the_stated_one(kind: str) -> None:
    for coverage in (0.5, 0.9, 0.98, 1.0):
        state, u = fitted(kind, coverage)
        assert ((u >= 0) & (u <= 1)).all()
        assert state.kept == pytest.approx((u <= state.threshold).mean())
        assert state.kept >= coverage
        if kind not in ("regression", "uplift"):
            assert state.kept == pytest.approx(coverage, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_only_rows_above_the_threshold_are_replaced_by_their_base_rate(kind: str) -> None:
    x, y, _ = raw(kind, 1_000, 1)
    calibrator = fit_calibrator(KINDS[kind], x, y)
    state, _ = fitted(kind, 0.5)
    x, _, posterior = raw(kind, 400, 3)
    judged = state.judge(calibrator, x, posterior)
    plain = calibrator.apply(x)
    assert 0 < judged.fallback.sum() < 400
    assert np.array_equal(judged.fallback, judged.u > state.threshold)
    assert np.array_equal(judged.predictions[~judged.fallback], plain[~judged.fallback])
    assert np.array_equal(judged.predictions[judged.fallback], state.base_rate(posterior[judged.fallback]))
    if kind in ("multiclass", "contrastive"):
        assert judged.predictions.sum(axis=1) == pytest.approx(1)
    rows = [state.judge(calibrator, x[i : i + 1], posterior[i : i + 1]).predictions for i in range(400)]
    assert np.concatenate(rows).tobytes() == judged.predictions.tobytes()


def test_base_rates_are_posterior_weighted_means_shrunk_to_the_population() -> None:
    rng = np.random.default_rng(0)
    hard = np.eye(3)[np.repeat([0, 1], [1_000, 10])]
    y = np.concatenate([rng.random(1_000) < 0.2, np.ones(10)]).astype(np.float64)
    mask = np.ones(1_010, dtype=bool)
    state = fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(50), y, mask, hard, 1)
    rates = np.array(state.clusters)[:, 0]
    population = y.mean()
    assert rates[0] == pytest.approx((y[:1_000].sum() + 50 * population) / 1_050)
    assert rates[1] == pytest.approx((10 + 50 * population) / 60)
    assert rates[2] == pytest.approx(population)  # nobody's cluster
    mixed = state.base_rate(np.array([[0.25, 0.75, 0], [0, 0, 0]]))
    assert mixed == pytest.approx([0.25 * rates[0] + 0.75 * rates[1], population])
    half = fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(50), y, mask, np.full((1_010, 3), 1 / 3), 1)
    assert np.array(half.clusters)[:, 0] == pytest.approx(population)


def test_masked_training_rows_do_not_count() -> None:
    _, y, posterior = raw("binary", 500, 4)
    mask = np.arange(500) % 2 == 0
    clean = fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(9), y[mask], mask[mask], posterior[mask], 1)
    y[~mask] = np.nan
    assert fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(9), y, mask, posterior, 1) == clean
    with pytest.raises(ValueError, match="no training row"):
        fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(9), y, np.zeros(500, dtype=bool), posterior, 1)
    with pytest.raises(ValueError, match="coverage"):
        fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(9), y, mask, posterior, 1, coverage=98)


def test_without_validation_rows_nothing_falls_back_and_the_note_says_so() -> None:
    _, y, posterior = raw("binary", 500, 4)
    state = fit_uncertainty(KINDS["binary"], BinaryCalibrator(), np.zeros(0), y, np.ones(500, dtype=bool), posterior, 1)
    assert "no validation rows" in state.note
    assert not state.judge(BinaryCalibrator(), np.zeros(3), posterior[:3]).fallback.any()


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_back_an_equal_state(kind: str) -> None:
    state, _ = fitted(kind)
    assert TaskUncertainty.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False))) == state


def test_posteriors_of_another_number_of_clusters_are_an_error() -> None:
    state, _ = fitted("binary")
    with pytest.raises(ValueError, match="for 4 clusters"):
        state.base_rate(np.zeros((2, 20)))
