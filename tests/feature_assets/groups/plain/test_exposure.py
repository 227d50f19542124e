"""Exposures and their answers against loops over each customer's campaign events."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from statistics import mean

from feature_assets.groups.plain.exposure import GROUP
from tests.deliveries import synthetic
from tests.feature_assets import plain_view
from tests.feature_assets.groups.plain import by_hand as hand

NAN = float("nan")


@lru_cache(maxsize=1)
def _kinds() -> list[str]:
    """Kinds by the number of exposures before the training dates."""
    kind = dict(hand.tables().frames["campaigns"].select("campaign_id", "kind").iter_rows())
    counts: Counter[str] = Counter()
    for day in synthetic.TRAIN:
        events = plain_view.known_frames(hand.tables(), day)["campaign_events"]
        shown = events.filter(events["event"] == "impression").select("customer_id", "campaign_id").unique()
        counts.update(kind[campaign] for campaign in shown["campaign_id"])
    return sorted(counts, key=lambda name: (-counts[name], name))


def _expected(customer: str) -> dict[str, float]:
    events = hand.events("campaign_events")[customer]
    ages: dict[str, dict[str, list[int]]] = {}
    for event in events:
        ages.setdefault(event["campaign_id"], {}).setdefault(event["event"], []).append(event["days_ago"])
    shown = {campaign: max(did["impression"]) for campaign, did in ages.items() if "impression" in did}
    campaigns = {row["campaign_id"]: row for row in hand.tables().frames["campaigns"].iter_rows(named=True)}
    newest = [campaign for campaign in shown if shown[campaign] == min(shown.values())]
    converted = [campaign for campaign in shown if "conversion" in ages[campaign]]
    answered = min((shown[campaign] for campaign in converted), default=10**6)
    made: dict[str, float] = {}
    for what, event in (("reached", "impression"), ("clicked", "click"), ("converted", "conversion")):
        for k, kind in enumerate(_kinds(), 1):
            some = [c for c in shown if campaigns[c]["kind"] == kind and event in ages[c]]
            made[f"{what}_{k}"] = len(some)

    def days(event: str, window: int) -> int:
        return len({age for did in ages.values() for age in did.get(event, []) if age <= window})

    return made | {
        "newest_clicked": sum("click" in ages[campaign] for campaign in newest),
        "newest_converted": sum("conversion" in ages[campaign] for campaign in newest),
        "unanswered_run": sum(age < answered for age in shown.values()),
        "click_days_28d": days("click", 28),
        "click_days_84d": days("click", 84),
        "conversion_days": days("conversion", 10**6),
        "answer_wait": mean(shown[c] - max(ages[c]["conversion"]) for c in converted) if converted else NAN,
    }


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)


def test_kinds_are_by_training_exposures() -> None:
    assert hand.computed(GROUP)[1].meta["kinds"] == _kinds()
