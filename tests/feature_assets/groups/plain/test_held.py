"""Products ever held, counted from the rows that were known."""

from __future__ import annotations

from feature_assets.data.contract import PRODUCT_FAMILIES
from feature_assets.groups.plain.held import GROUP
from tests.deliveries import synthetic
from tests.feature_assets import plain_view
from tests.feature_assets.groups.plain import by_hand as hand


def test_every_column_is_its_definition() -> None:
    rows = plain_view.known_frames(hand.tables(), synthetic.AS_OF)["holdings"]
    held = set(rows.select("customer_id", "product_kind", "opened_on").iter_rows())
    hand.assert_all(
        GROUP,
        lambda c: {kind: sum(who == c and what == kind for who, what, _ in held) for kind in PRODUCT_FAMILIES},
        varied=False,  # nobody of the delivery holds some kinds
    )
    assert len(held) > 100
