"""The choice of columns: what carries signal is wanted, whichever rows and seed it is judged by."""

import numpy as np
import pytest

from ple_model.boosting.choice import ColumnBudget, column_gains, ranks, wanted
from ple_model.boosting.fit import BoostingTask
from ple_model.boosting.matrix import BinnedMatrix
from tests.ple_model.boosting.world import TRAIN, VALID, binned, world


def test_columns_with_signal_are_wanted_and_noise_is_not() -> None:
    x, tasks = world()
    gains = column_gains(binned(x, validation=None), tasks, ColumnBudget())
    assert {name: round(float(found.sum()), 9) for name, found in gains.items()} == {
        "binary": 1.0,
        "regression": 1.0,
        "multiclass": 1.0,
        "brands": 0.0,
    }
    for name in ("binary", "regression", "multiclass"):
        assert {0, 1} <= set(np.flatnonzero(wanted(gains, 3)[name]))
        assert gains[name][0] > 0.5
    assert not wanted(gains, 3)["brands"].any()


def test_half_of_the_rows_or_another_seed_choose_nearly_the_same() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4_000, 60)).astype(np.float32)
    weights = np.linspace(1.0, 0.0, 20)
    signal = x[:, :20] @ weights + rng.normal(size=4_000)
    _, tasks = world()
    task = BoostingTask(tasks["regression"].kind, signal, np.ones(4_000, dtype=bool), 1)

    def chosen(rows: np.ndarray, seed: int) -> set[int]:
        gains = column_gains(BinnedMatrix(x, rows), {"task": task}, ColumnBudget(), seed)
        return set(np.flatnonzero(wanted(gains, 15)["task"]).tolist())

    everything = np.arange(4_000)
    first = chosen(everything, 0)
    assert chosen(everything, 0) == first
    for other in (chosen(everything, 1), chosen(everything[::2], 0), chosen(everything[1::2], 0)):
        assert len(first & other) >= 0.8 * 15


def test_ranks_begin_at_one_and_keep_the_order_of_ties() -> None:
    assert ranks(np.array([0.2, 0.5, 0.2, 0.0])).tolist() == [2, 1, 3, 4]
    assert wanted({"a": np.array([0.2, 0.5, 0.2, 0.0])}, 4)["a"].tolist() == [True, True, True, False]


def test_validation_rows_have_no_say() -> None:
    x, tasks = world()
    with pytest.raises(ValueError, match="training rows only"):
        column_gains(binned(x), tasks, ColumnBudget())
    spoilt = x.copy()
    spoilt[VALID] = 0
    clean, other = (column_gains(BinnedMatrix(values, TRAIN), tasks, ColumnBudget()) for values in (x, spoilt))
    for name in tasks:
        assert np.array_equal(clean[name], other[name])
