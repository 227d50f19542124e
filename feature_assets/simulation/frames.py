"""A block as contract tables: ids, names, types. Latent columns are not written.

Ids are permuted over all customers, so that neither the file nor the order of ids carries information.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import polars as pl

from feature_assets.data.contract import BALANCE_KINDS, CONTACT_KINDS, KINDS, SESSION_EVENTS
from feature_assets.simulation.block import Block
from feature_assets.simulation.columns import at, days, number, text
from feature_assets.simulation.config import CHANNELS, HELD
from feature_assets.simulation.contacts import SESSION_CHANNELS, TOPICS
from feature_assets.simulation.paths import COUNTRIES
from feature_assets.simulation.static import customers_frame
from feature_assets.simulation.world import CAMPAIGN_KINDS, World


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
            "kind": text(CAMPAIGN_KINDS, plan.kind),
            "starts_on": days(calendar, plan.start),
            "ends_on": days(calendar, plan.start + plan.length - 1),
        }
    )
    catalogue = world.catalogue
    return {"merchants": catalogue.merchants, "products": catalogue.products, "campaigns": campaigns}


def campaign_names(n: int) -> pl.Series:
    """Ids of the campaigns."""
    return pl.Series("campaign_id", [f"a{c:02d}" for c in range(n)])


def _transactions(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    """Purchases, refunds and flows, by customer and time."""
    p, f = block.receipts, block.flows
    nothing = np.full(len(f.row), -1)
    row = np.concatenate([p.row, f.row])
    day, second = np.concatenate([p.day, f.day]), np.concatenate([p.second, f.second])
    kind = np.concatenate([np.where(p.refund, KINDS.index("refund"), KINDS.index("purchase")), f.kind])
    merchant, product = np.concatenate([p.merchant, nothing]), np.concatenate([p.product, nothing])
    quantity = np.concatenate([p.quantity, nothing])
    country = np.concatenate([p.country, np.zeros(len(f.row), np.int64)])
    order = np.lexsort((second, day, row))
    basket = np.concatenate([p.basket, len(p) + np.arange(len(f.row))])[order]
    row = row[order]
    nth = np.arange(len(row)) - np.searchsorted(row, np.arange(len(ids)))[row]
    _, first, of_basket = np.unique(basket, return_index=True, return_inverse=True)
    customer = ids.gather(row.astype(np.uint32))
    frame = pl.DataFrame(
        {
            "customer_id": customer,
            "nth": pl.Series(nth + 1).cast(pl.String),
            "first": pl.Series(nth[first[of_basket]] + 1).cast(pl.String),
            "at": at(world.calendar, day[order], second[order]),
            "amount": np.concatenate([p.amount, f.amount])[order],
            "discount": np.concatenate([p.discount, np.zeros(len(f.row))])[order],
            "quantity": pl.Series(quantity[order]),
            "merchant_id": text(world.catalogue.merchants["merchant_id"].to_numpy(), merchant[order]),
            "product_id": text(world.catalogue.products["product_id"].to_numpy(), product[order]),
            "channel": text(CHANNELS, np.concatenate([p.channel, f.channel])[order]),
            "kind": text(KINDS, kind[order]),
            "is_overseas": country[order] > 0,
            "currency": text(COUNTRIES, country[order]),
        }
    )
    number = pl.col("customer_id").str.slice(1)
    return frame.select(
        pl.concat_str(pl.lit("t"), number, pl.lit("-"), "nth").alias("transaction_id"),
        pl.concat_str(pl.lit("b"), number, pl.lit("-"), "first").alias("basket_id"),
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
            "at": at(world.calendar, s.day, s.second),
            "channel": text(SESSION_CHANNELS, s.channel),
            "event": text(SESSION_EVENTS, s.event),
            "seconds": s.seconds,
            "pages": pl.Series(s.pages.astype(np.int32)),
            "campaign_id": text(campaign_names(world.config.campaigns).to_numpy(), s.campaign),
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
            "campaign_id": text(campaign_names(world.config.campaigns).to_numpy(), campaign),
            "at": at(world.calendar, day, second),
            "event": text(tuple(part[0] for part in parts), event),
            "is_control": control,
        }
    )


def _holdings(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    s = block.stated
    return pl.DataFrame(
        {
            "customer_id": ids.gather(s.row.astype(np.uint32)),
            "product_kind": text(HELD, s.kind),
            "opened_on": days(world.calendar, s.opened),
            "as_of": days(world.calendar, s.day),
            "closed_on": days(world.calendar, s.closed),
            "balance": s.balance,
            "limit": number(s.limit),
        }
    )


def _balances(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    b = block.balances
    customer = ids.gather(b.row.astype(np.uint32))
    short = text(("cur", "sav", "crd", "inv", "pts", "lon"), b.kind)
    account = pl.DataFrame({"customer": customer, "short": short}).select(
        pl.concat_str("short", pl.lit("-"), pl.col("customer").str.slice(1))
    )
    return pl.DataFrame(
        {
            "customer_id": customer,
            "account_id": account.to_series(),
            "on": days(world.calendar, b.day),
            "balance": b.balance,
            "limit": number(b.limit),
            "kind": text(BALANCE_KINDS, b.kind),
        }
    )


def _contacts(world: World, block: Block, ids: pl.Series) -> pl.DataFrame:
    c = block.contacts
    return pl.DataFrame(
        {
            "customer_id": ids.gather(c.row.astype(np.uint32)),
            "at": at(world.calendar, c.day, c.second),
            "kind": text(CONTACT_KINDS, c.kind),
            "topic": text(TOPICS, c.topic),
        }
    )
