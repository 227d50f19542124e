"""The baselines of an evaluation: predictions for the test rows by models that a network has to beat.

The constant of the training rows, LightGBM with a fixed budget (one model a task on the same matrix), and for brands
the customer's own past purchases.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from pipeline.settings import Settings

if TYPE_CHECKING:
    from ple_model.config import ModelConfig
    from ple_model.evaluation.boosting import Boosted
    from ple_model.training.data import TensorTable

CONSTANT, BOOSTING, OWN_PAST = "constant", "LightGBM", "own past"
PAST_DAYS = 180
"""Days in which the customer's own purchases of a brand count."""


def fit(
    train: "TensorTable",
    validation: "TensorTable",
    test: "TensorTable",
    config: "ModelConfig",
    settings: Settings,
    log: Callable[[str], None],
) -> tuple[dict[str, dict[str, NDArray]], dict[str, str]]:
    """Fit the constant and LightGBM for every task.

    Returns:
        Task → baseline → predictions of the test rows, and task → LightGBM's remark ("" where it has none).
    """
    from ple_model.evaluation.boosting import BinnedMatrix, BoostingTask, fit_all
    from ple_model.evaluation.constant import repeat
    from ple_model.tasks import kind_of

    present = np.asarray(config.inputs.present)
    matrices = [flat_matrix(table, present) for table in (train, validation)]
    features = np.concatenate(matrices)
    is_train = np.arange(len(features)) < len(train)
    matrix = BinnedMatrix(features, is_train, ~is_train, settings.boosting)
    del features, matrices
    tested = flat_matrix(test, present)
    tasks: dict[str, BoostingTask] = {}
    for task in config.tasks:
        both = [(t.targets.values[task.name].numpy(), t.targets.mask[task.name].numpy()) for t in (train, validation)]
        labels = stack_labels([values for values, _ in both])
        kind, mask = kind_of(task), np.concatenate([mask for _, mask in both])
        tasks[task.name] = BoostingTask(kind, labels, mask, kind.width(task))

    def report(name: str, boosted: "Boosted") -> None:
        log(f"LightGBM {name}: {boosted.trees} trees on {boosted.train_rows:,} rows")

    fitted = fit_all(matrix, tasks, seed=settings.seed, on_fitted=report)
    predictions = {
        name: {CONSTANT: repeat(boosted.constant, len(test)), BOOSTING: boosted.predict(tested)}
        for name, boosted in fitted.items()
    }
    return predictions, {name: boosted.note for name, boosted in fitted.items()}


def flat_matrix(table: "TensorTable", present: NDArray[np.int64]) -> NDArray[np.float32]:
    """[n, present] features as the model reads them, NaN where missing."""
    features = table.inputs.features[:, present].numpy().copy()
    features[~table.inputs.features_mask[:, present].numpy()] = np.nan
    return features


def stack_labels(parts: Sequence[NDArray]) -> NDArray:
    """Labels of several tables; lists of brands [n, k] are padded with −1 to one width."""
    width = max(part.shape[1] for part in parts) if parts[0].ndim == 2 else 0
    if width:
        parts = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in parts]
    return np.concatenate(parts)


def past_brands(tables: Tables, rows: pl.DataFrame, brands: Sequence[str]) -> NDArray[np.float64]:
    """[n, brands] lines of each brand that a customer bought in the `PAST_DAYS` before the row's as-of date."""
    counts = np.zeros((rows.height, len(brands)))
    index = pl.DataFrame({"brand": list(brands)}, schema={"brand": pl.String}).with_row_index("column")
    for (day,), part in rows.with_row_index("at").group_by("as_of", maintain_order=True):
        assert isinstance(day, date)
        view = View(tables, day)
        where = view.customers.select("customer_id").with_row_index("row").join(part, on="customer_id")
        lines = view.events("transactions", ("brand",), longest=PAST_DAYS).frame("brand")
        bought = lines.join(index, on="brand").group_by("row", "column").len().join(where, on="row")
        counts[bought["at"].to_numpy(), bought["column"].to_numpy()] = bought["len"].to_numpy()
    return counts
