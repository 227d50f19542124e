"""Other channels, 23 columns: channels of a customer's purchases, sessions and contacts, and their interplay.

Purchase channels are the three that the data set names (`dataset.channels`, numbered 1 to 3 in that order). Session
channels are the two most frequent of the training dates, numbered by name so that a refit keeps the numbers.
Source: FEATURES §3.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_assets.data.contract import CONTACT_KINDS
from feature_assets.events.numbers import entropy, maximum, ratio, runs, sum_at
from feature_assets.events.ragged import Events
from feature_assets.group import GroupState, Inputs, TrainingInputs
from feature_assets.groups.measures import Measure, MeasuredGroup

SESSION_CHANNELS = 2
FOLLOWED = 7  # days after a support session in which a contact counts as its follow-up


@dataclass(frozen=True)
class Channels:
    customers: int
    bought: Events | None  # all purchases
    channel: np.ndarray  # of each purchase line: 0 … 2, 3 for any other
    sessions: Events
    way: np.ndarray  # of each session: 0, 1, 2 for any other
    asked: Events | None

    @property
    def lines(self) -> Events:
        assert self.bought is not None
        return self.bought

    @property
    def contacts(self) -> Events:
        assert self.asked is not None
        return self.asked

    @cached_property
    def spend(self) -> np.ndarray:
        """Spend of the last 364 days by channel, float64 [customers, 4]."""
        inside = self.lines.days_ago <= 364
        cell = self.lines.row[inside] * 4 + self.channel[inside]
        spend = sum_at(cell, self.lines.values("amount")[inside], self.customers * 4)
        return np.maximum(spend, 0.0).reshape(self.customers, 4)

    @cached_property
    def support(self) -> Events:
        return self.sessions.of("event", "support")


def _learn(training: TrainingInputs) -> GroupState:
    count: Counter[str] = Counter()
    for view in training.views:
        known = view.sessions
        numbers, names = known.codes("channel"), known.names("channel")
        count.update(dict(zip(names, np.bincount(numbers, minlength=len(names)).tolist(), strict=True)))
    common = sorted((name for name in count if count[name]), key=lambda name: (-count[name], name))
    return GroupState({}, {"session_channels": sorted(common[:SESSION_CHANNELS])})


def _read(inputs: Inputs) -> Channels:
    view = inputs.view
    lines = view.purchases if view.has("transactions") else None
    visits = view.sessions
    return Channels(
        view.customers.height,
        lines,
        lines.ranked("channel", view.dataset.channels) if lines is not None else np.zeros(0, dtype=np.int64),
        visits,
        visits.ranked("channel", inputs.state.meta["session_channels"]),
        view.contacts if view.has("contacts") else None,
    )


def _bought(k: int, days: int, c: Channels) -> np.ndarray:
    inside = (c.channel == k) & (c.lines.days_ago <= days)
    return np.bincount(c.lines.row[inside], minlength=c.customers).astype(np.float64)


def _since_bought(k: int, c: Channels) -> np.ndarray:
    inside = c.channel == k
    return -maximum(c.lines.row[inside], -c.lines.days_ago[inside].astype(np.float64), c.customers)


def _spend_share(k: int, c: Channels) -> np.ndarray:
    spend = c.spend
    return ratio(spend[:, k], spend[:, 0] + spend[:, 1] + spend[:, 2] + spend[:, 3])


def _switches(c: Channels) -> np.ndarray:
    """Of two purchase lines in a row, on different channels."""
    row, channel = c.lines.row, c.channel
    pair = row[1:] == row[:-1]
    other = pair & (channel[1:] != channel[:-1])
    return ratio(np.bincount(row[1:][other], minlength=c.customers), np.bincount(row[1:][pair], minlength=c.customers))


def _session_entropy(c: Channels) -> np.ndarray:
    recent = c.sessions.days_ago <= 182
    return entropy(c.sessions.where(recent).table(c.way[recent], SESSION_CHANNELS + 1))


def _shift(c: Channels) -> np.ndarray:
    """Share of session channel 2 in the last 91 days less its share before."""
    second = c.sessions.where(c.way == 1)
    recent, recent_all = second.count(91), c.sessions.count(91)
    return ratio(recent, recent_all) - ratio(second.count() - recent, c.sessions.count() - recent_all)


def _assisted(c: Channels) -> np.ndarray:
    return ratio(c.contacts.count(364), c.contacts.count(364) + c.sessions.count(364))


def _assisted_change(c: Channels) -> np.ndarray:
    talked, clicked = c.contacts.count(182), c.sessions.count(182)
    talked_before, clicked_before = c.contacts.count(364) - talked, c.sessions.count(364) - clicked
    return ratio(talked, talked + clicked) - ratio(talked_before, talked_before + clicked_before)


def _followed(c: Channels) -> np.ndarray:
    """Share of support sessions after which the customer talked to somebody, from the same day on."""
    span = np.int64(1) << 32
    talked, asked = c.contacts.row * span - c.contacts.days_ago, c.support.row * span - c.support.days_ago
    following = np.append(talked, np.iinfo(np.int64).max)[np.searchsorted(talked, asked)]
    return ratio(c.support.where(following <= asked + FOLLOWED).count(), c.support.count())


def _researched(c: Channels) -> np.ndarray:
    """Share of purchase days with a session on that day or the day before."""
    span, recent = np.int64(1) << 32, c.lines.days_ago <= 364
    bought = runs(c.lines.row[recent] * span - c.lines.days_ago[recent])[0]
    visited = c.sessions.row * span - c.sessions.days_ago
    before = np.append(visited, -1 << 62)[np.searchsorted(visited, bought, side="right") - 1]
    row = (bought + 0x7FFFFFFF) >> 32
    done = before >= bought - 1
    return ratio(np.bincount(row[done], minlength=c.customers), np.bincount(row, minlength=c.customers))


def _ways(c: Channels) -> np.ndarray:
    """Different channels of purchases and of sessions, and kinds of contacts, together."""
    bought = np.stack([_bought(k, 91, c) for k in range(3)], axis=1)
    recent = c.sessions.days_ago <= 91
    visited = c.sessions.where(recent).table(c.way[recent], SESSION_CHANNELS + 1)
    asked = c.contacts.recent(91)
    talked = asked.table(asked.ranked("kind", CONTACT_KINDS), len(CONTACT_KINDS))
    return (bought > 0).sum(axis=1) + (visited > 0).sum(axis=1) + (talked > 0).sum(axis=1).astype(np.float64)


_T, _C, _ALL = ("transactions",), ("contacts",), "all history"
_MEASURES: tuple[Measure[Channels], ...] = (
    *(
        Measure(
            f"bought_channel_{k + 1}_91d",
            f"purchase lines on channel {k + 1}",
            "count",
            "91 days",
            lambda c, k=k: _bought(k, 91, c),  # type: ignore[misc]
            _T,
        )
        for k in range(3)
    ),
    *(
        Measure(
            f"days_since_channel_{k + 1}",
            f"days since the last purchase on channel {k + 1}",
            "days",
            _ALL,
            lambda c, k=k: _since_bought(k, c),  # type: ignore[misc]
            _T,
        )
        for k in range(3)
    ),
    *(
        Measure(
            f"spend_share_channel_{k + 1}_364d",
            f"share of spend on channel {k + 1}",
            "share",
            "364 days",
            lambda c, k=k: _spend_share(k, c),  # type: ignore[misc]
            _T,
        )
        for k in (1, 2)
    ),
    Measure(
        "channel_entropy_364d", "entropy of spend over channels", "nats", "364 days", lambda c: entropy(c.spend), _T
    ),
    Measure(
        "switch_share", "share of purchase lines on another channel than the one before", "share", _ALL, _switches, _T
    ),
    *(
        Measure(
            f"sessions_channel_{k + 1}_91d",
            f"sessions on session channel {k + 1}",
            "count",
            "91 days",
            lambda c, k=k: c.sessions.where(c.way == k).count(91),  # type: ignore[misc]
        )
        for k in range(SESSION_CHANNELS)
    ),
    *(
        Measure(
            f"days_since_session_channel_{k + 1}",
            f"days since the last session on session channel {k + 1}",
            "days",
            _ALL,
            lambda c, k=k: c.sessions.where(c.way == k).days_since(),  # type: ignore[misc]
        )
        for k in range(SESSION_CHANNELS)
    ),
    Measure("session_entropy_182d", "entropy of sessions over channels", "nats", "182 days", _session_entropy),
    Measure("session_shift_91d", "share of session channel 2 less its share before", "share", "91 days", _shift),
    Measure("support_91d", "sessions for support", "count", "91 days", lambda c: c.support.count(91)),
    Measure("days_since_support", "days since the last one", "days", _ALL, lambda c: c.support.days_since()),
    Measure("assisted_share_364d", "share of contacts in contacts and sessions", "share", "364 days", _assisted, _C),
    Measure(
        "assisted_change_182d",
        "that share less the one of the 182 days before",
        "share",
        "364 days",
        _assisted_change,
        _C,
    ),
    Measure(
        "followed_share",
        f"share of support sessions with a contact within {FOLLOWED} days",
        "share",
        _ALL,
        _followed,
        _C,
    ),
    Measure(
        "researched_share_364d",
        "share of purchase days with a session on that day or the day before",
        "share",
        "364 days",
        _researched,
        _T,
    ),
    Measure(
        "ways_91d",
        "different purchase channels, session channels and kinds of contacts",
        "count",
        "91 days",
        _ways,
        (*_T, *_C),
    ),
)

GROUP = MeasuredGroup(
    "other_channel",
    "Channels of purchases, sessions and contacts: use, switching, mix, and how they meet",
    ("sessions",),
    _MEASURES,
    _read,
    _learn,
)
