"""One boosted model over pairs of a row and a candidate: the trees of a contrastive task whose rows have a history.

The same trees judge every candidate, by what the row's own history says of it and by how popular it is: the numbers
that the network's repeat term reads (`ple_model.layers.repeat`). A candidate outside of the history has missing values
in place of the history's, so all of equal popularity are predicted alike.

Pairs of a training row are its own candidates, its labels, and candidates drawn at random from the rest, which are
weighted so that a row's pairs stand for all candidates: a prediction is the probability that the row contains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ple_model.closed import ClosedModel
from ple_model.evaluation.constant import SMOOTHING, repeat, smoothed_counts

if TYPE_CHECKING:
    import lightgbm


class CandidateBudget(ClosedModel):
    """The budget of one model over pairs: a number of trees and rows, never a time."""

    rounds: int = Field(default=150, ge=1)
    early_stopping: int = Field(default=15, ge=1, description="rounds without a better validation loss that end a fit")
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    leaves: int = Field(default=63, ge=2)
    min_leaf_pairs: int = Field(default=100, ge=1)
    l2: float = Field(default=1.0, ge=0)
    drawn: int = Field(default=16, ge=1, description="candidates drawn for each row beside its own and its labels")
    max_rows: int = Field(default=20_000, ge=1, description="training rows, and validation rows; more are sampled down")
    max_bin: int = Field(default=127, ge=2, le=255)


@dataclass(frozen=True)
class Histories:
    """The histories of R rows.

    Attributes:
        candidate: of each place, int64 [R, K], −1 where it holds none.
        values: what is known of it, float32 [R, K, C].
    """

    candidate: NDArray[np.int64]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, side: NDArray, mask: NDArray[np.bool_], history: Sequence[int]) -> Histories:
        """From a side input.

        Args:
            side: [R, K, 1 + C], channel 0 a number of the history's vocabulary.
            mask: [R, K], True = the place is valid.
            history: for each value of that vocabulary the candidate that it is, −1 = none (`TaskConfig.history`).
        """
        number = np.where(mask, side[..., 0], 0).astype(np.int64)
        candidate = np.where(mask, np.asarray(history, dtype=np.int64)[number], -1)
        return cls(candidate, side[..., 1:].astype(np.float32))

    def __len__(self) -> int:
        return len(self.candidate)

    def take(self, rows: NDArray) -> Histories:
        """The rows of an index."""
        return Histories(self.candidate[rows], self.values[rows])


@dataclass(frozen=True)
class CandidateTrees:
    """A fitted model over pairs.

    Attributes:
        kind: of the task.
        model: LightGBM's own text of it, cut at the best round.
        popularity: share of training rows that contain each candidate, [M].
        history: for each value of the history's vocabulary the candidate that it is, −1 = none.
        trees: that were kept.
        train_rows: training rows that pairs were made of.
        pairs: training pairs.
    """

    kind: str
    model: str
    popularity: tuple[float, ...]
    history: tuple[int, ...]
    trees: int
    train_rows: int
    pairs: int

    @property
    def note(self) -> str:
        """A remark for tables."""
        return f"one model over {self.pairs:,} pairs of a row and a candidate"

    def constants(self, rows: int) -> NDArray[np.float64]:
        """Popularity, for so many rows."""
        return repeat(np.asarray(self.popularity, dtype=np.float64), rows)

    @cached_property
    def booster(self) -> lightgbm.Booster:
        """The model, read from its text."""
        import lightgbm

        return lightgbm.Booster(model_str=self.model)

    def predict(self, histories: Histories) -> NDArray[np.float64]:
        """Probabilities [R, M] that a row contains each candidate."""
        popularity = np.asarray(self.popularity)
        out = np.tile(self._predict(_unknown(popularity, histories.values.shape[-1])), (len(histories), 1))
        own = histories.candidate >= 0
        row, candidate = np.nonzero(own)[0], histories.candidate[own]
        out[row, candidate] = self._predict(_features(histories.values[own], popularity[candidate]))
        return out

    def _predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        if not len(features):  # LightGBM refuses a matrix without rows
            return np.zeros(0)
        return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)


def fit_candidates(
    train: Histories,
    labels: NDArray,
    validation: Histories,
    validation_labels: NDArray,
    candidates: int,
    budget: CandidateBudget | None = None,
    seed: int = 0,
    history: Sequence[int] = (),
    kind: str = "contrastive",
) -> CandidateTrees:
    """Fit one model over pairs. Early stopping reads the validation rows; nothing else does.

    Args:
        train: histories of labelled training rows.
        labels: their candidates [R, P], padded with −1.
        validation: histories of labelled validation rows.
        validation_labels: their candidates [R', P'].
        candidates: M, number of candidates.
        budget: by default that of `CandidateBudget`.
        seed: of rows and candidates that are drawn.
        history: kept with the trees, `CandidateTrees.history`.
        kind: of the task.

    Raises:
        ValueError: no training or no validation row, or labels of another number of rows than histories.
    """
    import lightgbm

    budget = budget or CandidateBudget()
    for name, histories, given in (("training", train, labels), ("validation", validation, validation_labels)):
        if not len(given) or len(given) != len(histories):
            raise ValueError(f"{len(given)} labels and {len(histories)} histories of {name} rows")
    popularity = smoothed_counts(labels, candidates) / (len(labels) + 2 * SMOOTHING)
    rng = np.random.default_rng(seed)
    params = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": budget.learning_rate,
        "num_leaves": budget.leaves,
        "min_data_in_leaf": budget.min_leaf_pairs,
        "lambda_l2": budget.l2,
        "max_bin": budget.max_bin,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
        "seed": seed,
    }
    made = [
        _pairs(*_some(histories, given, budget.max_rows, rng), popularity, budget.drawn, rng)
        for histories, given in ((train, labels), (validation, validation_labels))
    ]
    first = lightgbm.Dataset(made[0].features, made[0].bought, weight=made[0].weight, params=params)
    second = lightgbm.Dataset(made[1].features, made[1].bought, weight=made[1].weight, reference=first, params=params)
    stop = lightgbm.early_stopping(budget.early_stopping, verbose=False)
    booster = lightgbm.train(params, first, budget.rounds, valid_sets=[second], callbacks=[stop])
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return CandidateTrees(
        kind,
        text,
        tuple(popularity.tolist()),
        tuple(history),
        booster.best_iteration,
        min(len(train), budget.max_rows),
        len(made[0].bought),
    )


@dataclass(frozen=True)
class _Pairs:
    """features [N, C + 1]; bought [N] 0 or 1; weight [N]."""

    features: NDArray[np.float32]
    bought: NDArray[np.float64]
    weight: NDArray[np.float64]


def _pairs(
    histories: Histories, labels: NDArray, popularity: NDArray[np.float64], drawn: int, rng: np.random.Generator
) -> _Pairs:
    """Own candidates and labels with weight 1, others drawn uniformly with the inverse of their expected number."""
    rows, candidates = len(histories), len(popularity)
    place, given = histories.candidate >= 0, labels >= 0
    own, bought = np.zeros((rows, candidates), dtype=bool), np.zeros((rows, candidates), dtype=bool)
    own[np.nonzero(place)[0], histories.candidate[place]] = True
    bought[np.nonzero(given)[0], labels[given].astype(np.int64)] = True
    new = np.stack(np.nonzero(bought & ~own))
    draw = np.stack([np.repeat(np.arange(rows), drawn), rng.integers(candidates, size=rows * drawn)])
    draw = draw[:, ~(own | bought)[draw[0], draw[1]]]
    known = np.stack([np.nonzero(place)[0], histories.candidate[place]])
    channels = histories.values.shape[-1]
    return _Pairs(
        np.concatenate(
            [
                _features(histories.values[place], popularity[known[1]]),
                _unknown(popularity[np.concatenate([new[1], draw[1]])], channels),
            ]
        ),
        np.concatenate([bought[known[0], known[1]], np.ones(new.shape[1]), np.zeros(draw.shape[1])]),
        np.concatenate([np.ones(known.shape[1] + new.shape[1]), np.full(draw.shape[1], candidates / drawn)]),
    )


def _features(values: NDArray[np.float32], popularity: NDArray[np.float64]) -> NDArray[np.float32]:
    """[N, C + 1]: the history's values, and the log odds of the candidate's popularity."""
    log_odds = np.log(popularity) - np.log1p(-popularity)
    return np.column_stack([values, log_odds]).astype(np.float32)


def _unknown(popularity: NDArray[np.float64], channels: int) -> NDArray[np.float32]:
    return _features(np.full((len(popularity), channels), np.nan, dtype=np.float32), popularity)


def _some(histories: Histories, labels: NDArray, most: int, rng: np.random.Generator) -> tuple[Histories, NDArray]:
    """The rows, or so many of them drawn without replacement."""
    if len(histories) <= most:
        return histories, labels
    rows = np.sort(rng.choice(len(histories), most, replace=False))
    return histories.take(rows), labels[rows]
