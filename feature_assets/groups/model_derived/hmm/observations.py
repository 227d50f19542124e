"""Observations of the three HMMs: a customer's steps back from t, from joining or the start of the data on.

| mode | step | counts (Poisson) | values (Gaussian, where there is one) |
|---|---|---|---|
| journey | day, 90 | sessions, impressions, clicks, transactions (baskets) | log amount of a day with a purchase |
| lifecycle | 30 days, 24 | purchase days | log spend and breadth of a step with a purchase, log recency at its end |
| behavior | 30 days, 24 | purchase days (cadence) | components of category and channel mix |

A step without a purchase has a count of 0 and *no* amount (NaN), rather than an amount of 0: most days are empty, and
no Gaussian fits a value that is mostly 0. A step counts when the customer had joined for the whole of it; a customer of
less than 30 days has one, shorter one. Components of a mix are the centred log-ratios of its smoothed shares of lines,
of the largest codes: principal components would hold more variance in as many numbers, but they turn with every sample,
and so would the states. The fit decides which channels exist by the tables of the data set.
Source: FEATURES §3.5; Aitchison 1982.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.events.purchases import top_by_spend
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import StateError
from feature_assets.groups.model_derived.hmm.model import Steps
from feature_assets.kernels.monthly import centred_log_ratios

MONTH = 30
CATEGORIES = 8  # largest by spend; the rest is one more
_MIX = {"category": ("category_l1", 6), "way": ("channel", 2)}  # mix → column of the lines, components
_STRENGTH = 4.0  # lines that the prior of a mix weighs
_BREADTH = ("product_id", "category_l3", "category_l2", "merchant_id")  # the first that most lines have


@dataclass(frozen=True)
class Mode:
    """One of the three: its name, states, step in days, steps, and the count that orders its states by activity."""

    name: str
    states: int
    days: int
    steps: int
    activity: tuple[str, ...]  # channels of which the state's activity is the summed rate


MODES = (
    Mode("journey", 5, 1, 90, ("sessions", "clicks", "transactions")),
    Mode("lifecycle", 5, MONTH, 24, ("purchase_days",)),
    Mode("behavior", 6, MONTH, 24, ("purchase_days",)),
)
_COUNTS = {"sessions", "impressions", "clicks", "transactions", "purchase_days"}
_TABLE = {"sessions": "sessions", "impressions": "campaign_events", "clicks": "campaign_events"}


@dataclass(frozen=True)
class Observed:
    """The channels of a mode, how its values are centred and scaled, and the codes of its mixes."""

    channels: tuple[str, ...]
    breadth: str = ""  # column of the lines that breadth counts
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)  # mix → codes, without "other"
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)  # mix → [D] shares of its codes in the population
    centre: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [C], 0 for counts
    scale: np.ndarray = field(default_factory=lambda: np.ones(0))  # [C], 1 for counts

    @property
    def poisson(self) -> np.ndarray:
        return np.array([channel in _COUNTS for channel in self.channels])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"centre": self.centre, "scale": self.scale, **{f"shares_{m}": s for m, s in self.shares.items()}}

    def meta(self) -> dict[str, Any]:
        return {
            "channels": list(self.channels),
            "breadth": self.breadth,
            "vocabulary": {mix: list(codes) for mix, codes in self.vocabulary.items()},
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Observed:
        shares = {mix: arrays[f"shares_{mix}"] for mix in meta["vocabulary"]}
        return cls(
            tuple(meta["channels"]), meta["breadth"], meta["vocabulary"], shares, arrays["centre"], arrays["scale"]
        )


def tables_of(channels: Iterable[str]) -> tuple[str, ...]:
    """Tables that fitted channels need."""
    return tuple(dict.fromkeys(_TABLE[channel] for channel in channels if channel in _TABLE))


def lengths(view: View, mode: Mode) -> np.ndarray:
    """Steps of each customer, int64 [n]: whole steps since it joined and since the first day of data, at least one
    (every customer of a View had joined before t)."""
    return np.clip((view.day - view.began) // mode.days, 1, mode.steps)


def steps(view: View, mode: Mode, observed: Observed, rows: range) -> Steps:
    """The observations of the view's customers `rows`, standardised, oldest step first."""
    dense = raw(view, mode, observed, rows)
    dense -= observed.centre
    dense /= observed.scale
    return Steps.of(dense, lengths(view, mode)[rows.start : rows.stop])


