"""Waits against loops over each customer's purchase days."""

from __future__ import annotations

import statistics
from itertools import pairwise

from feature_assets.groups.plain.waits import GROUP
from tests.feature_assets.groups.plain import by_hand as hand

NAN = float("nan")


def _expected(customer: str) -> dict[str, float]:
    ages = list(hand.days(customer))
    waits = [(before - after, after) for before, after in pairwise(ages)]
    recent = [length for length, ended in waits if ended <= 84]
    habit = [length for length, ended in waits if ended <= 168]
    present = ages[-1] if ages else NAN
    left = [length - present for length in habit if length >= present]
    made: dict[str, float] = {
        "mean_84d": statistics.mean(recent) if recent else NAN,
        "std_84d": statistics.pstdev(recent) if len(recent) > 1 else NAN,
        "shortest_84d": min(recent, default=NAN),
        "longest_84d": max(recent, default=NAN),
    }
    for k, name in enumerate(("last", "second_last", "third_last"), 1):
        made[name] = waits[-k][0] if len(waits) >= k else NAN
    for low, high, name in (
        (1, 1, "1"),
        (2, 3, "2_3"),
        (4, 6, "4_6"),
        (7, 13, "7_13"),
        (14, 27, "14_27"),
        (28, 999, "28_more"),
    ):
        made[f"count_{name}_168d"] = sum(low <= length <= high for length in habit)
    made["as_long_168d"] = len(left)
    made["remaining_168d"] = statistics.mean(left) if left else NAN
    for d in (1, 3, 7, 14, 28):
        made[f"due_{d}d_168d"] = sum(days < d for days in left) / len(left) if left else NAN
    return made


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)
