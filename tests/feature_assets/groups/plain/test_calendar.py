"""Baskets by weekday and part of the day, counted one by one."""

from __future__ import annotations

from feature_assets.groups.plain.calendar import GROUP
from tests.deliveries import synthetic
from tests.feature_assets.groups.plain import by_hand as hand

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _expected(customer: str) -> dict[str, float]:
    baskets = hand.within(hand.baskets(customer), 168)
    recent = hand.within(baskets, 28)
    made: dict[str, float] = {}
    for i, day in enumerate(WEEKDAYS):
        made[f"{day}_28d"] = sum(line["day"].weekday() == i for line in recent)
    for k in range(4):
        made[f"part_{k + 1}_28d"] = sum(6 * k <= line["hour"] < 6 * k + 6 for line in recent)
    for i, day in enumerate(WEEKDAYS):
        for k in range(4):
            both = [line for line in baskets if line["day"].weekday() == i and 6 * k <= line["hour"] < 6 * k + 6]
            made[f"{day}_part_{k + 1}_168d"] = len(both)
    return made


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected, varied=False)  # the shops are closed at night


def test_hours_are_local() -> None:
    """The shops of the synthetic delivery are open from 12:00 to 02:00 UTC, that is from 7 or 8 o'clock on."""
    frame, _ = hand.computed(GROUP)
    assert synthetic.ZONE == "America/New_York"
    assert frame["calendar__part_1_28d"].sum() == 0
    assert frame["calendar__part_2_28d"].sum() > 0
