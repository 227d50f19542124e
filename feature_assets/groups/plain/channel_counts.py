"""Channel counts: purchase lines by channel, and when each channel was last used.

Channels are the three with the most training spend. Source: FEATURES §3.1; DATA §3 (channel).
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.numbers import flat_rows
from feature_assets.events.purchases import top_by_spend
from feature_assets.events.windows import Windows
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

CHANNELS = 3
DAYS = (28, 84)


def _columns() -> tuple[Column, ...]:
    channel = "the channel that is number {} in training spend"

    def column(name: str, meaning: str, unit: str, window: str) -> Column:
        return Column(f"channel_counts__{name}", meaning, unit, window)

    ranks = range(1, CHANNELS + 1)
    made = [
        column(f"lines_{k}_{w}d", f"purchase lines by {channel.format(k)}", "count", f"{w} days")
        for k in ranks
        for w in DAYS
    ]
    made += [
        column(f"since_{k}", f"days since a purchase by {channel.format(k)}", "days", "all history") for k in ranks
    ]
    return tuple(made)


class ChannelCounts(FeatureGroup):
    """Purchase lines by channel. Fitted: the channels."""

    name = "channel_counts"
    description = "Purchase lines by channel, and days since each channel was used"
    columns = _columns()
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        return GroupState({}, {"channels": top_by_spend(training.views, "channel", CHANNELS)})

    def columns_of_values(self, state: GroupState) -> dict[str, dict[str, str]]:
        return {
            name: {f"lines_{w}d": f"channel_counts__lines_{k}_{w}d" for w in DAYS}
            | {"since_channel": f"channel_counts__since_{k}"}
            for k, name in enumerate(state.meta["channels"], start=1)
        }

    def _values(self, inputs: Inputs) -> Values:
        lines, channels = inputs.view.purchases, inputs.state.meta["channels"]
        rank = lines.ranked("channel", channels)
        known = rank < len(channels)
        cell, cells = lines.row[known] * CHANNELS + rank[known], lines.customers * CHANNELS
        counts = Windows(cell, lines.days_ago[known], cells, DAYS).sums().reshape(-1, CHANNELS, len(DAYS))
        counts[:, len(channels) :] = np.nan
        since = np.full(cells, np.nan)
        since[cell] = lines.days_ago[known]  # in the order of time: the last one stays
        return Values(np.concatenate([flat_rows(counts), since.reshape(-1, CHANNELS)], axis=1))


GROUP = ChannelCounts()
