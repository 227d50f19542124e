"""Campaigns: targets, control group at random, impressions, clicks, conversions, and their effect on purchases.

The plan (targets, control group, days of impressions) does not depend on the latent path; clicks do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.chances import logistic
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.paths import Paths
from feature_assets.simulation.world import World

IMPRESSION_SHARES = (0.35, 0.30, 0.20, 0.15)
FATIGUE = -0.25  # logit of a click, for each earlier impression of the campaign
MOST_INTEREST = 2.0  # beyond this an interest adds nothing to a click
JOURNEY_CLICK = (-0.6, 0.3, 1.0, 0.5, -0.7)
LIFECYCLE_CLICK = (0.4, 0.3, 0.0, -0.5, -1.6, 0.2)
JOURNEY_CONVERT = (-0.5, -0.1, 0.7, 0.9, -0.6)
KIND_DIGITAL = (0.4, -0.3, -0.6, 0.8)  # logit of a click by kind of campaign, for each unit of digital affinity


@dataclass(frozen=True)
class Exposures:
    """The bank's plan for n customers.

    Attributes:
        target_row, target_campaign: int64, one entry a target of a campaign. control: bool, withheld.
        row, campaign, day, second, nth: int64, one entry an impression, ordered by customer and day.
    """

    target_row: np.ndarray
    target_campaign: np.ndarray
    control: np.ndarray
    row: np.ndarray
    campaign: np.ndarray
    day: np.ndarray
    second: np.ndarray
    nth: np.ndarray


@dataclass(frozen=True)
class Clicks:
    """Clicked impressions and converted clicks: bool, one entry an impression."""

    clicked: np.ndarray
    converted: np.ndarray


def plan_exposures(rng: np.random.Generator, world: World, customers: Customers) -> Exposures:
    """Targets by segment and chance among those who had joined; a random tenth of them is the control group."""
    plan, config, n = world.campaigns, world.config, len(customers)
    rows, campaigns, controls = [], [], []
    for c in range(config.campaigns):
        known = (customers.joined < plan.start[c]) & ~customers.anonymous
        chosen = np.flatnonzero((rng.random(n) < plan.target[c][customers.segment]) & known)
        rows.append(chosen)
        campaigns.append(np.full(len(chosen), c))
        controls.append(rng.random(len(chosen)) < config.control_share)
    target_row, target_campaign, control = np.concatenate(rows), np.concatenate(campaigns), np.concatenate(controls)
    treated = np.flatnonzero(~control)
    shown = 1 + np.searchsorted(np.cumsum(IMPRESSION_SHARES)[:-1], rng.random(len(treated)), side="right")
    entry = np.repeat(treated, shown)
    campaign = target_campaign[entry]
    day = plan.start[campaign] + (rng.random(len(entry)) ** 1.5 * plan.length[campaign]).astype(np.int64)
    second = rng.integers(7 * 3600, 21 * 3600, len(entry))
    inside = np.flatnonzero(day < world.calendar.days)
    order = inside[np.lexsort((second[inside], day[inside], entry[inside]))]
    entry, day, second = entry[order], day[order], second[order]
    first = np.concatenate([[True], entry[1:] != entry[:-1]])[: len(entry)]
    nth = np.arange(len(entry)) - np.maximum.accumulate(np.where(first, np.arange(len(entry)), 0))
    by_day = np.lexsort((second, day, target_row[entry]))
    return Exposures(
        target_row=target_row,
        target_campaign=target_campaign,
        control=control,
        row=target_row[entry][by_day],
        campaign=target_campaign[entry][by_day],
        day=day[by_day],
        second=second[by_day],
        nth=nth[by_day],
    )


def purchase_lift(world: World, customers: Customers, exposures: Exposures) -> np.ndarray:
    """Factor of the purchase rate, float32 [n, D]: 1 + the customer's uplift for two weeks from the first impression of
    each campaign on (no campaign adds to another)."""
    lift = np.zeros((len(customers), world.calendar.days), bool)
    first = np.flatnonzero(exposures.nth == 0)
    for k in range(world.config.uplift_days):
        day = exposures.day[first] + k
        inside = day < world.calendar.days
        lift[exposures.row[first][inside], day[inside]] = True
    return np.where(lift, 1 + customers.uplift[:, None].astype(np.float32), np.float32(1.0))


def click_chance(
    world: World, customers: Customers, exposures: Exposures, entries: np.ndarray, path_rows: np.ndarray, paths: Paths
) -> tuple[np.ndarray, np.ndarray]:
    """P(click) and P(conversion | click) of impressions, float64 [E] each.

    Args:
        entries: int64 [E], which impressions of `exposures`.
        path_rows: int64 [E], the row of `paths` that each belongs to.
    """
    config = world.config
    row, campaign, day = exposures.row[entries], exposures.campaign[entries], exposures.day[entries]
    journey = paths.journey[path_rows, day - paths.day]
    life = paths.lifecycle[path_rows, world.calendar.month[day] - paths.month]
    interest = np.minimum(paths.interest[path_rows, day - paths.day], MOST_INTEREST)
    kind = world.campaigns.kind[campaign]
    logit = config.click_logit + customers.click[row] + world.campaigns.logit[campaign]
    logit = logit + np.array(JOURNEY_CLICK)[journey] + np.array(LIFECYCLE_CLICK)[life]
    logit = logit + config.interest_click * interest
    logit = logit + FATIGUE * exposures.nth[entries] + np.array(KIND_DIGITAL)[kind] * (customers.digital[row] - 0.5)
    convert = config.conversion_logit + 0.5 * customers.click[row] + np.array(JOURNEY_CONVERT)[journey]
    return logistic(logit), logistic(convert)


def draw_clicks(
    rng: np.random.Generator, world: World, customers: Customers, exposures: Exposures, paths: Paths
) -> Clicks:
    """Clicks and conversions; both follow an impression within the hour, on the same day."""
    entries = np.arange(len(exposures.row))
    click, convert = click_chance(world, customers, exposures, entries, exposures.row, paths)
    clicked = rng.random(len(entries)) < click
    return Clicks(clicked, clicked & (rng.random(len(entries)) < convert))
