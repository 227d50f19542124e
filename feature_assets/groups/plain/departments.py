"""Departments: when a customer last bought in each category, in which it stands out, and which it took up lately.

Categories are those of level 1: the 12 with the most training spend, and the 12 others that most customers newly take
up; where level 1 has no others, those of level 2 take their place. A category stands out in a period of 28 days when
the customer's spend on it, over the population's share of it, is the largest of the 12 (as the label of the next period
has it). Source: FEATURES §3.1; DATA §3 (nba, spending_category).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.events.purchases import top_by_spend
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.groups.plain.periods import PERIOD, PERIODS, period_of

TOP, TAKEN_UP = 12, 12
LOOK_BACK = 84  # days before a training date in which categories newly taken up are counted
NEW = (28, 84)
LONGEST = PERIOD * PERIODS  # days since a purchase are no more: later dates would reach beyond all training dates
_SOURCES = ("transactions", "products")


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, window: str) -> Column:
        return Column(f"departments__{name}", meaning, unit, window, _SOURCES)

    ever, periods, since = "all history", f"{LONGEST} days", f"days, at most {LONGEST}, since"
    top, other = (
        "the category that is number {} in training spend",
        "the category beside them that is number {} to be taken up",
    )
    made = [column(f"since_{k:02d}", f"{since} a purchase in {top.format(k)}", "days", ever) for k in range(1, TOP + 1)]
    made += [
        column(
            f"stands_out_{k:02d}",
            f"periods of {PERIOD} days, of {PERIODS}, in which {top.format(k)} stands out",
            "count",
            periods,
        )
        for k in range(1, TOP + 1)
    ]
    made += [
        column(f"since_other_{k:02d}", f"{since} a purchase in {other.format(k)}", "days", ever)
        for k in range(1, TAKEN_UP + 1)
    ]
    for level, what in ((1, "categories"), (2, "subcategories")):
        made += [
            column(f"new_{what}_{w}d", f"categories of level {level} bought for the first time", "count", f"{w} days")
            for w in NEW
        ]
    made += [
        column("categories_ever", "categories of level 1 ever bought", "count", ever),
        column("since_new", f"{since} a category of level 1 was bought for the first time", "days", ever),
    ]
    return tuple(made)


class Departments(FeatureGroup):
    """Recency of categories and what stands out. Fitted: the categories, and the population's shares."""

    name = "departments"
    description = "Days since a purchase by category, categories that stand out, categories newly taken up"
    columns = _columns()
    sources = _SOURCES

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Array `spend` of the categories before the training dates; meta: `categories`, most spend first, `others`
        and `level` (the column that they are values of)."""
        top = top_by_spend(training.views, "category_l1", TOP)
        spend = np.zeros(len(top) + 1)
        for view in training.views:
            lines = view.purchases
            spend += sum_at(lines.ranked("category_l1", top), lines.values("amount"), len(top) + 1)
        level, others = "category_l1", _taken_up(training.views, "category_l1", top)
        if not others:
            level, others = "category_l2", _taken_up(training.views, "category_l2", ())
        return GroupState({"spend": spend[:-1]}, {"categories": top, "level": level, "others": others})

    def columns_of_values(self, state: GroupState) -> dict[str, dict[str, str]]:
        found = {
            name: {measure: f"departments__{measure}_{k:02d}" for measure in ("since", "stands_out")}
            for k, name in enumerate(state.meta["categories"], start=1)
        }
        others = enumerate(state.meta["others"], start=1)
        return found | {name: {"since": f"departments__since_other_{k:02d}"} for k, name in others}

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        lines, top = view.purchases, list(state.meta["categories"])
        blocks = [
            _since(lines, "category_l1", top, TOP),
            _stands_out(view, top, state.arrays["spend"]),
            _since(lines, state.meta["level"], state.meta["others"], TAKEN_UP),
            *(_new(lines, f"category_l{level}") for level in (1, 2)),
            _ever(lines),
        ]
        return Values(np.concatenate(blocks, axis=1))


def _taken_up(views: Sequence[View], name: str, without: Sequence[str]) -> list[str]:
    """The 12 values of `name` that most customers bought for the first time in the `LOOK_BACK` days before the views'
    dates, most first (ties by name), other than `without`."""
    taken: dict[str, int] = {}
    for view in views:
        fresh = view.purchases.where(view.purchases.first_ever(name)).recent(LOOK_BACK)
        names = fresh.names(name)
        for value, count in zip(names, np.bincount(fresh.codes(name), minlength=len(names)).tolist(), strict=True):
            if count and value not in without:
                taken[value] = taken.get(value, 0) + count
    return sorted(taken, key=lambda value: (-taken[value], value))[:TAKEN_UP]


def _since(lines: Events, level: str, vocabulary: Sequence[str], width: int) -> np.ndarray:
    """Days, at most `LONGEST`, since the last purchase in each category of the vocabulary, float64 [customers, width],
    NaN without any."""
    rank = lines.ranked(level, vocabulary)
    known = rank < len(vocabulary)
    since = np.full(lines.customers * width, np.nan)
    since[lines.row[known] * width + rank[known]] = lines.days_ago[known]  # in the order of time: the last one stays
    return np.minimum(since, LONGEST).reshape(-1, width)


def _stands_out(view: View, top: Sequence[str], spend: np.ndarray) -> np.ndarray:
    """Periods in which each category has the highest lift (of equals the first), float64 [customers, 12]; NaN for a
    place without a category."""
    lines = view.purchases.recent(LONGEST)
    rank, period = lines.ranked("category_l1", top), period_of(lines)
    known = rank < len(top)
    n, width = lines.customers, max(len(top), 1)
    cell = (period[known] * n + lines.row[known]) * width + rank[known]
    amount = sum_at(cell, lines.values("amount")[known], PERIODS * n * width)
    lift = amount.reshape(PERIODS, n, width) / (spend if len(spend) else np.ones(1))
    largest = lift.argmax(axis=2)
    counts = np.full((n, TOP), np.nan)
    for k in range(len(top)):
        counts[:, k] = ((largest == k) & (lift[:, :, k] > 0)).sum(axis=0)
    return counts


def _new(lines: Events, name: str) -> np.ndarray:
    """[customers, 2]: values of `name` bought for the first time in each window of `NEW`."""
    return lines.where(lines.first_ever(name)).windows(NEW).sums()


def _ever(lines: Events) -> np.ndarray:
    """[customers, 2]: number of categories ever bought, and days, at most `LONGEST`, since a first purchase of one."""
    fresh = lines.where(lines.first_ever("category_l1"))
    return np.stack([fresh.count(), np.minimum(fresh.days_since(), LONGEST)], axis=1)


GROUP = Departments()
