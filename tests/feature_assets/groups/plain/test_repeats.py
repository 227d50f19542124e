"""Repeats against loops over each customer's baskets and lines."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.groups.plain.repeats import GROUP
from tests.deliveries import synthetic
from tests.feature_assets.groups.plain import by_hand as hand

NAN = float("nan")


def _expected(customer: str) -> dict[str, float]:
    baskets = hand.within(hand.baskets(customer), 180)
    counts = Counter(line["merchant_id"] for line in baskets)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    favourite = ranked[0] if ranked else None
    at = [line for line in baskets if line["merchant_id"] == favourite]
    weight = {id(line): 2 ** (-line["days_ago"] / 28) for line in baskets}
    total = sum(weight.values())
    made: dict[str, float] = {}
    for w in (28, 84, 180):
        made[f"favourite_baskets_{w}d"] = len(hand.within(at, w))
    for w in (28, 84, 180):
        every = len(hand.within(baskets, w))
        made[f"favourite_share_{w}d"] = len(hand.within(at, w)) / every if every else NAN
    newest_first = [line["merchant_id"] == favourite for line in reversed(baskets)]
    made |= {
        "favourite_share_half_28d": sum(weight[id(line)] for line in at) / total if baskets else NAN,
        "second_share": (counts[ranked[1]] if len(ranked) > 1 else 0) / len(baskets) if baskets else NAN,
        "since_favourite": min((line["days_ago"] for line in at), default=NAN),
        "favourite_run": len(list(takewhile(lambda there: there, newest_first))),
        "elsewhere_run": len(list(takewhile(lambda there: not there, newest_first))),
    }
    lines = hand.purchases(customer)
    for what, name in (("products", "product_id"), ("brands", "brand")):
        again = [
            line
            for i, line in enumerate(lines)
            if line[name] is not None and any(before[name] == line[name] for before in lines[:i])
        ]
        for w in (28, 84):
            made[f"{what}_lines_{w}d"] = len(hand.within(again, w))
        for w in (28, 84):
            made[f"{what}_amount_{w}d"] = sum(line["amount"] for line in hand.within(again, w))
    return made


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)


def test_brands_are_missing_without_products() -> None:
    whole = hand.tables()
    frames = {name: frame for name, frame in whole.frames.items() if name != "products"}
    frame = GROUP.compute(View(Tables(whole.dataset, frames), synthetic.AS_OF), None, {})
    assert frame["repeats__brands_lines_28d"].null_count() == frame.height
    assert frame["repeats__products_lines_28d"].null_count() == 0
