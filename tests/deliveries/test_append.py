"""Deliveries that add up: merged by key, corrected, late, delivered twice, in order, as known on an old day."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.sources import load_tables
from feature_assets.sources.arrivals import identity
from pipeline.intake.inbox import inbox_of
from tests.conftest import DATA_ROOT
from tests.deliveries import bank, completejourney, shop
from tests.deliveries.arriving import DAYS, Night, arrive, before, between, daily
from tests.deliveries.makers import Frames, altered, deliver, first_rows, once_more, same, write


@pytest.fixture
def night(tmp_path: Path, own: DatasetConfig) -> Night:
    return Night(tmp_path / "home", own)


def amount(night: Night, day: date, line: str) -> float:
    lines = night.ledger.merged(day).tables.frames["transactions"]
    return lines.row(by_predicate=pl.col("transaction_id") == line, named=True)["amount"]


# --- merging --------------------------------------------------------------------------------------------------------
def two_sources() -> dict[str, tuple[DatasetConfig, Frames, date]]:
    """Source → data set whose deliveries add up, a full delivery of it, the day after its last event."""
    journey = load_dataset("completejourney", DATA_ROOT)
    append = {"delivery": "append"}
    return {
        "contract_files": (bank.dataset().model_copy(update=append), bank.sound(), bank.dataset().covers_until),
        "completejourney": (journey.model_copy(update=append), completejourney.small(), journey.covers_until),
    }


@pytest.mark.parametrize("source", ["contract_files", "completejourney"])
def test_rows_in_any_order_over_several_days_are_the_tables_of_one_full_delivery(source: str, tmp_path: Path) -> None:
    """Rows of every table at random over four arrivals: events before their customers, tables that come later."""
    dataset, frames, last = two_sources()[source]
    rng = np.random.default_rng(3)
    night = Night(tmp_path / "home", dataset)
    days = [last + timedelta(days=k) for k in range(4)]
    arrival = {name: rng.integers(0, 4, frame.height) for name, frame in frames.items()}
    for k, day in enumerate(days):
        some = {name: frame.filter(arrival[name] == k) for name, frame in frames.items()}
        arrive(tmp_path / "inbox", day, **{name: frame for name, frame in some.items() if frame.height})
    loose = dataset.model_copy(update={"quarantine_limits": dict.fromkeys(frames, 1.0)})  # customers come later
    night.dataset = loose
    tables = night(days[-1], tmp_path / "inbox")
    whole = deliver(frames, tmp_path / "full", loose.model_copy(update={"delivery": "full"})).tables
    assert same(tables, whole)
    assert tables.dataset.tasks_off == whole.dataset.tasks_off
    counts = night.ledger.counts(days[-1])
    assert counts["new"].sum() == counts["delivered"].sum() - counts["copies"].sum()
    assert dict(counts.group_by("table").agg(pl.col("delivered").sum()).iter_rows()) == {
        name: frame.height for name, frame in frames.items()
    }


def test_a_delivery_a_day_is_what_a_full_delivery_would_be(inbox: Path, night: Night, tmp_path: Path) -> None:
    frames = daily(inbox)
    full = night.dataset.model_copy(update={"delivery": "full"})
    for day in DAYS:
        whole = deliver(frames | {"transactions": before(frames, day)}, tmp_path / f"full-{day}", full)
        assert same(night(day), whole.tables)
    new = [{"delivered": n, "new": n} for n in _lines(frames)]
    assert night.counts(DAYS[-1]) == new


def _lines(frames: Frames) -> list[int]:
    later = pairwise(DAYS)
    return [before(frames, DAYS[0]).height, *(between(frames, first, day).height for first, day in later)]


def test_a_night_without_an_arrival_reads_what_is_known(inbox: Path, night: Night) -> None:
    daily(inbox)
    tables = night(DAYS[2])
    assert same(night(date(2023, 10, 5)), tables)
    assert night.ledger.digest(date(2023, 10, 5)) == night.ledger.digest(DAYS[2]) != night.ledger.digest(DAYS[1])
    assert "nothing has arrived for 2023-10-05; the newest delivery is that of 2023-10-04" in night.said
    assert "deliveries that arrive after 2023-10-05 wait: 2023-10-06" in night.said


def test_one_delivery_without_a_stated_day_arrives_with_the_night(night: Night, inbox: Path) -> None:
    frames = shop.tables()
    write(frames | {"transactions": before(frames, DAYS[0])}, inbox)
    night(DAYS[0])
    write(frames | {"transactions": before(frames, DAYS[1])}, inbox)
    tables = night(DAYS[1])
    assert tables.frames["transactions"].height == before(frames, DAYS[1]).height
    new = between(frames, DAYS[0], DAYS[1]).height
    assert night.counts(DAYS[1])[1] == {
        "delivered": tables.frames["transactions"].height,
        "new": new,
        "repeated": tables.frames["transactions"].height - new,
    }


def test_random_deliveries_against_a_plain_dictionary(inbox: Path, night: Night) -> None:
    """Twelve deliveries of new, repeated and corrected lines: the newest content of each line, and the counts."""
    rng = np.random.default_rng(11)
    lines = before(shop.tables(), DAYS[0]).head(40)
    others = {name: frame for name, frame in shop.tables().items() if name != "transactions"}
    known: dict[str, dict[str, Any]] = {}
    day = DAYS[0]
    for k in range(12):
        chosen = lines.filter(rng.random(lines.height) < 0.4)
        changed = pl.Series(rng.random(chosen.height) < 0.3)
        chosen = chosen.with_columns(amount=pl.when(changed).then(pl.Series(rng.integers(1, 4, chosen.height) * 1.0)))
        chosen = chosen.with_columns(pl.col("amount").fill_null(2.5))
        rows = {row["transaction_id"]: row for row in chosen.to_dicts()}
        expected = {
            "delivered": len(rows),
            "new": sum(key not in known for key in rows),
            "corrected": sum(key in known and known[key] != row for key, row in rows.items()),
            "repeated": sum(known.get(key) == row for key, row in rows.items()),
        }
        known |= rows
        arrive(inbox, day, transactions=chosen, **(others if k == 0 else {}))
        tables = night(day)
        merged = {row["transaction_id"]: row["amount"] for row in tables.frames["transactions"].to_dicts()}
        assert merged == {key: row["amount"] for key, row in known.items()}
        counts = {name: count for name, count in night.counts(day)[-1].items() if name != "late"}
        assert counts == {name: count for name, count in expected.items() if count}
        day += timedelta(days=1)


# --- what counts as the same row ------------------------------------------------------------------------------------
def test_each_table_says_what_counts_as_the_same_row() -> None:
    keys = {name: identity(table, list(table.types)) for name, table in CONTRACT.items()}
    assert {name for name, table in CONTRACT.items() if keys[name] == list(table.types)} == {"sessions", "contacts"}
    assert keys["transactions"] == ["transaction_id"]
    assert keys["balances"] == ["customer_id", "account_id", "on"]
    text = (DATA_ROOT.parent / "docs" / "decisions" / "0015-deliveries-that-add-up.md").read_text()
    assert all(name in text for name in CONTRACT)


def test_a_table_without_a_key_knows_equal_rows_only(tmp_path: Path) -> None:
    dataset, frames, last = two_sources()["contract_files"]
    night = Night(tmp_path / "home", dataset)
    arrive(tmp_path / "inbox", last, **frames)
    some = frames["sessions"].head(10)
    changed = first_rows(3, seconds=77.5)(some)
    arrive(tmp_path / "inbox", last + timedelta(days=1), sessions=changed)
    night(last, tmp_path / "inbox")
    tables = night(last + timedelta(days=1), tmp_path / "inbox")
    assert tables.frames["sessions"].height == frames["sessions"].height + 3
    counts = night.counts(last + timedelta(days=1), "sessions")[1]
    assert counts == {"delivered": 10, "new": 3, "repeated": 7, "late": 3}


# --- corrections ----------------------------------------------------------------------------------------------------
def test_a_corrected_row_replaces_the_earlier_version_from_its_arrival_on(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    line = frames["transactions"]["transaction_id"][0]
    old = frames["transactions"]["amount"][0]
    corrected = frames["transactions"].head(1).with_columns(amount=pl.lit(99.0))
    arrive(inbox, DAYS[2], parts=1, transactions=corrected)  # beside that day's own rows
    (inbox / f"arrived_on={DAYS[2]}" / "transactions.parquet").unlink()
    arrive(inbox, DAYS[3], transactions=frames["transactions"].head(1))
    found = {}
    for day in DAYS:
        night(day)
        found[day] = amount(night, day, line)
    assert list(found.values()) == [old, old, 99.0, old]
    assert night.counts(DAYS[3])[2:] == [{"delivered": 1, "corrected": 1}] * 2
    for day in DAYS:  # and so it stays
        assert amount(night, day, line) == found[day]


def test_a_correction_of_a_thing_reaches_its_rows(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    moved = frames["products"].head(1).with_columns(category_l1=pl.lit("toys"))
    arrive(inbox, date(2023, 10, 7), products=moved)
    first, last = night(DAYS[0]), night(date(2023, 10, 7))
    assert "toys" not in first.frames["products"]["category_l1"]
    assert last.frames["products"].row(0, named=True)["category_l1"] == "toys"
    assert last.frames["products"].height == frames["products"].height
    assert night.counts(date(2023, 10, 7), "products")[-1] == {"delivered": 1, "corrected": 1}


# --- late rows ------------------------------------------------------------------------------------------------------
def test_late_rows_are_counted_where_they_arrive_and_known_from_then_on(inbox: Path, night: Night) -> None:
    """Late: an earlier arrival's night would have seen the row. The night of the 2nd sees the days before the 2nd."""
    frames = daily(inbox)
    lines = before(frames, DAYS[0])
    late = lines.filter(pl.col("at").dt.date() == date(2023, 10, 1))
    assert late.height > 1
    kept = lines.filter(pl.col("at").dt.date() != date(2023, 10, 1))
    arrive(inbox, DAYS[0], transactions=kept)
    arrive(inbox, DAYS[1], transactions=pl.concat([late, between(frames, DAYS[0], DAYS[1])]))
    tables = [night(day) for day in DAYS[:2]]
    assert [t.frames["transactions"].height for t in tables] == [kept.height, before(frames, DAYS[1]).height]
    told = night.counts(DAYS[1])
    assert "late" not in told[0]
    assert told[1]["late"] == late.height
    assert told[1]["new"] == told[1]["delivered"] > late.height


