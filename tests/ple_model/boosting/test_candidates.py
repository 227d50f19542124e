"""Trees over pairs of a row and a candidate, on histories whose chances are planted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ple_model.boosting.candidates import CandidateBudget, CandidateTrees, Histories, fit_candidates

CANDIDATES, PLACES = 12, 4
HISTORY = [5, -1, 0, 9, 3]  # of a vocabulary of five
BUDGET = CandidateBudget(rounds=60, leaves=8, min_leaf_pairs=20, drawn=4)
NEVER = 0.03  # the chance that a row contains a candidate of which its history says nothing


def _planted(rows: int, seed: int) -> tuple[Histories, NDArray, NDArray]:
    """Histories, labels, and the chances [rows, candidates]: channel 0 is the chance of a brand to be bought again."""
    rng = np.random.default_rng(seed)
    side = np.zeros((rows, PLACES, 3), dtype=np.float32)
    side[..., 0] = np.argsort(rng.random((rows, len(HISTORY))), axis=1)[:, :PLACES]
    side[..., 1] = rng.uniform(0.05, 0.95, (rows, PLACES))
    side[..., 2] = rng.normal(size=(rows, PLACES))
    mask = rng.random((rows, PLACES)) < 0.7
    side[~mask] = np.nan
    histories = Histories.of(side, mask, HISTORY)
    chance = np.full((rows, CANDIDATES), NEVER)
    own = histories.candidate >= 0
    chance[np.nonzero(own)[0], histories.candidate[own]] = histories.values[own][:, 0]
    bought = rng.random(chance.shape) < chance
    labels = np.sort(np.where(bought, np.arange(CANDIDATES), -1), axis=1)[:, ::-1]
    return histories, labels, chance


@pytest.fixture(scope="module")
def fitted() -> CandidateTrees:
    histories, labels, _ = _planted(4000, seed=0)
    return fit_candidates(histories, labels, *_planted(1500, seed=1)[:2], CANDIDATES, BUDGET)


def test_candidates_are_those_of_the_vocabulary_and_of_valid_places() -> None:
    side = np.array([[[3.0, 0.5], [1.0, 0.25], [np.nan, np.nan]]])
    histories = Histories.of(side, np.array([[True, True, False]]), HISTORY)
    assert histories.candidate.tolist() == [[9, -1, -1]]
    assert histories.values[0, :2, 0].tolist() == [0.5, 0.25]


def test_predictions_are_the_planted_chances(fitted: CandidateTrees) -> None:
    histories, _, chance = _planted(1500, seed=2)
    predicted = fitted.predict(histories)
    own = chance != NEVER
    assert np.corrcoef(predicted[own], chance[own])[0, 1] > 0.97
    assert abs(predicted[own].mean() - chance[own].mean()) < 0.02
    assert abs(predicted[~own].mean() - NEVER) < 0.01
    assert 1 < fitted.trees <= BUDGET.rounds


def test_a_row_is_predicted_by_itself_and_without_a_history_by_popularity(fitted: CandidateTrees) -> None:
    histories, _, _ = _planted(30, seed=3)
    whole = fitted.predict(histories)
    for row in (0, 7, 29):
        np.testing.assert_array_equal(fitted.predict(histories.take(np.array([row])))[0], whole[row])
    nothing = Histories(np.full((2, PLACES), -1), histories.values[:2])
    np.testing.assert_array_equal(*fitted.predict(nothing))
    own = histories.candidate >= 0
    outside = np.ones_like(whole, dtype=bool)
    outside[np.nonzero(own)[0], histories.candidate[own]] = False
    np.testing.assert_array_equal(whole[outside], np.broadcast_to(fitted.predict(nothing)[:1], whole.shape)[outside])
    assert fitted.predict(histories.take(np.arange(0))).shape == (0, CANDIDATES)


def test_the_same_rows_and_seed_give_the_same_trees(fitted: CandidateTrees) -> None:
    histories, labels, _ = _planted(4000, seed=0)
    again = fit_candidates(histories, labels, *_planted(1500, seed=1)[:2], CANDIDATES, BUDGET)
    assert again == fitted
    other = fit_candidates(histories, labels, *_planted(1500, seed=1)[:2], CANDIDATES, BUDGET, seed=1)
    assert other.model != fitted.model


def test_rows_without_labels_are_refused() -> None:
    histories, labels, _ = _planted(20, seed=0)
    with pytest.raises(ValueError, match="19 labels and 20 histories of training rows"):
        fit_candidates(histories, labels[:19], histories, labels, CANDIDATES)
    with pytest.raises(ValueError, match="0 labels and 0 histories of validation rows"):
        fit_candidates(histories, labels, histories.take(np.arange(0)), labels[:0], CANDIDATES)
