"""Session sequence: the last 90 days of each customer, 8 values a day, oldest day first.

Visits, pages, seconds, searches and calls for support come from sessions; impressions, clicks and conversions from
campaign events. Channels that the data set does not have are *absent*: not in `channels_present` of the state, and 0 in
the array. A day without an event is a fact (zeros, mask true); a day before the customer joined is not (mask false).
Values are log1p of the day's sum, divided by a fitted scale and not centred, so that 0 keeps its meaning. Source:
FEATURES §3.9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from feature_assets.events.numbers import runs, sum_at
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, StateError, TrainingInputs, Values

STEPS = 90
LIMIT = 4.0  # scaled values are clipped to [0, LIMIT]
CHANNELS = ("visits", "pages", "seconds", "impressions", "clicks", "conversions", "search", "support")
_EVENT_OF = {"visits": "visit", "search": "search", "support": "support"}  # of sessions
_REACHED = {"impressions": "impression", "clicks": "click", "conversions": "conversion"}  # of campaign events
_TOTALS = ("pages", "seconds")  # columns of sessions
_TABLES = {"campaign_events": tuple(_REACHED), "sessions": (*_EVENT_OF, *_TOTALS)}


class SessionSeq(FeatureGroup):
    """Daily sequence. Fitted: the scale of each channel, and the channels that the data set has."""

    name = "session_seq"
    description = "90 days × 8: what was visited, seen and answered each day, for the sequence branch of the model"
    side_inputs = (
        SideInput("session_seq", "90 days × 8, oldest day first", (STEPS, len(CHANNELS)), pl.Float32, CHANNELS),
        SideInput("session_seq_mask", "whether the customer had joined on that day", (STEPS,), pl.Boolean),
    )
    sources = ("customers",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """`scale` [8]: root mean square of the non-zero values of each channel, over the training dates. A channel that
        is 0 on every training date is absent."""
        squares, count = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
        for view in training.views:
            for i, channel in enumerate(CHANNELS):
                values = _days(view, channel)[1]
                squares[i] += (values**2).sum()
                count[i] += np.count_nonzero(values)
        scale = np.sqrt(squares / np.maximum(count, 1))
        meta = {
            "channels": list(CHANNELS),
            "channels_present": [name for name, some in zip(CHANNELS, count, strict=True) if some],
        }
        return GroupState({"scale": np.where(scale > 0, scale, 1.0)}, meta)

    def uses(self, state: GroupState) -> tuple[str, ...]:
        present = state.meta.get("channels_present", ())
        return tuple(table for table, channels in _TABLES.items() if set(channels) & set(present))

    def _values(self, inputs: Inputs) -> Values:
        """Side inputs session_seq [90, 8] and session_seq_mask [90]."""
        view, state = inputs.view, inputs.state
        _check(view, state.meta["channels_present"])
        customers = view.customers.height
        sequence = np.zeros((customers * STEPS, len(CHANNELS)), dtype=np.float32)
        for i, channel in enumerate(CHANNELS):
            if channel in state.meta["channels_present"]:
                cell, values = _days(view, channel)
                sequence[cell, i] = np.minimum(values / state.arrays["scale"][i], LIMIT)
        mask = view.joined_days(STEPS)
        sequence[~mask.ravel()] = 0.0
        return Values(
            sides={"session_seq": sequence.reshape(customers, STEPS, len(CHANNELS)), "session_seq_mask": mask}
        )


def _days(view: View, channel: str) -> tuple[np.ndarray, np.ndarray]:
    """Days with an event of the channel, int64 [U] (customer · 90 + step), and log1p of its sum there, float64 [U]."""
    found = _events(view, channel)
    if found is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    weights = np.nan_to_num(found.values(channel)) if channel in _TOTALS else np.ones(len(found.row))
    recent = found.days_ago <= STEPS
    cells, at = runs(found.row[recent] * STEPS + (STEPS - found.days_ago[recent]))
    return cells, np.log1p(sum_at(at, weights[recent], len(cells)))


def _check(view: View, present: Sequence[str]) -> None:
    """StateError if a fitted channel needs a table that this delivery does not have."""
    for table, channels in _TABLES.items():
        lost = [name for name in channels if name in present]
        if lost and not view.has(table):
            raise StateError(f"session_seq was fitted with channels {lost}, and this delivery has no table {table}")


def _events(view: View, channel: str) -> Events | None:
    if channel in _REACHED:
        return view.campaign_events.of("event", _REACHED[channel]) if view.has("campaign_events") else None
    if not view.has("sessions"):
        return None
    return view.sessions.of("event", _EVENT_OF[channel]) if channel in _EVENT_OF else view.sessions


GROUP = SessionSeq()
