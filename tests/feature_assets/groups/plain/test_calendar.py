"""Baskets by weekday and part of the day, counted one by one."""

from __future__ import annotations

from feature_assets.groups.plain.calendar import GROUP
from tests.deliveries import synthetic
from tests.feature_assets.groups.plain import by_hand as hand

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _expected(customer: str) -> dict[str, float]:
    baskets = hand.within(hand.baskets(customer), 168)
    made: dict[str, float] = {}
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
    by_part = [sum(frame[f"calendar__{day}_part_{k}_168d"].sum() for day in WEEKDAYS) for k in (1, 2, 3, 4)]
    assert by_part[0] == 0
    assert min(by_part[1:]) > 0
