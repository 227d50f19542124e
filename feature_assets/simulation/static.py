"""The customers table: static facts that the bank knows of its customers. Latent traits are not written.

Each fact has its causes: age → marital status; income and age → housing; digital affinity → device, acquisition; region
→ language; the first product → landing page. Little is known of visitors, but their referrer depends on how often
they come and their landing page on the purpose.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.simulation.block import Block
from feature_assets.simulation.chances import pick, pick_shared
from feature_assets.simulation.columns import days, text
from feature_assets.simulation.config import REFERRERS, REGIONS
from feature_assets.simulation.customers import OCCUPATIONS, Customers
from feature_assets.simulation.holdings import NEVER
from feature_assets.simulation.world import World

UNKNOWN = 0.07  # share of each static fact that the bank does not know
INCOME_BANDS = (0, 25_000, 45_000, 65_000, 90_000, 130_000)
STATIC = {
    "marital_status": ("single", "married", "divorced", "widowed"),
    "housing": ("renting", "owner", "with_parents", "cooperative"),
    "device": ("ios", "android", "desktop", "none"),
    "language": ("de", "fr", "it", "en"),
    "acquisition_channel": ("branch", "web", "referral", "campaign", "partner"),
    "referrer": REFERRERS,
    "landing_page": ("home", "accounts", "cards", "invest", "loans", "insurance"),
    "card_brand": ("visa", "mastercard", "maestro", "amex"),
}
PAGE_OF_KIND = (0, 1, 1, 3, 3, 2, 4, 5, 5, 5, 5, 5)


def customers_frame(rng: np.random.Generator, world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    """Static facts of the customers, null where the bank does not know them; of visitors few are known."""
    c = block.customers
    n = len(c)
    region_2 = c.region * 4 + pick_shared(rng, np.array([0.4, 0.3, 0.2, 0.1]), n)
    names_2 = np.array([f"{r}/{k}" for r in REGIONS for k in range(4)])
    band = np.searchsorted(INCOME_BANDS, c.income * rng.lognormal(0, 0.08, n), side="right") - 1
    named = ~c.anonymous

    def known(index: np.ndarray, share: float = 1 - UNKNOWN) -> np.ndarray:
        return np.where(named & (rng.random(n) < share), index, -1)

    birth = world.config.first_day.year - c.age.astype(np.int64)
    static = _static(rng, c, block.holdings.opened)
    visible = {"device", "language", "referrer", "landing_page", "acquisition_channel"}
    columns = {
        "customer_id": ids,
        "joined_on": days(world.calendar, c.joined),
        "birth_year": _whole(known(birth, 0.98)),
        "gender": text(("f", "m", "x"), known(pick_shared(rng, np.array([0.5, 0.485, 0.015]), n), 0.96)),
        "region_l1": text(REGIONS, np.where(named | (rng.random(n) < 0.7), c.region, -1)),
        "region_l2": text(names_2, np.where(named, region_2, -1)),
        "segment": text(("customer", "anonymous"), c.anonymous.astype(np.int64)),
        "occupation": text(OCCUPATIONS, known(c.occupation)),
        "income_band": text(tuple(f"from_{b}" for b in INCOME_BANDS), known(band, 0.85)),
    }
    for name, values in STATIC.items():
        index = static[name]
        seen = np.where(rng.random(n) < 1 - UNKNOWN, index, -1) if name in visible else known(index)
        columns[name] = text(values, seen)
    return pl.DataFrame(columns)


def _whole(index: np.ndarray) -> pl.Series:
    values = pl.Series(index.astype(np.int32))
    return values.zip_with(pl.Series(index >= 0), pl.Series([None], dtype=pl.Int32))


def _static(rng: np.random.Generator, c: Customers, opened: np.ndarray) -> dict[str, np.ndarray]:
    """Facts by cause: age → marital status; income and age → housing; digital affinity → device, acquisition; region →
    language; interest in products, or a visitor's purpose → landing page."""
    n = len(c)
    young, old = c.age < 30, c.age > 66

    def weights(*rows: np.ndarray | float) -> np.ndarray:
        return np.stack([np.broadcast_to(np.asarray(r, np.float64), (n,)) for r in rows], axis=1)

    married = np.clip((c.age - 20) / 25, 0.05, 1.0)
    marital = pick(rng, weights(1.3 - married, married, 0.15 + 0.1 * old, 0.02 + 0.3 * old))
    rich = np.clip(c.income / 80_000, 0.2, 2.5)
    housing = pick(rng, weights(1.0, 0.6 * rich * (~young), 0.9 * (c.age < 26), 0.12))
    device = pick(rng, weights(0.8 * c.digital + 0.2 * rich, 0.9 * c.digital, 0.35, 0.6 * (1 - c.digital)))
    language = pick(rng, weights(0.4 + (c.region < 4), 1.6 * (c.region == 6), 1.5 * (c.region == 5), 0.12))
    acquired = pick(rng, weights(1.2 - c.digital, 0.3 + c.digital, 0.35, 0.25, 0.12 + 0.2 * (c.routine == 2)))
    first = np.where(opened.min(axis=1) < NEVER, opened.argmin(axis=1) + 1, 0)
    page = np.array([*PAGE_OF_KIND, 3, 3, 4, 1])[first]
    page = np.where(rng.random(n) < 0.35, rng.integers(0, 6, n), page)
    page = np.where(c.anonymous, c.mix.reshape(n, 6, 2).sum(axis=2).argmax(axis=1), page)
    card = pick(rng, weights(0.9, 0.8, 0.25, 0.06 * rich))
    return {
        "marital_status": marital,
        "housing": housing,
        "device": device,
        "language": language,
        "acquisition_channel": acquired,
        "referrer": c.referrer,
        "landing_page": page,
        "card_brand": card,
    }
