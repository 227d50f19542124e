"""Each customer's days as series: eight values for every day on which something happened.

Only such days are stored (customer by customer, oldest first); all others are known to be empty from the customer's
first day on, and unknown before it. Nothing is fitted here and nothing is scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from feature_assets.data.contract import INFLOWS, OUTFLOWS
from feature_assets.data.tables import Tables, View
from feature_assets.events.flows import Moves, moves
from feature_assets.events.lines import cached, window

CHANNELS = (
    "log1p number of lines bought",
    "log1p amount spent",
    "log1p amount of the largest line",
    "log1p number of different categories",
    "mean cosine of the hour of purchases",
    "mean sine of the hour of purchases",
    "log1p money received",
    "log1p money taken out other than by purchases",
)


@dataclass(frozen=True)
class Days:
    """Days with an event at most `longest` days before t: those of customer i are `start[i]:start[i+1]`.

    Attributes:
        start: int64 [n + 1].
        days_ago: int32 [U] ≥ 1, falling along a customer's days.
        values: float32 [U, 8], `CHANNELS`.
        length: int64 [n] number of known days before t, at most `longest`: from joining, or from the first event.
        weekday: of the day before t, Monday 0.
    """

    start: np.ndarray
    days_ago: np.ndarray
    values: np.ndarray
    length: np.ndarray
    weekday: int


def days(view: View, longest: int) -> Days:
    """The days of the view's customers, at most `longest` days back, made once a View."""
    return cached(view, f"days {longest}", lambda: _days(view, longest))


def _days(view: View, longest: int) -> Days:
    part = window(view, longest)
    n = part.customers
    flow_row, flow_days_ago, flow_in, flow_out = _flows(view, longest)
    categories = part.lines.codes("category_l1")[1]
    angle = part.values("hour") * (2 * np.pi / 24)
    start, days_ago, values = _merge(
        _offsets(part.row, n),
        part.days_ago.astype(np.int32),
        np.maximum(np.nan_to_num(part.values("amount")), 0.0),
        part.codes("category_l1").astype(np.int32),
        np.cos(angle),
        np.sin(angle),
        len(categories),
        _offsets(flow_row, n),
        flow_days_ago,
        flow_in,
        flow_out,
    )
    joined = view.customers["joined_on"].to_physical().to_numpy().astype(np.int64)
    began = int((np.datetime64(view.dataset.covers_from) - np.datetime64("1970-01-01")).astype(int))
    length = part.as_of - np.maximum(joined, began)
    some = np.diff(start) > 0
    length[some] = np.maximum(length[some], days_ago[start[:-1][some]])
    return Days(start, days_ago, values, np.minimum(length, longest), (view.as_of.weekday() - 1) % 7)


def _offsets(row: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(row, minlength=n))])


def _money(tables: Tables) -> tuple[Moves, np.ndarray, np.ndarray]:
    """Inflows and outflows of a data set, what each brings in, and what it takes out, float64 [F] each."""
    flows = moves(tables).of((*INFLOWS, *OUTFLOWS))
    amount = np.maximum(np.nan_to_num(flows.amount), 0.0)
    inward = flows.kind_in(INFLOWS)
    return flows, np.where(inward, amount, 0.0), np.where(inward, 0.0, amount)


def _flows(view: View, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Customer, days ago, money in and money out of each movement that is no purchase, oldest first."""
    flows, inward, outward = cached(view._tables, "money by day", lambda: _money(view._tables))
    as_of = int((np.datetime64(view.as_of) - np.datetime64("1970-01-01")).astype(int))
    keep = (flows.day < as_of) & (flows.day >= as_of - longest) & view._known.to_numpy()[flows.customer]
    index = np.flatnonzero(keep)
    row = view._rows.to_numpy().astype(np.int64)[flows.customer[index]]
    return row, (as_of - flows.day[index]).astype(np.int32), inward[index], outward[index]


@njit(cache=True)
def _merge(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    category: np.ndarray,
    cosine: np.ndarray,
    sine: np.ndarray,
    categories: int,
    flow_start: np.ndarray,
    flow_days_ago: np.ndarray,
    flow_in: np.ndarray,
    flow_out: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`start`, `days_ago` and `values` of `Days`, each day's lines and flows added in their order."""
    customers = start.size - 1
    most = days_ago.size + flow_days_ago.size
    offsets = np.zeros(customers + 1, dtype=np.int64)
    ages = np.empty(most, dtype=np.int32)
    values = np.zeros((most, 8), dtype=np.float32)
    seen = np.full(categories, -1, dtype=np.int64)
    used = 0
    for i in range(customers):
        j, f = start[i], flow_start[i]
        while j < start[i + 1] or f < flow_start[i + 1]:
            age = 0
            if j < start[i + 1]:
                age = days_ago[j]
            if f < flow_start[i + 1] and flow_days_ago[f] > age:
                age = flow_days_ago[f]
            lines, different = 0, 0
            spend, largest, x, y, inward, outward = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            while j < start[i + 1] and days_ago[j] == age:
                lines += 1
                spend += amount[j]
                largest = max(largest, amount[j])
                x += cosine[j]
                y += sine[j]
                if category[j] >= 0 and seen[category[j]] != used:
                    seen[category[j]] = used
                    different += 1
                j += 1
            while f < flow_start[i + 1] and flow_days_ago[f] == age:
                inward += flow_in[f]
                outward += flow_out[f]
                f += 1
            ages[used] = age
            values[used, 0] = np.log1p(lines)
            values[used, 1] = np.log1p(spend)
            values[used, 2] = np.log1p(largest)
            values[used, 3] = np.log1p(different)
            values[used, 4] = x / max(lines, 1)
            values[used, 5] = y / max(lines, 1)
            values[used, 6] = np.log1p(inward)
            values[used, 7] = np.log1p(outward)
            used += 1
        offsets[i + 1] = used
    return offsets, ages[:used].copy(), values[:used].copy()
