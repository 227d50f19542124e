"""The daily sequence against its plain definition, its mask, and the channels that a data set does not have."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.groups import txn_seq
from feature_assets.groups.txn_seq import GROUP, STEPS
from feature_assets.state import GroupState
from feature_assets.tables import Tables, View
from tests.feature_assets import synthetic


@lru_cache(maxsize=1)
def _computed() -> tuple[View, GroupState, np.ndarray, np.ndarray]:
    tables = synthetic.tables()
    state = GROUP.fit([tables.view(day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = tables.view(synthetic.AS_OF)
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
    for line in view.lines.filter(pl.col("days_ago") <= STEPS).iter_rows(named=True):
        days[line["row"], STEPS - line["days_ago"]].append(line)
    assert len(days) > 1000
    for (row, step), lines in days.items():
        expected[row, step, :8] = _by_hand(lines, state)
    np.testing.assert_allclose(values, expected, atol=2e-6)


def test_yesterday_is_the_last_step() -> None:
    view, _, values, _ = _computed()
    yesterday = view.lines.filter(pl.col("days_ago") == 1)["row"].unique().to_list()
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


def test_deposit_channels_are_absent_not_invented() -> None:
    _, state, values, _ = _computed()
    assert state.meta["channels"] == list(GROUP.side_inputs[0].channels)
    assert state.meta["channels_present"] == list(txn_seq.CARD)
    assert not values[..., 8:].any()


def test_lost_facts_are_absent_channels() -> None:
    """Without products there is no category, without promotions no channel: not present, and zero in the array."""
    whole = synthetic.tables()
    silent = whole.frames["transactions"].with_columns(channel=pl.lit(None, pl.String))
    frames = {name: frame for name, frame in whole.frames.items() if name != "products"}
    tables = Tables(whole.dataset, frames | {"transactions": silent})
    state = GROUP.fit([tables.view(day) for day in synthetic.TRAIN], [{}] * 3, 0)
    lost = {"card_category_entropy", "card_top_category", "card_channel_share"}
    assert set(txn_seq.CARD) - set(state.meta["channels_present"]) == lost
    values, _ = _arrays(GROUP.compute(tables.view(synthetic.AS_OF), state, {}))
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
