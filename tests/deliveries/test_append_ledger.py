"""The ledger of arrivals in the lake: whole or not at all, old dates again bit for bit, and what the UI shows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from pipeline import intake
from pipeline.assets.ingestion import ingestion_assets
from pipeline.cli import main
from pipeline.intake import arrivals, deliveries
from pipeline.intake.inbox import last_day
from pipeline.monitoring import volume
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake
from pipeline.resources.publication import Published
from pipeline.settings import Settings, VolumeLimits
from tests.deliveries import shop
from tests.deliveries.arriving import DAYS, Night, arrive, before, between, daily, digests
from tests.deliveries.makers import first_rows, same


def of_night(own: DatasetConfig, lake: Lake, day: date, inbox: Path | None = None) -> deliveries.NightsDelivery:
    judge = volume.judge_of_arrivals(VolumeLimits())
    return deliveries.of_night(own, inbox, lake, day, lambda _: None, judge)


# --- an old as-of date ----------------------------------------------------------------------------------------------
def test_an_old_date_again_is_what_it_was_bit_for_bit(own: DatasetConfig, inbox: Path, tmp_path: Path) -> None:
    """After corrections and late rows arrived, from the lake alone: without the inbox, tables or versions."""
    frames = daily(inbox)
    lines = before(frames, DAYS[0])
    arrive(inbox, DAYS[0], transactions=lines.gather_every(2))
    arrive(
        inbox,
        DAYS[1],
        transactions=pl.concat([lines, between(frames, DAYS[0], DAYS[1])]),
        customers=frames["customers"],
    )
    arrive(inbox, DAYS[2], transactions=first_rows(50, amount=99.0)(lines))
    lake = Lake(root=str(tmp_path / "home" / "lake"))
    first = {day: of_night(own, lake, day) for day in DAYS}
    assert len({delivery.digest for delivery in first.values()}) == len(DAYS)
    written = {day: digests(delivery.folder) for day, delivery in first.items()}
    for folder in ("deliveries", "versions"):
        shutil.rmtree(lake.path(folder))
    later = own.model_copy(update={"covers_until": date(2098, 1, 1)})  # the data set reaches elsewhere by now
    empty = tmp_path / "empty"
    empty.mkdir()
    for day in DAYS[:3]:
        again = of_night(later, lake, day, empty)
        assert again.digest == first[day].digest
        assert digests(again.folder) == written[day]
    assert of_night(later, lake, date(2023, 10, 9), empty).digest == first[DAYS[-1]].digest


def test_another_description_reads_the_old_deliveries_anew(own: DatasetConfig, inbox: Path, tmp_path: Path) -> None:
    frames = daily(inbox)
    night = Night(tmp_path / "home", own)
    night(DAYS[1])
    kept = digests(night.lake.path("arrivals"))
    night.dataset = own.model_copy(update={"channels": ("till", "web", "letter")})
    tables = night(DAYS[1])
    phoned = before(frames, DAYS[1]).filter(pl.col("channel") == "phone").height
    assert tables.frames["transactions"]["channel"].null_count() == phoned > 0
    assert digests(night.lake.path("arrivals")) == kept
    night.ledger.forget_old_versions()
    assert len(list(night.lake.path("versions", "shop").iterdir())) == 1


# --- whole or not at all --------------------------------------------------------------------------------------------
class Killed(BaseException):
    """Nothing catches it, as nothing catches the end of a process."""


PLACES = [
    *("arrivals.shutil.copyfile", "arrivals.check", "arrivals.resolved", "arrivals.meet"),
    *("arrivals.seal", "arrivals.publish_folder"),
    *("versions.publish_frame", "versions.seal", "versions.publish_folder", "versions.save"),
]


@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_an_arrival_is_in_the_ledger_whole_or_not_at_all(
    place: str, call: int, own: DatasetConfig, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = daily(inbox)
    arrive(inbox, DAYS[1], products=frames["products"].head(3))
    night = Night(tmp_path / "home", own)
    with monkeypatch.context() as patch:
        patch.setattr(f"pipeline.intake.{place}", killing(_found(place), call))
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # what is killed tidies nothing up
        with pytest.raises(Killed):
            night(DAYS[2])
    assert len(night.ledger.entries()) < 3
    for entry in night.ledger.entries():
        assert not arrivals.broken(night.lake.path("arrivals", "shop", entry.name))
    tables = night(DAYS[2])
    whole = Night(tmp_path / "other", own)
    assert same(whole(DAYS[2]), tables)
    assert night.ledger.digest(DAYS[2]) == whole.ledger.digest(DAYS[2])
    assert digests(night.lake.path("arrivals")) == digests(whole.lake.path("arrivals"))
    assert digests(night.lake.path("versions")) == digests(whole.lake.path("versions"))


def _found(place: str) -> Callable[..., Any]:
    found: Any = intake
    for name in place.split("."):
        found = getattr(found, name)
    return found


def killing(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    """`call`, whose so-manieth call is the last thing that happens."""
    left = [number]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise Killed
        return call(*arguments, **options)

    return wrapped


def test_a_file_that_changes_while_it_is_copied_is_not_taken_in(
    own: DatasetConfig, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily(inbox)
    night = Night(tmp_path / "home", own)

    def other(source: Path, target: Path) -> None:
        pl.read_parquet(source).reverse().write_parquet(target)

    monkeypatch.setattr("pipeline.intake.arrivals.shutil.copyfile", other)
    with pytest.raises(DeliveryError, match="changed while it was read"):
        night(DAYS[0])
    assert night.ledger.entries() == []


# --- verified when read ---------------------------------------------------------------------------------------------
def test_altered_versions_are_made_again_and_altered_copies_refused(
    own: DatasetConfig, inbox: Path, tmp_path: Path
) -> None:
    daily(inbox)
    night = Night(tmp_path / "home", own)
    tables = night(DAYS[2])
    file = sorted(night.lake.path("versions").rglob("transactions.parquet"))[1]
    content = file.read_bytes()
    first_rows(1, amount=0.0)(pl.read_parquet(file)).write_parquet(file)
    assert same(night(DAYS[2]), tables)
    assert file.read_bytes() == content
    copy = sorted(night.lake.path("arrivals").rglob("transactions.parquet"))[1]
    first_rows(1, amount=0.0)(pl.read_parquet(copy)).write_parquet(copy)
    assert same(night(DAYS[2]), tables)  # what was made of it is whole
    shutil.rmtree(night.lake.path("versions"))
    with pytest.raises(DeliveryError, match=r"was altered: delivered/transactions.parquet: restore the folder"):
        night(DAYS[2])
    shutil.rmtree(copy.parents[1])
    with pytest.raises(DeliveryError, match=r"arrival 2 is missing in .*: restore the folder from a backup"):
        night(DAYS[2])


# --- in the UI ------------------------------------------------------------------------------------------------------
def ingest(own: DatasetConfig, home: Path, day: date, **limits: Any) -> dg.ExecuteInProcessResult:
    assert own.folder is not None
    settings = Settings(home=home, dataset_file=own.folder.parent / "shop.yaml", volume=VolumeLimits(**limits))
    assets = ingestion_assets(settings, own, as_of_partitions(own))
    lake = Lake(root=str(home / "lake"))
    return dg.materialize(assets, partition_key=str(day), resources={"lake": lake}, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult, *key: str) -> dict[str, Any]:
    found = [e for e in result.asset_materializations_for_node("ingest") if e.asset_key == dg.AssetKey(key)]
    return {name: value.value for name, value in found[-1].metadata.items()}


def test_the_ui_counts_what_arrived(own: DatasetConfig, inbox: Path, tmp_path: Path) -> None:
    frames = daily(inbox)
    lines, today = before(frames, DAYS[0]), between(frames, DAYS[0], DAYS[1])
    arrive(inbox, DAYS[0], transactions=lines.slice(3))
    told = pl.concat([lines.head(3), first_rows(2, amount=99.0)(lines.slice(3, 20)), today])
    bad = today.head(1).with_columns(transaction_id=pl.lit("bad"), amount=pl.lit(-1.0))
    own = own.model_copy(update={"quarantine_limits": {"transactions": 0.2}})
    arrive(inbox, DAYS[1], transactions=pl.concat([told, bad]))
    home = tmp_path / "home"
    assert ingest(own, home, DAYS[0]).success
    result = ingest(own, home, DAYS[1])
    assert result.success
    shown = metadata(result, "tables", "transactions")
    assert {name.removeprefix("arrived: "): n for name, n in shown.items() if name.startswith("arrived: ")} == {
        "delivered": told.height + 1,
        "new": 3 + today.height,
        "corrected": 2,
        "repeated": 18,
        "late": 3,
        "set aside": 1,
        "copies": 0,
    }
    assert shown["dagster/row_count"] == before(frames, DAYS[1]).height
    assert str(DAYS[0]) in shown["arrivals, newest first"]
    quarantine = metadata(result, "quarantine")
    assert quarantine["dagster/row_count"] == 1
    assert quarantine["arrived: new"] == 3 + today.height
    rows = Published(home / "lake", "quarantine/transactions").read(str(DAYS[1]))
    assert rows["arrived_on"].to_list() == [DAYS[1]]
    old = ingest(own, home, DAYS[0])  # an old date again
    assert metadata(old, "tables", "transactions")["arrived: new"] == lines.height - 3
    assert metadata(old, "quarantine")["dagster/row_count"] == 0


def test_a_delivery_over_its_limit_stops_the_night_and_is_not_taken_in(
    own: DatasetConfig, inbox: Path, tmp_path: Path
) -> None:
    """Lines of customers that are not known count as well, however many good rows came before."""
    frames = daily(inbox)
    home = tmp_path / "home"
    assert ingest(own, home, DAYS[0]).success
    good = between(frames, DAYS[0], DAYS[1])
    arrive(inbox, DAYS[1], transactions=first_rows(5, customer_id="nobody")(good))
    result = ingest(own, home, DAYS[1])
    assert not result.success
    error = result.failure_data_for_node("ingest").error
    message = error.message if error.cause is None else error.cause.message
    for words in (f"the delivery of {DAYS[1]} is not taken in: table transactions: 5 of", "unknown customer"):
        assert words in message, message
    assert "unknown customer" in metadata(result, "quarantine")["reasons"]
    assert not (home / "lake" / "tables" / f"as_of={DAYS[1]}").exists()
    arrive(inbox, DAYS[1], transactions=good)
    result = ingest(own, home, DAYS[1])
    assert result.success
    assert metadata(result, "tables", "transactions")["arrived: new"] == good.height


def test_an_arrival_that_collapsed_is_not_taken_in_until_it_is_accepted(
    own: DatasetConfig, inbox: Path, tmp_path: Path
) -> None:
    """The merged tables only grow: it is compared with earlier arrivals, of which the first brings the history."""
    frames = shop.tables()
    days = [date(2023, 10, day) for day in range(2, 8)]
    home, small = tmp_path / "home", {"smallest": 8}
    lines = before(frames, days[0])
    arrive(inbox, days[0], **frames | {"transactions": lines})
    for first, day in pairwise(days[:-1]):
        arrive(inbox, day, transactions=between(frames, first, day))
    for day in days[:-1]:
        result = ingest(own, home, day, **small)
        assert result.success
        assert check_of(result).passed or check_of(result).severity == dg.AssetCheckSeverity.WARN
    last = between(frames, days[-2], days[-1])
    alone = last.filter(pl.col("customer_id") == last["customer_id"][0]).sample(last.height, with_replacement=True)
    alone = alone.with_columns(transaction_id=pl.format("y{}", pl.int_range(pl.len())))
    arrive(inbox, days[-1], transactions=alone)
    result = ingest(own, home, days[-1], **small)
    assert not result.success
    error = result.failure_data_for_node("ingest").error
    message = error.message if error.cause is None else error.cause.message
    assert f"the delivery of {days[-1]} is not taken in: " in message
    assert "transactions: distinct customer_id fell to 1, before at least" in message
    assert not check_of(result).passed
    assert "every row of the delivery is good" in metadata(result, "quarantine")["reasons"]
    assert not (home / "lake" / "tables" / f"as_of={days[-1]}").exists()
    assert len(Night(home, own).ledger.entries()) == len(days) - 1
    digest = re.search(r"volume: \{accepted: \[(\w+)\]", message)
    assert digest is not None, message
    for _ in range(2):  # the same night again says the same
        result = ingest(own, home, days[-1], **small, accepted=(digest[1],))
        assert result.success
        assert not check_of(result).passed
        assert check_of(result).severity == dg.AssetCheckSeverity.WARN
        unusual = json.loads((home / "lake" / "tables" / f"as_of={days[-1]}" / "volume.json").read_text())
        assert any("distinct customer_id fell to 1" in line for line in unusual)
    assert Night(home, own).ledger.entries()[-1].digest == digest[1]


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(c for c in result.get_asset_check_evaluations() if c.check_name == "volume_as_before")


def test_what_adds_to_a_day_or_repeats_one_is_no_collapse(own: DatasetConfig, inbox: Path, tmp_path: Path) -> None:
    frames = daily(inbox)
    night = Night(tmp_path / "home", own)
    night.judge = volume.judge_of_arrivals(VolumeLimits(smallest=1))
    for day in DAYS[:3]:
        night(day)
    lines = between(frames, DAYS[1], DAYS[2])
    arrive(inbox, DAYS[2], transactions=first_rows(1, amount=99.0)(lines).head(1))
    night(DAYS[2])
    arrive(inbox, DAYS[3], transactions=lines)
    night(DAYS[3])
    assert [entry.arrived_on for entry in night.ledger.entries()] == [*DAYS[:3], *DAYS[2:]]
    judged = [folder.parent.name for folder in sorted(night.lake.path("arrivals", "shop").glob("*/volume.json"))]
    assert [name[:5] for name in judged] == ["00001", "00002", "00003"]


def test_the_commands_read_what_has_arrived(
    own: DatasetConfig, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily(inbox)
    settings = Settings(home=tmp_path / "home", dataset_file=tmp_path / "shop.yaml")
    night = Night(tmp_path / "home", own)
    tables = night(DAYS[-1])
    assert same(deliveries.known_tables(settings, print), tables)
    assert tables.dataset.covers_until == DAYS[-1]
    assert last_day(own, None) == DAYS[-1]
    assert last_day(own.model_copy(update={"delivery": "full"}), None) == own.covers_until
    alone = tmp_path / "alone"
    alone.mkdir()
    monkeypatch.setenv("PLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATASET_FILE", str(tmp_path / "shop.yaml"))
    done = CliRunner().invoke(main, ["base-rates", "--data-dir", str(alone)])
    assert done.exit_code == 1
    assert f"no folder arrived_on=YYYY-MM-DD in {alone}" in done.output


def test_two_data_sets_of_a_home_keep_their_own_arrivals(own: DatasetConfig, inbox: Path, tmp_path: Path) -> None:
    daily(inbox)
    night = Night(tmp_path / "home", own)
    night(DAYS[0])
    other = Night(tmp_path / "home", own.model_copy(update={"name": "kiosk"}))
    with pytest.raises(DeliveryError, match=f"nothing has arrived by {DAYS[0]}: there is no delivery yet"):
        other.ledger.merged(DAYS[0])
    assert other(DAYS[0]).customers == shop.CUSTOMERS
