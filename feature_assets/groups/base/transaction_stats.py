"""Transaction statistics, 80 columns: 16 measures over 7, 30, 90, 180 and 365 days.

The distribution of spend is that of purchase days (all visits of a day together), so that its mean does not copy the
mean visit of `rfm`. Refunds count as money given back, together with discounts: a data set without a refund kind still
has a share of the price that was given back. Source: FEATURES §3.1.
"""

from __future__ import annotations

import numpy as np

from feature_assets.group import Column
from feature_assets.groups.base.history import History
from feature_assets.kernels.windows import window_counts, window_dispersion, window_moments, window_sums

WINDOWS = (7, 30, 90, 180, 365)
NIGHT = (22.0, 6.0)  # local hours
MEASURES: tuple[tuple[str, str, str], ...] = (
    ("line_count", "number of purchase lines", "count"),
    ("spend_sum", "sum spent", "currency"),
    ("day_spend_mean", "mean spend of a purchase day", "currency"),
    ("day_spend_std", "standard deviation of the spend of purchase days; from two days on", "currency"),
    ("day_spend_skew", "skewness of the spend of purchase days; from three days on", "ratio"),
    ("day_spend_kurtosis", "excess kurtosis of the spend of purchase days; from four days on", "ratio"),
    ("day_spend_q25", "lower quartile of the spend of purchase days", "currency"),
    ("day_spend_median", "median spend of a purchase day", "currency"),
    ("day_spend_q90", "upper decile of the spend of purchase days", "currency"),
    ("day_spend_max", "largest spend of a purchase day", "currency"),
    ("day_spend_cv", "coefficient of variation of the spend of purchase days; from two days on", "ratio"),
    ("given_back_share", "discounts and refunds over the price before discount", "share"),
    ("weekend_share", "share of visits on a Saturday or Sunday", "share"),
    ("night_share", "share of visits from 22:00 to 06:00", "share"),
    ("channel_dispersion", "probability that two purchase lines differ in channel", "probability"),
    ("merchant_dispersion", "probability that two visits differ in merchant", "probability"),
)


def columns() -> tuple[Column, ...]:
    """The 80 columns in their order: by measure, then window."""
    return tuple(
        Column(f"base__{name}_{w}d", meaning, unit, f"{w} days") for name, meaning, unit in MEASURES for w in WINDOWS
    )


def compute(history: History) -> list[np.ndarray]:
    """The 80 columns, each [customers] float64 with NaN where undefined."""
    windows = np.array(WINDOWS)
    lines, visits, days, refunds = history.lines, history.visits, history.days, history.refunds
    spend = window_sums(lines.start, lines.days_ago, history.line_amount, windows)
    discount = window_sums(lines.start, lines.days_ago, history.line_discount, windows)
    refunded = window_sums(refunds.start, refunds.days_ago, history.refund_amount, windows)
    price = spend + discount
    moments = window_moments(days.start, days.days_ago, history.day_amount, windows)
    n_visits = window_counts(visits.start, visits.days_ago, windows)
    some_visits = np.where(n_visits > 0, n_visits, np.nan)
    hour = visits.values("hour")
    night = ((hour >= NIGHT[0]) | (hour < NIGHT[1])).astype(np.float64)
    weekend = (visits.values("weekday") >= 5).astype(np.float64)
    channel, merchant = history.line_codes("channel"), visits.columns.codes("merchant_id")
    measures = [
        window_counts(lines.start, lines.days_ago, windows),
        spend,
        *np.moveaxis(moments, 2, 0),
        (discount + refunded) / np.where(price > 0, price, np.nan),
        window_sums(visits.start, visits.days_ago, weekend, windows) / some_visits,
        window_sums(visits.start, visits.days_ago, night, windows) / some_visits,
        window_dispersion(lines.start, lines.days_ago, channel.numbers, len(channel.names), windows),
        window_dispersion(visits.start, visits.days_ago, merchant.numbers, len(merchant.names), windows),
    ]
    return [column for measure in measures for column in measure.T]
