"""The world that all customers share: segments, catalogue, campaign plan, epidemic curves, prices, seasons, chains.

Drawn once from the seed; every block is simulated within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.calendar import Calendar, make_calendar
from feature_assets.simulation.catalogue import Catalogue, make_catalogue
from feature_assets.simulation.chances import Chain, gamma_rows, zipf
from feature_assets.simulation.config import BEHAVIOR, CATEGORIES, OPENABLE, SimulationConfig
from feature_assets.simulation.segments import JOURNEY_VARIANTS, Segments, make_segments

CAMPAIGN_KINDS = ("card", "savings", "insurance", "travel")
CATEGORY_SHARES = (0.20, 0.15, 0.10, 0.08, 0.09, 0.06, 0.07, 0.07, 0.07, 0.04, 0.03, 0.04)
LOG_AMOUNT = (3.4, 3.2, 2.3, 4.0, 4.0, 4.6, 4.2, 3.5, 3.4, 5.2, 4.3, 3.3)
SPREAD_AMOUNT = (0.60, 0.45, 0.50, 0.30, 0.60, 0.90, 0.80, 0.60, 0.60, 0.80, 0.70, 0.50)
"""Category → mean and standard deviation of the log amount."""
BEHAVIOR_AMOUNT = (-0.20, 0.00, 0.08, 0.05, 0.12, 0.35)
"""Behavior → shift of the log amount."""
YEARLY_PRICES = 0.03


@dataclass(frozen=True)
class CampaignPlan:
    """The bank's campaigns.

    Attributes:
        start, length: int64 [C], first day and days of each.
        kind: int64 [C], index into CAMPAIGN_KINDS.
        target: float64 [C, Z], probability that a customer of each segment is a target.
        logit: float64 [C], appeal of each campaign.
    """

    start: np.ndarray
    length: np.ndarray
    kind: np.ndarray
    target: np.ndarray
    logit: np.ndarray


@dataclass(frozen=True)
class World:
    """The shared part of the simulation.

    Attributes:
        season: float32 [M, 12], factor of each category's weight by month.
        busy: float32 [M], factor of the purchase rate by month.
        prices: float64 [M, 12], log price level of each category.
        price_level: float64 [M], log price level of the usual basket.
        infection: float64 [E, G, M], infectious share of each epidemic category and community.
        epidemic: int64 [E], indices of the epidemic categories.
        tilt: float32 [6, 12], factor of each category's weight by behavior.
        channel_tilt: float32 [6, 3] by behavior; category_channel: float32 [12, 3] by category.
    """

    config: SimulationConfig
    calendar: Calendar
    segments: Segments
    catalogue: Catalogue
    campaigns: CampaignPlan
    season: np.ndarray
    busy: np.ndarray
    prices: np.ndarray
    price_level: np.ndarray
    infection: np.ndarray
    epidemic: np.ndarray
    tilt: np.ndarray
    channel_tilt: np.ndarray
    category_channel: np.ndarray
    lifecycle: Chain
    journey: Chain
    behavior: Chain


def make_world(config: SimulationConfig, seed: int) -> World:
    """Draw the shared part of the simulation from the seed."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0])))
    calendar = make_calendar(config)
    shares = np.array(CATEGORY_SHARES)
    segments = make_segments(rng, config, shares)
    months = calendar.month_of_year[:, None]
    phase = rng.uniform(0, 12, len(CATEGORIES))
    strength = rng.uniform(0.05, 0.35, len(CATEGORIES))
    season = np.exp(strength * np.cos(2 * np.pi * (months - phase) / 12))
    busy = 1.0 + 0.06 * np.cos(2 * np.pi * (calendar.month_of_year - 11) / 12) + 0.10 * (calendar.month_of_year == 11)
    prices = _prices(config, calendar)
    return World(
        config=config,
        calendar=calendar,
        segments=segments,
        catalogue=make_catalogue(rng, config),
        campaigns=_campaigns(rng, config),
        season=season.astype(np.float32),
        busy=busy.astype(np.float32),
        prices=prices,
        price_level=prices @ shares,
        infection=_infection(rng, config, calendar.months),
        epidemic=np.array([CATEGORIES.index(c) for c in config.epidemic]),
        tilt=_tilt(),
        channel_tilt=np.array(
            [(1.1, 1.0, 0.8), (1, 1, 1), (1.2, 0.9, 0.9), (0.9, 1.0, 1.3), (1.4, 0.9, 0.8), (0.8, 1.3, 1.1)], np.float32
        ),
        category_channel=np.exp(0.5 * rng.standard_normal((len(CATEGORIES), 3))).astype(np.float32),
        lifecycle=Chain(_lifecycle(config, segments)),
        journey=Chain(_journey(config)),
        behavior=Chain(_behavior(config, segments)),
    )


