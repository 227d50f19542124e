"""Products, 12 columns: kinds of products held, their age, openings and closings.

Source: FEATURES §3.2.
"""

from __future__ import annotations

import numpy as np

from feature_assets.data.contract import PRODUCT_FAMILIES
from feature_assets.events.numbers import entropy, moments, ratio
from feature_assets.events.statements import KINDS, Holdings
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup

FAMILIES = tuple(dict.fromkeys(PRODUCT_FAMILIES.values()))
_FAMILY_OF = np.array([FAMILIES.index(PRODUCT_FAMILIES[kind]) for kind in KINDS], dtype=np.int64)


def _read(inputs: Inputs) -> Holdings:
    return inputs.view.holdings


def _open_by_family(h: Holdings) -> np.ndarray:
    cell = h.row[h.open] * len(FAMILIES) + _FAMILY_OF[h.kind[h.open]]
    counts = np.bincount(cell, minlength=h.customers * len(FAMILIES))
    return counts.astype(np.float64).reshape(h.customers, len(FAMILIES))


def _everything(h: Holdings) -> np.ndarray:
    return np.ones(len(h.row), dtype=bool)


def _closed_share(h: Holdings) -> np.ndarray:
    return ratio(h.count(~h.open), h.count(_everything(h)))


def _mean_gap(h: Holdings) -> np.ndarray:
    row, ago = h.openings()
    same = row[1:] == row[:-1]
    return moments(row[1:][same], (ago[:-1] - ago[1:])[same].astype(np.float64), h.customers)[0]


def _longest_held(h: Holdings) -> np.ndarray:
    """Of open ones the time until now, of closed ones until they were closed."""
    held = h.age - np.where(h.open, 0.0, h.closed_ago)
    return -h.least(-held)


_ALL = "all history"
_MEASURES: tuple[Measure[Holdings], ...] = (
    Measure("open_count", "open products", "count", _ALL, lambda h: h.count(h.open)),
    Measure(
        "open_families", "families of open products", "count", _ALL, lambda h: (_open_by_family(h) > 0).sum(axis=1)
    ),
    Measure("opened_182d", "products opened", "count", "182 days", lambda h: h.count(h.age <= 182)),
    Measure("closed_364d", "products closed", "count", "364 days", lambda h: h.count(h.closed_ago <= 364)),
    Measure("days_since_opened", "days since a product was opened", "days", _ALL, lambda h: h.least(h.age)),
    Measure("days_since_closed", "days since a product was closed", "days", _ALL, lambda h: h.least(h.closed_ago)),
    Measure("mean_age", "mean age of the open products", "days", _ALL, lambda h: h.mean(h.age, h.open)),
    Measure("longest_held", "longest time that a product was held", "days", _ALL, _longest_held),
    Measure("kinds_ever", "kinds of products ever held", "count", _ALL, lambda h: h.kinds(_everything(h)).sum(axis=1)),
    Measure("closed_share", "share of the products ever held that are closed", "share", _ALL, _closed_share),
    Measure(
        "family_entropy",
        "entropy of the open products over families",
        "nats",
        _ALL,
        lambda h: entropy(_open_by_family(h)),
    ),
    Measure("opening_gap_mean", "mean days between openings; from two on", "days", _ALL, _mean_gap),
)

GROUP = MeasuredGroup(
    "product",
    "Products held: number, families, age, openings and closings",
    ("holdings",),
    _MEASURES,
    _read,
)
