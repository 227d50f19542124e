"""The search of settings: fixed trials first, the rest drawn by number, resumed, never worse than the fixed ones."""

from typing import cast

import numpy as np
import pytest
import yaml

from ple_model.boosting import search
from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.tuned import Columns, Trial, Tuned
from tests.ple_model.boosting.world import TRAIN, VALID, binned, world

EMPTY = Tuned(
    dataset="hand", as_of="2017-10-01", seed=3, train_rows=1_800, validation_rows=600, columns={"all": 12, "chosen": 4}
)


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LIMITS", {"rounds": 8, "max_trees": 40, "early_stopping": 4})


def material(spoil: bool = False) -> search.Material:
    x, _ = world()
    if spoil:
        x[2_400:] = 0
    some = np.ascontiguousarray(x[:, :4])
    return search.Material(
        cast("dict[Columns, np.ndarray]", {"all": x, "chosen": some}), {"all": binned(x), "chosen": binned(some)}
    )


def run(tuned: Tuned, trials: int, **change: object) -> tuple[Tuned, list[tuple[str, int]]]:
    _, tasks = world()
    said: list[tuple[str, int]] = []
    settings = {"minutes": 10.0, "workers": 2} | change
    found = search.search(
        tuned,
        material(),
        {name: tasks[name] for name in ("regression", "multiclass")},
        trials,
        on_trial=lambda _, task, trial: said.append((task, trial.number)),
        **settings,  # type: ignore[arg-type]
    )
    return found, said


def unhurried(tuned: Tuned) -> dict[str, list[Trial]]:
    """The trials without their seconds."""
    return {
        task: [trial.model_copy(update={"seconds": 0.0}) for trial in trials] for task, trials in tuned.tasks.items()
    }


def test_the_best_is_never_worse_than_the_settings_that_it_has_to_match() -> None:
    found, said = run(EMPTY, search.FIXED + 2)
    assert len(said) == 2 * (search.FIXED + 2)
    for task, trials in found.tasks.items():
        fixed = {(t.columns, t.budget.to_dict()["max_rows"]) for t in trials if t.number < search.FIXED}
        assert len(fixed) == 4
        assert {t.columns for t in trials} == {"all", "chosen"}
        best = found.best(task)
        assert best is not None
        assert best.loss == min(trial.loss for trial in trials)
        on_chosen = found.best(task, "chosen")
        assert on_chosen is not None
        assert on_chosen.columns == "chosen"
    assert {t.trees_a_round for t in found.tasks["multiclass"]} == {4}


def test_at_the_end_the_best_settings_are_tried_on_the_other_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"rounds": 3_000, "max_trees": 6_000, "early_stopping": 50}  # with fewer rounds no drawn one is the best
    monkeypatch.setattr(search, "LIMITS", limits)
    found, said = run(EMPTY, 9)
    for task, trials in found.tasks.items():
        best = min((trial for trial in trials if trial.number < search.CROSSED), key=lambda trial: trial.loss)
        crossed = [trial for trial in trials if trial.number >= search.CROSSED]
        read = {trial.columns for trial in trials if trial.budget == best.budget}
        assert read == {"all", "chosen"}
        assert {trial.number for trial in crossed} == {best.number + search.CROSSED}
        assert (task, best.number) in said
    again, more = run(found, 9)
    assert not more
    assert again == found


def test_the_loss_is_that_of_the_validation_rows_and_no_test_row_is_read() -> None:
    _, tasks = world()
    clean, spoilt = (
        search.run_trial(material(spoil), "regression", tasks["regression"], 0, 3) for spoil in (False, True)
    )
    assert clean.loss == spoilt.loss
    x, task = world()[0], tasks["regression"]
    from ple_model.boosting.fit import fit_task

    budget, columns = search.settings_of("regression", 0, 1, 3)
    predictions = fit_task(binned(x), task, BoostingBudget(), 3, budget).predict(x)
    rows = [i for i in VALID if task.mask[i]]
    assert columns == "all"
    assert clean.loss == pytest.approx(np.mean((predictions - task.labels)[rows] ** 2))


def test_a_search_goes_on_where_it_was_stopped() -> None:
    whole, _ = run(EMPTY, 8, workers=1)
    part, first = run(EMPTY, 3)
    assert len(first) == 6
    again, rest = run(Tuned.from_dict(yaml.safe_load(part.text())), 8)
    assert sorted(first + rest) == sorted((task, i) for task in ("regression", "multiclass") for i in range(8))
    assert unhurried(again) == unhurried(whole)


def test_no_trial_begins_after_the_time_is_over() -> None:
    found, said = run(EMPTY, 8, minutes=0.0)
    assert not said
    assert found == EMPTY


def test_the_file_is_a_line_a_trial() -> None:
    found, _ = run(EMPTY, 2)
    assert Tuned.from_dict(yaml.safe_load(found.text())) == found
    assert sum(line.startswith("  - {") for line in found.text().splitlines()) == 4
    assert Tuned.from_dict(yaml.safe_load(EMPTY.text())) == EMPTY


def test_drawn_settings_depend_on_task_number_and_seed_alone() -> None:
    assert search.settings_of("churn", 9, 1, 3) == search.settings_of("churn", 9, 1, 3)
    others = [search.settings_of(*key) for key in (("churn", 10, 1, 3), ("ltv", 9, 1, 3), ("churn", 9, 1, 4))]
    assert search.settings_of("churn", 9, 1, 3) not in others


def trial(columns: Columns, loss: float, rounds: int, rate: float, trees_a_round: int = 1) -> Trial:
    budget = TreeBudget(learning_rate=rate, leaves=9, rounds=3_000, max_trees=9_000)
    return Trial(
        number=0, columns=columns, loss=loss, rounds=rounds, trees_a_round=trees_a_round, seconds=1, budget=budget
    )


def test_a_night_takes_the_best_settings_on_chosen_columns_within_its_cap() -> None:
    tuned = EMPTY.with_trial("churn", trial("all", 0.1, 50, 0.02)).with_trial("churn", trial("chosen", 0.2, 400, 0.03))
    tuned = tuned.with_trial("nba", trial("chosen", 0.2, 300, 0.02, trees_a_round=10))
    tuned = tuned.with_trial("ltv", trial("chosen", 0.2, 400, 0.03))
    budget = BoostingBudget(
        single=TreeBudget(rounds=500, max_trees=500),
        multiclass=TreeBudget(rounds=200, max_trees=1_000),
        tasks={"ltv": TreeBudget(leaves=4)},
    )
    tasks = tuned.within(budget).tasks
    assert tasks["churn"].learning_rate == 0.03  # 400 trees fit within 500
    assert (tasks["churn"].leaves, tasks["churn"].max_trees) == (9, 500)
    assert tasks["nba"].learning_rate == pytest.approx(0.06)  # 3,000 trees in 1,000
    assert tasks["nba"].rounds_for(10) == 100
    assert tasks["ltv"].leaves == 4


def test_training_rows_are_those_of_the_plan() -> None:
    assert material().matrices["all"].train_rows.tolist() == TRAIN.tolist()
