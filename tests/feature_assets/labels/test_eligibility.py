"""For whom a task is defined at t: equal to a plain loop over what is known before t, and blind to everything else."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.blocks import blocks_of
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import compute_labels, describe, eligible, every_task, fit_labels, get_task, windows
from feature_assets.labels.task import EVERYONE
from feature_assets.snapshots import SnapshotPlan
from tests.deliveries import synthetic
from tests.feature_assets.plain_view import INSTANTS, known_frames

T = date(2017, 4, 23)
NAMES = tuple(task.name for task in every_task())
IF_THEY_BUY = {"channel", "timing", "spending_category", "brand_prediction", "merchant_affinity"}
ALL = {"life_stage", "ltv", "nba", "consumption_cycle", "spending_bucket", "uplift", "category_uplift"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def bank() -> Tables:
    """Small tables of every kind: campaigns withheld from some of their targets, one that is announced beforehand, and
    a tenth of the customers who neither buy nor look around for two months."""
    whole = synthetic.tables(60, seed=3)
    frames = dict(whole.frames)
    for name, ending in (("transactions", "5"), ("sessions", "5"), ("transactions", "6")):
        quiet = pl.col("customer_id").str.ends_with(ending)
        day = pl.col("at").dt.convert_time_zone(synthetic.ZONE).dt.date()
        frames[name] = frames[name].filter(~(quiet & day.is_between(date(2017, 2, 20), date(2017, 4, 25))))
    events = frames["campaign_events"]
    control = pl.col("customer_id").str.slice(-1).is_in(["3", "7"]) & (pl.col("campaign_id") > "a1")
    first = events.filter(event="impression").with_columns(event=pl.lit("targeted"))
    announced = first.filter(pl.col("campaign_id") == "a4").with_columns(pl.col("at") - pl.duration(days=9))
    withheld = first.filter(control).with_columns(is_control=pl.lit(True))
    frames["campaign_events"] = pl.concat(
        [
            events.filter(~control).with_columns(is_control=pl.lit(None, pl.Boolean)),
            announced.filter(~control).with_columns(is_control=pl.lit(False)),
            withheld,
        ]
    )
    return Tables(whole.dataset.model_copy(update={"click_kinds_off": {"Type A": "not telling"}}), frames)


def slow(tables: Tables, t: date) -> dict[str, Row]:
    """DATA §3 on a score's eligibility, customer by customer, from rows that were known before t."""
    frames = known_frames(tables, t)
    campaigns = {row["campaign_id"]: row for row in frames["campaigns"].to_dicts()}
    zone = tables.dataset.zone
    found = {}
    for who in frames["customers"]["customer_id"].to_list():
        mine = {name: frames[name].filter(customer_id=who).to_dicts() for name in INSTANTS}

        def lately(table: str, mine: dict[str, list[Row]] = mine) -> list[Row]:
            column = pl.Series([row[INSTANTS[table]] for row in mine[table]])
            if not len(column):
                return []
            days = column.dt.convert_time_zone(zone).dt.date() if INSTANTS[table] == "at" else column
            return [row for row, day in zip(mine[table], days, strict=True) if day >= t - timedelta(days=56)]

        bought = any(row["kind"] == "purchase" for row in lately("transactions"))
        told = mine["campaign_events"]
        withheld = {row["campaign_id"] for row in told if row["is_control"]}
        kinds = []
        for campaign in {row["campaign_id"] for row in told} - withheld:
            known = campaigns.get(campaign)  # None: it has not started
            if known is None or known["ends_on"] >= t:
                kinds.append(known and known["kind"])
        found[who] = {
            **dict.fromkeys(ALL, True),
            **dict.fromkeys(IF_THEY_BUY | {"churn", "retention"}, bought),
            "engagement": bought or bool(lately("sessions")),
            "balance_util": any((row["limit"] or 0) > 0 for row in lately("balances")),
            "cvr": bool(kinds),
            "ctr": any(kind != "Type A" for kind in kinds),
        }
    return found


DATES = [date(2017, 2, 20), T, date(2017, 5, 12), date(2017, 6, 30)]


@pytest.mark.parametrize("t", DATES)
def test_eligibility_equals_a_plain_loop_over_what_was_known(bank: Tables, t: date) -> None:
    fast = eligible(View(bank, t), NAMES)
    assert fast.columns == ["customer_id", *NAMES]
    assert {row.pop("customer_id"): row for row in fast.to_dicts()} == slow(bank, t)
    assert sum(fast.null_count().row(0)) == 0
    if t == T:
        shares = {name: fast[name].mean() for name in NAMES}
        assert {name for name, share in shares.items() if share == 1} == ALL
        assert all(0.05 < share < 1 for name, share in shares.items() if name not in ALL), shares
        assert not fast["ctr"].equals(fast["cvr"])
        assert not fast["engagement"].equals(fast["churn"])


