"""The base group as a whole: declared, informative, point-in-time, free of order and shards; hand-made histories."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState, StateError
from feature_assets.groups.base import GROUP
from feature_assets.groups.base.history import History
from tests.feature_assets import plain_view

AS_OF = date(2017, 10, 1)
TRAIN = (date(2017, 4, 2), date(2017, 6, 4))
NAMES = [column.name for column in GROUP.columns]


@pytest.fixture(scope="module")
def state(tables: Tables) -> GroupState:
    return GROUP.fit([View(tables, t) for t in TRAIN], [], seed=0)


@pytest.fixture(scope="module")
def whole(tables: Tables, state: GroupState) -> pl.DataFrame:
    return GROUP.compute(View(tables, AS_OF), state, {})


@pytest.fixture(scope="module")
def few(tables: Tables) -> Tables:
    """The first 150 customers of the embedded data."""
    ids = tables.frames["customers"]["customer_id"].head(150).implode()
    frames = {
        name: frame.filter(pl.col("customer_id").is_in(ids)) if "customer_id" in frame.columns else frame
        for name, frame in tables.frames.items()
    }
    return Tables(tables.dataset, frames)


def test_declares_238_columns_in_four_parts() -> None:
    assert len(NAMES) == len(set(NAMES)) == 34 + 64 + 80 + 60
    assert all(column.name.startswith("base__") and column.meaning and column.unit for column in GROUP.columns)
    assert {source for column in GROUP.columns for source in column.sources} == {"transactions", "products"}


def test_gives_what_it_declares(tables: Tables, whole: pl.DataFrame) -> None:
    assert whole.columns == ["customer_id", *NAMES]
    assert set(whole.dtypes[1:]) == {pl.Float32}
    assert whole["customer_id"].equals(View(tables, AS_OF).customers["customer_id"])
    assert whole.select(pl.col(NAMES).is_nan().any() | pl.col(NAMES).is_infinite().any()).row(0).count(True) == 0


def test_every_column_is_informative(whole: pl.DataFrame) -> None:
    """No column is constant, all-missing or, where both are known, a copy of another. Source: FEATURES §2 rule 6."""
    x = whole.select(NAMES).to_numpy().astype(np.float64)
    known = np.isfinite(x)
    assert [n for n, k in zip(NAMES, known.T, strict=True) if k.sum() < 50] == []
    centre, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    assert [n for n, s in zip(NAMES, spread, strict=True) if s < 1e-6] == []
    z = np.where(known, (x - centre) / spread, 0.0)
    k = known.astype(np.float64)
    n = k.T @ k
    mean, square = (z.T @ k) / n, ((z * z).T @ k) / n
    variance = square - mean**2
    correlation = (z.T @ z / n - mean * mean.T) / np.sqrt(variance * variance.T)
    np.fill_diagonal(correlation, 0.0)
    copies = [(NAMES[i], NAMES[j]) for i, j in zip(*np.nonzero(np.abs(correlation) > 0.9999), strict=True) if i < j]
    assert copies == []


@pytest.mark.parametrize("shards", [3, 17])
def test_shards_change_no_bit(tables: Tables, state: GroupState, whole: pl.DataFrame, shards: int) -> None:
    parts = [GROUP.compute(View(tables, AS_OF, (i, shards)), state, {}) for i in range(shards)]
    assert pl.concat(parts).sort("customer_id").equals(whole)


def test_a_customer_alone_and_a_view_without_customers(few: Tables, state: GroupState) -> None:
    together = GROUP.compute(View(few, AS_OF), state, {})
    one = together["customer_id"][0]
    chosen = pl.col("customer_id") == one
    alone = Tables(
        few.dataset,
        few.frames | {name: few.frames[name].filter(chosen) for name in ("customers", "transactions")},
    )
    assert GROUP.compute(View(alone, AS_OF), state, {}).equals(together.filter(chosen))
    nobody = GROUP.compute(View(few, few.dataset.covers_from), state, {})
    assert nobody.shape == (0, 239)


def test_order_of_rows_changes_no_bit(few: Tables, state: GroupState) -> None:
    shuffled = {name: frame.sample(fraction=1.0, shuffle=True, seed=4) for name, frame in few.frames.items()}
    views = [View(Tables(few.dataset, frames), AS_OF) for frames in (few.frames, shuffled)]
    assert GROUP.compute(views[0], state, {}).equals(GROUP.compute(views[1], state, {}))
    fits = [GROUP.fit([view], [], 0) for view in views]
    assert fits[0].meta == fits[1].meta
    assert all(np.array_equal(fits[0].arrays[key], fits[1].arrays[key]) for key in fits[0].arrays)


def test_events_from_the_as_of_instant_on_change_nothing(few: Tables, state: GroupState) -> None:
    later = pl.col("at") >= few.dataset.instant(AS_OF)
    altered = few.frames["transactions"].with_columns(
        amount=pl.when(later).then(999.0).otherwise("amount"),
        merchant_id=pl.when(later).then(pl.lit("elsewhere")).otherwise("merchant_id"),
    )
    views = [
        View(Tables(few.dataset, few.frames | {"transactions": transactions}), AS_OF)
        for transactions in (few.frames["transactions"], altered, altered.filter(~later))
    ]
    expected = GROUP.compute(views[0], state, {})
    assert all(GROUP.compute(view, state, {}).equals(expected) for view in views[1:])


def test_without_products_the_mix_is_missing_and_the_rest_stays(few: Tables, state: GroupState) -> None:
    frames = {name: frame for name, frame in few.frames.items() if name != "products"}
    with_products = GROUP.compute(View(few, AS_OF), state, {})
    without = GROUP.compute(View(Tables(few.dataset, frames), AS_OF), state, {})
    mix = [column.name for column in GROUP.columns if "products" in column.sources]
    assert without.select(pl.col(mix).is_null().all()).row(0).count(True) == len(mix) == 64
    assert without.drop(mix).equals(with_products.drop(mix))


def test_needs_its_state(few: Tables) -> None:
    with pytest.raises(StateError, match="fitted"):
        GROUP.compute(View(few, AS_OF), None, {})


def test_fitted_categories_are_those_with_most_training_spend(few: Tables) -> None:
    view = View(few, TRAIN[-1])
    fitted = GROUP.fit([view], [], 0).meta["categories"]
    spend = (
        plain_view.purchases(few, TRAIN[-1])
        .drop_nulls("category_l1")
        .group_by("category_l1")
        .agg(pl.col("amount").sum().round(6))
    )
    expected = spend.filter(pl.col("amount") > 0).sort("amount", "category_l1", descending=[True, False])
    assert fitted == expected["category_l1"].to_list()


def test_some_customers_by_hand(tables: Tables, whole: pl.DataFrame, state: GroupState) -> None:
    """RFM, mix and statistics of a few customers, straight from the contract tables."""
    zone = ZoneInfo(tables.dataset.zone)
    products = dict(tables.frames["products"].select("product_id", "category_l1").iter_rows())
    top = state.meta["categories"]
    for customer in whole["customer_id"].gather([0, 700, 1500, 2400]):
        row = {
            key.removeprefix("base__"): value
            for key, value in whole.row(by_predicate=pl.col("customer_id") == customer, named=True).items()
        }
        lines = tables.frames["transactions"].filter(pl.col("customer_id") == customer).to_dicts()
        for line in lines:
            line["day"] = line["at"].astimezone(zone).date()
            line["ago"] = (AS_OF - line["day"]).days
        lines = [line for line in lines if line["ago"] >= 1]
        days = sorted({line["day"] for line in lines})
        gaps = np.array([(b - a).days for a, b in pairwise(days)])
        assert row["recency"] == (AS_OF - days[-1]).days
        assert row["tenure"] == (AS_OF - days[0]).days
        assert row["active_day_share"] == pytest.approx(len(days) / row["tenure"])
        if gaps.size >= 2:
            assert row["gap_mean"] == pytest.approx(gaps.mean())
            assert row["gap_median"] == pytest.approx(np.median(gaps))
            assert row["gap_cv"] == pytest.approx(gaps.std() / gaps.mean(), rel=1e-5)
            assert row["gap_last_over_mean"] == pytest.approx(gaps[-1] / gaps.mean())
        for window in (7, 30, 180):
            inside = [line for line in lines if line["ago"] <= window]
            visits: dict[str, list[dict[str, Any]]] = {}
            for line in inside:
                visits.setdefault(line["basket_id"], []).append(line)
            spend = sum(line["amount"] for line in inside)
            discount = sum(line["discount"] for line in inside)
            assert row[f"frequency_{window}d"] == len(visits)
            assert row[f"line_count_{window}d"] == len(inside)
            assert row[f"spend_sum_{window}d"] == pytest.approx(spend, rel=1e-6)
            if not visits:
                assert (
                    row[f"monetary_{window}d"] is row[f"recency_{window}d"] is row[f"weekend_share_{window}d"] is None
                )
                continue
            firsts = [lines[0] for lines in visits.values()]
            assert row[f"monetary_{window}d"] == pytest.approx(spend / len(visits), rel=1e-6)
            assert row[f"recency_{window}d"] == pytest.approx(np.mean([line["ago"] for line in firsts]))
            assert row[f"given_back_share_{window}d"] == pytest.approx(discount / (spend + discount), rel=1e-5)
            assert row[f"weekend_share_{window}d"] == pytest.approx(np.mean([f["day"].weekday() >= 5 for f in firsts]))
            hours = [line["at"].astimezone(zone).hour for line in firsts]
            assert row[f"night_share_{window}d"] == pytest.approx(np.mean([h >= 22 or h < 6 for h in hours]))
            by_day = [sum(line["amount"] for line in inside if line["day"] == day) for day in days]
            by_day = [amount for day, amount in zip(days, by_day, strict=True) if (AS_OF - day).days <= window]
            assert row[f"day_spend_median_{window}d"] == pytest.approx(np.median(by_day), rel=1e-6)
            if window in (30, 180):
                for k in (1, 2, 12):
                    of_category = [line for line in inside if products.get(line["product_id"]) == top[k - 1]]
                    assert row[f"category_{k:02d}_count_{window}d"] == len(of_category)


# --- hand-made histories ---------------------------------------------------------------------------------------------

T = date(2017, 7, 3)  # a Monday
CONFIG = DatasetConfig(
    name="made",
    title="made by hand",
    notice="none",
    source="completejourney",
    channels=("mailer", "display", "shelf"),
    zone="America/New_York",
    covers_from=date(2017, 1, 2),
    covers_until=date(2018, 1, 1),
)


def line(days_ago: int, basket: str, amount: float, hour: int = 12, **other: Any) -> dict[str, Any]:
    day = T - timedelta(days=days_ago)
    at = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(CONFIG.zone))
    made = {"basket_id": basket, "at": at, "amount": amount, "discount": 0.0, "merchant_id": "m", "kind": "purchase"}
    return made | {"customer_id": "a", "channel": "shelf", "product_id": "p"} | other


def view_of(*lines: dict[str, Any]) -> View:
    transactions = pl.DataFrame(
        [{"transaction_id": f"{k:04d}", "quantity": 1, **made} for k, made in enumerate(lines)],
        schema_overrides={"at": pl.Datetime("us", "UTC"), "product_id": pl.String, "channel": pl.String},
    )
    customers = transactions.select("customer_id").unique().with_columns(joined_on=CONFIG.covers_from)
    products = pl.DataFrame(
        {"product_id": ["p", "q"], "category_l1": ["food", "drink"], "category_l2": ["bread", "tea"]}
    ).with_columns(category_l3=pl.lit(None, pl.String), brand=pl.lit(None, pl.String))
    return View(Tables(CONFIG, {"customers": customers, "transactions": transactions, "products": products}), T)


def computed(view: View) -> dict[str, float | None]:
    row = GROUP.compute(view, GROUP.fit([view], [], 0), {}).row(0, named=True)
    return {key.removeprefix("base__"): value for key, value in row.items()}


def test_one_visit_leaves_undefined_what_it_cannot_say() -> None:
    row = computed(view_of(line(3, "b", 10.0)))
    undefined = (
        *("gap_mean", "gap_cv", "gap_last_over_mean", "category_switching_30d", "gap_burstiness_180d"),
        *("day_spend_std_30d", "day_spend_cv_30d", "day_spend_skew_30d", "merchant_dispersion_30d"),
        *("hour_concentration_90d", "category_novelty_30d", "category_drift_30d_90d", "spend_peak_period_182d"),
    )
    assert [name for name in undefined if row.get(name) is not None] == []
    assert row["frequency_7d"] == row["frequency_365d"] == 1
    assert row["day_spend_mean_7d"] == row["day_spend_q25_7d"] == row["day_spend_max_7d"] == 10
    assert row["frequency_trend_7d_30d"] == 1
    assert row["hour_sin_90d"] == pytest.approx(0.0, abs=1e-6)
    assert row["hour_cos_90d"] == pytest.approx(-1.0)  # noon


def test_a_window_without_visits_counts_nothing_and_averages_nothing() -> None:
    row = computed(view_of(line(60, "b", 10.0), line(50, "c", 30.0)))
    assert row["frequency_30d"] == row["spend_sum_30d"] == row["line_count_30d"] == row["category_01_count_30d"] == 0
    averages = ("monetary_30d", "recency_30d", "given_back_share_30d", "category_01_share_30d", "category_entropy_30d")
    assert [name for name in averages if row[name] is not None] == []
    assert row["monetary_90d"] == 20
    assert row["frequency_trend_7d_30d"] is None
    assert row["frequency_trend_30d_90d"] == -1


def test_circles_and_night_of_a_regular_customer() -> None:
    """Fridays at 22:00 and 02:00 by turns: direction midnight, length cos 30°, all at night."""
    weeks = [line(7 * k + 3, f"b{k}", 5.0, hour=22 if k % 2 else 2) for k in range(12)]
    row = computed(view_of(*weeks))
    assert row["hour_concentration_90d"] == pytest.approx(math.cos(math.pi / 6))
    assert (row["hour_sin_90d"], row["hour_cos_90d"]) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert row["half_day_concentration_90d"] == pytest.approx(0.5)
    assert row["weekday_concentration_90d"] == pytest.approx(1.0)
    assert row["weekday_sin_90d"] == pytest.approx(math.sin(2 * math.pi * 4 / 7))
    assert row["night_share_90d"] == 1
    assert row["weekend_share_90d"] == 0
    assert row["gap_cv"] == pytest.approx(0.0)
    assert row["gap_burstiness_180d"] == pytest.approx(-1.0)
    assert row["spend_autocorrelation_lag7_182d"] > 0.8
    assert row["gap_memory_365d"] is None


def test_opposite_hours_have_no_direction() -> None:
    row = computed(view_of(line(5, "a", 1.0, hour=3), line(9, "b", 1.0, hour=15)))
    assert row["hour_concentration_90d"] == pytest.approx(0.0, abs=1e-6)
    assert row["hour_sin_90d"] is row["hour_cos_90d"] is None
    assert row["half_day_concentration_90d"] == pytest.approx(1.0)


def test_burstiness_and_memory_of_alternating_gaps() -> None:
    """Gaps 1, 9, 1, 9, …: successive gaps are perfectly opposed; Kim & Jo's measure of n = 11 events, CV .8."""
    ago = np.cumsum([2, *[1, 9] * 5])
    row = computed(view_of(*[line(int(d), f"b{d}", 5.0) for d in ago]))
    cv, n = 0.8, 11
    expected = (math.sqrt(n + 1) * cv - math.sqrt(n - 1)) / ((math.sqrt(n + 1) - 2) * cv + math.sqrt(n - 1))
    assert row["gap_burstiness_180d"] == pytest.approx(expected, rel=1e-6)
    assert row["gap_memory_365d"] == pytest.approx(-1.0)


