"""The catalogue: category trees, merchants with their communities, goods and brands.

Popularity follows power laws. Every (community, category) has merchants of its own, and their brands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.simulation.chances import pick_shared, zipf
from feature_assets.simulation.config import CATEGORIES, REGIONS, SimulationConfig

LEVEL_2, LEVEL_3 = 4, 3  # children of each node of the merchant tree
GOODS_LEVEL_2, GOODS_LEVEL_3 = 3, 4
CHAIN_BRANDS = 14  # a category
CHAINED = 0.75  # share of merchants that belong to a chain
MAKER_BRANDS, GOODS_A_BRAND, UNBRANDED_GOODS = 10, 3, 6  # a category
UNBRANDED = 0.15  # share of known goods without a brand
KNOWN_GOODS = (0.75, 0.15, 0.20, 0.70, 0.65, 0.80, 0.60, 0.45, 0.30, 0.10, 0.25, 0.10)
"""Category → how often the bank learns which good was bought."""
LOCAL = 0.8  # share of a community's merchants that lie in its home region


@dataclass(frozen=True)
class Catalogue:
    """Merchants and goods.

    Attributes:
        category, community, brand: int64 [M] of each merchant; brand is an index into `brands`, −1 without.
        popularity: float64 [M], shares within the category.
        order, cumulative: merchants by category, and `category + cumulative popularity` along this order.
        own_order, own_cumulative: the same within (community, category), numbered community × 12 + category.
        brands: names; first the chains of every category, then the makers of every category.
        maker_shares: float64 [10], popularity of a category's makers.
        merchants, products: the contract tables.
    """

    category: np.ndarray
    community: np.ndarray
    brand: np.ndarray
    popularity: np.ndarray
    order: np.ndarray
    cumulative: np.ndarray
    own_order: np.ndarray
    own_cumulative: np.ndarray
    brands: np.ndarray
    maker_shares: np.ndarray
    merchants: pl.DataFrame
    products: pl.DataFrame

    def anywhere(self, rng: np.random.Generator, category: np.ndarray) -> np.ndarray:
        """A merchant of each category [n] by popularity, int64 [n]."""
        at = np.searchsorted(self.cumulative, category + rng.random(len(category)), side="right")
        return self.order[np.minimum(at, len(self.order) - 1)]

    def within(self, rng: np.random.Generator, community: np.ndarray, category: np.ndarray) -> np.ndarray:
        """A merchant of each community and category [n] by popularity, int64 [n]."""
        pair = community * len(CATEGORIES) + category
        at = np.searchsorted(self.own_cumulative, pair + rng.random(len(pair)), side="right")
        return self.own_order[np.minimum(at, len(self.own_order) - 1)]

    @property
    def maker_base(self) -> int:
        """Index of the first maker in `brands`."""
        return len(CATEGORIES) * CHAIN_BRANDS


def good(category: np.ndarray, maker: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Row of the products table: maker in [0, 10) and `which` in [0, 3), or maker 10 and `which` in [0, 6)."""
    return category * (MAKER_BRANDS * GOODS_A_BRAND + UNBRANDED_GOODS) + maker * GOODS_A_BRAND + which


def make_catalogue(rng: np.random.Generator, config: SimulationConfig) -> Catalogue:
    """Draw the merchants; goods and trees are fixed."""
    m, k, g = config.merchants, len(CATEGORIES), config.communities
    category = np.arange(m) % k
    rank = np.arange(m) // k
    community = rank % g
    popularity = (rank + 1.0) ** -config.merchant_power
    popularity /= np.bincount(category, popularity, k)[category]
    brand_in_category = pick_shared(rng, zipf(CHAIN_BRANDS, config.brand_power), m)
    brand = np.where(rng.random(m) < CHAINED, category * CHAIN_BRANDS + brand_in_category, -1)
    region = np.where(rng.random(m) < LOCAL, community % len(REGIONS), rng.integers(0, len(REGIONS), m))
    second = pick_shared(rng, zipf(LEVEL_2, 0.8), m)
    third = pick_shared(rng, zipf(LEVEL_3, 0.8), m)
    brands = np.array(
        [f"{c}-chain-{b:02d}" for c in CATEGORIES for b in range(CHAIN_BRANDS)]
        + [f"{c}-maker-{b:02d}" for c in CATEGORIES for b in range(MAKER_BRANDS)]
    )
    order, cumulative = _by_group(category, popularity)
    own_order, own_cumulative = _by_group(community * k + category, popularity)
    number = rng.permutation(m)  # an id says nothing of the category or the popularity
    names = np.array(CATEGORIES)[category]
    level_2 = [f"{c}/{s}" for c, s in zip(names, second, strict=True)]
    merchants = pl.DataFrame(
        {
            "merchant_id": [f"m{i:05d}" for i in number],
            "category_l1": names,
            "category_l2": level_2,
            "category_l3": [f"{s}/{t}" for s, t in zip(level_2, third, strict=True)],
            "brand": [None if b < 0 else brands[b] for b in brand],
            "region_l1": np.array(REGIONS)[region],
        },
        schema_overrides={"brand": pl.String},
    )
    return Catalogue(
        category=category,
        community=community,
        brand=brand,
        popularity=popularity,
        order=order,
        cumulative=cumulative,
        own_order=own_order,
        own_cumulative=own_cumulative,
        brands=brands,
        maker_shares=zipf(MAKER_BRANDS, config.brand_power),
        merchants=merchants,
        products=_products(),
    )


def _by_group(group: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items by group, and group + cumulative share of the weight within it."""
    order = np.argsort(group, kind="stable")
    groups, weights = group[order], weight[order]
    total = np.bincount(groups, weights)
    running = np.cumsum(weights)
    before = np.concatenate([[0.0], np.cumsum(total)])[groups]
    return order, groups + np.minimum((running - before) / total[groups], 1.0)


def _products() -> pl.DataFrame:
    rows: list[tuple[str | None, ...]] = []
    for c in CATEGORIES:
        for k in range(MAKER_BRANDS * GOODS_A_BRAND + UNBRANDED_GOODS):
            maker = k // GOODS_A_BRAND
            level_2 = f"{c}-goods/{k % GOODS_LEVEL_2}"
            brand = f"{c}-maker-{maker:02d}" if maker < MAKER_BRANDS else None
            rows.append((f"p{len(rows):04d}", f"{c}-goods", level_2, f"{level_2}/{k % GOODS_LEVEL_3}", brand))
    names = ["product_id", "category_l1", "category_l2", "category_l3", "brand"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