def test_a_day_is_late_by_its_end_and_an_instant_by_the_local_midnight(tmp_path: Path) -> None:
    """Statements of the day before an as-of date are seen by its night, those of the day itself are not."""
    dataset, frames, last = two_sources()["contract_files"]
    night = Night(tmp_path / "home", dataset)
    arrive(tmp_path / "inbox", last, **frames)
    row = frames["balances"].head(1)
    days = [last - timedelta(days=1), last, last + timedelta(days=1)]
    rows = [row.with_columns(on=pl.lit(day), account_id=pl.lit("new one")) for day in days]
    midnight = dataset.instant(last)
    line = frames["transactions"].filter(pl.col("kind") == "purchase").head(1)
    times = [midnight - timedelta(microseconds=1), midnight]
    lines = [line.with_columns(at=pl.lit(at), transaction_id=pl.lit(f"new {at}")) for at in times]
    arrive(tmp_path / "inbox", days[2], balances=pl.concat(rows), transactions=pl.concat(lines))
    night(days[2], tmp_path / "inbox")
    assert night.counts(days[2], "balances")[1] == {"delivered": 3, "new": 3, "late": 1}
    assert night.counts(days[2])[1] == {"delivered": 2, "new": 2, "late": 1}


# --- delivered twice ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["the same files", "other files", "another order", "narrower numbers"])
def test_a_day_delivered_twice_changes_nothing(form: str, inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    day = date(2023, 10, 7)
    again = between(frames, DAYS[0], DAYS[1])
    change = {
        "another order": lambda f: f.reverse(),
        "narrower numbers": lambda f: f.with_columns(
            pl.col("quantity").cast(pl.Int16), pl.col("discount").cast(pl.Float32)
        ),
    }.get(form, lambda f: f)
    arrive(inbox, day, parts=3 if form == "other files" else None, transactions=change(again))
    tables, digest = night(DAYS[-1]), night.ledger.digest(DAYS[-1])
    assert same(night(day), tables)
    assert night.ledger.digest(day) == digest
    assert night.counts(day)[-1] == {"delivered": again.height, "repeated": again.height}
    assert f"that of {DAYS[1]}: delivered twice" in night.said[-1]


def test_a_day_delivered_twice_takes_no_correction_back(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    line = between(frames, DAYS[0], DAYS[1]).head(1)
    arrive(inbox, date(2023, 10, 7), transactions=line.with_columns(amount=pl.lit(99.0)))
    arrive(inbox, date(2023, 10, 8), transactions=between(frames, DAYS[0], DAYS[1]))
    night(date(2023, 10, 8))
    assert amount(night, date(2023, 10, 8), line["transaction_id"][0]) == 99.0
    assert "1 of its rows were corrected in between and stay so" in night.said[-1]


def test_the_same_night_again_takes_nothing_in(inbox: Path, night: Night) -> None:
    daily(inbox)
    night(DAYS[1])
    entries = night.ledger.entries()
    night(DAYS[1])
    assert night.ledger.entries() == entries
    assert [entry.number for entry in entries] == [1, 2]


def test_a_window_of_days_each_night_adds_what_is_new(inbox: Path, night: Night) -> None:
    """The usual export: all rows of the last days, most of which are known."""
    frames = daily(inbox)
    window = between(frames, date(2023, 9, 20), DAYS[1])
    arrive(inbox, DAYS[1], transactions=window)
    tables = night(DAYS[1])
    assert tables.frames["transactions"].height == before(frames, DAYS[1]).height
    new = between(frames, DAYS[0], DAYS[1]).height
    assert night.counts(DAYS[1])[1] == {"delivered": window.height, "new": new, "repeated": window.height - new}


# --- the order of deliveries ----------------------------------------------------------------------------------------
def test_deliveries_that_waited_are_taken_in_by_their_days(inbox: Path, night: Night, tmp_path: Path) -> None:
    daily(inbox)
    one_by_one = {day: night(day) for day in DAYS}
    later = Night(tmp_path / "later", night.dataset)
    later(DAYS[-1])
    assert [entry.arrived_on for entry in later.ledger.entries()] == list(DAYS)
    for day in DAYS:
        assert same(later(day), one_by_one[day])
        assert later.ledger.digest(day) == night.ledger.digest(day)


@pytest.mark.parametrize("what", ["a new folder", "a changed folder", "a folder of a night without a delivery"])
def test_a_delivery_cannot_have_arrived_before_nights_that_were_scored_without_it(
    what: str, inbox: Path, night: Night
) -> None:
    frames = daily(inbox)
    last = date(2023, 10, 8)
    night(last)  # nothing arrived on the 7th and the 8th
    day = {"a new folder": date(2023, 10, 5), "a changed folder": DAYS[1]}.get(what, date(2023, 10, 7))
    digest = night.ledger.digest(last)
    arrive(inbox, day, transactions=between(frames, DAYS[0], DAYS[1]).head(1))
    with pytest.raises(DeliveryError, match=rf"arrived_on={day}: .* 2023-10-08 .* Deliver it as arrived_on="):
        night(last)
    assert len(night.ledger.entries()) == len(DAYS)
    assert night.ledger.digest(last) == digest
    (inbox / f"arrived_on={day}").rename(inbox / f"arrived_on={last}")
    if what != "a changed folder":
        night(last)
        assert len(night.ledger.entries()) == len(DAYS) + 1


def test_a_second_delivery_of_the_newest_day_is_taken_in(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    night(DAYS[-1])
    arrive(inbox, DAYS[-1], transactions=frames["transactions"].tail(1).with_columns(amount=pl.lit(99.0)))
    night(DAYS[-1])
    assert len(night.ledger.entries()) == len(DAYS) + 1
    assert amount(night, DAYS[-1], frames["transactions"]["transaction_id"][-1]) == 99.0


# --- errors for people ----------------------------------------------------------------------------------------------
def test_errors_say_what_is_wrong_and_what_to_do(inbox: Path, night: Night, own: DatasetConfig) -> None:
    frames = shop.tables()
    lines = before(frames, DAYS[0])
    arrive(inbox, DAYS[0], transactions=lines)
    with pytest.raises(DeliveryError, match="no row of customers has arrived by 2023-10-02"):
        night(DAYS[0])
    with pytest.raises(
        DeliveryError, match="nothing has arrived by 2023-10-01: the first delivery is that of 2023-10-02"
    ):
        night.ledger.merged(date(2023, 10, 1))
    arrive(inbox, DAYS[1], **frames | {"transactions": between(frames, DAYS[0], DAYS[1]).drop("channel")})
    with pytest.raises(DeliveryError, match=r"transactions: the delivery of 2023-10-03 lacks channel, which earlier"):
        night(DAYS[1])
    (inbox / f"arrived_on={DAYS[1]}").rename(inbox / "arrived_on=3.10.")
    with pytest.raises(DeliveryError, match=r"'3\.10\.' is no date; name the folder arrived_on=YYYY-MM-DD"):
        night(DAYS[1])
    (inbox / "arrived_on=3.10.").rename(inbox / "third")
    with pytest.raises(DeliveryError, match=r"holds third beside the folders arrived_on="):
        night(DAYS[1])
    (inbox / "third").rename(inbox / ".third")
    (inbox / f"arrived_on={DAYS[1]}").mkdir()
    with pytest.raises(DeliveryError, match=r"arrived_on=2023-10-03 holds none of the tables customers"):
        night(DAYS[1])
    arrive(inbox, DAYS[1], products=frames["products"].clear())
    with pytest.raises(DeliveryError, match=r"the delivery of 2023-10-03 holds no row of any table"):
        night(DAYS[1])
    with pytest.raises(DeliveryError, match="is not a folder"):
        inbox_of(own, inbox / "nowhere")
    with pytest.raises(ValueError, match="deliveries add up"):
        load_tables(own)


def test_a_full_delivery_still_needs_its_tables(tmp_path: Path) -> None:
    dataset = bank.dataset()
    with pytest.raises(DeliveryError, match="required table customers"):
        deliver({name: frame for name, frame in bank.sound().items() if name != "customers"}, tmp_path, dataset)


# --- rows that break a rule -----------------------------------------------------------------------------------------
def test_a_bad_row_replaces_no_good_one_and_stays_in_quarantine(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    line = frames["transactions"]["transaction_id"][0]
    good = between(frames, DAYS[2], DAYS[3])
    bad = frames["transactions"].head(1).with_columns(amount=pl.lit(-1.0))
    night.dataset = night.dataset.model_copy(update={"quarantine_limits": {"transactions": 0.5}})
    arrive(inbox, DAYS[3], transactions=pl.concat([good, bad, good.head(2)]))
    night(DAYS[3])
    assert amount(night, DAYS[3], line) == frames["transactions"]["amount"][0]
    assert night.counts(DAYS[3])[-1] == {
        "delivered": good.height + 3,
        "new": good.height,
        "set aside": 1,
        "copies": 2,
    }
    result = night.ledger.merged(DAYS[3]).validated["transactions"]
    assert {(c.reason, c.rows) for c in result.counts} == {
        ("transactions: amount is below 0, or above 0 in a refund", 1),
        ("transactions: exact copy of another row", 2),
    }
    assert set(result.quarantine["arrived_on"]) == {DAYS[3]}
    assert (result.delivered, result.dropped) == (frames["transactions"].height + 3, 1)
    assert result.quarantine.height == 3


def test_two_contents_of_a_key_in_one_delivery_are_a_conflict_and_no_correction(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    night.dataset = night.dataset.model_copy(update={"quarantine_limits": {"transactions": 1.0}})
    line = frames["transactions"].head(1)
    arrive(inbox, DAYS[3], transactions=once_more(0, amount=77.0)(line))
    night(DAYS[3])
    assert night.counts(DAYS[3])[-1] == {"delivered": 2, "set aside": 2}
    assert amount(night, DAYS[3], line["transaction_id"][0]) == line["amount"][0]


def test_events_wait_in_quarantine_for_their_customer(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    last = frames["customers"]["customer_id"][-1]
    absent = frames["customers"].filter(pl.col("customer_id") != last)
    lines = before(frames, DAYS[0])
    waiting = lines.filter(pl.col("customer_id") == last).height
    assert waiting
    arrive(inbox, DAYS[0], customers=absent, transactions=lines)
    arrive(inbox, DAYS[1], customers=frames["customers"], transactions=between(frames, DAYS[0], DAYS[1]))
    night.dataset = night.dataset.model_copy(update={"quarantine_limits": {"transactions": 0.5}})
    first, second = night(DAYS[0]), night(DAYS[1])
    assert first.frames["transactions"].height == lines.height - waiting
    assert second.frames["transactions"].height == before(frames, DAYS[1]).height
    found = [night.ledger.merged(day).validated["transactions"] for day in DAYS[:2]]
    assert [v.dropped for v in found] == [waiting, 0]
    assert set(found[0].quarantine["reason"]) == {"transactions.customer_id: unknown customer"}


def test_the_future_begins_after_the_day_of_arrival(inbox: Path, night: Night) -> None:
    """Whatever the clock says: rows of the day of arrival are kept, those of the next day are not."""
    frames = shop.tables()
    lines = before(frames, date(2023, 10, 4))
    tomorrow = lines.filter(pl.col("at").dt.date() == date(2023, 10, 3)).height
    night.dataset = night.dataset.model_copy(update={"quarantine_limits": {"transactions": 0.5}})
    arrive(inbox, DAYS[0], **frames | {"transactions": lines})
    tables = night(DAYS[0])
    assert tables.frames["transactions"].height == lines.height - tomorrow
    assert night.counts(DAYS[0])[0]["set aside"] == tomorrow > 0


def test_columns_may_come_later_and_not_go(inbox: Path, night: Night) -> None:
    frames = daily(inbox)
    more = frames["customers"].head(2).with_columns(gender=pl.lit("f"))
    arrive(inbox, date(2023, 10, 7), customers=more)
    customers = night(date(2023, 10, 7)).frames["customers"]
    assert customers["gender"].to_list() == ["f", "f", *[None] * (shop.CUSTOMERS - 2)]
    assert night.counts(date(2023, 10, 7), "customers")[-1] == {"delivered": 2, "corrected": 2}
    arrive(inbox, date(2023, 10, 8), **altered({"customers": more}, "customers", lambda f: f.drop("gender")))
    with pytest.raises(DeliveryError, match="customers: the delivery of 2023-10-08 lacks gender"):
        night(date(2023, 10, 8))
