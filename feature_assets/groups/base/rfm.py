"""RFM, 34 columns: recency, frequency, monetary value, rhythm, rank in the cohort, trend, expected purchases.

A visit is a basket; frequency counts visits, monetary is the mean amount of a visit (the M of Fader, Hardie & Lee
2005), so that total spend (`transaction_stats`) is no copy of it. Source: FEATURES §3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.group import Column
from feature_assets.groups.base import bgnbd, gamma_gamma
from feature_assets.groups.base.history import History
from feature_assets.kernels.windows import window_counts, window_sums

WINDOWS = (7, 30, 90, 180, 365)
TRENDS = ((7, 30), (30, 90), (90, 180))  # (180, 365) would be missing on most training dates of a year of data
RANK_WINDOW = 90  # days; below any training date's history, so that ranks mean the same at each of them
RANKED = ("recency", "frequency", "monetary")
HORIZON = 28.0  # days
GAP = "gap between successive purchase days"


def columns() -> tuple[Column, ...]:
    """The 34 columns in their order."""
    made = [Column("base__recency", "days since the last visit", "days", "all history")]
    made += [
        Column(f"base__recency_{w}d", f"mean days since the visits of the last {w} days", "days", f"{w} days")
        for w in WINDOWS
    ]
    made += [Column(f"base__frequency_{w}d", "number of visits (baskets)", "count", f"{w} days") for w in WINDOWS]
    made += [Column(f"base__monetary_{w}d", "mean amount of a visit", "currency", f"{w} days") for w in WINDOWS]
    made += [
        Column("base__gap_mean", f"mean {GAP}", "days", "all history"),
        Column("base__gap_median", f"median {GAP}", "days", "all history"),
        Column("base__gap_cv", f"coefficient of variation of the {GAP}; from two gaps on", "ratio", "all history"),
        Column("base__gap_last_over_mean", f"last {GAP} over the mean one", "ratio", "all history"),
        Column("base__tenure", "days since joining, or since the data began", "days", "all history"),
        Column("base__active_day_share", "share of the days of tenure with a purchase", "share", "all history"),
    ]
    made += [
        Column(f"base__{name}_rank", f"quintile (5 best) among the training customers of {what}", "quintile", window)
        for name, what, window in (
            ("recency", "recency", "all history"),
            ("frequency", "visits", f"{RANK_WINDOW} days"),
            ("monetary", "total spend", f"{RANK_WINDOW} days"),
        )
    ]
    for name, what in (("frequency", "visits"), ("spend", "spend")):
        made += [
            Column(
                f"base__{name}_trend_{a}d_{b}d",
                f"daily rate of {what} in the last {a} days against the days before up to {b}: (new − old)/(new + old)",
                "ratio",
                f"{b} days",
            )
            for a, b in TRENDS
        ]
    made += [
        Column("base__p_alive", "probability of still being a customer, BG/NBD", "probability", "all history"),
        Column("base__expected_purchases_28d", "purchase days expected in 28 days, BG/NBD", "count", "all history"),
        Column("base__expected_spend", "expected spend of a purchase day, Gamma–Gamma", "currency", "all history"),
    ]
    return tuple(made)


def fit(histories: Sequence[History]) -> dict[str, np.ndarray]:
    """`rank_edges` [3, 4] over the customers of all training dates; `bgnbd` [4] and `gamma_gamma` [3] on the latest.

    `histories` run from the earliest training date to the latest. The latest holds the earlier ones' purchases, which
    would count several times in the likelihood of a process over a whole lifetime.
    """
    pooled = [_ranked(history) for history in histories]
    edges = np.full((len(RANKED), 4), np.nan)
    for k in range(len(RANKED)):
        values = np.concatenate([ranked[k] for ranked in pooled])
        values = values[np.isfinite(values)]
        if values.size:
            edges[k] = np.quantile(values, (0.2, 0.4, 0.6, 0.8))
    latest = histories[-1]
    repeats, last, age = purchase_process(latest)
    known = np.isfinite(age)
    return {
        "rank_edges": edges,
        "bgnbd": bgnbd.fit(repeats[known], last[known], age[known]),
        "gamma_gamma": gamma_gamma.fit(repeats[known] + 1, mean_day_spend(latest)[known]),
    }


def compute(history: History, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The 34 columns, each [customers] float64 with NaN where undefined. `arrays` as fitted."""
    windows = np.array(WINDOWS)
    visits = history.visits
    counts = window_counts(visits.start, visits.days_ago, windows)
    ages = window_sums(visits.start, visits.days_ago, visits.days_ago.astype(np.float64), windows)
    amounts = window_sums(visits.start, visits.days_ago, history.visit_amount, windows)
    some = np.where(counts > 0, counts, np.nan)
    made = [visits.days_since(), *(ages / some).T, *counts.T, *(amounts / some).T]
    made += _gaps(history)
    made += [history.tenure, np.diff(history.days.start) / history.tenure]
    made += _ranks(history, arrays["rank_edges"])
    by_window = {w: (counts[:, k], amounts[:, k]) for k, w in enumerate(WINDOWS)}
    made += [_trend(by_window[a][0], by_window[b][0], a, b, history.tenure) for a, b in TRENDS]
    made += [_trend(by_window[a][1], by_window[b][1], a, b, history.tenure) for a, b in TRENDS]
    repeats, last, age = purchase_process(history)
    made += [
        bgnbd.p_alive(arrays["bgnbd"], repeats, last, age),
        bgnbd.expected_purchases(arrays["bgnbd"], HORIZON, repeats, last, age),
        gamma_gamma.expected_spend(arrays["gamma_gamma"], repeats + 1, mean_day_spend(history)),
    ]
    return made


