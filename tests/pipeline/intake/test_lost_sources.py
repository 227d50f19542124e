"""What a delivery lacks of what the champion was trained with, and what depends on it."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from feature_assets import registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState, StateError
from feature_assets.labels import every_task, get_task
from feature_assets.state import FeatureState
from pipeline.intake import lost_sources
from pipeline.intake.lost_sources import Lost
from tests.deliveries import synthetic

GROUPS = registry.registry()
STATE = FeatureState({"normalise": GroupState(), **{name: GroupState() for name in GROUPS}}, list(registry.names()))
TASKS = [task.name for task in every_task()]
SOURCES = sorted(
    {s for group in GROUPS.values() for s in group.sources}
    | {s for group in GROUPS.values() for column in group.columns for s in column.sources}
)


def test_a_whole_delivery_lacks_nothing() -> None:
    assert lost_sources.find(lambda _: True, STATE, TASKS) == Lost()


@pytest.mark.parametrize("source", SOURCES)
def test_exactly_what_depends_on_a_source_is_lost(source: str) -> None:
    lost = lost_sources.find(lambda name: name != source, STATE, TASKS)
    assert lost.sources == (source,)
    depending = {
        column.name
        for group in GROUPS.values()
        for column in group.columns
        if source in group.sources or source in column.sources
    }
    assert set(lost.columns) == depending
    assert set(lost.groups) == {name for name, group in GROUPS.items() if source in group.sources}
    assert set(lost.tasks) == {task for task in TASKS if source in get_task(task).needs}
    assert source in lost.words()


@pytest.mark.parametrize("name", ["session_seq", "txn_seq"])
def test_a_group_says_which_sources_its_state_was_fitted_with(name: str) -> None:
    tables, group = synthetic.tables(), GROUPS[name]
    state = group.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * len(synthetic.TRAIN), 0)
    assert group.uses(state)
    assert not group.uses(GroupState())
    for source in group.uses(state):
        some = Tables(tables.dataset, {n: f for n, f in tables.frames.items() if n not in (source, "campaigns")})
        with pytest.raises(StateError, match=source):
            group.compute(View(some, synthetic.AS_OF), state, {})
        known = FeatureState({name: state}, [])
        lost = lost_sources.find(lambda table, gone=source: table != gone, known, [])  # type: ignore[misc]
        assert (lost.sources, lost.groups) == ((source,), (name,)), "what refuses to be computed is masked instead"


def test_what_the_state_never_saw_is_not_lost() -> None:
    few = FeatureState({"normalise": GroupState()}, [])
    assert lost_sources.find(lambda _: False, few, []) == Lost()
    some = next(group for group in GROUPS.values() if group.columns)
    known = FeatureState({some.name: GroupState()}, [some.columns[0].name])
    assert lost_sources.find(lambda _: False, known, []).columns == (some.columns[0].name,)


def test_lost_columns_become_null_and_the_others_stay() -> None:
    view = View(synthetic.tables(4, seed=1), date(2017, 5, 1))
    group = next(group for group in GROUPS.values() if len(group.columns) > 2 and group.side_inputs)
    ids = view.customers.select("customer_id")
    whole = ids.with_columns(pl.lit(1.0, pl.Float32).alias(column.name) for column in group.columns)
    whole = whole.with_columns(pl.lit([1.0, 2.0], pl.List(pl.Float32)).alias(s.name) for s in group.side_inputs)
    one = Lost(sources=("x",), columns=(group.columns[1].name,))
    frame = lost_sources.masked(group, view, one, lambda: whole)
    assert frame.columns == whole.columns
    assert frame.schema == whole.schema
    assert frame[group.columns[1].name].null_count() == frame.height
    assert frame.drop(group.columns[1].name).equals(whole.drop(group.columns[1].name))

    def never() -> pl.DataFrame:
        raise AssertionError("a lost group is not computed")

    every = Lost(sources=("x",), groups=(group.name,), columns=tuple(column.name for column in group.columns))
    frame = lost_sources.masked(group, view, every, never)
    assert frame.columns == whole.columns
    assert all(column.null_count() == frame.height for column in frame.drop("customer_id").iter_columns())


def test_tasks_of_a_lost_source_withhold_their_predictions() -> None:
    tasks = [{"name": "cvr", "withheld": False}, {"name": "churn", "withheld": False}]
    changed = lost_sources.withheld(tasks, Lost(sources=("x",), tasks=("cvr",)))
    assert [task["withheld"] for task in changed] == [True, False]
    assert tasks[0]["withheld"] is False


def test_a_matrix_is_made_group_by_group_with_what_is_lost_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later group reads the frames of the earlier ones; a lost group is not computed."""
    view = View(synthetic.tables(4, seed=1), date(2017, 5, 1))
    names = [name for name, group in GROUPS.items() if group.columns and not group.needs][:3]
    computed: list[tuple[str, list[str]]] = []

    def compute(name: str, _: View, state: FeatureState, outputs: dict[str, pl.DataFrame]) -> pl.DataFrame:
        assert state is STATE
        computed.append((name, list(outputs)))
        columns = [pl.lit(1.0, pl.Float32).alias(column.name) for column in GROUPS[name].columns]
        sides = [pl.lit([1.0], pl.List(side.dtype)).alias(side.name) for side in GROUPS[name].side_inputs]
        return view.customers.select("customer_id", *columns, *sides)

    def together(_: View, outputs: dict[str, pl.DataFrame], state: FeatureState) -> pl.DataFrame:
        assert state is STATE
        return pl.DataFrame({name: [frame[GROUPS[name].columns[0].name][0]] for name, frame in outputs.items()})

    monkeypatch.setattr(lost_sources, "groups_of", lambda _: tuple(names))
    monkeypatch.setattr(lost_sources, "compute_group", compute)
    monkeypatch.setattr(lost_sources, "assemble", together)
    gone = Lost(sources=("x",), groups=(names[1],), columns=tuple(column.name for column in GROUPS[names[1]].columns))
    assert lost_sources.matrix_of(view, STATE, gone).row(0) == (1.0, None, 1.0)
    assert computed == [(names[0], []), (names[2], names[:2])]
    assert lost_sources.matrix_of(view, STATE, Lost()).row(0) == (1.0, 1.0, 1.0)
