"""Purchases as the oracle draws them again: number, category, channel, amount, near repeats and refunds.

Category, amount and channel depend on the latent path. The merchant and the product depend on the customer alone and
belong to `purchases.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.chances import pick
from feature_assets.simulation.config import BEHAVIOR, CATEGORIES, CHANNELS
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.intensity import subscription_chance
from feature_assets.simulation.paths import Paths
from feature_assets.simulation.world import BEHAVIOR_AMOUNT, LOG_AMOUNT, SPREAD_AMOUNT, World

LOOP_MIX = 1.8  # how strongly a loop moves through the categories as the week goes by
LOOP_AMOUNT = 0.9  # and through the amounts
BRANCH_MIX, BRANCH_AMOUNT = 1.6, 0.9  # the two branches: many small things on workdays, few large ones at weekends
DEARER = 0.06  # log price level from which on a subscription costs a tenth more
REFUND_DAYS = 14
TRIP_TILT = np.ones(len(CATEGORIES), np.float32)
for _name, _tilt in {"travel": 4.0, "restaurants": 2.2, "transport": 1.8, "education": 0.1, "services": 0.3}.items():
    TRIP_TILT[CATEGORIES.index(_name)] = _tilt


@dataclass(frozen=True)
class Basics:
    """Purchases without merchant and product: N rows, ordered by customer and day.

    Attributes:
        row: int64, index of the customer. day: int64. category: int64. abroad: int8, country of the trip.
        amount: float64, ≥ 0.05, rounded to 0.01. channel: int64.
        subscription: int64, −1, or which subscription this charge is of.
    """

    row: np.ndarray
    day: np.ndarray
    category: np.ndarray
    abroad: np.ndarray
    amount: np.ndarray
    channel: np.ndarray
    subscription: np.ndarray


def draw_basics(rng: np.random.Generator, world: World, customers: Customers, paths: Paths, rate: np.ndarray) -> Basics:
    """Purchases over the days of `paths`.

    Args:
        customers: n rows, those of `paths` and `rate`.
        rate: float32 [n, D], purchases a day.
    """
    chance = subscription_chance(world, customers, paths)
    charged = rng.random(chance.shape, dtype=np.float32) < chance
    return basics_of(rng, world, customers, paths, rng.poisson(rate), charged)


def basics_of(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    paths: Paths,
    counts: np.ndarray,
    charged: np.ndarray,
) -> Basics:
    """As `draw_basics`, given the number of purchases of each day.

    Args:
        counts: integers [n, D]. charged: bool [n, 2, D], which subscriptions charge.
    """
    days = counts.shape[1]
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    row, offset = cell // days, cell % days
    category, abroad = _categories(rng, world, customers, paths, row, offset)
    amount = _amounts(rng, world, customers, paths, row, offset, category, abroad)
    channel = _channels(rng, world, customers, paths, row, offset, category, abroad)
    s_row, which, s_offset = np.nonzero(charged)
    s_category = customers.subscription_category[s_row, which]
    dearer = world.prices[world.calendar.month[paths.day + s_offset], s_category] > DEARER
    price = np.round(customers.subscription_amount[s_row, which] * np.where(dearer, 1.1, 1.0), 2)
    parts = Basics(
        row=np.concatenate([row, s_row]),
        day=np.concatenate([offset, s_offset]) + paths.day,
        category=np.concatenate([category, s_category]),
        abroad=np.concatenate([abroad, np.zeros(len(s_row), np.int8)]),
        amount=np.concatenate([amount, price]),
        channel=np.concatenate([channel, np.full(len(s_row), CHANNELS.index("online"))]),
        subscription=np.concatenate([np.full(len(row), -1), which]),
    )
    order = np.argsort(parts.row * np.int64(days) + (parts.day - paths.day), kind="stable")
    return Basics(**{name: values[order] for name, values in parts.__dict__.items()})


def _categories(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    paths: Paths,
    row: np.ndarray,
    offset: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Category and country of each purchase: mix × behavior × season × adoption × routine × trip."""
    month = world.calendar.month[paths.day + offset]
    weekday = world.calendar.weekday[paths.day + offset]
    weights = customers.mix[row]
    weights *= (world.tilt[:, None, :] * world.season[None]).reshape(-1, len(CATEGORIES))[
        paths.behavior[row, month - paths.month].astype(np.int64) * world.calendar.months + month
    ]
    adopted = np.array(world.config.adoption, np.float32)[paths.adoption[row, month - paths.month]]
    for e, c in enumerate(world.epidemic):
        weights[:, c] *= adopted[:, e]
    kind = customers.routine[row]
    turns = np.flatnonzero(kind != 2)
    place = np.arange(len(CATEGORIES)) / len(CATEGORIES)
    weights[turns] *= _loop_table(place, LOOP_MIX)[_turn(rng, customers, row[turns], weekday[turns])]
    branch = np.flatnonzero(kind == 2)
    small = np.array(LOG_AMOUNT) < np.median(LOG_AMOUNT)
    tilt = np.exp(BRANCH_MIX * np.where(small, 0.5, -0.5)).astype(np.float32)
    weights[branch] *= np.where((weekday[branch] < 5)[:, None], tilt, 1 / tilt)
    abroad = paths.trip[row, offset]
    weights[abroad > 0] *= TRIP_TILT
    return pick(rng, weights), abroad