def test_a_campaign_that_is_announced_counts_and_one_that_is_over_does_not(bank: Tables) -> None:
    start = bank.frames["campaigns"].filter(campaign_id="a4")["starts_on"].item()
    events = bank.frames["campaign_events"].filter(campaign_id="a4")
    only = Tables(bank.dataset, {**bank.frames, "campaign_events": events})
    members = set(events.filter(~pl.col("is_control").fill_null(False))["customer_id"].to_list())
    joined = bank.frames["customers"].filter(pl.col("joined_on") < start - timedelta(days=9))["customer_id"]
    for days, expected in ((-10, False), (-8, True), (1, True), (30, True), (31, False)):
        found = eligible(View(only, start + timedelta(days=days)), ["cvr"]).filter("cvr")["customer_id"]
        assert (set(found.to_list()) & set(joined.to_list())) == (
            (members & set(joined.to_list())) if expected else set()
        )


def changed_from(tables: Tables, t: date, seed: int) -> Tables:
    """The same tables until t; from there on some rows are gone, others belong to somebody else or say something else,
    and campaigns end on other days."""
    rng = np.random.default_rng(seed)
    frames = dict(tables.frames)
    for name, column in INSTANTS.items():
        frame = frames[name]
        late = pl.col(column) >= (tables.dataset.instant(t) if column == "at" else t)
        drawn = pl.Series([f"c{c:03d}" for c in rng.integers(2, 60, frame.height)])
        frame = frame.with_columns(pl.when(late).then(drawn).otherwise("customer_id").alias("customer_id"))
        for text in ("kind", "event"):
            if text in frame.columns and name != "balances":
                mixed = frame[text].sample(fraction=1, shuffle=True, seed=seed)
                frame = frame.with_columns(pl.when(late).then(mixed).otherwise(text).alias(text))
        if "is_control" in frame.columns:
            drawn = pl.Series(rng.random(frame.height) < 0.5)
            frame = frame.with_columns(pl.when(late).then(drawn).otherwise("is_control").alias("is_control"))
        if "limit" in frame.columns:
            frame = frame.with_columns(pl.when(late).then(5_000.0).otherwise("limit").alias("limit"))
        keys = [key for key in ("customer_id", "account_id", column) if key in frame.columns]
        frames[name] = frame.filter(~late | pl.Series(rng.random(frame.height) < 0.6)).sort(keys, maintain_order=True)
    later = pl.Series([int(d) for d in rng.integers(0, 40, frames["campaigns"].height)])
    frames["campaigns"] = frames["campaigns"].with_columns(
        pl.when(pl.col("ends_on") >= t).then(pl.lit(t) + pl.duration(days=later)).otherwise("ends_on").alias("ends_on"),
        pl.when(pl.col("starts_on") >= t).then(pl.lit("Type A")).otherwise("kind").alias("kind"),
    )
    return Tables(tables.dataset, frames)


@settings(max_examples=12, deadline=None)
@given(day=st.integers(25, synthetic.DAYS - 5), seed=st.integers(0, 99))
def test_nothing_that_happens_at_or_after_t_changes_eligibility(bank: Tables, day: int, seed: int) -> None:
    t = synthetic.FIRST + timedelta(days=day)
    plain = eligible(View(bank, t), NAMES)
    assert eligible(View(changed_from(bank, t, seed), t), NAMES).equals(plain)
    cut = Tables(bank.dataset, known_frames(bank, t) | {"campaigns": bank.frames["campaigns"]})
    assert eligible(View(cut, t), NAMES).equals(plain)


def test_what_happens_before_t_changes_eligibility(bank: Tables) -> None:
    silent = {name: bank.frames[name].filter(~pl.col("customer_id").str.ends_with("2")) for name in INSTANTS}
    plain, other = (eligible(View(tables, T), NAMES) for tables in (bank, Tables(bank.dataset, bank.frames | silent)))
    assert {name for name in NAMES if not plain[name].equals(other[name])} == set(NAMES) - ALL


