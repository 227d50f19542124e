"""The sixteen labels of a data set with every table, each against a plain loop over the events in DATA §3's words."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from feature_assets.data.blocks import blocks_of
from feature_assets.data.contract import SPEND
from feature_assets.data.dataset import load_dataset
from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, compute_labels, context, every_task, facts, fit_labels, windows
from feature_assets.labels.constants import STAGES, TIMES
from feature_assets.snapshots import SnapshotPlan
from tests.conftest import DATA_ROOT
from tests.deliveries import synthetic
from tests.feature_assets.plain_view import INSTANTS

H, CAMPAIGN_H = 28, 28
T = date(2017, 4, 20)
UNTIL = synthetic.FIRST + timedelta(days=synthetic.DAYS)
ZONE = ZoneInfo(synthetic.ZONE)
TASK_NAMES = tuple(task.name for task in every_task() if task.default)
EVENTS = ("impression", "click", "conversion")
Row = dict[str, Any]


@pytest.fixture(scope="module")
def bank() -> Tables:
    """The small tables of every kind as a bank sees them: categories of merchants, products held, control groups."""
    whole = synthetic.tables(60, seed=3)
    rng = np.random.default_rng(0)
    dataset = whole.dataset.model_copy(
        update={
            "channel_label": "modal",
            "categories_from": "merchants",
            "nba_from": "holdings",
            "campaign_horizon_days": CAMPAIGN_H,
            "click_kinds_off": {},
        }
    )
    frames = dict(whole.frames)
    events = frames["campaign_events"]
    control = pl.col("customer_id").str.slice(-1).is_in(["3", "7"]) & (pl.col("campaign_id") > "a1")
    events = events.with_columns(is_control=control)
    withheld = events.filter("is_control", event="impression").with_columns(event=pl.lit("targeted"))
    strange = pl.Series(rng.random(events.height) < 0.1)  # the flag is not always stated
    events = events.with_columns(is_control=pl.when(~strange | pl.col("is_control")).then("is_control"))
    frames["campaign_events"] = pl.concat([events, withheld])
    return Tables(dataset, frames)


def planned(tables: Tables) -> SnapshotPlan:
    train = tuple(date(2017, 2, 26) + timedelta(days=7 * k) for k in range(4))
    start = train[-1] + timedelta(days=H)
    return SnapshotPlan(start + timedelta(days=84), windows(tables.dataset), train, (start,), start)


@pytest.fixture(scope="module")
def state(bank: Tables) -> LabelState:
    return fit_labels(bank, planned(bank))


def local_day(row: Row, table: str) -> date:
    known = row[INSTANTS[table]]
    return known.astimezone(ZONE).date() if isinstance(known, datetime) else known


def slow_labels(tables: Tables, t: date, state: LabelState) -> dict[str, Row]:
    """DATA §3 once more, customer by customer."""
    campaigns = dict(tables.frames["campaigns"].select("campaign_id", "kind").iter_rows())
    merchants = {row["merchant_id"]: row for row in tables.frames["merchants"].to_dicts()}
    products = {row["product_id"]: row for row in tables.frames["products"].to_dicts()}
    rows = {}
    for table in INSTANTS:
        rows[table] = [row | {"d": (local_day(row, table) - t).days} for row in tables.frames[table].to_dicts()]
    labels = {}
    for who, joined in tables.frames["customers"].select("customer_id", "joined_on").iter_rows():
        if joined < t:
            mine = {table: [row for row in rows[table] if row["customer_id"] == who] for table in INSTANTS}
            for line in mine["transactions"]:
                product, merchant = products.get(line["product_id"], {}), merchants.get(line["merchant_id"], {})
                line |= {
                    "category": merchant.get("category_l1"),
                    "brand": product.get("brand") or merchant.get("brand"),
                }
            labels[who] = slow_label(mine, joined, t, state, tables) | slow_campaigns(mine, campaigns)
    return labels


def slow_label(mine: dict[str, list[Row]], joined: date, t: date, state: LabelState, tables: Tables) -> Row:
    label: Row = dict.fromkeys(TASK_NAMES)
    bought = sorted((x for x in mine["transactions"] if x["kind"] == "purchase"), key=lambda x: x["at"])
    spent = [x for x in mine["transactions"] if x["kind"] in SPEND]
    past, window = [x for x in bought if -56 <= x["d"] < 0], [x for x in bought if 0 <= x["d"] < H]
    net = {k: sum(x["amount"] for x in spent if 0 <= x["d"] < k * H) for k in (1, 3)}
    days = {x["d"] for x in bought + mine["sessions"]}
    if any(-56 <= d < 0 for d in days):
        label["engagement"] = math.log1p(sum(0 <= d < H for d in days))
    if past:
        label["churn"] = int(not window)
        label["retention"] = int(all(any(k * H <= x["d"] < (k + 1) * H for x in bought) for k in range(3)))
    label["ltv"] = math.log1p(max(net[3], 0.0))
    label["spending_bucket"] = float(np.interp(math.log1p(max(net[1], 0.0)), state.spend_knots, state.spend_levels))
    wait = window[0]["d"] if window else H
    label["consumption_cycle"] = [0, 1, *[2] * 2, *[3] * 3, *[4] * 7, *[5] * 14, 6][wait]
    expected = sum(x["amount"] for x in spent if -56 <= x["d"] < 0) * H / 56
    if not window:
        stage = "dormant"
    elif (t - joined).days <= 56 and (joined - tables.dataset.covers_from).days >= 28:
        stage = "new"
    elif not past:
        stage = "returning"
    elif expected <= 0 or net[1] / expected >= state.stage_edges[1]:
        stage = "growing"
    else:
        stage = "declining" if net[1] / expected < state.stage_edges[0] else "steady"
    label["life_stage"] = STAGES.index(stage)
    used = [x["balance"] / x["limit"] for x in mine["balances"] if 0 <= x["d"] < H and x["limit"]]
    label["balance_util"] = sum(used) / len(used) if used else None
    label["nba"] = slow_nba(mine["holdings"], t, state.classes["nba"])
    if window:
        channels = Counter(channel for channel, _ in {(x["channel"], x["basket_id"]) for x in window})
        label["channel"] = max(range(3), key=lambda i: (channels[tables.dataset.channels[i]], -i))
        local = window[0]["at"].astimezone(ZONE)
        label["timing"] = TIMES.index(f"{local:%a} {local.hour // 6 * 6:02d}–{local.hour // 6 * 6 + 6:02d}")
        amounts = Counter[str]()
        for x in window:
            amounts[x["category"]] += x["amount"]
        names = state.classes["spending_category"]
        lift = [round(amounts[c], 2) / share for c, share in zip(names, state.category_shares, strict=True)]
        label["spending_category"] = int(np.argmax(lift)) if max(lift) > 0 else None
        known = state.classes["brand_prediction"]
        brands = Counter(known.index(x["brand"]) for x in window if x["brand"] in known)
        label["brand_prediction"] = [b for b, _ in sorted(brands.items(), key=lambda p: (-p[1], p[0]))] or None
        baskets = {(x["basket_id"], x["d"]): x["merchant_id"] for x in reversed(bought)}
        visits = Counter(m for (_, d), m in baskets.items() if -180 <= d < 0)
        ahead = [m for (_, d), m in baskets.items() if 0 <= d < H]
        if visits:
            label["merchant_affinity"] = ahead.count(min(visits, key=lambda m: (-visits[m], m))) / len(ahead)
    return label


def slow_nba(holdings: list[Row], t: date, classes: list[str]) -> int:
    known = [x for x in holdings if x["d"] < H]
    before = {x["product_kind"] for x in known if x["opened_on"] < t}
    opened = {
        (x["opened_on"], x["product_kind"])
        for x in known
        if 0 <= (x["opened_on"] - t).days < H and x["product_kind"] in set(classes[:-1]) - before
    }
    return classes.index(min(opened)[1]) if opened else len(classes) - 1


def slow_campaigns(mine: dict[str, list[Row]], campaigns: dict[str, str]) -> Row:
    events = [x for x in mine["campaign_events"] if 0 <= x["d"] < CAMPAIGN_H and not x["is_control"]]
    did = {event: {x["campaign_id"] for x in events if x["event"] == event} & set(campaigns) for event in EVENTS}
    exposed = did["impression"]
    return {
        "ctr": int(bool(did["click"] & exposed)) if exposed else None,
        "cvr": int(bool(did["conversion"] & exposed)) if exposed else None,
    }


def test_labels_of_blocks_are_those_of_the_whole(bank: Tables, state: LabelState, tmp_path: Path) -> None:
    bank.save(tmp_path)
    blocks = [Tables.load(tmp_path, block) for block in blocks_of(tmp_path / "customers.parquet", 11)]
    assert len(blocks) > 2
    labels = pl.concat(compute_labels(block, T, state, UNTIL) for block in blocks)
    assert labels.equals(compute_labels(bank, T, state, UNTIL), null_equal=True)


@pytest.mark.parametrize("t", [date(2017, 2, 27), T, date(2017, 5, 14)])
def test_all_sixteen_labels_equal_a_plain_loop(bank: Tables, state: LabelState, t: date) -> None:
    fast = compute_labels(bank, t, state, t + timedelta(days=84))
    slow = slow_labels(bank, t, state)
    assert fast["customer_id"].to_list() == sorted(slow)
    assert set(windows(bank.dataset)) == set(TASK_NAMES)
    for task in TASK_NAMES:
        assert fast[task].null_count() < fast.height, task
        for who, got in fast.select("customer_id", task).iter_rows():
            expected = slow[who][task]
            assert got == (pytest.approx(expected) if isinstance(expected, float) else expected), (task, who)


def test_the_description_has_all_sixteen_tasks_on() -> None:
    dataset = load_dataset("bank_simulation", DATA_ROOT)
    assert set(windows(dataset)) == set(TASK_NAMES)
    assert "never evidence about people" in " ".join(dataset.notice.split()).lower()
    assert max(windows(dataset).values()) == 84


def without(tables: Tables, table: str, kept: pl.Expr) -> Tables:
    return Tables(tables.dataset, tables.frames | {table: tables.frames[table].filter(kept)})


def test_inflows_outflows_and_refunds(bank: Tables, state: LabelState) -> None:
    """Spend is purchases less refunds; neither a salary nor a refund is an active day, a purchase or a channel."""
    plain = compute_labels(bank, T, state, UNTIL)
    no_flows = compute_labels(without(bank, "transactions", pl.col("kind").is_in(SPEND)), T, state, UNTIL)
    assert no_flows.equals(plain, null_equal=True)
    no_refunds = compute_labels(without(bank, "transactions", pl.col("kind") != "refund"), T, state, UNTIL)
    changed = {task for task in TASK_NAMES if not plain[task].equals(no_refunds[task], null_equal=True)}
    assert {"ltv", "spending_bucket"} <= changed <= {"ltv", "spending_bucket", "life_stage"}


def test_sessions_alone_make_a_customer_active_but_not_a_buyer(bank: Tables, state: LabelState) -> None:
    visitor = without(bank, "transactions", pl.col("customer_id") != "c005")
    row = compute_labels(visitor, T, state, UNTIL).row(by_predicate=pl.col("customer_id") == "c005", named=True)
    assert row["engagement"] is not None
    assert row["churn"] is None
    assert row["retention"] is None
    assert row["life_stage"] == STAGES.index("dormant")
    without_sessions = Tables(bank.dataset, {n: f for n, f in visitor.frames.items() if n != "sessions"})
    labels = compute_labels(without_sessions, T, state, UNTIL)
    assert labels.row(by_predicate=pl.col("customer_id") == "c005", named=True)["engagement"] is None


def test_the_modal_channel_breaks_ties_by_the_data_sets_order(bank: Tables, state: LabelState) -> None:
    lines = bank.frames["transactions"].filter(kind="purchase")
    day = pl.col("at").dt.convert_time_zone(bank.dataset.zone).dt.date()
    window = lines.filter(day.is_between(T, T + timedelta(days=H - 1)))
    who = window["customer_id"][0]
    four = window.filter(customer_id=who).head(1).select(pl.exclude("channel", "transaction_id"))
    for channels, expected in (("shelf,mailer,display", 0), ("display,shelf", 1), ("shelf,display,shelf", 2)):
        names = channels.split(",")
        made = pl.concat(
            four.with_columns(transaction_id=pl.lit(f"n{i}"), basket_id=pl.lit(f"n{i}"), channel=pl.lit(c))
            for i, c in enumerate(names)
        )
        kept = bank.frames["transactions"].filter(pl.col("customer_id") != who)
        tables = Tables(bank.dataset, bank.frames | {"transactions": pl.concat([kept, made], how="diagonal")})
        labels = compute_labels(tables, T, state, UNTIL)
        assert labels.filter(customer_id=who)["channel"].item() == expected


def holding(kind: str, opened: date, as_of: date, closed: date | None = None) -> Row:
    return {
        "customer_id": "c000",
        "product_kind": kind,
        "opened_on": opened,
        "as_of": as_of,
        "closed_on": closed,
        "balance": 1.0,
        "limit": None,
    }


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([], None),
        ([holding("fund", T, T)], "fund"),
        ([holding("fund", T - timedelta(1), T)], None),  # opened before, though stated in the window
        ([holding("fund", T + timedelta(27), T + timedelta(27))], "fund"),
        ([holding("fund", T + timedelta(28), T + timedelta(28))], None),
        ([holding("fund", T + timedelta(27), T + timedelta(28))], None),  # stated after the window's end
        ([holding("fund", T + timedelta(3), T + timedelta(3)), holding("life", T, T)], "life"),
        ([holding("life", T, T), holding("car", T, T)], "car"),  # the same day: by name
        ([holding("fund", T - timedelta(80), T - timedelta(9), T - timedelta(9)), holding("fund", T, T)], None),
    ],
)
def test_a_product_is_new_once(bank: Tables, state: LabelState, rows: list[Row], taken: str | None) -> None:
    classes = ["car", "fund", "life", "none"]
    frame = pl.DataFrame(rows, schema=bank.frames["holdings"].schema)
    tables = Tables(bank.dataset, bank.frames | {"holdings": frame})
    small = state.model_copy(update={"classes": state.classes | {"nba": classes}})
    labels = compute_labels(tables, T, small, UNTIL)
    assert labels.filter(customer_id="c000")["nba"].item() == classes.index(taken or "none")
    assert labels.filter(pl.col("customer_id") != "c000")["nba"].unique().to_list() == [3]


def test_use_of_a_limit_counts_statements_that_state_one(bank: Tables, state: LabelState) -> None:
    frame = pl.DataFrame(
        {
            "customer_id": ["c000"] * 5 + ["c001"],
            "account_id": ["a", "a", "b", "a", "c", "d"],
            "on": [T, T + timedelta(27), T, T + timedelta(28), T, T],
            "balance": [10.0, 30.0, 80.0, 99.0, 5.0, 5.0],
            "limit": [100.0, 100.0, 100.0, 100.0, None, 0.0],
            "kind": ["credit_card"] * 4 + ["current", "credit_card"],
        }
    )
    labels = compute_labels(Tables(bank.dataset, bank.frames | {"balances": frame}), T, state, UNTIL)
    assert labels.filter(customer_id="c000")["balance_util"].item() == pytest.approx((0.1 + 0.3 + 0.8) / 3)
    assert labels["balance_util"].null_count() == labels.height - 1


def test_a_control_group_is_not_exposed(bank: Tables) -> None:
    exposed = facts.exposures(bank, date(2017, 3, 10))
    events = bank.frames["campaign_events"]
    control = events.filter("is_control").select("customer_id", "campaign_id").unique()
    assert control.height
    assert exposed.height
    assert exposed.join(control, on=["customer_id", "campaign_id"], how="semi").is_empty()
    bare = Tables(bank.dataset, bank.frames | {"campaign_events": events.drop("is_control")})
    assert facts.exposures(bare, date(2017, 3, 10)).height > exposed.height


@pytest.mark.parametrize(("day", "seed"), [(20, 0), (55, 1), (100, 2)])
def test_what_happens_after_its_window_changes_no_label(bank: Tables, state: LabelState, day: int, seed: int) -> None:
    t = synthetic.FIRST + timedelta(days=day)
    plain = compute_labels(bank, t, state, UNTIL)
    rng = np.random.default_rng(seed)
    for window in sorted(set(windows(bank.dataset).values())):
        end = t + timedelta(days=window)
        frames = dict(bank.frames)
        for table, column in INSTANTS.items():
            late = pl.col(column) >= (bank.dataset.instant(end) if column == "at" else end)
            other = frames[table].with_columns(
                pl.when(late)
                .then(pl.Series(rng.permutation(frames[table]["customer_id"].to_numpy())))
                .otherwise("customer_id")
                .alias("customer_id")
            )
            frames[table] = other.filter(~late | pl.Series(rng.random(other.height) < 0.6))
        changed = compute_labels(Tables(bank.dataset, frames), t, state, UNTIL)
        tasks = [task for task, days in windows(bank.dataset).items() if days <= window]
        for task in tasks:
            assert changed[task].equals(plain[task], null_equal=True), (task, window)


def test_the_order_of_rows_changes_nothing(bank: Tables, state: LabelState) -> None:
    shuffled = {n: f.sample(fraction=1, shuffle=True, seed=5) for n, f in bank.frames.items()}
    other = Tables(bank.dataset, shuffled)
    assert fit_labels(other, planned(bank)) == state
    assert compute_labels(other, T, state, UNTIL).equals(compute_labels(bank, T, state, UNTIL), null_equal=True)


def test_the_state_of_a_modal_channel_and_of_products_held(bank: Tables, state: LabelState) -> None:
    assert state.channel_shares == []
    assert state.classes["channel"] == list(bank.dataset.channels)
    assert set(state.classes["nba"][:-1]) <= set(bank.frames["holdings"]["product_kind"])
    assert set(state.classes["spending_category"]) == {"food", "home", "travel"}
    assert "chain 1" in state.classes["brand_prediction"]


def test_many_customers_thin_the_dates_of_the_fit(
    bank: Tables, state: LabelState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_ROWS", 3 * bank.frames["customers"].height)
    thinned = fit_labels(bank, planned(bank))
    assert thinned.spend_knots != state.spend_knots
    assert thinned.model_copy(update={"spend_knots": [], "spend_levels": [], "stage_edges": (1, 1)}) == (
        state.model_copy(update={"spend_knots": [], "spend_levels": [], "stage_edges": (1, 1)})
    )
    monkeypatch.setattr(context, "MAX_ROWS", 4 * bank.frames["customers"].height)
    assert fit_labels(bank, planned(bank)) == state


@pytest.mark.parametrize(
    ("table", "off"),
    [
        ("balances", ["balance_util"]),
        ("holdings", ["nba"]),
        ("merchants", ["spending_category"]),
        ("campaigns", ["ctr", "cvr"]),
    ],
)
def test_a_table_that_is_missing_switches_off_its_tasks_only(
    bank: Tables, state: LabelState, table: str, off: list[str]
) -> None:
    dataset = bank.dataset.model_copy(update={"tasks_off": dict.fromkeys(off, "not delivered")})
    tables = Tables(dataset, {name: frame for name, frame in bank.frames.items() if name != table})
    fitted = fit_labels(tables, planned(tables))
    labels = compute_labels(tables, T, fitted, UNTIL)
    assert set(TASK_NAMES) - set(labels.columns) == set(off)
    assert not set(fitted.classes) & set(off)
    same = [task for task in labels.columns if task not in ("brand_prediction", "nba")]
    if table != "merchants":
        same += [task for task in ("brand_prediction", "nba") if task in labels.columns]
    assert labels.select(same).equals(compute_labels(bank, T, state, UNTIL).select(same), null_equal=True)
