"""A fitted task: its trees as LightGBM's own text, and what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.constant import repeat

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True)
class Boosted:
    """The trees of one task (one model, or one a brand or output), and the constant of one row.

    Attributes:
        kind: of the task.
        constant: prediction of one row where there are no trees: a number, or one for each place.
        models: LightGBM's text of each model, cut at the best round. Without any the task is predicted by its constant.
        columns: `columns[i]` is the brand or output that model i predicts; without columns the one model predicts all.
        rounds: of each model.
        features: columns of the matrix that they were grown on.
        train_rows: training rows that they were grown on.
        trees: of all models.
        note: a remark, such as why there are none.
    """

    kind: str
    constant: float | tuple[float, ...]
    models: tuple[str, ...]
    columns: tuple[int, ...]
    rounds: tuple[int, ...]
    features: int
    train_rows: int
    trees: int
    note: str = ""

    @cached_property
    def boosters(self) -> tuple[lightgbm.Booster, ...]:
        """The models, read from their texts."""
        import lightgbm

        return tuple(lightgbm.Booster(model_str=text) for text in self.models)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """[n, c] → predictions in final form (table in `ple_model.evaluation.kind`), each row by itself.

        Raises:
            ValueError: another number of columns than the trees were grown on.
        """
        if features.shape[1] != self.features:
            raise ValueError(f"a matrix of {features.shape[1]} columns for trees on {self.features}")
        if self.models and not self.columns:
            return _predict(self.boosters[0], features)
        out = self.constants(len(features))
        for column, booster in zip(self.columns, self.boosters, strict=True):
            out[:, column] = _predict(booster, features)
        return out

    def constants(self, rows: int) -> NDArray[np.float64]:
        """The constant for so many rows."""
        return repeat(np.asarray(self.constant, dtype=np.float64), rows)

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """[n, c] → [n, c + 1, K]: what each column adds to the K margins (log odds, logits of classes, values) of a
        row, and last their mean over the training rows; the sum are the row's margins, which predictions follow from.

        K is the number of classes or outputs, else 1; an output without a model stays at its constant. TreeSHAP, each
        split weighted by its training rows.
        Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (2020).

        Raises:
            ValueError: as `predict`.
        """
        if features.shape[1] != self.features:
            raise ValueError(f"a matrix of {features.shape[1]} columns for trees on {self.features}")
        if self.models and not self.columns:
            return _contributions(self.boosters[0], features)
        out = np.zeros((len(features), self.features + 1, np.size(self.constant)))
        out[:, -1] = self.constant
        for column, booster in zip(self.columns, self.boosters, strict=True):
            out[:, :, column] = _contributions(booster, features)[:, :, 0]
        return out

    def gains(self) -> NDArray[np.float64]:
        """[c] loss that the splits on each column save, over all models."""
        total = np.zeros(self.features)
        for booster in self.boosters:
            total += booster.feature_importance("gain")
        return total


def _predict(booster: lightgbm.Booster, features: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(features):  # LightGBM refuses a matrix without rows
        classes = booster.num_model_per_iteration()
        return np.zeros((0, classes) if classes > 1 else 0)
    return np.asarray(booster.predict(features, num_threads=1), dtype=np.float64)


def _contributions(booster: lightgbm.Booster, features: NDArray[np.float32]) -> NDArray[np.float64]:
    classes, width = booster.num_model_per_iteration(), features.shape[1] + 1
    if not len(features):
        return np.zeros((0, width, classes))
    found = booster.predict(features, pred_contrib=True, num_threads=1)
    return np.asarray(found, dtype=np.float64).reshape(len(features), classes, width).transpose(0, 2, 1)
