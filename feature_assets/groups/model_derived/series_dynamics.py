"""Series dynamics, 18 columns: the shape of the customer's daily spend over the last 180 days.

The series is log1p of the spend of each known day (0 where nothing was bought), from joining on or from 180 days before
t; at least 56 days. Distribution 4, frequency 4, change points 3, autocorrelation 4, complexity 3, each a published
measure: formula and source stand beside its kernel in `kernels/series.py`. Measures of the same series that the base
group has (peaks, centroid and entropy of the spectrum, single autocorrelations) are not repeated.
Source: FEATURES §3.7.
"""

from __future__ import annotations

import numpy as np

from feature_assets.group import Column, FeatureGroup, Inputs, Values
from feature_assets.kernels.series import DAYS, MEASURES, series_measures

_MEANINGS: dict[str, tuple[str, str]] = {
    "spend_gini": ("inequality (Gini coefficient) of daily spend, days without spend among them", "share"),
    "spend_l_skewness": ("L-skewness of log spend of purchase days; from five on", "ratio"),
    "spend_l_kurtosis": ("L-kurtosis of log spend of purchase days; from five on", "ratio"),
    "weekly_dispersion": ("variance over mean of the number of purchase days a week", "ratio"),
    "spectral_spread": ("standard deviation of the frequency of daily log spend by power", "cycles per day"),
    "spectral_roll_off": ("frequency below which 85 % of the power of daily log spend lies", "cycles per day"),
    "spectral_flatness": ("geometric over arithmetic mean of the power of daily log spend: 1 is noise", "ratio"),
    "spectral_slope": ("slope of log power over log frequency of daily log spend", "ratio"),
    "change_points": ("changes of the mean of daily log spend (optimal partitioning)", "count"),
    "regime_age": ("days since the last change of the mean of daily log spend", "days"),
    "cusum": ("furthest cumulative sum of deviations of daily log spend; > 0 = more spend later", "ratio"),
    "ljung_box": ("Ljung–Box statistic of 14 lags of daily log spend over their number; 1 is noise", "ratio"),
    "partial_autocorrelation_lag7": ("partial autocorrelation of daily log spend at 7 days", "ratio"),
    "decorrelation_time": ("integrated autocorrelation time of daily log spend", "days"),
    "dfa_exponent": ("exponent of detrended fluctuations of daily log spend; 0.5 is noise", "ratio"),
    "permutation_entropy": ("entropy of the orders of four successive days over its maximum", "ratio"),
    "sample_entropy": ("sample entropy of daily log spend (m = 2, r = 0.2 σ)", "nats"),
    "lempel_ziv": ("Lempel–Ziv complexity of the days with and without a purchase", "ratio"),
}


class SeriesDynamics(FeatureGroup):
    """The group `series_dynamics`. Nothing is fitted."""

    name = "series_dynamics"
    description = "Distribution, spectrum, change points, memory and complexity of the daily series"
    columns = tuple(
        Column(f"series_dynamics__{measure}_{DAYS}d", *_MEANINGS[measure], f"{DAYS} days") for measure in MEASURES
    )
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        """18 columns; null where undefined: fewer than 56 known days, or no purchase on any of them."""
        recent = inputs.view.daily_series(DAYS)
        logs = np.ascontiguousarray(recent.values[:, 1].astype(np.float64))
        values = series_measures(recent.start, recent.days_ago, logs, recent.length)
        return Values(values)


GROUP = SeriesDynamics()
