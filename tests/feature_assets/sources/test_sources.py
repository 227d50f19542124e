"""The groups of the further sources against their definitions, and what is known at an instant and what is not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets import registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from tests.deliveries import synthetic
from tests.feature_assets import sources_by_hand

GROUPS = tuple(sources_by_hand.DEFINITIONS)
WIDTHS = dict(zip(GROUPS, (20, 15, 18, 12, 14, 12, 25, 18, 6, 23), strict=True))
LATER = date(2017, 7, 15)


def computed(group: str, tables: Tables, as_of: date = synthetic.AS_OF) -> tuple[GroupState | None, pl.DataFrame]:
    declared = registry.registry()[group]
    state = declared.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * len(synthetic.TRAIN), 0)
    return state, declared.compute(View(tables, as_of), state, {})


@lru_cache(maxsize=1)
def whole() -> Tables:
    return synthetic.tables()


@lru_cache(maxsize=1)
def long_ago() -> Tables:
    """Older by a factor of 3.5, so that windows of a year have an outside. Some accounts fall silent, some customers
    have two credit cards, some cards have no limit, some points do not move."""
    tables = synthetic.tables(40, seed=5)
    frames = {name: frame.with_columns(_stretched(frame)) for name, frame in tables.frames.items()}
    frames["customers"] = frames["customers"].with_columns(joined_on=pl.lit(synthetic.FIRST - timedelta(days=800)))
    number = pl.col("customer_id").str.tail(2).cast(pl.Int32)
    silent = (number % 3 == 0) & (pl.col("on") > LATER - timedelta(days=130))
    idle = (pl.col("kind") == "points") & (number % 4 < 2) & (pl.col("on") < LATER - timedelta(days=99))
    balances = frames["balances"]
    second = balances.filter((pl.col("kind") == "credit_card") & (number % 2 == 0))
    second = second.with_columns(account_id="second-" + pl.col("account_id"), balance=pl.col("balance") / 3)
    frames["balances"] = pl.concat([balances.filter(~silent), second]).with_columns(
        limit=pl.when(number % 7 != 1).then("limit"),
        balance=pl.when(idle).then(500.0).otherwise("balance"),
    )
    longer = tables.dataset.model_copy(update={"covers_from": synthetic.FIRST - timedelta(days=800)})
    return Tables(longer, frames)


def _stretched(frame: pl.DataFrame) -> list[pl.Expr]:
    last = {"at": int(tables_end().timestamp() * 1e6)}
    moved = []
    for name in ("at", "on", "as_of", "opened_on", "closed_on"):
        if name in frame.columns:
            end = last.get(name, (LATER - date(1970, 1, 1)).days)
            older = end - ((end - pl.col(name).to_physical()) * 3.5).round(0).cast(pl.Int64)
            moved.append(older.cast(pl.Int64 if name == "at" else pl.Int32).cast(frame[name].dtype).alias(name))
    return moved


def tables_end() -> datetime:
    return whole().dataset.instant(LATER)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("tables", "as_of"), [(whole, synthetic.AS_OF), (long_ago, LATER)])
def test_columns_are_their_definitions(group: str, tables: Any, as_of: date) -> None:
    columns = [c.name for c in registry.registry()[group].columns]
    assert len(columns) == WIDTHS[group]
    state, frame = computed(group, tables(), as_of)
    expected = sources_by_hand.frame(group, columns, tables(), as_of, state)
    assert frame["customer_id"].equals(expected["customer_id"])
    for name in columns:
        found, wanted = frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy(), expected[name].to_numpy()
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5, err_msg=name)


def _known(tables: Tables, group: str, as_of: date) -> dict[str, int]:
    _, frame = computed(group, tables, as_of)
    return {c.name: frame[c.name].drop_nulls().n_unique() for c in registry.registry()[group].columns}


@pytest.mark.parametrize("group", GROUPS)
def test_the_definitions_were_tried_on_values_that_vary(group: str) -> None:
    first, second = _known(whole(), group, synthetic.AS_OF), _known(long_ago(), group, LATER)
    assert {name for name in first if max(first[name], second[name]) < 3} == set()


T = synthetic.AS_OF
_HELD = {
    "product_kind": "fund",
    "opened_on": T - timedelta(days=90),
    "closed_on": None,
    "balance": 100.0,
    "limit": None,
}


def _holdings(*rows: dict[str, Any]) -> dict[str, float]:
    """Investment and product columns of customer c005 who has these rows of holdings."""
    schema_ = whole().frames["holdings"].schema
    held = pl.DataFrame([{"customer_id": "c005", **_HELD, **row} for row in rows], schema=schema_)
    tables = Tables(whole().dataset, {**whole().frames, "holdings": held})
    found: dict[str, float] = {}
    for group in ("investment", "product"):
        frame = registry.registry()[group].compute(View(tables, T), None, {}).filter(pl.col("customer_id") == "c005")
        found |= frame.drop("customer_id").row(0, named=True)
    return found


def _ago(days: int) -> date:
    return T - timedelta(days=days)


def test_the_latest_row_before_t_is_the_state_of_a_holding() -> None:
    found = _holdings({"as_of": _ago(90)}, {"as_of": _ago(1), "balance": 150.0}, {"as_of": T, "balance": 999.0})
    assert found["investment__value"] == 150.0
    assert found["investment__value_change_93d"] == 150.0  # it was not open then
    assert found["product__days_since_opened"] == 90.0
    assert found["product__open_count"] == 1.0


def test_a_closing_is_known_the_day_after_it_is_stated() -> None:
    early = _holdings({"as_of": _ago(90)}, {"as_of": T, "closed_on": T})
    late = _holdings({"as_of": _ago(90)}, {"as_of": _ago(1), "closed_on": _ago(30), "balance": 0.0})
    assert (early["product__open_count"], late["product__open_count"]) == (1.0, 0.0)
    assert (early["investment__value"], late["investment__value"]) == (100.0, 0.0)
    assert (early["product__days_since_closed"], late["product__days_since_closed"]) == (None, 30.0)
    assert late["product__longest_held"] == 60.0
    assert late["product__mean_age"] is None
    assert late["investment__mix_entropy"] is None


def test_the_same_kind_opened_again_is_another_holding() -> None:
    found = _holdings(
        {"as_of": _ago(60), "closed_on": _ago(60)},
        {"as_of": _ago(20), "opened_on": _ago(20), "balance": 7.0},
    )
    assert (found["product__open_count"], found["product__closed_share"]) == (1.0, 0.5)
    assert (found["product__kinds_ever"], found["product__opening_gap_mean"]) == (1.0, 70.0)
    assert found["investment__value"] == 7.0


def test_a_statement_of_the_day_t_is_not_known() -> None:
    def balance(*rows: tuple[int, float]) -> float | None:
        frame = pl.DataFrame(
            {
                "customer_id": "c005",
                "account_id": "a",
                "on": [_ago(days) for days, _ in rows],
                "balance": [value for _, value in rows],
                "limit": pl.Series([None] * len(rows), dtype=pl.Float64),
                "kind": "current",
            }
        )
        tables = Tables(whole().dataset, {**whole().frames, "balances": frame})
        state = GroupState({"low": np.array([0.0])})
        found = registry.registry()["deposit"].compute(View(tables, T), state, {})
        value: float | None = found.filter(pl.col("customer_id") == "c005")["deposit__balance"].item()
        return value

    assert balance((0, 5.0)) is None
    assert balance((1, 3.0), (0, 5.0)) == 3.0
    assert balance((100, 3.0)) == 3.0
    assert balance((101, 3.0)) is None  # stale: the account is closed


@pytest.mark.parametrize("group", GROUPS)
def test_customers_without_any_row_have_zero_counts_and_no_recency(group: str) -> None:
    _, frame = computed(group, whole())
    nobody = frame.filter(pl.col("customer_id") == "c000").row(0, named=True)
    values = {c.name: (c.unit, nobody[c.name]) for c in registry.registry()[group].columns}
    assert any(value == 0.0 for _, value in values.values())
    for name, (unit, value) in values.items():
        assert value in (0.0, None), name
        assert not ("days_since" in name or unit == "share") or value is None, name


def test_columns_without_their_table_are_missing_and_others_stay() -> None:
    kept = {n: f for n, f in whole().frames.items() if n not in ("holdings", "contacts", "balances")}
    fewer = Tables(whole().dataset, kept)
    for group in ("digital", "other_channel"):
        declared = registry.registry()[group]
        _, before = computed(group, whole())
        _, after = computed(group, fewer)
        for column in declared.columns:
            lost = not all(fewer.has(source) for source in column.sources)
            assert after[column.name].is_null().all() if lost else after[column.name].equals(before[column.name])
    lost_columns = whole().frames["sessions"].drop("pages", "seconds", "campaign_id")
    _, bare = computed("digital", Tables(whole().dataset, {**whole().frames, "sessions": lost_columns}))
    gone = ("pages_mean_91d", "seconds_mean_91d", "seconds_variation_182d", "campaign_share_182d")
    assert all(bare[f"digital__{name}"].is_null().all() for name in gone)
    assert bare["digital__sessions_91d"].null_count() == 0


def test_session_channels_keep_their_numbers_when_another_becomes_the_commonest() -> None:
    sessions = whole().frames["sessions"]
    turned = sessions.with_columns(
        channel=pl.when(pl.col("channel") == "web").then(pl.lit("app")).otherwise(pl.lit("web"))
    )
    for frame in (sessions, turned):
        state, _ = computed("other_channel", Tables(whole().dataset, {**whole().frames, "sessions": frame}))
        assert state is not None
        assert state.meta["session_channels"] == ["app", "web"]
