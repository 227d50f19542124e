"""Exposure: the campaigns that reached a customer, by kind, and how each was answered.

Kinds are the three with the most exposures before the training dates. An answer is a conversion.
Source: FEATURES §3.2; DATA §3 (ctr, cvr).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.events.campaigns import Exposures
from feature_assets.events.numbers import maximum, moments
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

KINDS = 3
RECENT = 28
_SOURCES = ("campaign_events",)


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, window: str, *more: str) -> Column:
        return Column(f"exposure__{name}", meaning, unit, window, (*_SOURCES, *more))

    ever, kind = "all history", "of the kind that is number {} by training exposures"
    made = [
        column(f"{what}_{k}", f"{meaning} {kind.format(k)}", "count", ever, "campaigns")
        for what, meaning in (
            ("reached", "campaigns that reached the customer,"),
            ("clicked", "campaigns with a click,"),
            ("converted", "campaigns with a conversion,"),
        )
        for k in range(1, KINDS + 1)
    ]
    made += [
        column("newest_clicked", "campaigns of the day of the last exposure with a click", "count", ever),
        column("newest_converted", "campaigns of the day of the last exposure with a conversion", "count", ever),
        column("unanswered_run", "latest exposures, one after the other, without a conversion", "count", ever),
        column("click_days_28d", "days with a click", "count", f"{RECENT} days"),
        column("click_days_84d", "days with a click", "count", "84 days"),
        column("conversion_days", "days with a conversion", "count", ever),
        column("answer_wait", "mean days from an exposure to the first conversion", "days", ever),
    ]
    return tuple(made)


class Exposure(FeatureGroup):
    """Campaigns by kind, and answers. Fitted: the kinds."""

    name = "exposure"
    description = "Campaigns that reached a customer by kind, and how they were answered"
    columns = _columns()
    sources = _SOURCES

    def _learn(self, training: TrainingInputs) -> GroupState:
        counts: dict[str, int] = {}
        for view in training.views:
            kinds = view.exposures.kind
            number = np.bincount(kinds.numbers + 1, minlength=len(kinds.names) + 1)[1:]
            for name, count in zip(kinds.names, number.tolist(), strict=True):
                counts[name] = counts.get(name, 0) + count
        ranked = sorted((name for name in counts if counts[name]), key=lambda name: (-counts[name], name))
        return GroupState({}, {"kinds": ranked[:KINDS]})

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        blocks = [_by_kind(view, inputs.state.meta["kinds"]), np.stack(_answers(view), axis=1)]
        return Values(np.concatenate(blocks, axis=1))


def _by_kind(view: View, kinds: Sequence[str]) -> np.ndarray:
    """[customers, 9]: exposures, clicked and converted ones of each kind; NaN for a place without a kind."""
    exposures, n = view.exposures, view.customers.height
    rank = exposures.kind.ranked(kinds)
    blocks = []
    for chosen in (np.ones(len(rank), dtype=np.bool_), exposures.clicked, exposures.converted):
        cell = exposures.row[chosen] * (KINDS + 1) + np.minimum(rank[chosen], KINDS)
        table = np.bincount(cell, minlength=n * (KINDS + 1)).astype(np.float64).reshape(n, KINDS + 1)[:, :KINDS]
        table[:, len(kinds) :] = np.nan
        blocks.append(table)
    return np.concatenate(blocks, axis=1)


def _count(exposures: Exposures, chosen: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(exposures.row[chosen], minlength=n).astype(np.float64)


def _newest(exposures: Exposures, chosen: np.ndarray, n: int) -> np.ndarray:
    """Days since the newest of the exposures `chosen`, NaN without one."""
    return -maximum(exposures.row[chosen], -exposures.days_ago[chosen].astype(np.float64), n)


def _answers(view: View) -> list[np.ndarray]:
    """Answers to the newest exposures, exposures newer than the newest converted one, days with clicks and with
    conversions, mean wait of an answer."""
    exposures, events, n = view.exposures, view.campaign_events, view.customers.height
    every = np.ones(len(exposures.row), dtype=np.bool_)
    newest = exposures.days_ago == _newest(exposures, every, n)[exposures.row]
    answered = np.nan_to_num(_newest(exposures, exposures.converted, n), nan=np.inf)
    clicks, conversions = (events.of("event", kind).days_of() for kind in ("click", "conversion"))
    converted = exposures.converted
    wait = exposures.days_ago[converted] - exposures.answered_ago[converted]
    return [
        _count(exposures, newest & exposures.clicked, n),
        _count(exposures, newest & converted, n),
        _count(exposures, exposures.days_ago < answered[exposures.row], n),
        clicks.count(RECENT),
        clicks.count(84),
        conversions.count(),
        moments(exposures.row[converted], wait, n)[0],
    ]


GROUP = Exposure()
