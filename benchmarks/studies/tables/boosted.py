"""LightGBM, XGBoost and CatBoost on a table, one model a task, with native categories.

Each stops early on the validation rows, which also chose its settings (`searching`). A `Fit` is what all three give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.libraries import library_of
from benchmarks.studies.tables.table import Table

Floats = NDArray[np.float64]
Settings = Mapping[str, float | int]
PATIENCE = 100
"""Rounds without a better validation loss that end a fit."""
ROUNDS = 5_000


@dataclass(frozen=True)
class Fit:
    """predict: rows of `Table.mixed` → probabilities or values [n]; loss: of the validation rows; rounds: kept."""

    predict: Callable[[NDArray[np.float32]], Floats]
    loss: float
    rounds: int


def lightgbm(table: Table, task: str, settings: Settings, seed: int, threads: int) -> Fit:
    """LightGBM. Settings: those of its parameters."""
    import lightgbm as library

    x, y = _rows(table, task)
    categories = list(range(len(table.number_names), x[0].shape[1]))
    given: dict[str, Any] = {"categorical_feature": categories, "free_raw_data": False}
    objective = "binary" if table.kinds[task] == "binary" else "regression"
    metric = "binary_logloss" if table.kinds[task] == "binary" else "l2"
    params = {"objective": objective, "metric": metric, "seed": seed, "num_threads": threads, "verbosity": -1}
    train = library.Dataset(x[0], y[0], params={"verbosity": -1}, **given)
    valid = library.Dataset(x[1], y[1], reference=train, **given)
    stop = library.early_stopping(PATIENCE, verbose=False)
    fitted = library.train({**params, **settings}, train, ROUNDS, valid_sets=[valid], callbacks=[stop])
    loss = float(fitted.best_score["valid_0"][metric])
    return Fit(lambda rows: np.asarray(fitted.predict(rows), dtype=np.float64), loss, fitted.best_iteration)


def xgboost(table: Table, task: str, settings: Settings, seed: int, threads: int) -> Fit:
    """XGBoost with histograms. Settings: those of its parameters."""
    library = library_of("xgboost", "xgboost")
    x, y = _rows(table, task)
    binary = table.kinds[task] == "binary"
    types = ["q"] * len(table.number_names) + ["c"] * len(table.category_names)

    def matrix(rows: NDArray[np.float32], labels: NDArray | None = None) -> Any:
        return library.DMatrix(rows, labels, feature_types=types, enable_categorical=True, nthread=threads)

    params: dict[str, Any] = {"objective": "binary:logistic" if binary else "reg:squarederror", "tree_method": "hist"}
    params |= {"eval_metric": "logloss" if binary else "rmse", "seed": seed, "nthread": threads, **settings}
    fitted = library.train(
        params,
        matrix(x[0], y[0]),
        ROUNDS,
        evals=[(matrix(x[1], y[1]), "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = fitted.best_iteration + 1
    loss = float(fitted.best_score) ** (1 if binary else 2)

    def predict(rows: NDArray[np.float32]) -> Floats:
        return np.asarray(fitted.predict(matrix(rows), iteration_range=(0, best)), dtype=np.float64)

    return Fit(predict, loss, best)


def catboost(table: Table, task: str, settings: Settings, seed: int, threads: int) -> Fit:
    """CatBoost. Settings: those of its parameters."""
    library = library_of("catboost", "catboost")
    x, y = _rows(table, task)
    binary, numbers = table.kinds[task] == "binary", len(table.number_names)

    def pool(rows: NDArray[np.float32], labels: NDArray | None = None) -> Any:
        features = library.FeaturesData(
            num_feature_data=np.ascontiguousarray(rows[:, :numbers]),
            cat_feature_data=rows[:, numbers:].astype(np.int64).astype(np.bytes_).astype(object)
            if numbers < rows.shape[1]
            else None,
        )
        return library.Pool(features, labels)

    loss_name = "Logloss" if binary else "RMSE"
    fitted = library.CatBoost(
        {
            **{"loss_function": loss_name, "iterations": ROUNDS, "random_seed": seed, "thread_count": threads},
            **{"allow_writing_files": False, "verbose": False, "od_type": "Iter", "od_wait": PATIENCE},
            **settings,
        }
    )
    fitted.fit(pool(x[0], y[0]), eval_set=pool(x[1], y[1]))
    loss = float(fitted.get_best_score()["validation"][loss_name]) ** (1 if binary else 2)

    def predict(rows: NDArray[np.float32]) -> Floats:
        if binary:
            return np.asarray(fitted.predict(pool(rows), prediction_type="Probability"), dtype=np.float64)[:, 1]
        return np.asarray(fitted.predict(pool(rows)), dtype=np.float64)

    return Fit(predict, loss, fitted.get_best_iteration() + 1)


LIBRARIES: Mapping[str, Callable[[Table, str, Settings, int, int], Fit]] = {
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "catboost": catboost,
}


def _rows(table: Table, task: str) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """Features and labels of the training and of the validation rows."""
    rows = table.rows("train"), table.rows("validation")
    return (table.mixed(rows[0]), table.mixed(rows[1])), (table.labels[task][rows[0]], table.labels[task][rows[1]])
