"""What tables say of each other: each contradiction has a rule, a count and a reason, and costs nobody their scores."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.events.view import View
from feature_assets.sources import ingest, read_delivery
from tests.deliveries import bank
from tests.deliveries.makers import Frames, altered, columns, deliver, first_rows, once_more, same, without, write
from tests.deliveries.sources import COMPLETEJOURNEY, CONTRACT_FILES, Sound, both_sources
from tests.deliveries.test_values import told

KEPT = "kept with joined_on of the first event"
AFTER = "customers.joined_on is after the first event of its row in transactions, campaign_events, sessions, "
AFTER += "holdings, balances, contacts"


@pytest.fixture(scope="module")
def dataset() -> DatasetConfig:
    return bank.dataset()


def first_days(frames: Frames, dataset: DatasetConfig) -> dict[str, date]:
    """The first own event of each customer, the plain way."""
    first: dict[str, date] = {}
    for name, column in (("transactions", "at"), ("sessions", "at"), ("contacts", "at"), ("campaign_events", "at")):
        for row in frames[name].iter_rows(named=True):
            if row.get("event") in ("targeted", "impression"):
                continue
            day = row[column].astimezone(ZoneInfo(dataset.zone)).date()
            first[row["customer_id"]] = min(day, first.get(row["customer_id"], day))
    for name, column in (("holdings", "as_of"), ("balances", "on")):
        for row in frames[name].iter_rows(named=True):
            first[row["customer_id"]] = min(row[column], first.get(row["customer_id"], row[column]))
    return first


DOUBTS: list[tuple[Any, str]] = [
    (bank.dataset().covers_until - timedelta(days=1), AFTER),
    (date(2029, 1, 1), "customers.joined_on is in the future of the delivery"),
    (date(9999, 12, 31), "customers.joined_on is a sentinel (of 2099 or after), which stands for no date"),
    (date(1, 1, 1), "customers.joined_on is a sentinel (of 1900 or before), which stands for no date"),
    (None, "customers.joined_on is missing"),
]


@pytest.mark.parametrize(("day", "reason"), DOUBTS)
def test_customers_join_with_their_first_event(
    day: date | None, reason: str, dataset: DatasetConfig, tmp_path: Path
) -> None:
    frames = CONTRACT_FILES.frames()
    frames = altered(
        frames, "customers", lambda f: f.sort("customer_id", descending=True), first_rows(3, joined_on=day)
    )
    result = deliver(frames, tmp_path, dataset)
    assert told(result.validated["customers"]) == {reason: (3, KEPT)}
    assert result.validated["customers"].dropped == 0
    expected, changed = first_days(frames, dataset), frames["customers"]["customer_id"].head(3).to_list()
    joined = dict(result.tables.frames["customers"].select("customer_id", "joined_on").iter_rows())
    assert {name: joined[name] for name in changed} == {name: expected[name] for name in changed}
    for name in without(frames, "customers"):
        assert result.tables.frames[name].height == frames[name].height, name
    scored = View(result.tables, dataset.covers_until).customers["customer_id"]
    assert set(changed) <= set(scored)


def test_no_date_before_an_event_knows_of_it(dataset: DatasetConfig, tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    result = deliver(altered(frames, "customers", columns(joined_on=pl.lit(None, pl.Date))), tmp_path, dataset)
    first = first_days(frames, dataset)
    some = sorted(set(first.values()))[len(set(first.values())) // 2]
    known = set(View(result.tables, some).customers["customer_id"])
    assert known == {name for name, day in first.items() if day < some}


@pytest.mark.parametrize(("day", "reason"), DOUBTS[1:])
def test_a_customer_whom_no_event_dates_is_set_aside_with_what_points_at_them(
    day: date | None, reason: str, dataset: DatasetConfig, tmp_path: Path
) -> None:
    frames = CONTRACT_FILES.frames()
    shown = datetime.combine(dataset.covers_until - timedelta(days=9), datetime.min.time(), UTC)
    frames = altered(frames, "customers", once_more(customer_id="n1", joined_on=day))
    frames = altered(frames, "campaign_events", once_more(customer_id="n1", event="targeted", at=shown))
    result = deliver(frames, tmp_path, dataset)
    assert told(result.validated["customers"]) == {reason: (1, "dropped")}
    because = "campaign_events.customer_id: unknown customer, because its row in table customers was set aside"
    assert told(result.validated["campaign_events"]) == {because: (1, "dropped")}
    assert result.validated["customers"].dropped == result.validated["campaign_events"].dropped == 1
    assert "n1" not in result.tables.frames["customers"]["customer_id"]


def test_a_copy_without_a_day_gives_way_to_the_row_with_one(dataset: DatasetConfig, tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    plain = deliver(frames, tmp_path / "plain", dataset)
    result = deliver(altered(frames, "customers", once_more(joined_on=None)), tmp_path / "copy", dataset)
    assert told(result.validated["customers"]) == {"customers.joined_on is missing": (1, "dropped")}
    assert same(result.tables, plain.tables)


@both_sources
def test_nobody_sees_a_campaign_before_it_starts(sound: Sound, tmp_path: Path) -> None:
    frames = sound.frames()
    if sound is CONTRACT_FILES:
        table, reason = "campaign_events", "campaign_events.at is before starts_on of its row in table campaigns"
        first = frames["campaigns"]["starts_on"].min() - timedelta(days=9)
        early = datetime.combine(first, datetime.min.time(), UTC)
        frames = altered(frames, table, *(once_more(event=event, at=early) for event in ("click", "targeted")))
    else:
        table = "coupon_redemptions"
        reason = f"{table}.redemption_date is before start_date of its row in table campaign_descriptions"
        frames = altered(frames, table, once_more(redemption_date=datetime(2017, 1, 20)))
    result = deliver(frames, tmp_path, sound.dataset()).validated[table]
    assert told(result) == {reason: (1, "dropped")}


def test_a_visit_before_its_campaign_has_no_campaign(dataset: DatasetConfig, tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    late = frames["campaigns"].sort("starts_on")["campaign_id"][-1]
    frames = altered(frames, "sessions", lambda f: f.sort("at"), first_rows(2, campaign_id=late))
    result = deliver(frames, tmp_path, dataset)
    reason = "sessions.at is before starts_on of its row in table campaigns"
    assert told(result.validated["sessions"]) == {reason: (2, "kept without campaign_id")}
    assert result.tables.frames["sessions"].height == frames["sessions"].height


LOOKALIKES = [
    ("{} ", "trimming"),
    ("\ufeff{}", "trimming"),
    ("{}\u00a0", "trimming"),
    ("upper", "trimming and case folding"),
    ("\uff43{}", "trimming, case folding and Unicode normalisation"),
    ("00{}", "leaving out leading zeros or a final .0"),
]


@pytest.mark.parametrize(("form", "words"), LOOKALIKES)
def test_an_unknown_key_that_looks_like_a_known_one_says_so(
    form: str, words: str, dataset: DatasetConfig, tmp_path: Path
) -> None:
    frames = CONTRACT_FILES.frames()
    name = frames["transactions"]["customer_id"][0]
    other = {"upper": name.upper(), "\uff43{}": "\uff43" + name[1:]}.get(form, form.format(name))
    result = deliver(altered(frames, "transactions", first_rows(1, customer_id=other)), tmp_path, dataset)
    reason = f"transactions.customer_id: unknown customer, but equal to a known one after {words}"
    assert told(result.validated["transactions"]) == {reason: (1, "dropped")}


def test_a_key_whose_row_was_set_aside_names_that_table(dataset: DatasetConfig, tmp_path: Path) -> None:
    frames = altered(CONTRACT_FILES.frames(), "customers", lambda f: f.sort("customer_id", descending=True))
    frames = altered(frames, "customers", once_more(gender="x"), once_more(1, gender="x"))
    folder = write(frames, tmp_path)
    with pytest.raises(DeliveryError) as caught:
        ingest(read_delivery(dataset, folder)).check_limits()
    text = str(caught.value)
    assert "transactions.customer_id: unknown customer, because its row in table customers was set aside" in text
    assert "customers: same key (customer_id) with different contents" in text


def test_households_without_a_purchase_name_the_table_that_lacks_them(tmp_path: Path) -> None:
    frames = altered(COMPLETEJOURNEY.frames(), "demographics", columns(household_id=pl.col("household_id") + 100))
    with pytest.raises(DeliveryError, match=r"unknown household \(table transactions has no purchase of it\)"):
        deliver(frames, tmp_path, COMPLETEJOURNEY.dataset()).check_limits()


@pytest.mark.parametrize("name", ["CLOSED_ON", "Closed_On", " closed_on", "closed-on"])
def test_a_column_in_other_letters_is_not_absent(name: str, dataset: DatasetConfig, tmp_path: Path) -> None:
    frames = altered(CONTRACT_FILES.frames(), "holdings", lambda f: f.rename({"closed_on": name}))
    with pytest.raises(DeliveryError, match=rf"table holdings: '{name}' is not holdings\.closed_on: spell the column"):
        deliver(frames, tmp_path, dataset)


@both_sources
def test_a_column_in_capitals_is_suggested(sound: Sound, tmp_path: Path) -> None:
    frames = altered(sound.frames(), "transactions", lambda f: f.rename(str.upper))
    name = sound.customer
    with pytest.raises(DeliveryError, match=rf"transactions\.{name} \(.*; did you mean '{name.upper()}'\?\)"):
        deliver(frames, tmp_path, sound.dataset())
