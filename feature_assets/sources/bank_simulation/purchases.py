"""Purchases and refunds: how many, when in the day, in which category, where, what and for how much.

The category and amount of a purchase depend on the latent path; the merchant and the good on the customer alone. The
oracle draws the former again and computes with the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.sources.bank_simulation.catalogue import (
    GOODS_A_BRAND,
    KNOWN_GOODS,
    MAKER_BRANDS,
    UNBRANDED,
    UNBRANDED_GOODS,
    good,
)
from feature_assets.sources.bank_simulation.chances import pick, pick_shared
from feature_assets.sources.bank_simulation.config import BEHAVIOR, CATEGORIES, CHANNELS
from feature_assets.sources.bank_simulation.customers import Customers
from feature_assets.sources.bank_simulation.intensity import subscription_chance
from feature_assets.sources.bank_simulation.paths import COUNTRIES, Paths
from feature_assets.sources.bank_simulation.world import BEHAVIOR_AMOUNT, LOG_AMOUNT, SPREAD_AMOUNT, World

OWN_COMMUNITY = 0.65  # not at the favourite merchant: share of purchases at one of the own community
LOOP_MIX = 1.1  # how strongly a loop moves through the categories as the week goes by
LOOP_AMOUNT = 0.45  # and through the amounts
BRANCH_MIX, BRANCH_AMOUNT = 1.2, 0.5  # the two branches: many small things on workdays, few large ones at weekends
FOREIGN_ONLINE = 0.015  # share of purchases abroad without a trip
DISCOUNTED = 0.12
DEARER = 0.06  # log price level from which on a subscription costs a tenth more
REFUND_DAYS = 14
ONLINE_DRIFT = (0.85, 1.15, 1.15)  # factor of the channels' weights from the drift on
TRIP_TILT = np.ones(len(CATEGORIES), np.float32)
for _name, _tilt in {"travel": 4.0, "restaurants": 2.2, "transport": 1.8, "education": 0.1, "services": 0.3}.items():
    TRIP_TILT[CATEGORIES.index(_name)] = _tilt


@dataclass(frozen=True)
class Basics:
    """What a purchase is before one knows where: one row a purchase, N of them, ordered by customer and day.

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
    """As `draw_basics`, given how many purchases there are.

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
    loop = np.flatnonzero(kind == 1)
    place = np.arange(len(CATEGORIES)) / len(CATEGORIES)
    turn = _loop_table(place, LOOP_MIX)
    weights[loop] *= turn[_turn(customers, row[loop], weekday[loop])]
    branch = np.flatnonzero(kind == 2)
    small = np.array(LOG_AMOUNT) < np.median(LOG_AMOUNT)
    tilt = np.exp(BRANCH_MIX * np.where(small, 0.5, -0.5)).astype(np.float32)
    weights[branch] *= np.where((weekday[branch] < 5)[:, None], tilt, 1 / tilt)
    abroad = paths.trip[row, offset]
    weights[abroad > 0] *= TRIP_TILT
    return pick(rng, weights), abroad


TURNS = 64  # steps in which the phase of a loop is measured


def _turn(customers: Customers, row: np.ndarray, weekday: np.ndarray) -> np.ndarray:
    """How far a loop has come on a weekday, in 64ths of the week."""
    return ((weekday / 7 + customers.phase[row]) * TURNS).astype(np.int64) % TURNS


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
    loop = np.flatnonzero(kind == 1)
    cosine = np.cos(2 * np.pi * np.arange(TURNS) / TURNS).astype(np.float32)
    log[loop] += np.float32(LOOP_AMOUNT) * cosine[_turn(customers, row[loop], weekday[loop])]
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
    tilt = tilt * np.array([(1.0, 1.0, 1.0), ONLINE_DRIFT], np.float32)[None, None]
    flat = tilt.reshape(-1, 3)
    weights = customers.channel[row] * flat[(behavior * len(CATEGORIES) + category) * 2 + drifted]
    weights[abroad > 0, 0] *= 2.0
    return pick(rng, weights)


@dataclass(frozen=True)
class Purchases:
    """All of a purchase, N rows; refunds are rows of their own.

    Attributes:
        basics: what the oracle draws again.
        part: int64, of the day. second: int64, of the day, local.
        merchant: int64. product: int64, −1 unknown. quantity: int64, −1 unknown. discount: float64.
        overseas: bool. refund: bool. origin: int64, day of the purchase that a refund undoes (else its own day).
    """

    row: np.ndarray
    day: np.ndarray
    second: np.ndarray
    category: np.ndarray
    amount: np.ndarray
    channel: np.ndarray
    merchant: np.ndarray
    product: np.ndarray
    quantity: np.ndarray
    discount: np.ndarray
    overseas: np.ndarray
    country: np.ndarray
    refund: np.ndarray
    origin: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: np.ndarray) -> Purchases:
        """The purchases `rows`."""
        return Purchases(**{name: values[rows] for name, values in self.__dict__.items()})


def complete(rng: np.random.Generator, world: World, customers: Customers, basics: Basics) -> Purchases:
    """Hour, merchant, good and the rest of each purchase, then near repeats and refunds."""
    n, row, category = len(basics.row), basics.row, basics.category
    calendar, config = world.calendar, world.config
    subscribed = basics.subscription >= 0
    share = customers.hours[row, calendar.drift[basics.day].astype(np.int64), calendar.weekday[basics.day]]
    part = np.where(subscribed, 0, pick(rng, share))
    within = np.where(subscribed, 0.5 + 0.05 * rng.random(n), rng.beta(2.0, 2.0, n))
    second = ((part + within) * 6 * 3600).astype(np.int64)
    merchant = np.where(
        subscribed,
        customers.subscription_merchant[row, np.maximum(basics.subscription, 0)],
        _merchants(rng, world, customers, row, category),
    )
    product = np.where(subscribed, -1, _products(rng, world, customers, row, category))
    quantity = np.where(product >= 0, 1 + rng.poisson(0.4, n), -1)
    off = (rng.random(n) < DISCOUNTED) & ~subscribed
    discount = np.where(off, np.round(basics.amount * rng.uniform(0.05, 0.30, n), 2), 0.0)
    away = (basics.abroad > 0) & (rng.random(n) < config.foreign_share)
    online = ~away & ~subscribed & (basics.channel > 0) & (rng.random(n) < FOREIGN_ONLINE)
    country = np.where(away, basics.abroad, np.where(online, 1 + rng.integers(0, 2, n) * 2, 0))
    first = Purchases(
        row=row,
        day=basics.day,
        second=second,
        category=category,
        amount=basics.amount,
        channel=basics.channel,
        merchant=merchant,
        product=product,
        quantity=quantity,
        discount=discount,
        overseas=country > 0,
        country=country,
        refund=np.zeros(n, bool),
        origin=basics.day,
    )
    after = aftermath(rng, world, customers.near_repeat[row], basics.amount, subscribed)
    again, back = first.take(after.again), first.take(after.back)
    nothing = np.full(len(again), -1)
    sooner = np.minimum(again.second + rng.integers(600, 7200, len(again)), 86_399)
    changed = {"second": sooner, "amount": after.again_amount, "discount": np.zeros(len(again))}
    again = Purchases(**(again.__dict__ | changed | {"product": nothing, "quantity": nothing}))
    changed = {
        "day": back.day + after.delay,
        "second": rng.integers(8 * 3600, 19 * 3600, len(back)),
        "amount": -back.amount,
        "discount": np.zeros(len(back)),
        "refund": np.ones(len(back), bool),
    }
    back = Purchases(**(back.__dict__ | changed))
    every = [first, again, back.take(np.flatnonzero(back.day < calendar.days))]
    return Purchases(**{name: np.concatenate([getattr(p, name) for p in every]) for name in first.__dict__})


@dataclass(frozen=True)
class Aftermath:
    """What follows purchases: positions `again` bought a second time at the same merchant within two hours for
    `again_amount`, positions `back` given back in full after `delay` days."""

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


def _merchants(
    rng: np.random.Generator, world: World, customers: Customers, row: np.ndarray, category: np.ndarray
) -> np.ndarray:
    """The favourite of the category, else one of the own community, else any, each by popularity."""
    u = rng.random(len(row))
    favourite = u < customers.favoured[row]
    own = rng.random(len(row)) < OWN_COMMUNITY
    merchant = customers.favourite[row, category]
    near = np.flatnonzero(~favourite & own)
    merchant[near] = world.catalogue.within(rng, customers.community[row[near]], category[near])
    far = np.flatnonzero(~favourite & ~own)
    merchant[far] = world.catalogue.anywhere(rng, category[far])
    return merchant


def _products(
    rng: np.random.Generator, world: World, customers: Customers, row: np.ndarray, category: np.ndarray
) -> np.ndarray:
    """Row of the products table, −1 where the bank does not learn it."""
    out = np.full(len(row), -1)
    known = np.flatnonzero(rng.random(len(row)) < np.array(KNOWN_GOODS)[category])
    row, category = row[known], category[known]
    n = len(known)
    maker = np.where(
        rng.random(n) < customers.loyalty[row],
        customers.loyal[row, category],
        pick_shared(rng, world.catalogue.maker_shares, n),
    )
    bare = rng.random(n) < UNBRANDED
    which = np.where(bare, rng.integers(0, UNBRANDED_GOODS, n), rng.integers(0, GOODS_A_BRAND, n))
    out[known] = good(category, np.where(bare, MAKER_BRANDS, maker), which)
    return out


assert len(COUNTRIES) < 128, "the country of a trip is an int8"
assert len(BEHAVIOR) == len(BEHAVIOR_AMOUNT)
