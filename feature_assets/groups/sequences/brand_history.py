"""Brand history: the brands that a customer bought in the last 364 days, at most 64 of them, 12 numbers a brand.

The input of a repeat term: what was bought often, lately and regularly is bought again (next-basket recommenders, Hu et
al. 2020, SIGIR; Ariannezhad et al. 2022). Recency and frequency are days with a purchase of the brand, weighted by
½^(days ago / half-life) with several half-lives, as they stand and as a share of the same sum over all purchase days of
the customer: the share of a customer who comes twice a week and that of one who comes once a month compare.

A place holds one brand: its number in the fitted vocabulary, and values that are log1p (but for the shares), centred
and scaled by their fitted mean and deviation. Places are filled by the weighted number of days with a half-life of 56
days, most first; ties in the order of the vocabulary. Places without a brand are not valid (mask false). Source:
FEATURES §3.9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.events.numbers import changes, sum_at
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values

PLACES = 64
LONGEST = 364  # days that are looked at: a year in whole weeks
BRANDS = 768  # half as many again as a model has candidates: it may count them in other days than the fit
HALF_LIVES = (14, 28, 56, 112)  # days
ORDER = 56  # the half-life that decides who gets a place
CHANNELS = (
    "brand",
    *(f"days_{half}" for half in HALF_LIVES),
    "days",
    "last",
    "first",
    *(f"share_{half}" for half in HALF_LIVES),
    "share",
)
_LEAST = 1e-6  # deviations below it are rounding


class BrandHistory(FeatureGroup):
    """Own brands. Fitted: the vocabulary of brands, mean and deviation of each channel."""

    name = "brand_history"
    description = "Up to 64 brands that the customer bought, how often and how lately, for the repeat term of the model"
    side_inputs = (
        SideInput(
            "brand_history",
            "own brands, most often and lately bought first",
            (PLACES, len(CHANNELS)),
            pl.Float32,
            CHANNELS,
        ),
        SideInput("brand_history_mask", "which places hold a brand", (PLACES,), pl.Boolean),
    )
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """meta `brands`: the brands with most purchase days before the training dates, most first (ties by name).
        `mean`, `scale` [channels]: mean and standard deviation over the own brands of the training dates; 0 and 1 for
        the brand's number. Without a brand every channel is absent."""
        brands = _vocabulary(training.views)
        sums, squares, count = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS)), 0
        for view in training.views:
            values = own_brands(view, brands).values
            sums, squares, count = sums + values.sum(axis=0), squares + (values**2).sum(axis=0), count + len(values)
        mean = sums / max(count, 1)
        scale = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0))
        mean[0], scale[0] = 0.0, 1.0
        present = list(CHANNELS) if brands else []
        meta = {"brands": brands, "channels": list(CHANNELS), "channels_present": present}
        return GroupState({"mean": mean, "scale": np.where(scale > _LEAST, scale, 1.0)}, meta)

    def _values(self, inputs: Inputs) -> Values:
        """Side inputs brand_history [64, 13] and brand_history_mask [64]."""
        view, state = inputs.view, inputs.state
        own = own_brands(view, state.meta["brands"])
        places = np.zeros((view.customers.height, PLACES, len(CHANNELS)), dtype=np.float32)
        mask = np.zeros(places.shape[:2], dtype=bool)
        kept = own.place < PLACES
        at = own.row[kept], own.place[kept]
        places[at] = (own.values[kept] - state.arrays["mean"]) / state.arrays["scale"]
        mask[at] = True
        return Values(sides={"brand_history": places, "brand_history_mask": mask})


@dataclass(frozen=True)
class OwnBrands:
    """Brands of customers: U pairs, customer by customer.

    Attributes:
        row: index into the view's customers, int64 [U].
        place: rank of the brand among the customer's, int64 [U].
        values: unscaled channels, float64 [U, channels].
    """

    row: np.ndarray
    place: np.ndarray
    values: np.ndarray


def own_brands(view: View, brands: Sequence[str]) -> OwnBrands:
    """The brands of `brands` that each customer bought in the last `LONGEST` days."""
    part = view.recent_purchases(LONGEST)
    number = part.ranked("brand", brands)
    known = number < len(brands)
    pair = part.row[known].astype(np.int64) * max(len(brands), 1) + number[known]
    day = np.sort(pair * (LONGEST + 1) + part.days_ago[known])
    pair, days_ago = np.divmod(day[changes(day)], LONGEST + 1)  # one a customer, brand and day, the latest first
    first = np.flatnonzero(changes(pair))
    of_pair = np.cumsum(changes(pair)) - 1
    row, brand = np.divmod(pair[first], max(len(brands), 1))
    days = part.days_of()
    columns: dict[str, np.ndarray] = {"brand": brand.astype(np.float64)}
    for half in (*HALF_LIVES, None):
        own = sum_at(of_pair, _weights(days_ago, half), len(first))
        whole = days.total(_weights(days.days_ago, half))[row]
        name = "" if half is None else f"_{half}"
        columns[f"days{name}"], columns[f"share{name}"] = np.log1p(own), own / np.where(whole > 0, whole, 1.0)
    last = np.append(first, len(pair))[1:] - 1
    columns["last"], columns["first"] = np.log1p(days_ago[first]), np.log1p(days_ago[last])
    values = np.stack([columns[name] for name in CHANNELS], axis=1)
    return OwnBrands(row, _places(row, values[:, CHANNELS.index(f"days_{ORDER}")], brand), values)


def _weights(days_ago: np.ndarray, half_life: int | None) -> np.ndarray:
    """½^(days ago / half-life), 1 without a half-life; float64."""
    return np.ones(len(days_ago)) if half_life is None else np.exp2(-days_ago / half_life)


def _places(row: np.ndarray, weight: np.ndarray, brand: np.ndarray) -> np.ndarray:
    """Rank of each pair within its row: the heaviest first, ties by brand. int64."""
    order = np.lexsort((brand, -weight, row))
    start = np.flatnonzero(changes(row[order]))
    place = np.empty(len(row), dtype=np.int64)
    place[order] = np.arange(len(row)) - np.repeat(start, np.diff(np.append(start, len(row))))
    return place


def _vocabulary(views: Sequence[View]) -> list[str]:
    count: Counter[str] = Counter()
    for view in views:
        part = view.recent_purchases(LONGEST)
        codes, names = part.codes("brand"), part.names("brand")
        known = codes >= 0
        pairs = np.unique(part.row[known].astype(np.int64) * max(len(names), 1) + codes[known])
        lines = np.bincount(pairs % max(len(names), 1), minlength=len(names))
        count.update({names[i]: int(lines[i]) for i in np.flatnonzero(lines).tolist()})
    return sorted(count, key=lambda name: (-count[name], name))[:BRANDS]


GROUP = BrandHistory()
