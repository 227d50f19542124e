"""The daily sequence against its plain definition, its mask, and the channels that a data set does not have."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.data.contract import INFLOWS, OUTFLOWS
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.sequences import deposit_days as _deposit_days
from feature_assets.groups.sequences import txn_seq
from feature_assets.groups.sequences.txn_seq import GROUP, STEPS
from tests.deliveries import synthetic
from tests.feature_assets import plain_view
from tests.feature_assets.sources_by_hand import Person, people


@lru_cache(maxsize=1)
def _computed() -> tuple[View, GroupState, np.ndarray, np.ndarray]:
    tables = synthetic.tables()
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = View(tables, synthetic.AS_OF)
    return view, state, *_arrays(GROUP.compute(view, state, {}))


def _arrays(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    values = frame["txn_seq"].explode().to_numpy().reshape(frame.height, STEPS, 16)
    return values, frame["txn_seq_mask"].explode().to_numpy().reshape(frame.height, STEPS)


def _by_hand(lines: list[dict[str, Any]], state: GroupState) -> list[float]:
    """The eight card channels of one day with purchases."""
    amounts = np.array([line["amount"] for line in lines])
    categories = state.meta["categories"]
    spend = np.zeros(13)
    for line in lines:
        spend[categories.index(line["category_l1"]) if line["category_l1"] in categories else 12] += line["amount"]
    share = spend[spend > 0] / spend.sum()
    angle = np.array([line["hour"] for line in lines], dtype=float) * 2 * np.pi / 24
    common = state.meta["common_channel"][0]
    raw = [np.log1p(len(lines)), np.log1p(amounts.sum()), np.log1p(amounts.mean()), np.log1p(amounts.max())]
    return [
        *np.minimum(np.array(raw) / state.arrays["scale"], txn_seq.LIMIT),
        -(share * np.log(share)).sum() / np.log(13),
        1 - spend.argmax() / 13,
        sum(line["amount"] for line in lines if line["channel"] != common) / amounts.sum(),
        np.hypot(np.cos(angle).mean(), np.sin(angle).mean()),
    ]


def test_days_are_their_definition() -> None:
    view, state, values, _ = _computed()
    expected = np.zeros((view.customers.height, STEPS, 16))
    days: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    purchases = plain_view.purchases(synthetic.tables(), synthetic.AS_OF).filter(pl.col("days_ago") <= STEPS)
    for line in purchases.iter_rows(named=True):
        days[line["row"], STEPS - line["days_ago"]].append(line)
    assert len(days) > 1000
    for (row, step), lines in days.items():
        expected[row, step, :8] = _by_hand(lines, state)
    np.testing.assert_allclose(values[..., :8], expected[..., :8], atol=2e-6)


def test_yesterday_is_the_last_step() -> None:
    _, _, values, _ = _computed()
    bought = plain_view.purchases(synthetic.tables(), synthetic.AS_OF)
    yesterday = bought.filter(pl.col("days_ago") == 1)["row"].unique().to_list()
    assert yesterday
    assert np.flatnonzero(values[:, -1, 0]).tolist() == sorted(yesterday)


def test_mask_begins_on_the_day_of_joining() -> None:
    view, _, values, mask = _computed()
    first = synthetic.AS_OF - timedelta(days=STEPS)
    for row, joined in enumerate(view.customers["joined_on"].to_list()):
        assert mask[row].tolist() == [first + timedelta(days=step) >= joined for step in range(STEPS)]
    assert not values[~mask].any()
    assert mask[0].any()  # a customer without purchases has joined all the same
    assert not values[0].any()


def _deposits_by_hand(person: Person, state: GroupState, low: float) -> np.ndarray:
    """The eight deposit channels of one customer, float64 [180, 8]."""
    days, scale = np.zeros((STEPS, 8)), state.arrays["deposit_scale"]

    def signed(value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value)

    for step in range(STEPS):
        ago = STEPS - step
        flows = [r for r in person.rows("transactions", kind=INFLOWS + OUTFLOWS) if r["age"] == ago]
        come = sum(r["amount"] for r in flows if r["kind"] in INFLOWS)
        go = sum(r["amount"] for r in flows if r["kind"] in OUTFLOWS)
        balance, current = person.level(("current", "savings"), ago), person.level(("current",), ago)
        days[step] = [
            math.log1p(come),
            math.log1p(go),
            signed(come - go),
            0.0 if math.isnan(balance) else signed(balance),
            math.log1p(len(flows)),
            math.log1p(sum(r["amount"] for r in flows if r["kind"] in ("transfer_in", "transfer_out"))),
            any(r["kind"] == "salary" for r in flows),
            current < low,
        ]
    return np.clip(days / scale, -txn_seq.LIMIT, txn_seq.LIMIT)


def test_deposit_channels_are_their_definition() -> None:
    view, state, values, mask = _computed()
    assert state.meta["channels_present"] == [*txn_seq.CARD, *txn_seq.DEPOSIT]
    statements = [
        plain_view.known_frames(synthetic.tables(), t)["balances"].filter(pl.col("kind") == "current")
        for t in synthetic.TRAIN
    ]
    low = float(np.quantile(pl.concat(statements)["balance"], 0.1))
    assert state.arrays["low_balance"] == pytest.approx(low)
    found = people(synthetic.tables(), synthetic.AS_OF)
    for row, customer in enumerate(view.customers["customer_id"].to_list()):
        expected = _deposits_by_hand(found[customer], state, low) * mask[row][:, None]
        np.testing.assert_allclose(values[row, :, 8:], expected, atol=2e-6, err_msg=customer)
    assert (values[..., 8:] != 0).any(axis=(0, 1)).all()
    assert (values[..., 10] < 0).any()


def test_a_silent_account_is_not_carried_forward_for_ever() -> None:
    """After 100 days without a statement, and not before; two accounts add up."""
    whole = synthetic.tables()
    t = synthetic.AS_OF
    rows = [("c005", "a", 150, 100.0), ("c005", "b", 40, 7.0), ("c005", "a", 30, 50.0), ("c005", "b", 1, 9.0)]
    balances = pl.DataFrame(
        {
            "customer_id": [r[0] for r in rows],
            "account_id": [r[1] for r in rows],
            "on": [t - timedelta(days=r[2]) for r in rows],
            "balance": [r[3] for r in rows],
            "limit": pl.Series([None] * 4, dtype=pl.Float64),
            "kind": ["current"] * 4,
        }
    )
    view = View(Tables(whole.dataset, whole.frames | {"balances": balances}), t)
    cells, values = _deposit_days.days(view, STEPS, 0.0)["deposit_balance"]
    row = view.customers["customer_id"].to_list().index("c005")
    assert (cells // STEPS == row).all()
    found = dict(zip((STEPS - cells % STEPS).tolist(), np.expm1(values).tolist(), strict=True))
    expected = dict.fromkeys(range(50, 150), 100.0) | dict.fromkeys(range(30, 40), 7.0)
    expected |= dict.fromkeys(range(1, 30), 57.0)
    assert found == pytest.approx(expected)


def test_deposit_channels_are_absent_not_invented() -> None:
    whole = synthetic.tables()
    bought = whole.frames["transactions"].filter(pl.col("kind").is_in(["purchase", "refund"]))
    frames = {name: frame for name, frame in whole.frames.items() if name != "balances"}
    tables = Tables(whole.dataset, frames | {"transactions": bought})
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    assert state.meta["channels"] == list(GROUP.side_inputs[0].channels)
    assert state.meta["channels_present"] == list(txn_seq.CARD)
    assert list(state.arrays) == ["scale"]
    values, _ = _arrays(GROUP.compute(View(tables, synthetic.AS_OF), state, {}))
    assert not values[..., 8:].any()
    assert values[..., 0].any()
    with pytest.raises(ValueError, match="no table balances"):
        GROUP.compute(View(tables, synthetic.AS_OF), _computed()[1], {})


def test_lost_facts_are_absent_channels() -> None:
    """Without products there is no category, without promotions no channel: not present, and zero in the array."""
    whole = synthetic.tables()
    silent = whole.frames["transactions"].with_columns(channel=pl.lit(None, pl.String))
    frames = {name: frame for name, frame in whole.frames.items() if name != "products"}
    tables = Tables(whole.dataset, frames | {"transactions": silent})
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    lost = {"card_category_entropy", "card_top_category", "card_channel_share"}
    assert set(txn_seq.CARD) - set(state.meta["channels_present"]) == lost
    values, _ = _arrays(GROUP.compute(View(tables, synthetic.AS_OF), state, {}))
    assert not values[..., [4, 5, 6]].any()
    assert values[..., 0].any()


def test_scales_make_ordinary_days_about_one() -> None:
    _, state, values, _ = _computed()
    bought = values[..., 0] > 0
    assert np.sqrt((values[bought][:, :4] ** 2).mean(axis=0)) == pytest.approx(1.0, abs=0.1)
    assert (state.arrays["scale"] > 0).all()


def test_blocks_of_customers_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    view, state, values, _ = _computed()
    monkeypatch.setattr(txn_seq, "_CHUNK", 1)
    np.testing.assert_array_equal(_arrays(GROUP.compute(view, state, {}))[0], values)