def test_a_shard_a_block_and_the_order_of_rows_change_nothing(bank: Tables, tmp_path: Path) -> None:
    whole = eligible(View(bank, T), NAMES)
    shards = [eligible(View(bank, T, (i, 3)), NAMES) for i in range(3)]
    assert pl.concat(shards).sort("customer_id").equals(whole)
    bank.save(tmp_path)
    blocks = [Tables.load(tmp_path, block) for block in blocks_of(tmp_path / "customers.parquet", 11)]
    assert pl.concat([eligible(View(block, T), NAMES) for block in blocks]).equals(whole)
    mixed = {name: frame.sample(fraction=1, shuffle=True, seed=2) for name, frame in bank.frames.items()}
    assert eligible(View(Tables(bank.dataset, mixed), T), NAMES).equals(whole)


def test_without_its_tables_a_task_is_defined_for_nobody(bank: Tables) -> None:
    frames = {name: bank.frames[name] for name in ("customers", "transactions", "merchants", "products")}
    found = eligible(View(Tables(bank.dataset, frames), T), NAMES)
    need = {task.name for task in every_task() if task.needs}
    assert {name for name in NAMES if not found[name].any()} == need
    assert found["engagement"].equals(found["churn"].alias("engagement"))


def test_without_a_flag_for_controls_every_target_is_a_member(bank: Tables) -> None:
    events = bank.frames["campaign_events"].drop("is_control")
    without = eligible(View(Tables(bank.dataset, {**bank.frames, "campaign_events": events}), T), ["cvr"])["cvr"]
    given = eligible(View(bank, T), ["cvr"])["cvr"]
    assert (without | ~given).all()
    assert without.sum() > given.sum()


def test_labels_are_masked_by_eligibility_only_where_the_task_says_so(bank: Tables) -> None:
    train = tuple(date(2017, 2, 26) + timedelta(days=7 * k) for k in range(4))
    plan = SnapshotPlan(date(2017, 7, 15), windows(bank.dataset), train, (date(2017, 4, 16),), date(2017, 4, 16))
    labels = compute_labels(bank, T, fit_labels(bank, plan), date(2018, 1, 1))
    found = eligible(View(bank, T), windows(bank.dataset))
    assert found["customer_id"].equals(labels["customer_id"])
    for name in windows(bank.dataset):
        given = labels[name].is_not_null().alias(name)
        if not get_task(name).labelled:
            assert given.equals(found[name]), name
    assert (labels["cvr"].is_not_null() & ~found["cvr"]).any()  # exposed in the window, in no campaign before
    assert (labels["channel"].is_not_null() & ~found["channel"]).any()  # came back in the window


def test_each_tasks_own_sentence_says_for_whom_it_is(bank: Tables) -> None:
    on = bank.dataset.model_copy(update={"tasks_on": ("uplift", "category_uplift"), "tasks_off": {}})
    described = {entry["name"]: entry for entry in describe(on)}
    assert set(described) == set(NAMES)
    for name, entry in described.items():
        everyone = get_task(name).eligibility == EVERYONE
        assert everyone == (name in ALL)
        assert entry["meaning"].endswith(f", among {entry['eligibility']}.") == (not everyone)
        assert entry["withheld"] == (name in {"ctr", "cvr"})
        assert (" if " in entry["meaning"]) == (name in IF_THEY_BUY | {"ctr", "cvr", "uplift", "category_uplift"})
    assert described["cvr"]["meaning"] == (
        f"At least one conversion by a campaign in the next {on.campaign_horizon_days} days if the customer is exposed "
        "to one, among members of a campaign known before the as-of date and not over then."
    )
    assert described["channel"]["labelled"] == "customers with a purchase in the next 28 days"
    assert described["churn"]["labelled"] == described["churn"]["eligibility"]


def test_who_is_eligible_in_the_embedded_data(tables: Tables) -> None:
    at = {
        day: eligible(View(tables, day), ["churn", "ctr", "cvr", "ltv"])
        for day in (date(2017, 10, 1), date(2018, 1, 1))
    }
    counts = {day: {name: int(frame[name].sum()) for name in frame.columns[1:]} for day, frame in at.items()}
    assert counts[date(2017, 10, 1)]["churn"] == 2_203  # DATA §4
    assert counts[date(2018, 1, 1)]["ltv"] == 2_469
    for day, frame in at.items():
        running = tables.frames["campaigns"].filter(pl.col("starts_on") < day, pl.col("ends_on") >= day)
        members = tables.frames["campaign_events"].filter(event="impression").join(running, on="campaign_id")
        assert set(frame.filter("cvr")["customer_id"]) == set(members["customer_id"])
        telling = members.filter(pl.col("kind") != "Type A")
        assert set(frame.filter("ctr")["customer_id"]) == set(telling["customer_id"])