def raw(view: View, mode: Mode, observed: Observed, rows: range) -> np.ndarray:
    """Every channel in natural units, float64 [len(rows), steps, C], also for steps before a customer joined."""
    for channel in observed.channels:
        if channel in _TABLE and not view.has(_TABLE[channel]):
            raise StateError(
                f"the {mode.name} HMM was fitted with table {_TABLE[channel]!r}, which this delivery does not have"
            )
    parts: dict[str, np.ndarray] = {}
    if mode.name == "journey":
        _journey(view, rows, observed, parts)
    else:
        _monthly(view, rows, observed, parts)
    return np.stack([parts[channel] for channel in observed.channels], axis=2)


def _cells(events: tuple[np.ndarray, np.ndarray], rows: range, mode: Mode) -> np.ndarray:
    """Cell (customer of `rows`, step) of each event; `events`: row [E] ascending, days_ago [E]. Older ones are left
    out."""
    row, days_ago = events
    first, last = np.searchsorted(row, [rows.start, rows.stop])
    step = mode.steps - 1 - (days_ago[first:last] - 1) // mode.days
    return ((row[first:last] - rows.start) * mode.steps + step)[step >= 0]


def _count(events: tuple[np.ndarray, np.ndarray], rows: range, mode: Mode) -> np.ndarray:
    cells = _cells(events, rows, mode)
    return np.bincount(cells, minlength=len(rows) * mode.steps).reshape(len(rows), mode.steps).astype(np.float64)


def _logs(values: np.ndarray) -> np.ndarray:
    """log1p of what is above 0, NaN elsewhere."""
    return np.log1p(values, out=np.full_like(values, np.nan), where=values > 0)


def _journey(view: View, rows: range, observed: Observed, parts: dict[str, np.ndarray]) -> None:
    mode, part = MODES[0], view.purchases
    baskets = part.group("basket_id")
    parts["transactions"] = _count((baskets.row, baskets.days_ago), rows, mode)
    parts["amount"] = _logs(_spend(part, rows, mode))
    if "sessions" in observed.channels:
        parts["sessions"] = _count(_events(view, "sessions", None), rows, mode)
    for channel, event in (("impressions", "impression"), ("clicks", "click")):
        if channel in observed.channels:
            parts[channel] = _count(_events(view, "campaign_events", event), rows, mode)


def _monthly(view: View, rows: range, observed: Observed, parts: dict[str, np.ndarray]) -> None:
    mode, part = MODES[1], view.purchases  # lifecycle and behavior have the same steps
    days = part.group("day")
    parts["purchase_days"] = _count((days.row, days.days_ago), rows, mode)
    if "spend" in observed.channels:
        parts["spend"] = _logs(_spend(part, rows, mode))
        parts["breadth"] = _logs(_breadth(part, rows, mode, observed.breadth))
        parts["recency"] = _recency(days.row, days.days_ago, rows, mode)
    for mix, vocabulary in observed.vocabulary.items():
        ratios = mix_ratios(part, rows, mix, vocabulary, observed.shares[mix])
        for j in range(ratios.shape[2]):
            parts[f"{mix}_{j}"] = ratios[:, :, j]


def _spend(part: Events, rows: range, mode: Mode) -> np.ndarray:
    first, last = np.searchsorted(part.row, [rows.start, rows.stop])
    step = mode.steps - 1 - (part.days_ago[first:last] - 1) // mode.days
    kept = step >= 0
    cells = ((part.row[first:last] - rows.start) * mode.steps + step)[kept]
    sums = sum_at(cells, part.values("amount")[first:last][kept], len(rows) * mode.steps)
    return sums.reshape(len(rows), mode.steps)


def _breadth(part: Events, rows: range, mode: Mode, name: str) -> np.ndarray:
    """Number of different values of `name` in each step: a line counts when its value was not bought earlier in it."""
    first, last = np.searchsorted(part.row, [rows.start, rows.stop])
    month = (part.days_ago[first:last] - 1) // mode.days
    fresh = part.previous_days_ago(name)[first:last] > (month + 1) * mode.days
    fresh &= (part.codes(name)[first:last] >= 0) & (month < mode.steps)
    cells = (part.row[first:last] - rows.start) * mode.steps + mode.steps - 1 - month
    return np.bincount(cells[fresh], minlength=len(rows) * mode.steps).reshape(len(rows), mode.steps).astype(np.float64)


