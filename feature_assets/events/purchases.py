"""Purchases by day and by visit, and the values of a column on which most is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.events.ragged import Events, Runs

if TYPE_CHECKING:
    from feature_assets.events.view import View

LINE_COLUMNS = (
    "transaction_id",
    "basket_id",
    "amount",
    "discount",
    "quantity",
    "merchant_id",
    "product_id",
    "channel",
    "kind",
    "is_overseas",
    "currency",
    "at",
    "category_l1",
    "category_l2",
    "category_l3",
    "brand",
)
"""Columns of a line of the transactions table."""


@dataclass(frozen=True, eq=False)
class PurchaseDays(Runs):
    """Days with a purchase; the lines of a run are those of a day.

    Attributes:
        amount: spent on the day, float64 [M].
    """

    amount: np.ndarray


def purchase_days(purchases: Events) -> PurchaseDays:
    """The days of purchase lines."""
    days = purchases.runs(purchases.days_ago)
    amount = days.sums(purchases.values("amount"))
    return PurchaseDays(
        days.row, days.days_ago, days.columns, days.population, days.as_of, days.history, days.line, amount
    )


def visits(purchases: Events) -> Runs:
    """Purchase lines of one customer at one instant: visits, each at the merchant of its first line."""
    return purchases.runs(purchases.values("at"))


def top_by_spend(views: Sequence[View], name: str, k: int) -> list[str]:
    """The k values of a text column with the most spend before the views' dates, most first (ties by name)."""
    spend: dict[str, float] = {}
    for view in views:
        part = view.purchases
        codes, known = part.codes(name), part.names(name)
        sums = sum_at(codes + 1, part.values("amount"), len(known) + 1)[1:]
        for value, amount in zip(known, sums.tolist(), strict=True):
            if amount > 0:
                spend[value] = spend.get(value, 0.0) + amount
    return sorted(spend, key=lambda value: (-spend[value], value))[:k]