TURNS = 64  # steps in which the phase of a loop is measured


def _turn(rng: np.random.Generator, customers: Customers, row: np.ndarray, weekday: np.ndarray) -> np.ndarray:
    """Position of a loop on a weekday, in 64ths of the week. Plain habits have a random position: they vary as much as
    loops do, but in no order, so that only the shape of the point cloud distinguishes the two."""
    come = np.where(customers.routine[row] == 1, weekday / 7, rng.random(len(row)))
    return ((come + customers.phase[row]) * TURNS).astype(np.int64) % TURNS


def _loop_table(place: np.ndarray, strength: float) -> np.ndarray:
    angle = np.arange(TURNS)[:, None] / TURNS - place[None, :]
    return np.exp(strength * np.cos(2 * np.pi * angle)).astype(np.float32)


def _amounts(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    paths: Paths,
    row: np.ndarray,
    offset: np.ndarray,
    category: np.ndarray,
    abroad: np.ndarray,
) -> np.ndarray:
    month = world.calendar.month[paths.day + offset]
    weekday = world.calendar.weekday[paths.day + offset]
    log = np.array(SPREAD_AMOUNT, np.float32)[category] * rng.standard_normal(len(row), dtype=np.float32)
    log += (np.array(LOG_AMOUNT)[None, :] + world.prices).astype(np.float32)[month, category]
    log += customers.level[row].astype(np.float32)
    log += np.array(BEHAVIOR_AMOUNT, np.float32)[paths.behavior[row, month - paths.month]]
    log += np.float32(0.2) * (abroad > 0)
    kind = customers.routine[row]
    turns = np.flatnonzero(kind != 2)
    cosine = np.cos(2 * np.pi * np.arange(TURNS) / TURNS).astype(np.float32)
    log[turns] += np.float32(LOOP_AMOUNT) * cosine[_turn(rng, customers, row[turns], weekday[turns])]
    log += np.float32(BRANCH_AMOUNT) * np.where(kind == 2, np.where(weekday < 5, np.float32(-0.6), np.float32(1.0)), 0)
    amount = np.maximum(np.exp(log.astype(np.float64)), 0.5)
    rounded = rng.random(len(row), dtype=np.float32) < customers.round_share[row]
    step = np.where(amount < 50, 5.0, 10.0)
    amount = np.where(rounded, np.maximum(np.rint(amount / step), 1) * step, amount)
    return np.round(amount, 2)


def _channels(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    paths: Paths,
    row: np.ndarray,
    offset: np.ndarray,
    category: np.ndarray,
    abroad: np.ndarray,
) -> np.ndarray:
    month = world.calendar.month[paths.day + offset]
    behavior = paths.behavior[row, month - paths.month].astype(np.int64)
    drifted = world.calendar.drift[paths.day + offset]
    tilt = world.channel_tilt[:, None, None, :] * world.category_channel[None, :, None, :]
    tilt = tilt * np.array([(1.0, 1.0, 1.0), world.config.drift.channels], np.float32)[None, None]
    flat = tilt.reshape(-1, 3)
    weights = customers.channel[row] * flat[(behavior * len(CATEGORIES) + category) * 2 + drifted]
    weights[abroad > 0, 0] *= 2.0
    return pick(rng, weights)


@dataclass(frozen=True)
class Aftermath:
    """Near repeats and refunds: positions `again` are bought a second time at the same merchant within two hours for
    `again_amount`, positions `back` are given back in full after `delay` days."""

    again: np.ndarray
    again_amount: np.ndarray
    back: np.ndarray
    delay: np.ndarray


def aftermath(
    rng: np.random.Generator, world: World, near_repeat: np.ndarray, amount: np.ndarray, subscribed: np.ndarray
) -> Aftermath:
    """Near repeats and refunds of purchases with these amounts [N]; subscriptions have neither."""
    n = len(amount)
    again = np.flatnonzero((rng.random(n, dtype=np.float32) < near_repeat) & ~subscribed)
    share = rng.uniform(0.2, 0.9, len(again))
    back = np.flatnonzero((rng.random(n, dtype=np.float32) < world.config.refund_share) & ~subscribed)
    return Aftermath(
        again=again,
        again_amount=np.round(np.maximum(amount[again] * share, 0.5), 2),
        back=back,
        delay=rng.integers(1, REFUND_DAYS + 1, len(back)),
    )


assert len(BEHAVIOR) == len(BEHAVIOR_AMOUNT)
