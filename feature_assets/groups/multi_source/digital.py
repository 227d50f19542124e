"""Digital, 14 columns: frequency, length and regularity of a customer's use of the web site and the app.

A session is any row of the table: a visit, a search, a login or a call for support. Source: FEATURES §3.2.
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.numbers import moments, ratio
from feature_assets.events.ragged import Events
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup


def _read(inputs: Inputs) -> Events:
    return inputs.view.sessions


def _mean(name: str, days: int, s: Events) -> np.ndarray:
    recent = s.recent(days)
    values = recent.values(name)
    known = ~np.isnan(values)
    return moments(recent.row[known], values[known], s.customers)[0]


def _seconds_variation(s: Events) -> np.ndarray:
    recent = s.recent(182)
    values = recent.values("seconds")
    known = ~np.isnan(values)
    mean, deviation = moments(recent.row[known], values[known], s.customers)
    return ratio(deviation, mean)


def _hour_resultant(s: Events) -> np.ndarray:
    """Length of the mean of the sessions' hour angles: 1 when all are at the same time of day, 0 around the clock."""
    recent = s.recent(182)
    angle = recent.values("minute") * (2 * np.pi / 24)
    return ratio(np.hypot(recent.total(np.cos(angle)), recent.total(np.sin(angle))), recent.count())


def _campaign_share(s: Events) -> np.ndarray:
    if not s.has("campaign_id"):
        return np.full(s.customers, np.nan)
    return ratio(s.where(s.codes("campaign_id") >= 0).count(182), s.count(182))


_ALL = "all history"
_MEASURES: tuple[Measure[Events], ...] = (
    Measure("sessions_7d", "sessions", "count", "7 days", lambda s: s.count(7)),
    Measure("sessions_91d", "sessions", "count", "91 days", lambda s: s.count(91)),
    Measure("visits_28d", "visits", "count", "28 days", lambda s: s.of("event", "visit").count(28)),
    Measure("searches_91d", "searches", "count", "91 days", lambda s: s.of("event", "search").count(91)),
    Measure("logins_91d", "logins", "count", "91 days", lambda s: s.of("event", "login").count(91)),
    Measure("active_days_28d", "days with a session", "days", "28 days", lambda s: s.days_of().count(28)),
    Measure("pages_mean_91d", "mean pages of a session", "pages", "91 days", lambda s: _mean("pages", 91, s)),
    Measure("seconds_mean_91d", "mean length of a session", "seconds", "91 days", lambda s: _mean("seconds", 91, s)),
    Measure(
        "seconds_variation_182d",
        "coefficient of variation of the length of a session; from two on",
        "ratio",
        "182 days",
        _seconds_variation,
    ),
    Measure("days_since_session", "days since the last session", "days", _ALL, lambda s: s.days_since()),
    Measure(
        "gap_cv_182d",
        "coefficient of variation of the days between days with a session; from three days on",
        "ratio",
        "182 days",
        lambda s: s.recent(182).gap_cv(),
    ),
    Measure("hour_resultant_182d", "concentration of the sessions' time of day", "ratio", "182 days", _hour_resultant),
    Measure("campaign_share_182d", "share of sessions that a campaign led to", "share", "182 days", _campaign_share),
    Measure("change_28d", "sessions less those of the 28 days before", "count", "56 days", lambda s: s.change(28)),
)

GROUP = MeasuredGroup(
    "digital",
    "Sessions: counts, length, regularity, recency, time of day",
    ("sessions",),
    _MEASURES,
    _read,
)
