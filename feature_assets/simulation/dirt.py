"""Dirty rows, at a stated rate and of stated kinds, in each table of events and in the customers.

Here belong the faults that validation must detect. Most dirty rows are damaged copies that validation must drop,
beside the good rows. Faults that validation may repair damage the row itself, so that nothing is counted twice.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from feature_assets.simulation.config import SimulationConfig

FUTURE_DAYS = 40  # how far behind the last day a row in the future lies
COPIES = ("exact copy", "same id, other amount")  # faults that keep the id of the good row
IDS = {"transactions": "transaction_id", "balances": "account_id", "customers": "customer_id"}

Faults = dict[str, dict[str, list[pl.Expr]]]


def _value(column: str, value: str | float) -> list[pl.Expr]:
    return [pl.lit(value).alias(column)]


def _null(column: str) -> list[pl.Expr]:
    return [pl.when(False).then(pl.col(column)).alias(column)]


def added_faults(until: date) -> Faults:
    """Table → name of a fault → the change to a copy of a good row. Validation must drop each (of copies: one)."""
    future = pl.lit(until + timedelta(days=FUTURE_DAYS))
    at = future.cast(pl.Datetime("us", "UTC")).alias("at")
    stranger = _value("customer_id", "c-unknown")
    return {
        "customers": {"exact copy": [], "no joined_on": _null("joined_on")},
        "transactions": {
            "no customer": _null("customer_id"),
            "unknown customer": stranger,
            "purchase with a negative amount": [-pl.col("amount").abs() - 1.0, pl.lit("purchase").alias("kind")],
            "in the future": [at],
            "exact copy": [],
            "same id, other amount": [(pl.col("amount") * 1.5 + 1.0).round(2)],
            "unknown kind": _value("kind", "gift"),
            "no amount": _null("amount"),
        },
        "sessions": {"unknown customer": stranger, "in the future": [at], "unknown event": _value("event", "teleport")},
        "campaign_events": {
            "unknown campaign": _value("campaign_id", "a-unknown"),
            "unknown event": _value("event", "daydream"),
            "in the future": [at],
            "exact copy": [],
        },
        "holdings": {
            "unknown kind": _value("product_kind", "treasure"),
            "closed before it was opened": [(pl.col("opened_on") - pl.duration(days=30)).alias("closed_on")],
            "exact copy": [],
        },
        "balances": {
            "no balance": _null("balance"),
            "unknown kind": _value("kind", "mattress"),
            "in the future": [future.alias("on")],
            "exact copy": [],
        },
        "contacts": {"unknown customer": stranger, "unknown kind": _value("kind", "telepathy")},
    }


REPAIRABLE: Faults = {
    "transactions": {
        "unknown product": _value("product_id", "p-unknown"),
        "unknown merchant": _value("merchant_id", "m-unknown"),
        "impossible channel": _value("channel", "carrier pigeon"),
    },
    "sessions": {"negative seconds": _value("seconds", -5.0)},
}
"""Table → name of a fault → the change that damages a purchase or a session itself; validation may keep it without
that value."""


def dirty(
    rng: np.random.Generator, table: str, frame: pl.DataFrame, config: SimulationConfig, until: date
) -> pl.DataFrame:
    """The frame with `dirty_share` of its rows damaged, spread evenly over the table's faults.

    Args:
        until: rows in the future lie 40 days behind it.
    """
    added, repairable = added_faults(until).get(table, {}), REPAIRABLE.get(table, {})
    count = round(frame.height * config.dirty_share)
    if not count:
        return frame
    chosen = rng.integers(0, frame.height, count)
    kinds = np.arange(count) % (len(added) + len(repairable))
    parts = [frame]
    for k, (name, damage) in enumerate(added.items()):
        rows = frame[np.sort(chosen[kinds == k])].with_columns(damage)
        if name not in COPIES and table in IDS:
            rows = rows.with_columns(pl.format("{}-x{}", IDS[table], pl.lit(str(k))).alias(IDS[table]))
        parts.append(rows)
    for k, damage in enumerate(repairable.values()):
        hit = np.zeros(frame.height, bool)
        hit[chosen[kinds == len(added) + k]] = True
        if table == "transactions":
            hit &= (frame["kind"] == "purchase").to_numpy()
        column = damage[0].meta.output_name()
        parts[0] = parts[0].with_columns(pl.when(pl.Series(hit)).then(damage[0]).otherwise(column).alias(column))
    return pl.concat(parts)
