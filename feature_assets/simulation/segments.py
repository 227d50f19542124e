"""The latent segments and the parameters in which their customers differ. No feature sees a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.chances import gamma_rows, zipf
from feature_assets.simulation.config import BEHAVIOR, OPENABLE, REGIONS, SimulationConfig

ROUTINES = ("plain", "loop", "branches")
JOURNEY_VARIANTS = 3


@dataclass(frozen=True)
class Segments:
    """One row a segment; Z of them.

    Attributes:
        share: [Z]. age, log_income, rate, digital, sessions, amount: means on their scales.
        mix: [Z, 12] categories. channel: [Z, 3]. weekdays: [Z, 7], mean 1. parts: [Z, 4] of the day.
        routine: index into ROUTINES, of those who follow their segment. journey: variant of the journey chain.
        attrition: factor of the moves to declining and dormant. behavior_pull: [Z, 6].
        communities: [Z, G] shares. regions: [Z, 7] shares.
        favourite, loyalty, near_repeat, round_share, cash: probabilities.
        biweekly, payday, elasticity, trips: strengths.
        products: [Z, 11], log factor of the opening rates.
        click: logit shift; uplift: relative change of the purchase rate by a campaign.
        utilisation: mean logit of card utilisation. patience: half-life of a spending peak in days.
    """

    share: np.ndarray
    age: np.ndarray
    log_income: np.ndarray
    rate: np.ndarray
    digital: np.ndarray
    sessions: np.ndarray
    amount: np.ndarray
    mix: np.ndarray
    channel: np.ndarray
    weekdays: np.ndarray
    parts: np.ndarray
    routine: np.ndarray
    journey: np.ndarray
    attrition: np.ndarray
    behavior_pull: np.ndarray
    communities: np.ndarray
    regions: np.ndarray
    favourite: np.ndarray
    loyalty: np.ndarray
    near_repeat: np.ndarray
    round_share: np.ndarray
    cash: np.ndarray
    biweekly: np.ndarray
    payday: np.ndarray
    elasticity: np.ndarray
    trips: np.ndarray
    products: np.ndarray
    click: np.ndarray
    uplift: np.ndarray
    utilisation: np.ndarray
    patience: np.ndarray


def make_segments(rng: np.random.Generator, config: SimulationConfig, category_shares: np.ndarray) -> Segments:
    """Draw the segments."""
    z = config.segments
    normal = rng.standard_normal
    communities = gamma_rows(rng, np.tile(zipf(config.communities, 0.3), (z, 1)), 3.0)
    home = np.zeros((config.communities, len(REGIONS)))
    home[np.arange(config.communities), np.arange(config.communities) % len(REGIONS)] = 1.0
    regions = 0.7 * communities @ home + 0.3 * zipf(len(REGIONS), 0.7)
    weekdays = gamma_rows(rng, np.full((z, 7), 1 / 7), 25.0) * 7
    return Segments(
        share=zipf(z, 0.5),
        age=rng.uniform(28, 62, z),
        log_income=np.log(72_000) + 0.35 * normal(z),
        rate=config.segment_spread * normal(z),
        digital=0.9 * normal(z),
        sessions=0.45 * normal(z),
        amount=0.18 * normal(z),
        mix=gamma_rows(rng, np.tile(category_shares, (z, 1)), 10.0),
        channel=gamma_rows(rng, np.tile([0.50, 0.27, 0.23], (z, 1)), 6.0),
        weekdays=weekdays,
        parts=gamma_rows(rng, np.tile([0.05, 0.30, 0.43, 0.22], (z, 1)), 14.0),
        routine=np.arange(z) % len(ROUTINES),
        journey=rng.integers(0, JOURNEY_VARIANTS, z),
        attrition=np.exp(0.45 * normal(z)),
        behavior_pull=np.exp(0.55 * normal((z, len(BEHAVIOR)))),
        communities=communities,
        regions=regions,
        favourite=rng.uniform(0.25, 0.75, z),
        loyalty=rng.uniform(0.2, 0.7, z),
        near_repeat=config.near_repeat * rng.uniform(0.3, 1.9, z),
        round_share=rng.uniform(0.05, 0.35, z),
        cash=np.exp(0.6 * normal(z)),
        biweekly=rng.uniform(0.0, 0.5, z),
        payday=config.payday * rng.uniform(0.2, 1.9, z),
        elasticity=rng.uniform(0.0, 3.0, z),
        trips=config.trips_a_year * np.exp(0.5 * normal(z) - 0.12),
        products=0.9 * normal((z, len(OPENABLE))),
        click=0.9 * normal(z),
        uplift=rng.uniform(-0.10, 0.45, z),
        utilisation=-0.7 + 0.6 * normal(z),
        patience=rng.uniform(4.0, 16.0, z),
    )
