"""Labels of the uplift tasks: equal to a plain loop over the events, unbiased, and blind to what lies outside."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from feature_assets.data.contract import SPEND
from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, base_rates, compute_labels, fit_labels, leak_check, windows
from feature_assets.snapshots import SnapshotPlan
from feature_assets.sources.contract_files import ContractFiles
from tests.deliveries import synthetic
from tests.feature_assets.plain_view import INSTANTS

T = date(2017, 4, 20)
UNTIL = synthetic.FIRST + timedelta(days=synthetic.DAYS)
H, EFFECT, PAST, SHARE = 28, 28, 56, 0.25
STARTS = {"a": -1, "c": 3, "b": 3, "d": 20, "e": 28, "f": 0}  # days from T; f has no control group
BOTH = ["uplift", "category_uplift"]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Sixty customers with purchases and refunds of every kind, targets of six campaigns at random."""
    whole = synthetic.tables(60, seed=3)
    rng = np.random.default_rng(1)
    dataset = whole.dataset.model_copy(
        update={
            "categories_from": "merchants",
            "control_share": SHARE,
            "tasks_on": tuple(BOTH),
            "tasks_off": {},
            "click_kinds_off": {},
        }
    )
    campaigns = pl.DataFrame(
        {
            "campaign_id": list(STARTS),
            "kind": "card",
            "starts_on": [T + timedelta(days=d) for d in STARTS.values()],
            "ends_on": [T + timedelta(days=d + 30) for d in STARTS.values()],
        }
    )
    rows = []
    for customer in whole.frames["customers"]["customer_id"]:
        for campaign, start in STARTS.items():
            if rng.random() < 0.4:
                control = None if rng.random() < 0.05 else bool(rng.random() < SHARE) and campaign != "f"
                at = dataset.instant(T + timedelta(days=start)) + timedelta(hours=8)
                rows.append((customer, campaign, at, "targeted", control))
    schema = whole.frames["campaign_events"].schema | {"is_control": pl.Boolean}
    events = pl.DataFrame(rows, schema=["customer_id", "campaign_id", "at", "event", "is_control"], orient="row")
    wanted = [name for name in schema if name in events.columns]
    events = events.select(wanted).cast({name: schema[name] for name in wanted})
    return Tables(dataset, whole.frames | {"campaigns": campaigns, "campaign_events": events})


def planned(tables: Tables) -> SnapshotPlan:
    train = tuple(date(2017, 2, 26) + timedelta(days=7 * k) for k in range(4))
    start = train[-1] + timedelta(days=H)
    return SnapshotPlan(start + timedelta(days=84), windows(tables.dataset), train, (start,), start)


@pytest.fixture(scope="module")
def state(tables: Tables) -> LabelState:
    return fit_labels(tables, planned(tables))


def slow_labels(tables: Tables, classes: list[str]) -> dict[str, tuple[float, list[float]] | None]:
    """Total and by category, customer by customer; None without an assignment."""
    zone = ZoneInfo(tables.dataset.zone)
    category = dict(tables.frames["merchants"].select("merchant_id", "category_l1").iter_rows())
    lines = [
        row | {"d": (row["at"].astimezone(zone).date() - T).days}
        for row in tables.frames["transactions"].to_dicts()
        if row["kind"] in SPEND
    ]
    labels: dict[str, tuple[float, list[float]] | None] = {}
    for who, joined in tables.frames["customers"].select("customer_id", "joined_on").iter_rows():
        if joined >= T:
            continue
        mine = tables.frames["campaign_events"].filter(customer_id=who).to_dicts()
        mine = [e for e in mine if 0 <= STARTS[e["campaign_id"]] < H and e["campaign_id"] != "f"]
        labels[who] = None
        if mine:
            first = min(mine, key=lambda e: (STARTS[e["campaign_id"]], e["campaign_id"]))
            start = STARTS[first["campaign_id"]]
            if first["is_control"] is not None:
                w, p = float(not first["is_control"]), 1 - SHARE
                spent = dict.fromkeys([*classes, None], 0.0)
                for x in (x for x in lines if x["customer_id"] == who):
                    name = category.get(x["merchant_id"])
                    name = name if name in classes else None
                    spent[name] += x["amount"] * (start <= x["d"] < start + EFFECT)
                    spent[name] -= x["amount"] * (-PAST <= x["d"] < 0) * EFFECT / PAST
                z = {name: y * (w - p) / (p * (1 - p)) for name, y in spent.items()}
                labels[who] = (sum(z.values()), [z[name] for name in classes])
    return labels


def test_labels_equal_a_plain_loop(tables: Tables, state: LabelState) -> None:
    classes = state.classes["category_uplift"]
    labels = compute_labels(tables, T, state, T + timedelta(days=H + EFFECT))
    slow = slow_labels(tables, classes)
    assert labels["uplift"].dtype == pl.Float64
    assert labels["category_uplift"].dtype == pl.List(pl.Float64)
    assert labels["customer_id"].to_list() == sorted(slow)
    assert 15 < labels["uplift"].count() < labels.height
    for who, total, by_class in labels.select("customer_id", *BOTH).iter_rows():
        expected = slow[who]
        if expected is None:
            assert total is None
            assert by_class is None
        else:
            assert total == pytest.approx(expected[0], abs=1e-9)
            assert by_class == pytest.approx(expected[1], abs=1e-9)


