"""A block as contract tables: ids, names, types. Latent columns stay behind.

Ids are permuted over all customers, so that neither a file nor the order of ids says anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import polars as pl

from feature_assets.contract import BALANCE_KINDS, CONTACT_KINDS, KINDS, SESSION_EVENTS
from feature_assets.sources.bank_simulation.block import Block
from feature_assets.sources.bank_simulation.calendar import Calendar
from feature_assets.sources.bank_simulation.chances import pick, pick_shared
from feature_assets.sources.bank_simulation.config import CHANNELS, HELD, REGIONS
from feature_assets.sources.bank_simulation.contacts import SESSION_CHANNELS, TOPICS
from feature_assets.sources.bank_simulation.customers import OCCUPATIONS, Customers
from feature_assets.sources.bank_simulation.holdings import NEVER
from feature_assets.sources.bank_simulation.paths import COUNTRIES
from feature_assets.sources.bank_simulation.world import CAMPAIGN_KINDS, World

UNKNOWN = 0.07  # share of each static fact that the bank does not know
INCOME_BANDS = (0, 25_000, 45_000, 65_000, 90_000, 130_000)
STATIC = {
    "marital_status": ("single", "married", "divorced", "widowed"),
    "housing": ("renting", "owner", "with_parents", "cooperative"),
    "device": ("ios", "android", "desktop", "none"),
    "language": ("de", "fr", "it", "en"),
    "acquisition_channel": ("branch", "web", "referral", "campaign", "partner"),
    "referrer": ("search", "direct", "social", "partner", "email"),
    "landing_page": ("home", "accounts", "cards", "invest", "loans", "insurance"),
    "card_brand": ("visa", "mastercard", "maestro", "amex"),
}
PAGE_OF_KIND = (0, 1, 1, 3, 3, 2, 4, 5, 5, 5, 5, 5)


@dataclass(frozen=True)
class Naming:
    """Customer ids of all blocks: number i of N is written as (a · i + b) mod N. Source: affine permutation."""

    customers: int
    factor: int
    shift: int
    width: int

    def names(self, first: int, n: int) -> pl.Series:
        """Ids of customers first … first + n − 1."""
        numbers = (self.factor * (first + np.arange(n, dtype=np.int64)) + self.shift) % self.customers
        return "c" + pl.Series("customer_id", numbers).cast(pl.String).str.zfill(self.width)


def make_naming(customers: int, seed: int) -> Naming:
    """The permutation of a simulation of so many customers."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 2])))
    factor = int(rng.integers(max(customers // 3, 1), customers + 1))
    while gcd(factor, customers) != 1:
        factor += 1
    return Naming(customers, factor, int(rng.integers(0, customers)), max(8, len(str(customers))))


def _text(values: tuple[str, ...] | np.ndarray, index: np.ndarray) -> pl.Series:
    """Strings by index; a negative index is null."""
    missing = index < 0
    names = pl.Series(values, dtype=pl.String)
    found = names.gather(np.where(missing, 0, index).astype(np.uint32))
    if not missing.any():
        return found
    return found.zip_with(pl.Series(~missing), pl.Series([None], dtype=pl.String))


def _days(calendar: Calendar, day: np.ndarray, never: int = NEVER) -> pl.Series:
    series = pl.Series((calendar.first + np.where(day == never, 0, day)).astype(np.int32)).cast(pl.Date)
    return series.zip_with(pl.Series(day != never), pl.Series([None], dtype=pl.Date))


def _at(calendar: Calendar, day: np.ndarray, second: np.ndarray) -> pl.Series:
    return pl.Series(calendar.instants(day, second)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _number(values: np.ndarray) -> pl.Series:
    """Float64, NaN as null."""
    return pl.Series(values, dtype=pl.Float64, nan_to_null=True)


def block_frames(rng: np.random.Generator, world: World, block: Block, ids: pl.Series) -> dict[str, pl.DataFrame]:
    """The contract tables of a block, without the shared ones.

    Args:
        ids: customer_id of each customer of the block.
    """
    return {
        "customers": customers_frame(rng, world, block, ids),
        "transactions": _transactions(world, block, ids),
        "sessions": _sessions(world, block, ids),
        "campaign_events": _campaign_events(world, block, ids),
        "holdings": _holdings(world, block, ids),
        "balances": _balances(world, block, ids),
        "contacts": _contacts(world, block, ids),
    }


def shared_frames(world: World) -> dict[str, pl.DataFrame]:
    """Merchants, products and campaigns."""
    plan, calendar = world.campaigns, world.calendar
    campaigns = pl.DataFrame(
        {
            "campaign_id": campaign_names(world.config.campaigns),
            "kind": _text(CAMPAIGN_KINDS, plan.kind),
            "starts_on": _days(calendar, plan.start),
            "ends_on": _days(calendar, plan.start + plan.length - 1),
        }
    )
    catalogue = world.catalogue
    return {"merchants": catalogue.merchants, "products": catalogue.products, "campaigns": campaigns}


def campaign_names(n: int) -> pl.Series:
    """Ids of the campaigns."""
    return pl.Series("campaign_id", [f"a{c:02d}" for c in range(n)])


def customers_frame(rng: np.random.Generator, world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    """What the bank knows of its customers: null where it does not; of visitors hardly anything."""
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
        "joined_on": _days(world.calendar, c.joined),
        "birth_year": _whole(known(birth, 0.98)),
        "gender": _text(("f", "m", "x"), known(pick_shared(rng, np.array([0.5, 0.485, 0.015]), n), 0.96)),
        "region_l1": _text(REGIONS, np.where(named | (rng.random(n) < 0.7), c.region, -1)),
        "region_l2": _text(names_2, np.where(named, region_2, -1)),
        "segment": _text(("customer", "anonymous"), c.anonymous.astype(np.int64)),
        "occupation": _text(OCCUPATIONS, known(c.occupation)),
        "income_band": _text(tuple(f"from_{b}" for b in INCOME_BANDS), known(band, 0.85)),
    }
    for name, values in STATIC.items():
        index = static[name]
        seen = np.where(rng.random(n) < 1 - UNKNOWN, index, -1) if name in visible else known(index)
        columns[name] = _text(values, seen)
    return pl.DataFrame(columns)


def _whole(index: np.ndarray) -> pl.Series:
    values = pl.Series(index.astype(np.int32))
    return values.zip_with(pl.Series(index >= 0), pl.Series([None], dtype=pl.Int32))


def _static(rng: np.random.Generator, c: Customers, opened: np.ndarray) -> dict[str, np.ndarray]:
    """Facts by cause: age → marital status; income and age → housing; digital affinity → device, acquisition; region →
    language; interest in products → landing page; what drew a customer → referrer."""
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
    referrer = pick(rng, weights(0.8, 0.7, 0.9 * young + 0.1, 0.2, 0.2 + 0.15 * old))
    first = np.where(opened.min(axis=1) < NEVER, opened.argmin(axis=1) + 1, 0)
    page = np.array([*PAGE_OF_KIND, 3, 3, 4, 1])[first]
    page = np.where(rng.random(n) < 0.35, rng.integers(0, 6, n), page)
    card = pick(rng, weights(0.9, 0.8, 0.25, 0.06 * rich))
    return {
        "marital_status": marital,
        "housing": housing,
        "device": device,
        "language": language,
        "acquisition_channel": acquired,
        "referrer": referrer,
        "landing_page": page,
        "card_brand": card,
    }


def _transactions(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    """Purchases, refunds and flows, by customer and time."""
    p, f = block.purchases, block.flows
    nothing = np.full(len(f.row), -1)
    row = np.concatenate([p.row, f.row])
    day, second = np.concatenate([p.day, f.day]), np.concatenate([p.second, f.second])
    kind = np.concatenate([np.where(p.refund, KINDS.index("refund"), KINDS.index("purchase")), f.kind])
    merchant, product = np.concatenate([p.merchant, nothing]), np.concatenate([p.product, nothing])
    quantity = np.concatenate([p.quantity, nothing])
    country = np.concatenate([p.country, np.zeros(len(f.row), np.int64)])
    order = np.lexsort((second, day, row))
    row = row[order]
    nth = np.arange(len(row)) - np.searchsorted(row, np.arange(len(ids)))[row]
    customer = ids.gather(row.astype(np.uint32))
    frame = pl.DataFrame(
        {
            "customer_id": customer,
            "nth": pl.Series(nth + 1).cast(pl.String),
            "at": _at(world.calendar, day[order], second[order]),
            "amount": np.concatenate([p.amount, f.amount])[order],
            "discount": np.concatenate([p.discount, np.zeros(len(f.row))])[order],
            "quantity": pl.Series(quantity[order]),
            "merchant_id": _text(world.catalogue.merchants["merchant_id"].to_numpy(), merchant[order]),
            "product_id": _text(world.catalogue.products["product_id"].to_numpy(), product[order]),
            "channel": _text(CHANNELS, np.concatenate([p.channel, f.channel])[order]),
            "kind": _text(KINDS, kind[order]),
            "is_overseas": country[order] > 0,
            "currency": _text(COUNTRIES, country[order]),
        }
    )
    name = pl.concat_str(pl.col("customer_id").str.replace("c", "t", literal=True), pl.lit("-"), "nth")
    return frame.select(
        name.alias("transaction_id"),
        name.alias("basket_id"),
        "customer_id",
        "at",
        "amount",
        "discount",
        pl.when(pl.col("quantity") > 0).then("quantity").alias("quantity"),
        "merchant_id",
        "product_id",
        "channel",
        "kind",
        "is_overseas",
        "currency",
    )


def _sessions(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    s = block.sessions
    return pl.DataFrame(
        {
            "customer_id": ids.gather(s.row.astype(np.uint32)),
            "at": _at(world.calendar, s.day, s.second),
            "channel": _text(SESSION_CHANNELS, s.channel),
            "event": _text(SESSION_EVENTS, s.event),
            "seconds": s.seconds,
            "pages": pl.Series(s.pages.astype(np.int32)),
            "campaign_id": _text(campaign_names(world.config.campaigns).to_numpy(), s.campaign),
        }
    )


def _campaign_events(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    """Targets at eight o'clock of the first day; impressions; clicks and conversions within the hour after."""
    e, clicks = block.exposures, block.clicks
    start = world.campaigns.start[e.target_campaign]
    clicked, converted = np.flatnonzero(clicks.clicked), np.flatnonzero(clicks.converted)
    parts = [
        ("targeted", e.target_row, e.target_campaign, start, np.full(len(start), 8 * 3600)),
        ("impression", e.row, e.campaign, e.day, e.second),
        ("click", e.row[clicked], e.campaign[clicked], e.day[clicked], e.second[clicked] + 45),
        ("conversion", e.row[converted], e.campaign[converted], e.day[converted], e.second[converted] + 900),
    ]
    row, campaign, day, second = (np.concatenate([part[k] for part in parts]) for k in (1, 2, 3, 4))
    event = np.repeat(np.arange(4), [len(part[1]) for part in parts])
    control = np.concatenate([e.control, np.zeros(len(row) - len(e.control), bool)])
    return pl.DataFrame(
        {
            "customer_id": ids.gather(row.astype(np.uint32)),
            "campaign_id": _text(campaign_names(world.config.campaigns).to_numpy(), campaign),
            "at": _at(world.calendar, day, second),
            "event": _text(tuple(part[0] for part in parts), event),
            "is_control": control,
        }
    )


def _holdings(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    s = block.stated
    return pl.DataFrame(
        {
            "customer_id": ids.gather(s.row.astype(np.uint32)),
            "product_kind": _text(HELD, s.kind),
            "opened_on": _days(world.calendar, s.opened),
            "as_of": _days(world.calendar, s.day),
            "closed_on": _days(world.calendar, s.closed),
            "balance": s.balance,
            "limit": _number(s.limit),
        }
    )


def _balances(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    b = block.balances
    customer = ids.gather(b.row.astype(np.uint32))
    short = _text(("cur", "sav", "crd", "inv", "pts", "lon"), b.kind)
    account = pl.DataFrame({"customer": customer, "short": short}).select(
        pl.concat_str("short", pl.lit("-"), pl.col("customer").str.slice(1))
    )
    return pl.DataFrame(
        {
            "customer_id": customer,
            "account_id": account.to_series(),
            "on": _days(world.calendar, b.day),
            "balance": b.balance,
            "limit": _number(b.limit),
            "kind": _text(BALANCE_KINDS, b.kind),
        }
    )


def _contacts(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    c = block.contacts
    return pl.DataFrame(
        {
            "customer_id": ids.gather(c.row.astype(np.uint32)),
            "at": _at(world.calendar, c.day, c.second),
            "kind": _text(CONTACT_KINDS, c.kind),
            "topic": _text(TOPICS, c.topic),
        }
    )