def _recency(row: np.ndarray, days_ago: np.ndarray, rows: range, mode: Mode) -> np.ndarray:
    """log1p of the days from the last purchase to the end of each step, NaN before the first purchase."""
    first, last = np.searchsorted(row, [rows.start, rows.stop])
    age = days_ago[first:last].astype(np.float64)
    month = np.minimum((days_ago[first:last] - 1) // mode.days, mode.steps)
    latest = np.full((len(rows), mode.steps + 1), np.inf)  # the first column is what came before all steps
    np.minimum.at(latest, (row[first:last] - rows.start, mode.steps - month), age)
    latest = np.minimum.accumulate(latest, axis=1)[:, 1:]
    past = latest - np.arange(mode.steps - 1, -1, -1) * mode.days
    return np.where(np.isfinite(past), np.log1p(np.where(np.isfinite(past), past, 0.0)), np.nan)


def mix_ratios(part: Events, rows: range, mix: str, vocabulary: Sequence[str], prior: np.ndarray) -> np.ndarray:
    """Centred log-ratios of the mix in each step, [len(rows), 24, D]; D = len(prior): the vocabulary and "other"."""
    column, mode = _MIX[mix][0], MODES[1]
    first, last = np.searchsorted(part.row, [rows.start, rows.stop])
    codes = np.where(part.codes(column) >= 0, part.ranked(column, vocabulary), -1)[first:last]
    step = (mode.steps - 1 - (part.days_ago[first:last] - 1) // mode.days).astype(np.int64)
    return centred_log_ratios(part.row[first:last] - rows.start, step, codes, len(rows), mode.steps, prior, _STRENGTH)


def _events(view: View, table: str, event: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Row and age in days of each session, or of each campaign event of a kind, ascending with the row."""
    if table == "sessions":
        return view.sessions.row, view.sessions.days_ago
    assert event is not None
    chosen = view.shared(_campaign_events, event)
    return chosen.row, chosen.days_ago


def _campaign_events(view: View, event: str) -> Events:
    return view.campaign_events.of("event", event)


def choose(views: Sequence[View], mode: Mode) -> Observed:
    """The channels that the data set has for a mode (not yet standardised), and the codes of its mixes."""
    if mode.name == "journey":
        optional = [c for c in ("sessions", "impressions", "clicks") if _happens(views, c)]
        return Observed((*optional, "transactions", "amount"))
    if mode.name == "lifecycle":
        return Observed(("purchase_days", "spend", "breadth", "recency"), breadth=_breadth_column(views))
    vocabulary, shares = {}, {}
    for mix, (column, _) in _MIX.items():
        codes = top_by_spend(views, column, CATEGORIES)
        known = _shares(views, mix, codes)
        if known is not None:
            vocabulary[mix], shares[mix] = codes, known
    mixes = [f"{mix}_{j}" for mix in shares for j in range(min(_MIX[mix][1], len(shares[mix]) - 1))]
    return Observed(("purchase_days", *mixes), vocabulary=vocabulary, shares=shares)


def _happens(views: Sequence[View], channel: str) -> bool:
    table = _TABLE[channel]
    event = {"impressions": "impression", "clicks": "click"}.get(channel)
    return views[0].has(table) and any(len(_events(view, table, event)[0]) for view in views)


def _breadth_column(views: Sequence[View]) -> str:
    for name in _BREADTH[:-1]:
        known = sum(int((view.purchases.codes(name) >= 0).sum()) for view in views)
        if 2 * known > sum(len(view.purchases.row) for view in views):
            return name
    return _BREADTH[-1]


def _shares(views: Sequence[View], mix: str, codes: Sequence[str]) -> np.ndarray | None:
    """Share of each code of all lines, [D]; None where there is no mix."""
    lines = np.zeros(len(codes) + 1)
    for view in views:
        part = view.purchases
        known = part.codes(_MIX[mix][0]) >= 0
        lines += np.bincount(part.ranked(_MIX[mix][0], codes)[known], minlength=len(lines))
    width = len(lines) if lines[-1] > 0 else len(codes)
    if width < 2:
        return None
    return (lines[:width] + 0.5) / (lines[:width] + 0.5).sum()
