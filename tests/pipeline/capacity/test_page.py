"""docs/capacity.md shows the unit costs and checks of the model; `python -m tests.pipeline.capacity.test_page` prints
them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.capacity.limits import GB, GIB, Machine, limits
from pipeline.capacity.measured import Run, measured
from pipeline.capacity.night import Load, core_seconds, disk, memory, seconds
from pipeline.settings import Retention

PAGE = Path(__file__).parents[3] / "docs" / "capacity.md"
PLANNED = ((1e6, 175.0), (3e6, 175.0), (50e6, 400.0))
"""Customers and events of the page's examples."""


def costs() -> Iterator[str]:
    yield "| step | fixed, s | customer, ms | event, µs | search, ns | growth | parallel |"
    yield "|---|---|---|---|---|---|---|"
    for name, cost in measured().steps.items():
        yield (
            f"| {name} | {cost.fixed:g} | {1e3 * cost.customer:g} | {1e6 * cost.event:g} | "
            f"{1e9 * cost.search:g} | {cost.growth:g} | {cost.parallel:g} |"
        )
    yield ""
    yield "| memory of | base, GB | customer of a block, kB | its event, B | any customer, B | a compared key, B |"
    yield "|---|---|---|---|---|---|"
    for name, peak in measured().memory.items():
        yield (
            f"| {name} | {peak.base / GB:g} | {peak.block_customer / 1e3:g} | {peak.block_event:g} | "
            f"{peak.customer:g} | {peak.key:g} |"
        )
    yield ""
    yield "| on disk, a night | customer, B | event, B |"
    yield "|---|---|---|"
    for name, size in measured().disk.items():
        yield f"| {name} | {size.customer:g} | {size.event:g} |"


def checks() -> Iterator[str]:
    yield "| customers | events each | what | measured | foretold | ratio | fitted to it |"
    yield "|---|---|---|---|---|---|---|"
    for run in measured().runs:
        for what, found, told in compared(run):
            head = f"| {run.customers:,} | {run.events:g} | {what} | {found:,.4g} | {told:,.4g} | {found / told:.2f} "
            yield f"{head}| {run.fits or '**nothing**'} |"
    yield "| 3,000,000 | 175 | open: not measured yet | | | | |"


def compared(run: Run) -> Iterator[tuple[str, float, float]]:
    load = Load(run.customers, run.events)
    if run.seconds:
        yield "night, s", sum(run.seconds.values()), sum(seconds(load, run.cores).values())
    if run.core_seconds:
        yield "night, core-seconds", sum(run.core_seconds.values()), sum(core_seconds(load).values())
    if run.gib is not None:
        yield "memory, GiB", run.gib, max(memory(load).values()) / GIB
    for table, found in run.gigabytes.items():
        yield f"{table}, GB", found, disk(load)[table] / GB


def ends() -> Iterator[str]:
    yield "| customers | events each | hours | ends first | from customers on |"
    yield "|---|---|---|---|---|"
    for customers, events in PLANNED:
        load = Load(customers, events)
        first = limits(load, Machine(), Retention())[0]
        hours = sum(seconds(load).values()) / 3600
        yield f"| {customers:,.0f} | {events:g} | {hours:,.1f} | {first.what} | {first.customers:,.2g} |"


@pytest.mark.parametrize("lines", [costs, checks, ends])
def test_the_page_shows_what_the_model_says(lines: object) -> None:
    assert callable(lines)
    assert "\n".join(lines()) in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    for part in (costs, checks, ends):
        print("\n".join(part()), end="\n\n")
