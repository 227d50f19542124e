"""Purchases and refunds in full: time of day, merchant, product and discount.

These depend on the customer alone, given the draws of `basics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.basics import Basics, aftermath
from feature_assets.simulation.catalogue import (
    GOODS_A_BRAND,
    KNOWN_GOODS,
    MAKER_BRANDS,
    UNBRANDED,
    UNBRANDED_GOODS,
    good,
)
from feature_assets.simulation.chances import pick, pick_shared
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.paths import COUNTRIES
from feature_assets.simulation.world import World

OWN_COMMUNITY = 0.65  # not at the favourite merchant: share of purchases at one of the own community
FOREIGN_ONLINE = 0.015  # share of purchases abroad without a trip
DISCOUNTED = 0.12


@dataclass(frozen=True)
class Purchases:
    """All of a purchase, N rows; refunds are rows of their own.

    Attributes:
        basics: the columns that the oracle draws again.
        part: int64, of the day. second: int64, of the day, local.
        merchant: int64. product: int64, −1 unknown. quantity: int64, −1 unknown. discount: float64.
        overseas: bool. refund: bool. origin: int64, day of the purchase that a refund undoes (else its own day).
        basket: int64, which rows are one purchase; each its own until `receipts.py` itemises them.
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
    basket: np.ndarray

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
        basket=np.arange(n),
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
    joined = {name: np.concatenate([getattr(p, name) for p in every]) for name in first.__dict__}
    return Purchases(**(joined | {"basket": np.arange(len(joined["row"]))}))


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
    """Row of the products table, −1 where the bank does not know it."""
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
