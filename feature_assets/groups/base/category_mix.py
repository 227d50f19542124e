"""Category mix, 64 columns: shares of categories, their variety, and their change over time.

Coarse categories (`category_l1`) are ranked by training spend; the top 12 have columns of their own, in the order that
the fitted state keeps. Fine categories (`category_l2`) measure variety. Source: FEATURES §3.1.
"""

from __future__ import annotations

import numpy as np

from feature_assets.group import Column
from feature_assets.groups.base.history import History
from feature_assets.kernels.categories import category_totals, mix_drift, novelty, visit_categories, window_switches
from feature_assets.kernels.windows import window_counts, window_sums

TOP = 12
MOST = 64  # coarse categories that entropy and Gini distinguish; all others count as one
WINDOWS = (30, 180)
NOVELTY_WINDOWS = (30, 90)
DRIFT_WINDOWS = ((30, 90), (90, 180))
VARIETY_WINDOWS = (30, 90, 180, 365)
SOURCES = ("transactions", "products")


def columns_of(k: int) -> dict[str, str]:
    """Measure → column of the category that is number k in training spend, of those with columns of their own."""
    measures = [f"{kind}_{w}d" for kind in ("share", "count") for w in WINDOWS]
    return {measure: f"base__category_{k:02d}_{measure}" for measure in measures}


def columns() -> tuple[Column, ...]:
    """The 64 columns in their order."""

    def column(name: str, meaning: str, unit: str, days: int) -> Column:
        return Column(f"base__{name}_{days}d", meaning, unit, f"{days} days", SOURCES)

    made = []
    for kind, what, unit in (("share", "share of spend", "share"), ("count", "lines", "count")):
        made += [
            column(f"category_{k:02d}_{kind}", f"{what} in the category that is number {k} in training spend", unit, w)
            for w in WINDOWS
            for k in range(1, TOP + 1)
        ]
    made += [column("category_entropy", "entropy of spend over coarse categories", "nats", w) for w in WINDOWS]
    made += [column("category_gini", "Gini coefficient of spend over coarse categories", "ratio", w) for w in WINDOWS]
    made += [column("category_top_share", "share of spend in the largest coarse category", "share", w) for w in WINDOWS]
    made += [
        column("category_novelty", "share of the fine categories bought that are first purchases of them", "share", w)
        for w in NOVELTY_WINDOWS
    ]
    made += [
        column("category_switching", "share of successive visits whose main fine category differs", "share", w)
        for w in WINDOWS
    ]
    made += [
        Column(
            f"base__category_drift_{a}d_{b}d",
            f"Jensen–Shannon divergence of spend over fine categories: last {a} days against the days before up to {b}",
            "bits",
            f"{b} days",
            SOURCES,
        )
        for a, b in DRIFT_WINDOWS
    ]
    made += [
        column("day_variety", "mean number of fine categories of a purchase day", "count", w) for w in VARIETY_WINDOWS
    ]
    return tuple(made)


def compute(history: History, categories: list[str]) -> list[np.ndarray]:
    """The 64 columns, each [customers] float64 with NaN where undefined. `categories` as fitted, most spend first;
    any other counts as one more category."""
    lines, visits, days = history.lines, history.visits, history.days
    width = max(len(categories), TOP) + 1
    codes = history.line_codes("category_l1").among(categories, other=width - 1)
    windows = np.array(WINDOWS)
    spend, count = category_totals(lines.start, lines.days_ago, codes, history.line_amount, width, windows)
    total = spend.sum(axis=2)
    share = spend / np.where(total > 0, total, np.nan)[:, :, None]
    if len(categories) < TOP:  # places without a category
        share[:, :, len(categories) : TOP] = np.nan
        count[:, :, len(categories) : TOP] = np.nan
    made = [column for w in range(len(WINDOWS)) for column in share[w, :, :TOP].T]
    made += [column for w in range(len(WINDOWS)) for column in count[w, :, :TOP].T]
    kinds = np.delete(share, np.s_[len(categories) : width - 1], axis=2)
    made += [_entropy(s) for s in kinds] + [_gini(s) for s in kinds] + [s.max(axis=1) for s in kinds]
    fine = history.line_codes("category_l2")
    kinds_of_fine = len(fine.names)
    made += [*novelty(lines.start, lines.days_ago, fine.numbers, kinds_of_fine, np.array(NOVELTY_WINDOWS)).T]
    main, _ = visit_categories(history.line_visit, fine.numbers, history.line_amount, len(visits), kinds_of_fine)
    made += [*window_switches(visits.start, visits.days_ago, main, windows).T]
    pairs = np.array(DRIFT_WINDOWS)
    made += [*mix_drift(lines.start, lines.days_ago, fine.numbers, history.line_amount, kinds_of_fine, pairs).T]
    of_variety = np.array(VARIETY_WINDOWS)
    day_of_line = history.visit_day[history.line_visit]
    _, variety = visit_categories(day_of_line, fine.numbers, history.line_amount, len(days), kinds_of_fine)
    n = window_counts(days.start, days.days_ago, of_variety)
    made += [*(window_sums(days.start, days.days_ago, variety, of_variety) / np.where(n > 0, n, np.nan)).T]
    return made


def _entropy(share: np.ndarray) -> np.ndarray:
    """−Σ p ln p over the last axis, nats; NaN where the shares are. Source: Shannon (1948)."""
    return 0.0 - (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)


def _gini(share: np.ndarray) -> np.ndarray:
    """Σ (2i − n − 1) p_(i) / n over the last axis of shares that sum to 1: 0 even, (n − 1)/n all in one.
    Source: Dixon et al. (1987), Bootstrapping the Gini coefficient of inequality."""
    n = share.shape[1]
    return (np.sort(share, axis=1) * (2 * np.arange(1, n + 1) - n - 1)).sum(axis=1) / n