def purchase_process(history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, t_x, T) of BG/NBD a customer: repeat purchase days, days from the first to the last one, days from the first
    to t. A day is one purchase however many visits it has; NaN without any. Source: Fader, Hardie & Lee (2005) §2."""
    first = history.days.days_since_first()
    repeats = np.where(np.isfinite(first), np.diff(history.days.start) - 1.0, np.nan)
    return repeats, first - history.days.days_since(), first


def mean_day_spend(history: History) -> np.ndarray:
    """Mean spend of a purchase day over all history; NaN without one."""
    days = np.diff(history.days.start)
    total = sum_at(history.days.row, history.day_amount, history.customers)
    return np.where(days > 0, total / np.maximum(days, 1), np.nan)


def _gaps(history: History) -> list[np.ndarray]:
    """Mean, median, CV (population) of the gaps in days, and the last one over the mean."""
    row = history.days.row
    same = row[1:] == row[:-1]
    gap = (history.days.days_ago[:-1] - history.days.days_ago[1:])[same].astype(np.float64)
    owner = row[1:][same]
    n = np.bincount(owner, minlength=history.customers).astype(np.float64)
    some = np.where(n > 0, n, np.nan)
    total = sum_at(owner, gap, history.customers)
    squares = sum_at(owner, gap * gap, history.customers)  # whole numbers: exact
    mean = total / some
    variance = np.maximum(n * squares - total * total, 0.0) / some**2
    cv = np.where(n >= 2, np.sqrt(variance) / mean, np.nan)
    ordered = gap[np.lexsort((gap, owner))]
    end = np.cumsum(n).astype(np.int64)
    begin = end - n.astype(np.int64)
    has = n > 0
    median, last = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    low = begin[has] + (n[has].astype(np.int64) - 1) // 2
    high = begin[has] + n[has].astype(np.int64) // 2
    median[has] = (ordered[low] + ordered[high]) / 2
    last[has] = gap[end[has] - 1]
    return [mean, median, cv, last / mean]


def _ranked(history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days since the last visit, visits and spend of the rank window."""
    visits, window = history.visits, np.array([RANK_WINDOW])
    return (
        visits.days_since(),
        window_counts(visits.start, visits.days_ago, window)[:, 0],
        window_sums(visits.start, visits.days_ago, history.visit_amount, window)[:, 0],
    )


def _ranks(history: History, edges: np.ndarray) -> list[np.ndarray]:
    """Quintiles 1 … 5, 5 the most recent, frequent, spending; NaN where the value or the edges are unknown.
    Source: Hughes (1994), Strategic Database Marketing."""
    made = []
    for name, values, cuts in zip(RANKED, _ranked(history), edges, strict=True):
        if name == "recency":
            rank = 5.0 - np.searchsorted(cuts, values, side="left")
        else:
            rank = 1.0 + np.searchsorted(cuts, values, side="right")
        made.append(np.where(np.isfinite(values) & np.isfinite(cuts).all(), rank, np.nan))
    return made


def _trend(inner: np.ndarray, outer: np.ndarray, a: int, b: int, tenure: np.ndarray) -> np.ndarray:
    """(new − old) / (new + old) of the daily rates in [t − a, t) and [t − b, t − a), in [−1, 1]; the older days count
    from the customer's beginning. NaN without older days or without anything in either."""
    older_days = np.minimum(tenure, b) - a
    old = np.where(older_days > 0, np.maximum(outer - inner, 0.0) / np.maximum(older_days, 1), np.nan)
    new = inner / a
    total = new + old
    return np.where(total > 0, (new - old) / np.where(total > 0, total, 1.0), np.nan)
