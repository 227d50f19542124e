"""Boosted baselines find planted signal, repeat exactly, and fall back to the constant where they cannot be fitted."""

import numpy as np
import pytest

from ple_model.evaluation.boosting import BinnedMatrix, BoostingBudget, BoostingTask, TreeBudget, fit_all, fit_boosting
from ple_model.evaluation.constant import constant_prediction, repeat
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS

ROWS, TRAIN, VALID = 3_000, np.arange(1_800), np.arange(1_800, 2_400)
TEST = slice(2_400, ROWS)
SMALL = TreeBudget(rounds=30, early_stopping=5, leaves=7, column_share=0.8)
BUDGET = BoostingBudget(single=SMALL, multiclass=SMALL, brand=SMALL, brands=4)


def world() -> tuple[np.ndarray, dict[str, BoostingTask]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 12)).astype(np.float32)
    signal = 2 * x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * rng.normal(size=ROWS)
    x[rng.random(x.shape) < 0.05] = np.nan
    brands = np.stack([np.where(signal > 0, 0, 1), np.where(x[:, 3] > 0, 2, -1), rng.integers(4, 12, ROWS)], axis=1)
    brands[rng.random(ROWS) < 0.7, 2] = -1
    seen = rng.random(ROWS) < 0.9
    return x, {
        "binary": BoostingTask(KINDS["binary"], (signal > 1).astype(np.float64), seen, 1),
        "regression": BoostingTask(KINDS["regression"], signal, seen, 1),
        "multiclass": BoostingTask(KINDS["multiclass"], np.digitize(signal, [-1, 0, 1]), seen, 4),
        "brands": BoostingTask(KINDS["contrastive"], brands, seen, 12),
    }


def binned(x: np.ndarray, **change: int) -> BinnedMatrix:
    return BinnedMatrix(x, TRAIN, VALID, BUDGET.model_copy(update=change))


def test_beats_the_constant_on_later_rows_for_every_kind() -> None:
    x, tasks = world()
    names: list[str] = []
    fitted = fit_all(binned(x), tasks, on_fitted=lambda name, _: names.append(name))
    assert sorted(names) == sorted(fitted) == sorted(tasks)
    for name, task in tasks.items():
        constant = constant_prediction(task.kind, task.labels[TRAIN], task.mask[TRAIN], task.width)
        mine, plain = (
            evaluate(task.kind, p, task.labels[TEST], task.mask[TEST]).values
            for p in (fitted[name].predict(x[TEST]), repeat(constant, 600))
        )
        metric = "mrr" if name == "brands" else task.kind.headline.metric
        better = 1 if name == "brands" else task.kind.headline.better
        assert mine[metric] is not None
        assert plain[metric] is not None
        assert better * (mine[metric] - plain[metric]) > 0.1, name
        assert fitted[name].trees > 0


def test_same_seed_same_bytes_whatever_the_workers_and_the_company() -> None:
    x, tasks = world()
    first = fit_all(binned(x, workers=2), tasks)
    again = fit_all(binned(x, workers=1), dict(reversed(tasks.items())))
    alone = fit_boosting(binned(x), KINDS["binary"], tasks["binary"].labels, tasks["binary"].mask, 1)
    for name in tasks:
        assert first[name].predict(x).tobytes() == again[name].predict(x).tobytes()
    assert first["binary"].predict(x).tobytes() == alone.predict(x).tobytes()
    other = fit_boosting(binned(x), KINDS["binary"], tasks["binary"].labels, tasks["binary"].mask, 1, seed=1)
    assert other.predict(x).tobytes() != alone.predict(x).tobytes()


def test_labels_of_masked_and_test_rows_are_not_looked_at() -> None:
    x, tasks = world()
    task = tasks["binary"]
    clean = fit_boosting(binned(x), KINDS["binary"], task.labels, task.mask, 1)
    spoilt = np.where(task.mask & (np.arange(ROWS) < 2_400), task.labels, np.nan)
    assert (
        fit_boosting(binned(x), KINDS["binary"], spoilt, task.mask, 1).predict(x).tobytes()
        == clean.predict(x).tobytes()
    )


def test_bins_come_from_training_rows() -> None:
    x, tasks = world()
    moved = x.copy()
    moved[TEST] = 1e6
    task = tasks["regression"]
    first, second = (fit_boosting(binned(m), KINDS["regression"], task.labels, task.mask, 1) for m in (x, moved))
    assert first.predict(x).tobytes() == second.predict(x).tobytes()


def test_the_budget_bounds_trees_and_rows() -> None:
    x, tasks = world()
    tight = TreeBudget(rounds=30, max_trees=20, early_stopping=30, max_rows=500)
    matrix = binned(x, multiclass=tight)
    fitted = fit_boosting(matrix, KINDS["multiclass"], tasks["multiclass"].labels, tasks["multiclass"].mask, 4)
    assert fitted.train_rows == 500
    assert fitted.trees <= 20
    assert [tight.rounds_for(n) for n in (1, 4, 28)] == [20, 5, 1]


def test_brands_without_a_model_keep_their_popularity() -> None:
    x, tasks = world()
    task = tasks["brands"]
    fitted = fit_boosting(binned(x), KINDS["contrastive"], task.labels, task.mask, task.width)
    popularity = constant_prediction(KINDS["contrastive"], task.labels[TRAIN], task.mask[TRAIN], task.width)
    others = np.setdiff1d(np.arange(12), fitted.columns)
    assert {0, 1, 2} <= set(fitted.columns)
    assert len(fitted.columns) == 4
    assert (fitted.predict(x[TEST])[:, others] == popularity[others]).all()
    assert "popularity for the other 8" in fitted.note


@pytest.mark.parametrize(("kept", "note"), [(50, "training"), (ROWS, "one value only")])
def test_what_cannot_be_boosted_is_the_constant_and_says_so(kept: int, note: str) -> None:
    x, tasks = world()
    labels = tasks["binary"].labels if kept == 50 else np.ones(ROWS)
    fitted = fit_boosting(binned(x), KINDS["binary"], labels, np.arange(ROWS) < kept, 1)
    assert note in fitted.note
    assert np.ptp(fitted.predict(x)) == 0
    with pytest.raises(ValueError, match="no training row"):
        fit_boosting(binned(x), KINDS["binary"], labels, np.zeros(ROWS, dtype=bool), 1)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        TreeBudget.from_dict({"lerning_rate": 0.1})
