"""Boosted trees find planted signal, repeat exactly, and fall back to the constant where they cannot be fitted."""

from dataclasses import replace

import numpy as np
import pytest

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import fit_all, fit_task
from ple_model.evaluation.constant import constant_prediction, repeat
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS
from tests.ple_model.boosting.world import BUDGET, ROWS, TEST, TRAIN, VALID, binned, world


def test_beats_the_constant_on_later_rows_for_every_kind() -> None:
    x, tasks = world()
    names: list[str] = []
    fitted = fit_all(binned(x), tasks, BUDGET, on_fitted=lambda name, _: names.append(name))
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
    first = fit_all(binned(x), tasks, BUDGET.model_copy(update={"workers": 2}))
    again = fit_all(binned(x), dict(reversed(tasks.items())), BUDGET.model_copy(update={"workers": 1}))
    assert again == first
    assert fit_task(binned(x), tasks["binary"], BUDGET) == first["binary"]
    assert fit_task(binned(x), tasks["binary"], BUDGET, seed=1) != first["binary"]


def test_a_rows_prediction_has_the_same_bytes_in_any_company() -> None:
    x, tasks = world()
    rng = np.random.default_rng(0)
    for name, boosted in fit_all(binned(x), tasks, BUDGET).items():
        whole = boosted.predict(x)
        order = rng.permutation(ROWS)
        for rows in (order, order[:1], order[:511], order[:0]):
            assert boosted.predict(x[rows]).tobytes() == whole[rows].tobytes(), name
        with pytest.raises(ValueError, match="11 columns for trees on 12"):
            boosted.predict(x[:, 1:])


def test_labels_of_masked_and_test_rows_are_not_looked_at() -> None:
    x, tasks = world()
    task = tasks["binary"]
    spoilt = np.where(task.mask & (np.arange(ROWS) < 2_400), task.labels, np.nan)
    assert fit_task(binned(x), replace(task, labels=spoilt), BUDGET) == fit_task(binned(x), task, BUDGET)


def test_bins_come_from_training_rows() -> None:
    x, tasks = world()
    moved = x.copy()
    moved[TEST] = 1e6
    first, second = (fit_task(binned(m), tasks["regression"], BUDGET) for m in (x, moved))
    assert first.predict(x).tobytes() == second.predict(x).tobytes()


def test_the_budget_bounds_trees_and_rows() -> None:
    x, tasks = world()
    tight = TreeBudget(rounds=30, max_trees=20, early_stopping=30, max_rows=500)
    fitted = fit_task(binned(x), tasks["multiclass"], BUDGET.model_copy(update={"multiclass": tight}))
    assert fitted.train_rows == 500
    assert fitted.trees <= 20
    assert [tight.rounds_for(n) for n in (1, 4, 28)] == [20, 5, 1]


def test_all_rows_are_the_default() -> None:
    x, tasks = world()
    fitted = fit_task(binned(x), tasks["binary"], BoostingBudget(single=TreeBudget(rounds=2)))
    assert fitted.train_rows == tasks["binary"].mask[TRAIN].sum()


def test_a_task_may_have_a_budget_of_its_own() -> None:
    x, tasks = world()
    own = BUDGET.single.model_copy(update={"leaves": 3, "row_share": 0.5})
    with_own = fit_all(binned(x), tasks, BUDGET.model_copy(update={"tasks": {"regression": own}}))
    plain = fit_all(binned(x), tasks, BUDGET)
    assert with_own["regression"] != plain["regression"]
    assert "num_leaves=3" in with_own["regression"].boosters[0].model_to_string().replace(": ", "=")
    assert with_own["binary"] == plain["binary"]


@pytest.mark.parametrize("field", ["learning_rate", "leaves", "min_leaf_rows", "column_share", "row_share", "l2"])
def test_every_setting_changes_the_trees(field: str) -> None:
    x, tasks = world()
    other = {"learning_rate": 0.2, "leaves": 4, "min_leaf_rows": 300, "column_share": 0.3, "row_share": 0.5, "l2": 50.0}
    changed = BUDGET.model_copy(update={"single": BUDGET.single.model_copy(update={field: other[field]})})
    plain, found = (fit_task(binned(x), tasks["binary"], budget).predict(x) for budget in (BUDGET, changed))
    assert not np.array_equal(plain, found)


def test_without_validation_rows_all_rounds_are_grown() -> None:
    x, tasks = world()
    fitted = fit_task(binned(x, validation=None), tasks["binary"], BUDGET)
    assert fitted.rounds == (BUDGET.single.rounds,)


def test_a_fit_on_more_rows_takes_over_the_rounds_of_an_earlier_one() -> None:
    x, tasks = world()
    first = fit_all(binned(x), tasks, BUDGET)
    later = fit_all(binned(x, train=np.arange(2_400), validation=None), tasks, BUDGET, rounds=first)
    for name in tasks:
        kept = dict(zip(first[name].columns or (0,), first[name].rounds, strict=True))
        assert later[name].rounds == tuple(kept[column] for column in later[name].columns or (0,))
        assert later[name].train_rows > first[name].train_rows
    same_rows = fit_all(binned(x), tasks, BUDGET, rounds=first)
    for name in tasks:
        assert same_rows[name].predict(x).tobytes() == first[name].predict(x).tobytes()


def test_brands_without_a_model_keep_their_popularity() -> None:
    x, tasks = world()
    task = tasks["brands"]
    fitted = fit_task(binned(x), task, BUDGET)
    popularity = constant_prediction(task.kind, task.labels[TRAIN], task.mask[TRAIN], task.width)
    others = np.setdiff1d(np.arange(12), fitted.columns)
    assert {0, 1, 2} <= set(fitted.columns)
    assert len(fitted.columns) == 4
    assert (fitted.predict(x[TEST])[:, others] == popularity[others]).all()
    assert "popularity for the other 8" in fitted.note


@pytest.mark.parametrize(("kept", "note"), [(50, "training"), (ROWS, "one value only")])
def test_what_cannot_be_boosted_is_the_constant_and_says_so(kept: int, note: str) -> None:
    x, tasks = world()
    labels = tasks["binary"].labels if kept == 50 else np.ones(ROWS)
    task = replace(tasks["binary"], labels=labels, mask=np.arange(ROWS) < kept)
    fitted = fit_task(binned(x), task, BUDGET)
    assert note in fitted.note
    assert np.ptp(fitted.predict(x)) == 0
    again = fit_task(binned(x), task, BUDGET, like=fitted)
    assert (again.models, again.note) == ((), fitted.note)
    with pytest.raises(ValueError, match="no training row"):
        fit_task(binned(x), replace(task, mask=np.zeros(ROWS, dtype=bool)), BUDGET)


def test_labels_of_another_number_of_rows_are_refused() -> None:
    x, tasks = world()
    with pytest.raises(ValueError, match="for a matrix of 2999 rows"):
        fit_task(binned(x[1:], validation=VALID), tasks["binary"], BUDGET)


def test_the_column_with_the_signal_gains_most() -> None:
    x, tasks = world()
    gains = fit_task(binned(x), tasks["regression"], BUDGET).gains()
    assert gains.argmax() == 0
    assert fit_task(binned(x), replace(tasks["binary"], labels=np.ones(ROWS)), BUDGET).gains().sum() == 0


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        TreeBudget.from_dict({"lerning_rate": 0.1})


def test_kinds_without_classes_are_boosted_as_their_labels_are() -> None:
    assert {name for name, kind in KINDS.items() if kind.boosted_models(BUDGET, 12) > 1} == {
        "regression",
        "contrastive",
        "uplift",
    }