def test_a_label_waits_for_its_last_day(tables: Tables, state: LabelState) -> None:
    early = compute_labels(tables, T, state, T + timedelta(days=H + EFFECT - 1))
    assert early["uplift"].null_count() == early["category_uplift"].null_count() == early.height


def test_the_mean_is_the_difference_between_the_groups(tables: Tables, state: LabelState) -> None:
    """With exactly the planned share of controls, and spend that depends on the group alone, it is the effect."""
    who = tables.frames["customers"].filter(pl.col("joined_on") < T)["customer_id"].head(40).to_list()
    at = tables.dataset.instant(T + timedelta(days=3)) + timedelta(hours=8)
    events = tables.frames["campaign_events"].clear()
    control = [i % 4 == 0 for i in range(40)]
    new = pl.DataFrame({"customer_id": who, "is_control": control}).with_columns(
        campaign_id=pl.lit("b"), event=pl.lit("targeted"), at=pl.lit(at).cast(events.schema["at"])
    )
    line = tables.frames["transactions"].filter(kind="purchase").head(1)
    lines = [
        line.with_columns(
            customer_id=pl.lit(c),
            transaction_id=pl.lit(f"n{i}"),
            basket_id=pl.lit(f"n{i}"),
            at=pl.lit(at + timedelta(days=1)).cast(line.schema["at"]),
            amount=pl.lit(50.0 if withheld else 57.0),
        )
        for i, (c, withheld) in enumerate(zip(who, control, strict=True))
    ]
    frames = tables.frames | {"transactions": pl.concat(lines), "campaign_events": new.select(events.columns)}
    labels = compute_labels(Tables(tables.dataset, frames), T, state, UNTIL)
    assert labels["uplift"].count() == 40
    assert labels["uplift"].mean() == pytest.approx(7.0)


def test_events_outside_the_windows_change_no_label(tables: Tables, state: LabelState) -> None:
    plain = compute_labels(tables, T, state, UNTIL).select(BOTH)
    zone = ZoneInfo(tables.dataset.zone)
    rng = np.random.default_rng(4)
    frames = dict(tables.frames)
    for table, column in INSTANTS.items():
        days = [
            ((known.astimezone(zone).date() if isinstance(known, datetime) else known) - T).days
            for known in frames[table][column]
        ]
        outside = pl.Series([d < -PAST or d >= H + EFFECT for d in days], dtype=pl.Boolean)
        frames[table] = frames[table].filter(~outside | pl.Series(rng.random(len(days)) < 0.3, dtype=pl.Boolean))
    assert frames["transactions"].height < tables.frames["transactions"].height
    assert compute_labels(Tables(tables.dataset, frames), T, state, UNTIL).select(BOTH).equals(plain, null_equal=True)


def test_without_a_control_group_nobody_is_eligible(tables: Tables, state: LabelState) -> None:
    events = tables.frames["campaign_events"]
    for other in (events.drop("is_control"), events.with_columns(is_control=pl.lit(False))):
        labels = compute_labels(Tables(tables.dataset, tables.frames | {"campaign_events": other}), T, state, UNTIL)
        assert labels["uplift"].count() == labels["category_uplift"].count() == 0


def test_an_unknown_share_of_controls_is_an_error(tables: Tables, state: LabelState) -> None:
    dataset = tables.dataset.model_copy(update={"control_share": None})
    with pytest.raises(ValueError, match="does not state control_share"):
        compute_labels(Tables(dataset, tables.frames), T, state, UNTIL)


def test_rates_and_the_leak_check_read_both_labels(tables: Tables, state: LabelState) -> None:
    labels = compute_labels(tables, T, state, UNTIL)
    rates = {row["task"]: row for row in base_rates(labels, state).iter_rows(named=True)}
    assert rates["uplift"]["mean"] == pytest.approx(labels["uplift"].mean())
    assert rates["category_uplift"]["mean"] == pytest.approx(labels["category_uplift"].list.sum().mean())
    features = labels.select("customer_id", "as_of", x=pl.lit(1.0))
    assert set(BOTH) <= set(leak_check(features, labels)["task"])


def test_the_two_tasks_change_no_other_label(tables: Tables, state: LabelState) -> None:
    off = Tables(tables.dataset.model_copy(update={"tasks_on": ()}), tables.frames)
    fitted = fit_labels(off, planned(tables))
    assert {task: names for task, names in state.classes.items() if task not in BOTH} == fitted.classes
    plain = compute_labels(off, T, fitted, UNTIL)
    assert plain.equals(compute_labels(tables, T, state, UNTIL).drop(BOTH), null_equal=True)


def test_a_delivery_without_controls_or_categories_switches_the_tasks_off(tables: Tables) -> None:
    frames, dataset = tables.frames, tables.dataset
    events = frames["campaign_events"]

    def off(changed: dict[str, pl.DataFrame], gone: str = "") -> set[str]:
        contract = {name: frame.lazy() for name, frame in (frames | changed).items() if name != gone}
        return set(ContractFiles().unanswerable({}, contract, dataset)) & set(BOTH)

    assert off({}) == set()
    assert off({"campaign_events": events.drop("is_control")}) == set(BOTH)
    assert off({"campaign_events": events.with_columns(is_control=pl.lit(False))}) == set(BOTH)
    assert off({}, gone="campaigns") == set(BOTH)
    assert off({}, gone="merchants") == {"category_uplift"}
