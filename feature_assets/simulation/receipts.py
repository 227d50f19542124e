"""The lines of a basket: goods of one purchase, as its receipt lists them.

A basket's lines share instant, merchant, channel and maker and sum to the purchase, so that no measure of
purchases (spend, brands, channels, favourite merchants) depends on the number of lines.
"""

from __future__ import annotations

import numpy as np

from feature_assets.simulation.catalogue import GOODS_A_BRAND, MAKER_BRANDS, UNBRANDED_GOODS
from feature_assets.simulation.purchases import Purchases

LINES = (0.80, 0.13, 0.05, 0.02)
"""Chances of one to four lines, where the goods are known."""
_CATEGORY = MAKER_BRANDS * GOODS_A_BRAND + UNBRANDED_GOODS  # goods a category


def itemise(rng: np.random.Generator, purchases: Purchases) -> Purchases:
    """The same purchases by lines; lines of one purchase share `basket` and lie one after the other."""
    n = len(purchases)
    known = (purchases.product >= 0) & ~purchases.refund
    count = np.where(known, 1 + np.searchsorted(np.cumsum(LINES)[:-1], rng.random(n), side="right"), 1)
    lines = purchases.take(np.repeat(np.arange(n), count))
    nth = np.arange(len(lines)) - np.repeat(np.cumsum(count) - count, count)
    weight = rng.uniform(0.2, 1.0, len(lines))
    share = weight / np.bincount(lines.basket, weight, n)[lines.basket]
    changed = {
        "amount": _split(lines.amount, share, nth, lines.basket, n),
        "discount": _split(lines.discount, share, nth, lines.basket, n),
        "product": np.where(lines.product >= 0, _siblings(lines.product, nth), -1),
        "quantity": np.where((lines.quantity > 0) & (nth > 0), 1, lines.quantity),
    }
    return Purchases(**(lines.__dict__ | changed))


def _split(total: np.ndarray, share: np.ndarray, nth: np.ndarray, basket: np.ndarray, n: int) -> np.ndarray:
    """`total` by `share` in whole cents; the first line of each basket takes the remainder of rounding."""
    part = np.where(nth > 0, np.floor(total * share * 100) / 100, 0.0)
    rest = total - np.bincount(basket, part, n)[basket]
    return np.round(np.where(nth > 0, part, rest), 2)


def _siblings(product: np.ndarray, nth: np.ndarray) -> np.ndarray:
    """The `nth` next good of the same maker (of the unbranded goods, if it has none) in the same category."""
    within = product % _CATEGORY
    branded = within < MAKER_BRANDS * GOODS_A_BRAND
    size = np.where(branded, GOODS_A_BRAND, UNBRANDED_GOODS)
    first = product - np.where(branded, within % GOODS_A_BRAND, within - MAKER_BRANDS * GOODS_A_BRAND)
    return first + (product - first + nth) % size
