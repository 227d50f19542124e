"""Short data shorten the horizon: it is the largest with which a training can be planned, and a stated one stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.horizon import HORIZONS, LONG_TASKS, adapted
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import compute_labels, describe, eligible, fit_labels, windows
from feature_assets.labels.constants import cycle_edges, cycles
from feature_assets.snapshots import NotEnoughHistory, plan
from feature_assets.sources import ingest, read_delivery
from tests.conftest import DATA_ROOT
from tests.deliveries import shop
from tests.deliveries.makers import altered, write

BEGIN = date(2023, 1, 1)
NO_CAMPAIGNS = {"ctr": "none", "cvr": "none"}


def described(**stated: Any) -> DatasetConfig:
    return DatasetConfig(
        name="own",
        title="made by a test",
        notice="made by a test",
        source="contract_files",
        zone="UTC",
        covers_from=BEGIN,
        covers_until=BEGIN + timedelta(days=900),
        **stated,
    )


def plannable(dataset: DatasetConfig, days: int) -> bool:
    try:
        plan(BEGIN + timedelta(days=days), BEGIN, windows(dataset), min_history=dataset.active_days)
    except NotEnoughHistory:
        return False
    return True


@settings(deadline=None)
@given(st.integers(1, 300), st.booleans())
def test_the_horizon_is_the_largest_that_can_be_planned(days: int, campaigns: bool) -> None:
    dataset = described(tasks_off={} if campaigns else NO_CAMPAIGNS)
    made, notes = adapted(dataset, BEGIN, BEGIN + timedelta(days=days))
    fits = [
        horizon
        for horizon in HORIZONS
        if plannable(
            dataset.model_copy(
                update={"horizon_days": horizon, "campaign_horizon_days": 2 * horizon, "active_days": 2 * horizon}
            ),
            days,
        )
    ]
    if fits and fits[0] == 28:
        assert made == dataset
        assert notes == ()
        return
    assert made.horizon_days == (fits[0] if fits else 7)
    assert (made.campaign_horizon_days, made.active_days) == (2 * made.horizon_days,) * 2
    assert notes[0].startswith(f"{days} days of data are too few for labels of 28 days, which need 231: labels look ")
    assert set(made.tasks_off) - set(dataset.tasks_off) == (set() if fits else set(LONG_TASKS))
    assert len(notes) == (1 if fits else 3)
    assert plannable(made, days) is (bool(fits) or days >= (49 if campaigns else 35))


def test_a_stated_horizon_is_never_changed() -> None:
    end = BEGIN + timedelta(days=60)
    for stated in (described(horizon_days=28), described(horizon_days=14)):
        assert adapted(stated, BEGIN, end) == (stated, ())
    only = described(campaign_horizon_days=30, active_days=20)
    made, _ = adapted(only, BEGIN, end)
    assert (made.horizon_days, made.campaign_horizon_days, made.active_days) == (7, 30, 20)


def test_tasks_that_are_off_anyway_ask_for_no_days() -> None:
    off = described(tasks_off=NO_CAMPAIGNS | dict.fromkeys(LONG_TASKS, "not asked"))
    made, notes = adapted(off, BEGIN, BEGIN + timedelta(days=120))
    assert made.horizon_days == 28 or plannable(off, 120) is False
    assert made.tasks_off == off.tasks_off
    assert not [note for note in notes if note.startswith("task")]


def test_classes_of_days_end_at_the_horizon() -> None:
    assert cycles(28) == ["0 days", "1 day", "2–3 days", "4–6 days", "7–13 days", "14–27 days", "28+ days"]
    assert cycles(7) == ["0 days", "1 day", "2–3 days", "4–6 days", "7+ days"]
    assert cycles(60) == cycles(28)
    for horizon in range(1, 40):
        assert len(cycles(horizon)) == len(cycle_edges(horizon)) + 1
    week = {task["name"]: task for task in describe(described(horizon_days=7))}["consumption_cycle"]
    assert week["meaning"] == "Days until the next purchase, in five classes."
    assert week["classes"] == cycles(7)


@pytest.fixture(scope="module")
def short(make_tables: Callable[..., Tables]) -> Tables:
    """Sixty days of the shop, with a horizon of one week."""
    whole = make_tables(5, lines=4_000)
    spans = {"horizon_days": 7, "campaign_horizon_days": 14, "active_days": 14}
    return Tables(whole.dataset.model_copy(update=spans), whole.frames)


def test_who_buys_within_a_short_horizon_is_in_a_class_of_days_and_nobody_else(short: Tables) -> None:
    t = date(2017, 6, 5)
    made = plan(date(2018, 1, 1), short.dataset.covers_from, windows(short.dataset), min_history=14)
    labels = compute_labels(short, t, fit_labels(short, made), date(2018, 1, 1))
    lines = short.frames["transactions"].filter(kind="purchase")
    days = lines.with_columns(
        wait=(pl.col("at").dt.convert_time_zone(short.dataset.zone).dt.date() - pl.lit(t)).dt.total_days()
    )
    first = days.filter(pl.col("wait").is_between(0, 6)).group_by("customer_id").agg(pl.col("wait").min())
    wait = labels.join(first, on="customer_id", how="left", maintain_order="left")["wait"].fill_null(7)
    expected = [[0, 1, 2, 2, 3, 3, 3, 4][days] for days in wait.to_list()]
    assert labels["consumption_cycle"].to_list() == expected
    assert len(set(expected)) > 2
    past = days.filter(pl.col("wait").is_between(-14, -1))["customer_id"].unique().to_list()
    active = labels["customer_id"].is_in(past)
    assert labels["churn"].is_not_null().equals(active.alias("churn"))
    view = View(short, t)
    asked = eligible(view, ["churn"])
    assert asked["churn"].equals(active.alias("churn"))
    assert asked["churn"].sum() < eligible(view, ["churn"], active_days=56)["churn"].sum()


def test_a_delivery_of_some_weeks_says_how_far_its_labels_look(tmp_path: Path) -> None:
    own = load_dataset(str(shop.describe(tmp_path)), DATA_ROOT)
    late = own.covers_until - timedelta(days=70)
    recent = altered(shop.tables(), "transactions", lambda lines: lines.filter(pl.col("at").dt.date() >= late))
    found = ingest(read_delivery(own, write(recent, tmp_path / "recent")))
    assert found.tables.dataset.horizon_days == 7
    assert found.tables.dataset.active_days == 14
    assert any("days of data are too few for labels of 28 days" in note for note in found.notes)
    whole = ingest(read_delivery(own))
    assert whole.tables.dataset.horizon_days == 28
    assert not any("too few" in note for note in whole.notes)