def _prices(config: SimulationConfig, calendar: Calendar) -> np.ndarray:
    """Log prices [M, 12]: a steady rise, and a jump of some categories at the drift."""
    months = np.arange(calendar.months)[:, None] / 12
    drifted = calendar.drift[calendar.starts[:-1]][:, None]
    jump = np.array([config.drift.prices.get(c, 0.0) for c in CATEGORIES])
    return YEARLY_PRICES * months + drifted * jump


def _infection(rng: np.random.Generator, config: SimulationConfig, months: int) -> np.ndarray:
    """SIR by community and category in monthly steps (mean field): the infectious share at the start of each month.

    Source: Kermack & McKendrick (1927). Contact rates and first shares differ between communities.
    """
    shape = (len(config.epidemic), config.communities)
    contact = config.contact * rng.uniform(0.6, 1.4, shape)
    infectious = rng.choice([0.01, 0.05, 0.15, 0.30], shape)
    susceptible = 1.0 - infectious
    out = np.empty((*shape, months))
    for m in range(months):
        out[..., m] = infectious
        caught = susceptible * (1.0 - np.exp(-contact * infectious))
        susceptible = susceptible - caught
        infectious = infectious + caught - config.recovery * infectious
    return out


def _tilt() -> np.ndarray:
    """Behavior × category: factor of the weight of a category in each kind of month."""
    log = np.zeros((len(BEHAVIOR), len(CATEGORIES)))
    preferred = {
        0: {"groceries": 0.6, "transport": 0.3, "restaurants": -0.8, "fashion": -0.7, "travel": -1.2},
        2: {"groceries": 0.5, "education": 0.9, "home": 0.6, "health": 0.5, "leisure": -0.3},
        3: {"restaurants": 0.7, "leisure": 0.9, "fashion": 0.2, "home": -0.4},
        4: {"travel": 1.5, "transport": 0.7, "restaurants": 0.4, "fuel": 0.5, "groceries": -0.7},
        5: {"electronics": 1.1, "fashion": 0.9, "home": 0.7, "travel": 0.4, "groceries": -0.4},
    }
    for state, tilts in preferred.items():
        for category, value in tilts.items():
            log[state, CATEGORIES.index(category)] = value
    return np.exp(log).astype(np.float32)


def _lifecycle(config: SimulationConfig, segments: Segments) -> np.ndarray:
    """[Z · 3, 6, 6], a segment's three routines in a row: attrition multiplies the moves to declining and dormant, its
    opposite those to growing. So the shape of a routine predicts retention."""
    base = np.array(config.lifecycle.transition)
    attrition = (segments.attrition[:, None] * np.array(config.routine_attrition)).ravel()
    factor = np.ones((len(attrition), 1, base.shape[1]))
    factor[:, 0, 3] = factor[:, 0, 4] = attrition
    factor[:, 0, 1] = 1.0 / np.sqrt(attrition)
    out = base[None] * factor
    return out / out.sum(axis=2, keepdims=True)


def _journey(config: SimulationConfig) -> np.ndarray:
    """[3, 5, 5]: the second variant lingers while it considers, the third buys and rests in bursts."""
    base = np.array(config.journey.transition)
    out = np.repeat(base[None], JOURNEY_VARIANTS, axis=0)
    out[1, 1:3, 2] *= 1.6
    out[2, :, 3] *= 1.7
    out[2, 4, 0] *= 2.0
    return out / out.sum(axis=2, keepdims=True)


def _behavior(config: SimulationConfig, segments: Segments) -> np.ndarray:
    """[Z, 6, 6]: each segment is drawn to some behaviors."""
    out = np.array(config.behavior.transition)[None] * segments.behavior_pull[:, None, :]
    return out / out.sum(axis=2, keepdims=True)


def _campaigns(rng: np.random.Generator, config: SimulationConfig) -> CampaignPlan:
    n = config.campaigns
    gap = (config.days - 40) / n
    start = np.rint(15 + gap * np.arange(n) + rng.uniform(-3, 3, n)).astype(np.int64)
    appeal = gamma_rows(rng, np.tile(zipf(config.segments, 0.3), (n, 1)), 8.0) * config.segments
    return CampaignPlan(
        start=start,
        length=rng.integers(28, 43, n),
        kind=np.arange(n) % len(CAMPAIGN_KINDS),
        target=np.clip(0.30 * appeal.astype(np.float64), 0.02, 0.85),
        logit=rng.normal(0.0, 0.35, n),
    )


assert len(OPENABLE) == 11, "nba has eleven kinds and none"
