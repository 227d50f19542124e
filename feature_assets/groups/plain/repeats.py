"""Repeats: how much of what a customer buys is at the favourite merchant, and of products and brands bought before.

The favourite is the merchant with the most baskets of 180 days (of equals the first by name), as the label of merchant
affinity has it. Source: FEATURES §3.1; DATA §3 (merchant_affinity).
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.numbers import ratio
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, Inputs, Values
from feature_assets.groups.plain.periods import halved

LOOK_BACK = 180
WINDOWS = (28, 84, 180)
HALF_LIFE = 28
AGAIN = (28, 84)


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, days: int, *more: str) -> Column:
        return Column(f"repeats__{name}", meaning, unit, f"{days} days", ("transactions", *more))

    favourite = f"the merchant with most baskets of {LOOK_BACK} days"
    made = [column(f"favourite_baskets_{w}d", f"baskets at {favourite}", "count", LOOK_BACK) for w in WINDOWS]
    made += [
        column(f"favourite_share_{w}d", f"share of the baskets of {w} days at {favourite}", "share", LOOK_BACK)
        for w in WINDOWS
    ]
    made += [
        column(
            f"favourite_share_half_{HALF_LIFE}d",
            f"share of the baskets, each halved every {HALF_LIFE} days, at {favourite}",
            "share",
            LOOK_BACK,
        ),
        column("second_share", "share of the baskets at the merchant with second most of them", "share", LOOK_BACK),
        column("since_favourite", f"days since a basket at {favourite}", "days", LOOK_BACK),
        column("favourite_run", f"latest baskets, one after the other, at {favourite}", "count", LOOK_BACK),
        column("elsewhere_run", f"latest baskets, one after the other, not at {favourite}", "count", LOOK_BACK),
    ]
    for what, meaning, more in (
        ("products", "of a product that the customer bought before", ()),
        ("brands", "of a brand that the customer bought before", ("products",)),
    ):
        made += [column(f"{what}_lines_{w}d", f"purchase lines {meaning}", "count", w, *more) for w in AGAIN]
        made += [column(f"{what}_amount_{w}d", f"spend on lines {meaning}", "currency", w, *more) for w in AGAIN]
    return tuple(made)


class Repeats(FeatureGroup):
    """Baskets at the favourite merchant, lines of known products and brands. Nothing is fitted."""

    name = "repeats"
    description = "Baskets at the favourite merchant, and purchases of products and brands bought before"
    columns = _columns()
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        blocks = [
            np.stack(_favourite(view.baskets(LOOK_BACK)), axis=1),
            *(_again(view, k) for k in ("product_id", "brand")),
        ]
        matrix = np.concatenate(blocks, axis=1)
        if not view.has("products"):
            matrix[:, [i for i, c in enumerate(self.columns) if "products" in c.sources]] = np.nan
        return Values(matrix)


def _favourite(baskets: Events) -> list[np.ndarray]:
    """The columns of the favourite merchant, float64 [customers] each; NaN where there is no basket (at a known
    merchant), counts 0."""
    merchant, merchants = baskets.codes("merchant_id").astype(np.int64), len(baskets.names("merchant_id"))
    known = merchant >= 0
    pair, visits = np.unique(baskets.row[known] * merchants + merchant[known], return_counts=True)
    owner, n = pair // max(merchants, 1), baskets.customers
    order = np.lexsort((pair, -visits, owner))  # of each customer the one with most first, then the first by name
    start = np.searchsorted(owner, np.arange(n + 1))
    some, two = start[1:] > start[:-1], start[1:] > start[:-1] + 1
    favourite, second = np.full(n, -1, dtype=np.int64), np.zeros(n)
    favourite[some] = pair[order[start[:-1][some]]] % max(merchants, 1)
    second[two] = visits[order[start[:-1][two] + 1]]
    there = known & (merchant == favourite[baskets.row])
    at = baskets.where(there)
    inside, every = at.windows(WINDOWS).sums(), baskets.windows(WINDOWS).sums()
    run, away = _latest_run(baskets, there), _latest_run(baskets, ~there)
    return [
        *inside.T,
        *ratio(inside, np.where(some[:, None], every, 0.0)).T,
        ratio(halved(at, HALF_LIFE), np.where(some, halved(baskets, HALF_LIFE), 0.0)),
        ratio(second, np.where(some, every[:, -1], 0.0)),
        at.days_since(),
        run,
        away,
    ]


def _latest_run(events: Events, chosen: np.ndarray) -> np.ndarray:
    """Number of events behind a customer's last one that is not `chosen` [M], float64 [customers]."""
    place = np.arange(len(events))
    last_other = events.start[:-1] - 1
    other = np.flatnonzero(~chosen)
    last_other[events.row[other]] = place[other]  # ascending: the last one stays
    return (events.start[1:] - 1 - last_other).astype(np.float64)


def _again(view: View, name: str) -> np.ndarray:
    """[customers, 4]: lines and spend of each window of `AGAIN` on a value of `name` that stood on an earlier line."""
    lines = view.purchases.recent(AGAIN[-1])
    again = lines.where((lines.codes(name) >= 0) & ~lines.first_ever(name))
    windows = again.windows(AGAIN)
    return np.concatenate([windows.sums(), windows.sums(again.values("amount"))], axis=1)


GROUP = Repeats()
