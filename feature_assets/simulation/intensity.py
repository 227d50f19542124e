"""Rates of purchases and sessions, day by day, given the latent paths.

rate = (factor of customer and day) × (factor of the latent path): the oracle computes the first one once a customer and
the second one once a draw.
"""

from __future__ import annotations

import numpy as np

from feature_assets.simulation.customers import Customers
from feature_assets.simulation.paths import Paths
from feature_assets.simulation.world import World

TRIP_PURCHASES = 1.35  # abroad one buys more often


def known_purchase_rate(world: World, customers: Customers, lift: np.ndarray, day: int, days: int) -> np.ndarray:
    """Purchases a day without the latent path, float32 [n, days]: habit by weekday, fortnight and payday, season,
    prices and campaigns; zero before the customer joined.

    Args:
        lift: float32 [n, days], factor by the campaigns that the customer was exposed to.
    """
    calendar, config = world.calendar, world.config
    span = np.arange(day, day + days)
    month = calendar.month[span]
    rate = customers.weekdays[:, calendar.weekday[span]] * customers.rate[:, None].astype(np.float32)
    since = calendar.since_payday[:, span][customers.salary_day].astype(np.float32)
    rate *= 1 + customers.payday[:, None].astype(np.float32) * np.exp(-since / np.float32(config.payday_days))
    angle = (2 * np.pi * (span / 14 - customers.biweekly_phase[:, None])).astype(np.float32)
    rate *= 1 + customers.biweekly[:, None].astype(np.float32) * np.cos(angle)
    rate *= world.busy[month]
    rate *= np.exp(-customers.elasticity[:, None] * world.price_level[month]).astype(np.float32)
    rate *= lift
    rate *= span >= customers.joined[:, None]
    return rate


def path_purchase_factor(world: World, paths: Paths) -> np.ndarray:
    """Factor of the purchase rate by the latent path, float32 [n, days]."""
    config = world.config
    days = paths.journey.shape[1]
    month = world.calendar.month[paths.day : paths.day + days] - paths.month
    life = np.array(config.lifecycle.purchases, np.float32)[paths.lifecycle]
    behave = np.array(config.behavior.purchases, np.float32)[paths.behavior]
    factor = (life * behave)[:, month]
    factor *= np.array(config.journey.purchases, np.float32)[paths.journey]
    factor *= 1 + paths.shock
    factor *= np.where(paths.trip > 0, np.float32(TRIP_PURCHASES), np.float32(1.0))
    return factor


def known_session_rate(world: World, customers: Customers, day: int, days: int) -> np.ndarray:
    """Sessions a day without the latent path, float32 [n, days]."""
    span = np.arange(day, day + days)
    week = 0.6 + 0.4 * customers.weekdays[:, world.calendar.weekday[span]]
    rate = week * customers.sessions[:, None].astype(np.float32)
    rate *= 1 + np.float32(world.config.drift.sessions) * world.calendar.drift[span]
    return rate * (span >= customers.joined[:, None])


def path_session_factor(world: World, paths: Paths) -> np.ndarray:
    """Factor of the session rate by the latent path, float32 [n, days]."""
    config = world.config
    month = world.calendar.month[paths.day : paths.day + paths.journey.shape[1]] - paths.month
    life = np.array(config.lifecycle.sessions, np.float32)[paths.lifecycle]
    behave = np.array(config.behavior.sessions, np.float32)[paths.behavior]
    factor = (life * behave)[:, month] * np.array(config.journey.sessions, np.float32)[paths.journey]
    return factor * (1 + paths.interest)


def subscription_chance(world: World, customers: Customers, paths: Paths) -> np.ndarray:
    """Probability that each subscription charges on each day, float32 [n, 2, days]: once a month on its day, paused
    while dormant, not before it or the customer began."""
    span = np.arange(paths.day, paths.day + paths.journey.shape[1])
    dormant = world.config.lifecycle.purchases.index(min(world.config.lifecycle.purchases))
    paused = (paths.lifecycle == dormant)[:, world.calendar.month[span] - paths.month]
    due = world.calendar.day_of_month[span] == customers.subscription_day[:, :, None]
    due &= span >= np.maximum(customers.subscription_start, customers.joined[:, None])[:, :, None]
    return np.where(due & ~paused[:, None, :], np.float32(CHARGED), np.float32(0.0))


CHARGED = 0.96  # a subscription that is due charges with this probability