def test_refunds_are_given_back_and_are_no_visit() -> None:
    bought = [line(5, "a", 60.0, discount=20.0), line(4, "b", 20.0)]
    before, after = computed(view_of(*bought)), computed(view_of(*bought, line(2, "c", 30.0, kind="refund")))
    assert before["given_back_share_30d"] == pytest.approx(0.2)
    assert after["given_back_share_30d"] == pytest.approx(0.5)
    assert after["recency"] == before["recency"] == 4
    assert after["spend_sum_30d"] == before["spend_sum_30d"] == 80


def test_lines_of_two_baskets_mixed_at_one_instant_are_two_visits() -> None:
    mixed = [
        line(5, "a", 1.0),
        line(5, "b", 2.0),
        line(5, "a", 4.0, product_id="q"),
        line(5, "b", 8.0),
        line(1, "c", 1.0),
    ]
    history = History.of(view_of(*mixed))
    assert history.visit_amount.tolist() == [5.0, 10.0, 1.0]
    assert len(history.days) == 2
    row = computed(view_of(*mixed))
    assert row["frequency_30d"] == 3
    assert row["day_variety_30d"] == pytest.approx(3 / 2)
    assert row["category_switching_30d"] == pytest.approx(0.5)  # mostly tea, then bread, then bread


def test_a_basket_number_used_on_two_days_is_two_visits() -> None:
    assert computed(view_of(line(9, "a", 1.0), line(3, "a", 2.0)))["frequency_30d"] == 2


def test_tenure_begins_with_the_data_or_with_joining() -> None:
    view = view_of(line(30, "a", 1.0))
    assert History.of(view).tenure.tolist() == [(T - CONFIG.covers_from).days]


def test_entropy_gini_and_top_share() -> None:
    row = computed(view_of(line(3, "a", 30.0), line(3, "a", 10.0, product_id="q")))
    assert row["category_entropy_30d"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert row["category_top_share_30d"] == pytest.approx(0.75)
    assert row["category_gini_30d"] == pytest.approx((2 * (0.25 * 2 + 0.75 * 3) - 4) / 3)  # two kinds and "any other"
    assert row["category_03_share_30d"] is row["category_03_count_30d"] is None  # no third category was ever bought
