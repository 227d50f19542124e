"""The predictions beside every measured night, by hand, and as more customers and events come."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.capacity.limits import GB, GIB, Machine, first_above, limits
from pipeline.capacity.measured import Run, StepCost, measured
from pipeline.capacity.night import Load, PlanError, core_seconds, disk, kept, memory, seconds, work
from pipeline.settings import Retention, Settings

FACTOR = 1.5
"""Within which a prediction must lie of what was measured."""
SHORT = 20.0
"""Seconds below which a step alone is not judged: it is then mostly the start of something."""
RUNS = [pytest.param(run, id=f"{run.customers}-{run.events:g}-{number}") for number, run in enumerate(measured().runs)]


def near(predicted: float, found: float) -> bool:
    return max(predicted / found, found / predicted) < FACTOR


def load_of(run: Run) -> Load:
    return Load(run.customers, run.events)


@pytest.mark.parametrize("run", RUNS)
def test_time_is_predicted_within_the_factor(run: Run) -> None:
    by_step = {"seconds": seconds(load_of(run), run.cores), "core_seconds": core_seconds(load_of(run))}
    for clock, predicted in by_step.items():
        found: dict[str, float] = getattr(run, clock)
        if not found:
            continue
        assert set(found) == set(measured().steps)
        assert near(sum(predicted.values()), sum(found.values())), (clock, predicted, found)
        for step in found:
            assert found[step] < SHORT or near(predicted[step], found[step]), (clock, step, predicted[step])


@pytest.mark.parametrize("run", RUNS)
def test_memory_and_disk_are_predicted_within_the_factor(run: Run) -> None:
    if run.gib is not None:
        assert near(max(memory(load_of(run)).values()) / GIB, run.gib)
    for table, found in run.gigabytes.items():
        assert near(disk(load_of(run))[table] / GB, found), table


def test_a_run_that_took_no_part_judges_both_arguments() -> None:
    apart = [run for run in measured().runs if not run.fits and run.core_seconds]
    clocked = {run.customers for run in measured().runs if run.fits and run.seconds}
    assert any(run.customers not in clocked and run.events > 1.5 * measured().usual_events for run in apart)


def test_every_figure_has_a_source() -> None:
    found = measured()
    units = [*found.steps.values(), *found.memory.values(), *found.disk.values(), found.training, *found.runs]
    assert all(len(unit.source) > 20 for unit in units)


def test_the_work_of_a_step_is_what_its_formula_says() -> None:
    reference = measured().reference_customers
    cost = StepCost(fixed=3, customer=1e-3, event=1e-5, search=1e-9, growth=1.5, parallel=0.0, source="by hand")
    load = Load(4 * reference, 200, at_a_time=reference)
    assert work(cost, load) == pytest.approx(3 + (1e-3 + 2e-3) * 4 * reference * 2 + 1e-9 * 800 * reference * 2)


def test_more_cores_help_the_shared_part_alone() -> None:
    load = Load(1_000_000, 175)
    alone, many = seconds(load, 1), seconds(load, 1e6)
    assert alone == pytest.approx(core_seconds(load))
    for step, cost in measured().steps.items():
        assert many[step] == pytest.approx(alone[step] * (1 - cost.parallel), rel=1e-5)


@pytest.mark.parametrize("grown", ["customers", "events"])
def test_nothing_gets_less_with_more_customers_or_more_events(grown: str) -> None:
    before: dict[str, float] | None = None
    for size in (1, 10, 1_000, 24_999, 25_001, 100_000, 3_000_000, 50_000_000):
        load = Load(size, 175) if grown == "customers" else Load(100_000, size)
        now = {
            **{f"time {k}": v for k, v in seconds(load).items()},
            **{f"memory {k}": v for k, v in memory(load).items()},
            **{f"disk {k}": v for k, v in disk(load).items()},
            **{f"kept {k}": v for k, v in kept(load, Retention()).items()},
        }
        assert before is None or all(now[k] >= before[k] for k in now), (size, before, now)
        before = now


def test_a_block_bounds_the_memory_of_the_groups() -> None:
    assert memory(Load(50e6, 175))["block"] == memory(Load(25_000, 175))["block"]
    assert memory(Load(50e6, 175, 10_000))["block"] < memory(Load(50e6, 175))["block"]


def test_a_limit_is_exceeded_from_its_number_of_customers_on() -> None:
    machine = Machine()
    found = limits(Load(1_000, 400), machine, Retention())
    assert [limit.customers or math.inf for limit in found] == sorted(limit.customers or math.inf for limit in found)
    assert not any(limit.exceeded for limit in found)
    for limit in found:
        if limit.customers is not None:
            at, below = (
                {each.what: each for each in limits(Load(customers, 400), machine, Retention())}[limit.what]
                for customers in (limit.customers, limit.customers * 0.99)
            )
            assert at.exceeded, limit
            assert not below.exceeded, limit


def test_what_never_exceeds_has_no_number() -> None:
    assert first_above(lambda _: 1.0, 2.0, Load(1, 1)) is None
    [block] = [limit for limit in limits(Load(1, 175), Machine(), Retention()) if "block" in limit.what]
    assert block.customers is None


@pytest.mark.parametrize(
    ("customers", "events", "at_a_time"),
    [(0, 175, 25_000), (-1, 175, 25_000), (math.nan, 175, 25_000), (math.inf, 1, 1), (10, -1, 1), (10, 1, 0)],
)
def test_nonsense_is_refused_with_what_is_expected(customers: float, events: float, at_a_time: int) -> None:
    with pytest.raises(PlanError, match="expected a number from"):
        Load(customers, events, at_a_time)


@pytest.mark.parametrize("wrong", [{"cores": 0.5}, {"hours": 0}, {"memory_gib": -1}, {"disk_gb": math.nan}])
def test_a_machine_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="expected a number from"):
        Machine(**wrong)


def test_the_block_of_a_plan_is_that_of_the_settings() -> None:
    assert Load(1, 1).at_a_time == Settings(home=Path()).customers_at_a_time
