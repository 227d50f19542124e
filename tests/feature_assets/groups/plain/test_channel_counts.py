"""Lines by channel, counted one by one."""

from __future__ import annotations

from feature_assets.groups.plain.channel_counts import GROUP
from tests.feature_assets.groups.plain import by_hand as hand

CHANNELS = ("shelf", "mailer", "display")  # by spend


def _expected(customer: str) -> dict[str, float]:
    lines = hand.purchases(customer)
    by_channel = [[line for line in lines if line["channel"] == channel] for channel in CHANNELS]
    made: dict[str, float] = {
        f"lines_{k}_{w}d": len(hand.within(some, w)) for k, some in enumerate(by_channel, 1) for w in (28, 84)
    }
    return made | {
        f"since_{k}": min((line["days_ago"] for line in some), default=float("nan"))
        for k, some in enumerate(by_channel, 1)
    }


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)


def test_channels_are_by_training_spend() -> None:
    assert hand.computed(GROUP)[1].meta["channels"] == list(CHANNELS)
