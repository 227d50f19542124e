"""Exact probabilities of a merchant and of a brand given the category of a purchase."""

from __future__ import annotations

import numpy as np

from feature_assets.labels.constants import FAVOURITE_DAYS
from feature_assets.simulation.basics import Basics
from feature_assets.simulation.block import Block
from feature_assets.simulation.catalogue import CHAIN_BRANDS, KNOWN_GOODS, MAKER_BRANDS, UNBRANDED
from feature_assets.simulation.config import CATEGORIES
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.purchases import OWN_COMMUNITY
from feature_assets.simulation.world import World


def favourites(world: World, block: Block, day: int) -> np.ndarray:
    """The merchant with most purchases in the 180 days before `day` of each customer of a block (ties: the smallest
    id), −1 without one. int64 [n]."""
    p, n = block.purchases, len(block.customers)
    ids = world.catalogue.merchants["merchant_id"].to_numpy()
    rank = np.empty(len(ids), np.int64)
    rank[np.argsort(ids.astype(str))] = np.arange(len(ids))
    past = np.flatnonzero((p.day >= day - FAVOURITE_DAYS) & (p.day < day) & ~p.refund)
    pair, times = np.unique(p.row[past] * len(ids) + rank[p.merchant[past]], return_counts=True)
    row, place = pair // len(ids), pair % len(ids)
    order = np.lexsort((place, -times, row))
    first = order[np.concatenate([[True], row[order][1:] != row[order][:-1]])[: len(order)]]
    out = np.full(n, -1)
    out[row[first]] = np.argsort(rank)[place[first]]
    return out


def own_popularity(world: World) -> np.ndarray:
    """Share of each merchant among those of its community and category, float64 [M]."""
    catalogue = world.catalogue
    pair = catalogue.community * len(CATEGORIES) + catalogue.category
    return catalogue.popularity / np.bincount(pair, catalogue.popularity)[pair]


class Affinity:
    """The probability that a purchase is made at the favourite merchant.

    Args:
        people: n customers. liked: int64 [n], the merchant, −1 without.
    """

    def __init__(self, world: World, people: Customers, liked: np.ndarray) -> None:
        catalogue = world.catalogue
        merchant = np.maximum(liked, 0)
        self._people, self._liked, self._category = people, liked, catalogue.category[merchant]
        is_favourite = people.favourite[np.arange(len(liked)), self._category] == liked
        near = (catalogue.community[merchant] == people.community) * own_popularity(world)[merchant]
        other = OWN_COMMUNITY * near + (1 - OWN_COMMUNITY) * catalogue.popularity[merchant]
        self._chance = people.favoured * is_favourite + (1 - people.favoured) * other

    def chance(self, basics: Basics, who: np.ndarray) -> np.ndarray:
        """float64 [N] of purchases by the customers `who` [N]."""
        bought = np.where(basics.category == self._category[who], self._chance[who], 0.0)
        which = np.maximum(basics.subscription, 0)
        known = self._people.subscription_merchant[who, which] == self._liked[who]
        return np.where(basics.subscription >= 0, known, bought)


def brand_order(world: World, people: Customers, basics: Basics, owner: np.ndarray, again: np.ndarray) -> np.ndarray:
    """Brands by how often each customer is expected to buy them, likeliest first, int64 [n, B].

    Args:
        basics: drawn purchases; owner: int64, the customer of each row of them; again: those bought a second time.
    """
    catalogue, n, k = world.catalogue, len(people), len(CATEGORIES)
    free = basics.subscription < 0
    key = owner[basics.row] * k + basics.category
    first = np.bincount(key[free], minlength=n * k).reshape(n, k).astype(np.float64)
    second = np.bincount(key[again], minlength=n * k).reshape(n, k)
    branded = np.array(KNOWN_GOODS) * (1 - UNBRANDED)
    rows = np.arange(n)
    out = np.zeros((n, len(catalogue.brands)))
    chains, makers = _brand_tables(world)
    for c in range(k):
        seen = first[:, c] * branded[c]
        base = catalogue.maker_base + c * MAKER_BRANDS
        out[:, base : base + MAKER_BRANDS] += (seen * (1 - people.loyalty))[:, None] * makers
        out[rows, base + people.loyal[:, c]] += seen * people.loyalty
        at_merchant = first[:, c] * (1 - branded[c]) + second[:, c]
        own = chains[people.community, c] * OWN_COMMUNITY + chains[-1, c] * (1 - OWN_COMMUNITY)
        span = slice(c * CHAIN_BRANDS, (c + 1) * CHAIN_BRANDS)
        out[:, span] += (at_merchant * (1 - people.favoured))[:, None] * own
        brand = catalogue.brand[people.favourite[:, c]]
        out[rows, np.maximum(brand, 0)] += np.where(brand >= 0, at_merchant * people.favoured, 0.0)
    for which in range(people.subscription_day.shape[1]):
        times = np.bincount(owner[basics.row[basics.subscription == which]], minlength=n)
        brand = catalogue.brand[people.subscription_merchant[:, which]]
        out[rows, np.maximum(brand, 0)] += np.where(brand >= 0, times, 0.0)
    return np.argsort(-out, axis=1, kind="stable")


def _brand_tables(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the chains of each category among the purchases in each community, [G + 1, 12, 14] (the last row:
    everywhere), and of the makers [10]."""
    catalogue, config = world.catalogue, world.config
    out = np.zeros((config.communities + 1, len(CATEGORIES), CHAIN_BRANDS))
    chained = catalogue.brand >= 0
    place = catalogue.brand[chained] % CHAIN_BRANDS
    where = (catalogue.community[chained], catalogue.category[chained], place)
    np.add.at(out, where, own_popularity(world)[chained])
    np.add.at(out[-1], where[1:], catalogue.popularity[chained])
    return out, catalogue.maker_shares
