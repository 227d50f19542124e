"""Raw power-law group: 90 heavy-tailed amounts and counts in natural units (the model takes logarithms).

Windows are 14, 28, 56, 112 and 224 days, so that no column repeats one of the base group (7, 30, 90, 180, 365). Sums
and counts are 0 where nothing happened; maxima are null there. Source: FEATURES §1 (644–733), §3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.events.numbers import flat_rows, maximum, sum_at
from feature_assets.events.purchases import top_by_spend
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.events.windows import Windows
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.kernels.extremes import largest_three

DAYS = (14, 28, 56, 112, 224)
CATEGORIES, CHANNELS = 12, 3
_LONGEST = DAYS[-1]
_PRODUCTS = ("transactions", "products")


def _columns() -> tuple[Column, ...]:
    result: list[Column] = []

    def add(measure: str, meaning: str, unit: str, days: int, sources: tuple[str, ...] = ("transactions",)) -> None:
        result.append(Column(f"raw_power_law__{measure}_{days}d", meaning, unit, f"{days} days", sources))

    for measure, meaning, unit in (
        ("amount", "spend", "currency"),
        ("lines", "purchase lines", "count"),
        ("units", "units bought, of lines that state them", "count"),
        ("discount", "discounts received", "currency"),
        ("basket_max", "largest basket", "currency"),
        ("line_max", "largest purchase line", "currency"),
        ("products", "different products bought", "count"),
        ("basket_square", "sum of squared basket amounts", "currency²"),
    ):
        for days in DAYS:
            add(measure, meaning, unit, days)
    for measure, meaning, sources in (
        ("categories_l2", "different categories of level 2", _PRODUCTS),
        ("categories_l3", "different categories of level 3", _PRODUCTS),
        ("brands", "different brands", _PRODUCTS),
        ("merchants", "different merchants", ("transactions",)),
    ):
        for days in (56, 224):
            add(measure, meaning, "count", days, sources)
    for rank in range(1, CATEGORIES + 1):
        for days in (56, 224):
            meaning = f"spend in the level-1 category that is number {rank} by training spend"
            add(f"category_{rank:02d}_amount", meaning, "currency", days, _PRODUCTS)
    for rank in range(1, CHANNELS + 1):
        add(f"channel_{rank}_amount", f"spend by the channel that is number {rank} by training spend", "currency", 112)
    for days in (56, 224):
        add("merchant_max", "largest spend at one merchant", "currency", days)
    add("merchant_rest", "spend outside of the merchant with most of it", "currency", 224)
    add("product_max", "largest spend on one product", "currency", 224)
    add("brand_max", "largest spend on one brand", "currency", 224, _PRODUCTS)
    add("category_l2_max", "largest spend in one category of level 2", "currency", 224, _PRODUCTS)
    add("line_units_max", "most units on one line", "count", 224)
    add("basket_lines_max", "most lines in one basket", "count", 224)
    add("day_max", "largest spend of one day", "currency", 224)
    add("week_max", "largest spend of one calendar week", "currency", 224)
    add("basket_discount_max", "largest discount on one basket", "currency", 224)
    add("gap_max", "longest time between two purchases", "days", 224)
    add("new_products", "products bought for the first time ever", "count", 56)
    add("discounted_lines", "purchase lines with a discount", "count", 224)
    add("top_3_baskets", "spend in the three largest baskets", "currency", 224)
    return tuple(result)


class RawPowerLaw(FeatureGroup):
    """Un-normalised amounts and counts. Fitted: the largest categories and channels."""

    name = "raw_power_law"
    description = "Heavy-tailed amounts and counts in natural units, by window, category, channel and merchant"
    columns = _columns()
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """The 12 level-1 categories and 3 channels with the most spend before the training dates."""
        views = training.views
        meta = {
            "categories": top_by_spend(views, "category_l1", CATEGORIES),
            "channels": top_by_spend(views, "channel", CHANNELS),
        }
        return GroupState({}, meta)

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        part = view.recent_purchases(_LONGEST)
        blocks = [
            _by_window(part),
            _distinct(part, view),
            _by_rank(part, "category_l1", state.meta["categories"], CATEGORIES, (56, 224)),
            _by_rank(part, "channel", state.meta["channels"], CHANNELS, (112,)),
            _extremes(part),
        ]
        matrix = np.concatenate(blocks, axis=1)
        if not view.has("products"):
            matrix[:, [i for i, c in enumerate(self.columns) if "products" in c.sources]] = np.nan
        return Values(matrix)


def _by_window(part: Events) -> np.ndarray:
    """[customers, 40]: eight measures, five windows each."""
    lines = part.windows(DAYS)
    amount, units = part.values("amount"), part.values("quantity")
    group = part.group("basket_id")
    baskets = Windows(group.row, group.days_ago, part.customers, DAYS)
    basket_amount = group.sums(amount)
    return np.concatenate(
        [
            lines.sums(amount),
            lines.sums(),
            lines.sums(np.nan_to_num(units)),
            lines.sums(np.nan_to_num(part.values("discount"))),
            baskets.maxima(basket_amount),
            lines.maxima(amount),
            lines.distinct(part.previous_days_ago("product_id"), part.codes("product_id") >= 0),
            baskets.sums(basket_amount**2),
        ],
        axis=1,
    )


def _distinct(part: Events, view: View) -> np.ndarray:
    """[customers, 8]: different categories, brands and merchants in 56 and 224 days."""
    lines = part.windows((56, 224))
    names = ("category_l2", "category_l3", "brand", "merchant_id")
    blocks = [
        lines.distinct(part.previous_days_ago(name), part.codes(name) >= 0)
        if view.has("products") or name == "merchant_id"
        else np.full((part.customers, 2), np.nan)
        for name in names
    ]
    return np.concatenate(blocks, axis=1)


def _by_rank(part: Events, name: str, vocabulary: Sequence[str], width: int, days: tuple[int, ...]) -> np.ndarray:
    """[customers, width × days]: spend on each value of the vocabulary; null where the vocabulary is shorter."""
    rank = part.ranked(name, vocabulary)
    known = rank < len(vocabulary)
    cells = Windows(part.row[known] * width + rank[known], part.days_ago[known], part.customers * width, days)
    sums = cells.sums(part.values("amount")[known]).reshape(part.customers, width, len(days))
    sums[:, len(vocabulary) :] = np.nan
    return flat_rows(sums)


def _extremes(part: Events) -> np.ndarray:
    """[customers, 15]: the last columns, in their order."""
    amount = part.values("amount")
    recent = part.days_ago <= 56
    baskets = part.group("basket_id")
    any_recent = sum_at(part.row, recent, part.customers) > 0
    any_line = np.bincount(part.row, minlength=part.customers) > 0

    def largest(name: str) -> np.ndarray:
        return np.where(any_line, part.group(name).largest(amount), np.nan)

    merchant_recent = part.group("merchant_id").largest(np.where(recent, amount, 0.0))
    merchant_max = largest("merchant_id")
    total = sum_at(part.row, amount, part.customers)
    new = recent & part.first_ever("product_id")
    line_discount = np.nan_to_num(part.values("discount"))
    discount, discounted = baskets.sums(line_discount), line_discount > 0
    columns = [
        np.where(any_recent, merchant_recent, np.nan),
        merchant_max,
        np.maximum(total - merchant_max, 0.0),
        largest("product_id"),
        largest("brand"),
        largest("category_l2"),
        maximum(part.row, part.values("quantity"), part.customers),
        maximum(baskets.row, baskets.sums(), part.customers),
        largest("day"),
        largest("week"),
        maximum(baskets.row, discount, part.customers),
        _longest_gap(part),
        np.bincount(part.row[new], minlength=part.customers).astype(np.float64),
        np.bincount(part.row[discounted], minlength=part.customers).astype(np.float64),
        largest_three(np.searchsorted(baskets.row, np.arange(part.customers + 1)), baskets.sums(amount)),
    ]
    return np.stack(columns, axis=1)


def _longest_gap(part: Events) -> np.ndarray:
    """Days between the two neighbouring purchase lines that lie furthest apart, NaN with fewer than two days."""
    same = part.row[1:] == part.row[:-1]
    gap = (part.days_ago[:-1] - part.days_ago[1:]).astype(np.float64)
    longest = maximum(part.row[1:][same], gap[same], part.customers)
    return np.where(longest > 0, longest, np.nan)


GROUP = RawPowerLaw()
