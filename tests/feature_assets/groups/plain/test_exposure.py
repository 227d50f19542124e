"""Exposures and their answers against loops over each customer's campaign events."""

from __future__ import annotations

from statistics import mean

from feature_assets.groups.plain.exposure import GROUP
from tests.feature_assets.groups.plain import by_hand as hand

NAN = float("nan")


def _expected(customer: str) -> dict[str, float]:
    ages: dict[str, dict[str, list[int]]] = {}  # campaign → event → days ago
    for event in hand.events("campaign_events")[customer]:
        ages.setdefault(event["campaign_id"], {}).setdefault(event["event"], []).append(event["days_ago"])
    shown = {campaign: max(did["impression"]) for campaign, did in ages.items() if "impression" in did}
    clicked = [campaign for campaign in shown if "click" in ages[campaign]]
    converted = [campaign for campaign in shown if "conversion" in ages[campaign]]
    newest = [campaign for campaign in shown if shown[campaign] == min(shown.values())]
    answered = min((shown[campaign] for campaign in converted), default=10**6)

    def days(event: str, window: int) -> int:
        return len({age for did in ages.values() for age in did.get(event, []) if age <= window})

    return {
        "clicked": len(clicked),
        "converted": len(converted),
        "newest_clicked": len(set(newest) & set(clicked)),
        "newest_converted": len(set(newest) & set(converted)),
        "unanswered_run": sum(age < answered for age in shown.values()),
        "click_days_28d": days("click", 28),
        "click_days_84d": days("click", 84),
        "conversion_days": days("conversion", 10**6),
        "answer_wait": mean(shown[c] - max(ages[c]["conversion"]) for c in converted) if converted else NAN,
    }


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)
