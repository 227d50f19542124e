"""The oracle of the uplift tasks: its chances are those of simulated campaigns, and it touches no other file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets.labels.constants import EFFECT_DAYS
from feature_assets.simulation.block import Block, generator, simulate_block
from feature_assets.simulation.campaigns import plan_exposures, purchase_lift
from feature_assets.simulation.config import CATEGORIES, SimulationConfig
from feature_assets.simulation.customers import draw_customers
from feature_assets.simulation.oracle import uplift
from feature_assets.simulation.simulate import simulate
from feature_assets.simulation.world import World, make_world

DAY = 449


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SimulationConfig(), 5)


@pytest.fixture(scope="module")
def block(world: World) -> Block:
    return simulate_block(world, 5, 0, 300)


def test_the_days_of_the_effect_are_those_of_planned_impressions(world: World) -> None:
    customers = draw_customers(np.random.default_rng(0), world, 20_000)
    exposures = plan_exposures(np.random.default_rng(1), world, customers)
    expected = uplift._coverage(world)
    for campaign in (2, 9):
        treated = int(((exposures.target_campaign == campaign) & ~exposures.control).sum())
        first = exposures.day[(exposures.campaign == campaign) & (exposures.nth == 0)] - world.campaigns.start[campaign]
        for day in (0, 5, 13, 14, 27):
            share = ((first <= day) & (first > day - world.config.uplift_days)).sum() / treated
            assert share == pytest.approx(expected[campaign, day], abs=4 / np.sqrt(treated))


def test_other_campaigns_raise_the_rate_on_the_days_of_the_simulation(world: World, block: Block) -> None:
    rows, campaign = uplift.first_assignments(world, block, DAY)
    busy = uplift._other_campaigns(world, block.exposures, rows, np.full(len(rows), -1), DAY, 56)
    raised = replace(block.customers, uplift=np.ones(len(block.customers)))
    lift = purchase_lift(world, raised, block.exposures)[rows, DAY : DAY + 56]
    assert (busy == (lift > 1)).all()
    assert busy.any()
    fewer = uplift._other_campaigns(world, block.exposures, rows, campaign, DAY, 56)
    assert (fewer <= busy).all()
    assert (fewer != busy).any()


def test_the_first_campaign_of_each_target_counts(world: World, block: Block) -> None:
    rows, campaign = uplift.first_assignments(world, block, DAY)
    e = block.exposures
    expected: dict[int, tuple[int, int]] = {}
    for row, c in zip(e.target_row.tolist(), e.target_campaign.tolist(), strict=True):
        start = int(world.campaigns.start[c])
        if DAY <= start < DAY + 28 and block.customers.joined[row] < DAY:
            expected[row] = min(expected.get(row, (start, c)), (start, c))
    assert dict(zip(rows.tolist(), campaign.tolist(), strict=True)) == {r: c for r, (_, c) in expected.items()}
    assert len(rows) > 20


def test_the_effect_is_proportional_to_what_a_campaign_does(world: World, block: Block) -> None:
    e = block.exposures
    seen = {name: getattr(e, name)[:0] for name in ("row", "campaign", "day", "second", "nth")}  # no other campaign
    effects = {}
    for factor in (0.0, 1.0, 2.0):
        customers = replace(block.customers, uplift=block.customers.uplift * factor)
        some = replace(block, customers=customers, exposures=replace(e, **seen))
        rows, effects[factor] = uplift.uplift_block(generator(5, 0, 3), world, some, DAY)
    assert effects[1.0].shape == (len(rows), len(CATEGORIES))
    assert not effects[0.0].any()
    assert effects[2.0] == pytest.approx(2 * effects[1.0])
    total, own = effects[1.0].sum(axis=1), block.customers.uplift[rows]
    assert (np.sign(total[total != 0]) == np.sign(own[total != 0])).all()
    assert (total != 0).mean() > 0.8


def test_writing_it_changes_no_other_file(tmp_path: Path) -> None:
    config = SimulationConfig(block=60)
    simulate(tmp_path / "bank", 120, seed=2, config=config)
    before = digests(tmp_path / "bank")
    day = config.first_day + timedelta(days=DAY)
    uplift.write_uplift(tmp_path / "bank", [day])
    after = digests(tmp_path / "bank")
    assert {name: digest for name, digest in after.items() if "uplift" not in name} == before
    frame = pl.read_parquet(tmp_path / "bank" / uplift.FOLDER / f"as_of={day}" / "*.parquet")
    assert frame.schema == {"customer_id": pl.String, "uplift": pl.Float64, "category_uplift": pl.List(pl.Float64)}
    assert frame["category_uplift"].list.sum().to_numpy() == pytest.approx(frame["uplift"].to_numpy())
    events = pl.read_parquet(tmp_path / "bank" / "tables" / "campaign_events" / "*.parquet").filter(event="targeted")
    assert set(frame["customer_id"]) <= set(events["customer_id"])


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_expectation_is_what_campaigns_add_in_the_simulation(world: World) -> None:
    """While a campaign works, purchases come at 1 + u times the rate: u / (1 + u) of their amounts is its effect."""
    block = simulate_block(world, 5, 1, 3_000)
    rows, campaign = uplift.first_assignments(world, block, DAY)
    e, p, n, days = block.exposures, block.purchases, len(block.customers), world.calendar.days
    assigned, start = np.full(n, -1), np.full(n, days)
    assigned[rows], start[rows] = campaign, world.campaigns.start[campaign]
    control = set(zip(e.target_row[e.control].tolist(), e.target_campaign[e.control].tolist(), strict=True))
    treated = np.array([pair not in control for pair in zip(rows.tolist(), campaign.tolist(), strict=True)])
    working = np.zeros((n, days), bool)
    first = np.flatnonzero((e.nth == 0) & (assigned[e.row] == e.campaign))
    for k in range(world.config.uplift_days):
        inside = e.day[first] + k < days
        working[e.row[first[inside]], e.day[first[inside]] + k] = True
    working[rows] &= ~uplift._other_campaigns(world, e, rows, campaign, 0, days)
    began = np.where(p.refund, p.origin, p.day)
    counts = (began >= start[p.row]) & (p.day < start[p.row] + EFFECT_DAYS) & working[p.row, began]
    share = block.customers.uplift / (1 + block.customers.uplift)
    added = np.bincount(p.row[counts], (p.amount * share[p.row])[counts], n)[rows]
    _, expected = uplift.uplift_block(generator(5, 1, 3), world, block, DAY)
    difference = (added - expected.sum(axis=1))[treated]
    assert len(difference) > 400
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    assert added[treated].mean() > 6 * added[treated].std() / np.sqrt(len(difference)) > 0
