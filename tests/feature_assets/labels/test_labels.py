"""Labels: equal to a second, slow definition; blind to what comes after their window; rates as the data set's facts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.plain import stages
from feature_assets.labels import (
    LabelState,
    base_rates,
    compute_labels,
    every_task,
    exposure_rates,
    fit_labels,
    get_task,
    leak_check,
    windows,
)
from feature_assets.labels.constants import STAGES, TIMES, cycles
from feature_assets.labels.quantiles import ecdf
from feature_assets.snapshots import SnapshotPlan, plan
from tests.feature_assets import plain_view

MakeTables = Callable[..., Tables]
UNTIL = date(2018, 1, 1)
TASK_NAMES = tuple(task.name for task in every_task() if task.default)


def planned(tables: Tables, as_of: date = UNTIL) -> SnapshotPlan:
    return plan(as_of, tables.dataset.covers_from, windows(tables.dataset))


@pytest.fixture(scope="module")
def small(make_tables: MakeTables) -> Tables:
    return make_tables(5, lines=4_000)


@pytest.fixture(scope="module")
def state(small: Tables) -> LabelState:
    return fit_labels(small, planned(small))


@pytest.fixture(scope="module")
def embedded_state(tables: Tables) -> LabelState:
    return fit_labels(tables, planned(tables))


def slow_labels(tables: Tables, t: date, state: LabelState) -> dict[str, dict[str, Any]]:
    """DATA §3 once more, customer by customer in plain Python."""
    lines = plain_view.every_line(tables).to_dicts()
    events = tables.frames["campaign_events"].with_columns(
        day=pl.col("at").dt.convert_time_zone(tables.dataset.zone).dt.date()
    )
    kinds = dict(tables.frames["campaigns"].select("campaign_id", "kind").iter_rows())
    labels = {}
    for customer, joined in tables.frames["customers"].select("customer_id", "joined_on").iter_rows():
        if joined >= t:
            continue
        mine = sorted((x for x in lines if x["customer_id"] == customer), key=lambda x: x["at"])
        offset = {id(x): (x["day"] - t).days for x in mine}
        past = [x for x in mine if -56 <= offset[id(x)] < 0]
        window = [x for x in mine if 0 <= offset[id(x)] < 28]
        thirds = [any(28 * k <= offset[id(x)] < 28 * k + 28 for x in mine) for k in range(3)]
        spend = sum(x["amount"] for x in window)
        active = bool(past)
        label: dict[str, Any] = dict.fromkeys(TASK_NAMES)
        label["engagement"] = math.log1p(len({x["day"] for x in window})) if active else None
        label["churn"] = int(not window) if active else None
        label["retention"] = int(all(thirds)) if active else None
        label["ltv"] = math.log1p(sum(x["amount"] for x in mine if 0 <= offset[id(x)] < 84))
        label["spending_bucket"] = float(np.interp(math.log1p(spend), state.spend_knots, state.spend_levels))
        wait = offset[id(window[0])] if window else 28
        label["consumption_cycle"] = [0, 1, *[2] * 2, *[3] * 3, *[4] * 7, *[5] * 14, 6][wait]
        if window:
            label["timing"] = TIMES.index(
                f"{window[0]['day']:%a} {int(window[0]['hour']) // 6 * 6:02d}–{int(window[0]['hour']) // 6 * 6 + 6:02d}"
            )
        expected = sum(x["amount"] for x in past) * 28 / 56
        if not window:
            stage = "dormant"
        elif (t - joined).days <= 56 and (joined - tables.dataset.covers_from).days >= 28:
            stage = "new"
        elif not active:
            stage = "returning"
        elif expected == 0 or spend / expected >= state.stage_edges[1]:
            stage = "growing"
        else:
            stage = "declining" if spend / expected < state.stage_edges[0] else "steady"
        label["life_stage"] = STAGES.index(stage)
        label["nba"] = slow_nba(mine, t, state.classes["nba"])
        spent: Counter[str] = Counter()
        for x in window:
            if x["category_l1"] in state.classes["spending_category"]:
                spent[x["category_l1"]] += x["amount"]
        lift = [
            round(spent[c], 2) / s
            for c, s in zip(state.classes["spending_category"], state.category_shares, strict=True)
        ]
        label["spending_category"] = int(np.argmax(lift)) if max(lift) > 0 else None
        channels = Counter(x["channel"] for x in window)
        lift = [channels[c] / s for c, s in zip(tables.dataset.channels, state.channel_shares, strict=True)]
        label["channel"] = int(np.argmax(lift)) if window else None
        known = state.classes["brand_prediction"]
        brands = Counter(known.index(x["brand"]) for x in window if x["brand"] in known)
        label["brand_prediction"] = [b for b, _ in sorted(brands.items(), key=lambda p: (-p[1], p[0]))] or None
        baskets = {(x["basket_id"], x["day"]): x["merchant_id"] for x in reversed(mine)}
        visits = Counter(m for (_, d), m in baskets.items() if -180 <= (d - t).days < 0)
        ahead = [m for (_, d), m in baskets.items() if 0 <= (d - t).days < 28]
        if visits and ahead:
            favourite = min(visits, key=lambda m: (-visits[m], m))
            label["merchant_affinity"] = ahead.count(favourite) / len(ahead)
        label |= slow_campaigns(
            [e for e in events.filter(customer_id=customer).iter_rows(named=True) if 0 <= (e["day"] - t).days < 56],
            kinds,
        )
        labels[customer] = label
    return labels


def slow_nba(mine: list[dict[str, Any]], t: date, classes: list[str]) -> int:
    before = {x["category_l1"] for x in mine if x["day"] < t}
    new = [x for x in mine if t <= x["day"] < t + timedelta(days=28) and x["category_l1"] in set(classes[:-1]) - before]
    if not new:
        return len(classes) - 1
    first = min(x["at"] for x in new)
    spent: Counter[str] = Counter()
    for x in new:
        if x["at"] == first:
            spent[x["category_l1"]] += x["amount"]
    return classes.index(min(spent, key=lambda c: (-round(spent[c], 2), c)))


def slow_campaigns(events: list[dict[str, Any]], kinds: dict[str, str]) -> dict[str, int | None]:
    exposed = {e["campaign_id"] for e in events if e["event"] == "impression"}
    clickable = {c for c in exposed if kinds[c] != "Type A"}
    clicked = {e["campaign_id"] for e in events if e["event"] == "click"}
    converted = {e["campaign_id"] for e in events if e["event"] == "conversion"}
    return {
        "ctr": int(bool(clicked & clickable)) if clickable else None,
        "cvr": int(bool(converted & exposed)) if exposed else None,
    }


@pytest.mark.parametrize("t", [date(2017, 2, 20), date(2017, 6, 5), date(2017, 10, 9)])
def test_labels_equal_a_slow_second_definition(small: Tables, state: LabelState, t: date) -> None:
    fast = compute_labels(small, t, state, UNTIL)
    slow = slow_labels(small, t, state)
    assert fast["customer_id"].to_list() == sorted(slow)
    for row in fast.iter_rows(named=True):
        for task in windows(small.dataset):
            expected = slow[row["customer_id"]][task]
            got = row[task]
            assert got == (pytest.approx(expected) if isinstance(expected, float) else expected), (
                row["customer_id"],
                task,
            )


def test_a_label_has_its_declared_type_and_range(small: Tables, state: LabelState) -> None:
    labels = compute_labels(small, date(2017, 6, 5), state, UNTIL)
    assert labels.columns == ["customer_id", "as_of", *windows(small.dataset)]
    for task in windows(small.dataset):
        values = labels[task].drop_nulls()
        kind = get_task(task).kind.name
        assert len(values), task
        if kind == "binary":
            assert labels[task].dtype == pl.Int8
            assert set(values) <= {0, 1}
        elif kind == "multiclass":
            assert labels[task].dtype == pl.Int16
            assert values.is_between(0, len(state.classes[task]) - 1).all()
        elif kind == "regression":
            assert labels[task].dtype == pl.Float64
            assert values.is_finite().all()
        else:
            assert labels[task].dtype == pl.List(pl.Int32)
            assert (values.list.n_unique() == values.list.len()).all()


def with_changed_events(tables: Tables, first: date, seed: int) -> Tables:
    """The same tables until local midnight of `first`; from there on other amounts, products and customers."""
    rng = np.random.default_rng(seed)
    instant = tables.dataset.instant(first)
    late = pl.col("at") >= instant
    lines = tables.frames["transactions"]
    n = lines.height
    frames = dict(tables.frames)
    frames["transactions"] = lines.with_columns(
        pl.when(late).then(pl.Series(rng.random(n) * 50)).otherwise("amount").alias("amount"),
        pl.when(late)
        .then(pl.Series([f"p{i}" for i in rng.integers(0, 60, n)]))
        .otherwise("product_id")
        .alias("product_id"),
        pl.when(late)
        .then(pl.Series([f"h{i}" for i in rng.integers(0, 9, n)]))
        .otherwise("customer_id")
        .alias("customer_id"),
        pl.when(late).then(pl.lit("mailer")).otherwise("channel").alias("channel"),
    ).filter(~late | pl.Series(rng.random(n) < 0.7))
    frames["campaign_events"] = frames["campaign_events"].filter(~late)
    return Tables(tables.dataset, frames)


@settings(max_examples=6, deadline=None)
@given(day=st.integers(20, 270), seed=st.integers(0, 99))
def test_what_happens_after_its_window_changes_no_label(small: Tables, state: LabelState, day: int, seed: int) -> None:
    t = date(2017, 1, 1) + timedelta(days=day)
    plain = compute_labels(small, t, state, UNTIL)
    for window in sorted(set(windows(small.dataset).values())):
        tasks = [task for task, days in windows(small.dataset).items() if days <= window]
        other = with_changed_events(small, t + timedelta(days=window), seed)
        assert compute_labels(other, t, state, UNTIL).select(tasks).equals(plain.select(tasks), null_equal=True)


def test_what_happens_in_its_window_changes_labels(small: Tables, state: LabelState) -> None:
    t = date(2017, 6, 5)
    plain, other = (
        compute_labels(x, t, state, UNTIL) for x in (small, with_changed_events(small, t + timedelta(days=1), 0))
    )
    changed = {task for task in windows(small.dataset) if not plain[task].equals(other[task], null_equal=True)}
    assert changed == set(windows(small.dataset)) - {"timing"} or changed == set(windows(small.dataset))


def test_the_state_sees_training_windows_only(small: Tables, state: LabelState) -> None:
    made = planned(small)
    other = with_changed_events(small, made.holdout_start, 1)
    assert fit_labels(other, made) == state
    assert state.fitted_until <= made.holdout_start
    assert fit_labels(with_changed_events(small, made.train[-1], 1), made) != state


def test_a_label_past_what_is_known_is_masked(small: Tables, state: LabelState) -> None:
    t = date(2017, 6, 5)
    for known in (0, 27, 28, 55, 56, 83, 84):
        labels = compute_labels(small, t, state, t + timedelta(days=known))
        for task, window in windows(small.dataset).items():
            assert labels[task].is_null().all() == (window > known), (task, known)


def test_shuffled_input_gives_the_same_state_and_labels(small: Tables, state: LabelState) -> None:
    other = Tables(small.dataset, {n: f.sample(fraction=1, shuffle=True, seed=2) for n, f in small.frames.items()})
    assert fit_labels(other, planned(small)) == state
    t = date(2017, 6, 5)
    assert compute_labels(other, t, state, UNTIL).equals(compute_labels(small, t, state, UNTIL), null_equal=True)


def test_the_state_is_json_and_closed(state: LabelState) -> None:
    values = json.loads(json.dumps(state.to_dict()))
    assert LabelState.from_dict(values) == state
    with pytest.raises(ValueError, match="did you mean 'spend_knots'"):
        LabelState.from_dict(values | {"spend_knot": []})


def test_vocabularies_are_ordered_by_frequency_then_name(state: LabelState, embedded_state: LabelState) -> None:
    for fitted in (state, embedded_state):
        brands = list(zip((-f for f in fitted.brand_frequency), fitted.classes["brand_prediction"], strict=True))
        assert brands == sorted(brands)
        assert len(set(fitted.classes["brand_prediction"])) == len(brands) <= 500
        assert fitted.classes["nba"][-1] == "none"
        assert len(fitted.classes["nba"]) == len(fitted.classes["spending_category"]) == 12
        assert fitted.classes["timing"] == TIMES
        assert fitted.classes["consumption_cycle"] == cycles(28)
        assert sum(fitted.channel_shares) == pytest.approx(1)
        assert fitted.stage_edges[0] < fitted.stage_edges[1]
    assert len(embedded_state.classes["brand_prediction"]) == 500


def test_tasks_that_are_off_have_no_label(make_tables: MakeTables) -> None:
    plain = make_tables(2, lines=2_000)
    off = {"balance_util": "none", "channel": "not delivered", "ctr": "not delivered", "cvr": "not delivered"}
    dataset = plain.dataset.model_copy(update={"tasks_off": off})
    frames = {n: f for n, f in plain.frames.items() if not n.startswith("campaign")}
    frames["transactions"] = frames["transactions"].with_columns(channel=pl.lit(None, pl.String))
    without = Tables(dataset, frames)
    state = fit_labels(without, planned(without))
    labels = compute_labels(without, date(2017, 6, 5), state, UNTIL)
    assert set(labels.columns) == {"customer_id", "as_of", *TASK_NAMES} - set(off)
    assert "channel" not in state.classes


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 9, width=16), min_size=1, max_size=80))
def test_the_quantile_is_monotone_and_in_the_unit_interval(values: list[float]) -> None:
    knots, levels = ecdf(np.array(values))
    assert all(a < b for a, b in pairwise(knots))
    assert all(a < b for a, b in pairwise(levels))
    ranks = np.interp(np.array(values), knots, levels)
    assert ((ranks >= 0) & (ranks <= 1)).all()
    assert ranks.mean() == pytest.approx(0.5, abs=0.5 / len(values) + 0.02)


def test_base_rates_of_the_embedded_data(tables: Tables, embedded_state: LabelState) -> None:
    t = date(2017, 10, 1)
    labels = compute_labels(tables, t, embedded_state, UNTIL)
    assert labels.height == 2_446
    rates = {row["task"]: row for row in base_rates(labels, embedded_state).iter_rows(named=True)}
    assert len(rates) == 15
    assert (rates["churn"]["labelled"], round(rates["churn"]["positive_rate"], 5)) == (2_203, 0.12619)
    assert (rates["retention"]["labelled"], round(rates["retention"]["positive_rate"], 4)) == (2_203, 0.7508)
    assert (rates["ctr"]["labelled"], round(rates["ctr"]["positive_rate"], 3)) == (434, 0.482)
    assert (rates["cvr"]["labelled"], round(rates["cvr"]["positive_rate"], 3)) == (1_180, 0.150)
    assert rates["timing"]["classes_present"] == 28
    assert rates["life_stage"]["note"].split(" (")[0] in {f"most frequent: {stage}" for stage in STAGES}
    assert all(row["labelled"] > 400 for row in rates.values())
    for task in ("life_stage", "channel", "nba", "spending_category", "consumption_cycle"):
        assert rates[task]["classes_present"] == len(embedded_state.classes[task]), task
    every, clickable = exposure_rates(tables, t).iter_rows(named=True)
    assert (every["exposures"], every["customers"], round(every["converted"], 3)) == (1_653, 1_180, 0.123)
    assert (clickable["exposures"], clickable["customers"], round(clickable["clicked"], 3)) == (520, 434, 0.452)


def test_the_leak_check_finds_copies_of_a_label_and_nothing_else(small: Tables, state: LabelState) -> None:
    dates = planned(small).train[::2]
    labels = pl.concat(compute_labels(small, t, state, UNTIL) for t in dates)
    rng = np.random.default_rng(0)
    noise = labels.select("customer_id", "as_of").with_columns(
        pl.Series(f"noise_{i}", rng.normal(size=labels.height)) for i in range(5)
    )
    honest = leak_check(noise, labels)
    assert honest["task"].to_list() == list(windows(small.dataset))
    assert not honest["leaks"].any()
    assert (honest["score"].drop_nulls() < 0.7).all()
    copies = {
        "churn": labels["churn"].cast(pl.Float64) * 2 - 1,
        "ltv": labels["ltv"].exp(),
        "timing": labels["timing"].cast(pl.Float32),
        "nba": labels["nba"].cast(pl.Float32) * -1,
    }
    for task, copy in copies.items():
        leaking, only = noise.with_columns(copy.alias("copy")), labels.select("customer_id", "as_of", task)
        found = leak_check(leaking, only)
        assert (found["task"][0], found["column"][0], found["leaks"][0]) == (task, "copy", True)
        assert leak_check(leaking.reverse(), only).equals(found)


def test_the_leak_check_says_nothing_about_a_single_class(small: Tables, state: LabelState) -> None:
    labels = compute_labels(small, date(2017, 6, 5), state, UNTIL).with_columns(churn=pl.lit(0, pl.Int8))
    row = leak_check(labels.select("customer_id", "as_of", x=pl.lit(1.0)), labels).filter(task="churn")
    assert row["score"][0] is None
    assert not row["leaks"][0]


def test_natural_units_are_the_inverse_of_the_labels_scale(small: Tables, state: LabelState) -> None:
    t = date(2017, 6, 5)
    labels = compute_labels(small, t, state, UNTIL)
    lines = plain_view.every_line(small).with_columns(offset=(pl.col("day") - pl.lit(t)).dt.total_days())

    def spent(days: int) -> np.ndarray:
        window = lines.filter(pl.col("offset").is_between(0, days - 1))
        sums = window.group_by("customer_id").agg(pl.col("amount").sum())
        return labels.join(sums, on="customer_id", how="left", maintain_order="left")["amount"].fill_null(0).to_numpy()

    for name, truth in (
        ("ltv", spent(84)),
        ("spending_bucket", np.minimum(spent(28), np.expm1(state.spend_knots[-1]))),
    ):
        natural = get_task(name).natural
        assert natural is not None
        assert natural.inverse(labels[name].to_numpy(), state) == pytest.approx(truth, rel=1e-9, abs=1e-9)
    natural = get_task("engagement").natural
    assert natural is not None
    days = natural.inverse(labels["engagement"].drop_nulls().to_numpy(), state)
    assert days == pytest.approx(days.round())
    assert days.max() > 3


def test_no_stage_comes_true_that_the_columns_rule_out(small: Tables, state: LabelState) -> None:
    possible = stages.GROUP.columns_of_values(GroupState())
    seen = set()
    for day in planned(small).train[::3]:
        labels = compute_labels(small, day, state, known_until=UNTIL).select("customer_id", "life_stage").drop_nulls()
        frame = stages.GROUP.compute(View(small, day), None, {}).join(labels, on="customer_id")
        for row in frame.iter_rows(named=True):
            stage = state.classes["life_stage"][row["life_stage"]]
            seen.add(stage)
            assert stage == "dormant" or row[possible[stage]["possible"]] == 1, row
    assert len(seen) > 3
