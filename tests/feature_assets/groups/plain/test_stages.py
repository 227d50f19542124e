"""Stages against loops over each customer's days; `test_labels.py` compares them with the label."""

from __future__ import annotations

from datetime import timedelta

from feature_assets.data.horizon import CENSORED_DAYS
from feature_assets.groups.plain.stages import GROUP
from feature_assets.labels.constants import STAGES
from tests.deliveries import synthetic
from tests.feature_assets.groups.plain import by_hand as hand


def _expected(customer: str) -> dict[str, float]:
    tables = hand.tables()
    dataset = tables.dataset
    joined = dict(tables.frames["customers"].select("customer_id", "joined_on").iter_rows())[customer]
    bought = any(age <= dataset.active_days for age in hand.days(customer))
    recently = joined >= synthetic.AS_OF - timedelta(days=dataset.active_days)
    new = recently and joined >= dataset.covers_from + timedelta(days=CENSORED_DAYS)
    spent = sum(
        line["amount"]
        for line in hand.lines().get(customer, [])
        if line["kind"] in ("purchase", "refund") and line["days_ago"] <= dataset.active_days
    )
    return {
        "new": new,
        "inactive": not new and not bought,
        "active": not new and bought,
        "spend": max(spent, 0) * dataset.horizon_days / dataset.active_days,
    }


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected, varied=False)


def test_every_stage_but_dormant_which_is_always_possible_has_a_column() -> None:
    assert set(GROUP.columns_of_values(GROUP.fit([], [], 0))) == {*STAGES} - {"dormant"}
