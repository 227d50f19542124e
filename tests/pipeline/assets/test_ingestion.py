"""Altered deliveries: quarantine with a reason and a count, or one clear error; never half a partition."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from feature_assets.data.contract import CONTRACT
from feature_assets.data.parts import PARTS
from feature_assets.sources import reader_of
from pipeline.assets.ingestion import READABLE, ingestion_assets, rows_to_read
from pipeline.home.folder import Home
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake
from pipeline.resources.publication import Published
from pipeline.settings import Settings

AS_OF = "2018-01-01"


def ingest(home: Path, delivery: Path, **more: object) -> dg.ExecuteInProcessResult:
    settings = Settings.model_validate({"home": home, "data_dir": delivery, **more})
    dataset = settings.load_dataset()
    assets = ingestion_assets(settings, dataset, as_of_partitions(dataset))
    lake = Lake(root=str(Home(home).lake))
    return dg.materialize(assets, partition_key=AS_OF, resources={"lake": lake}, raise_on_error=False)


def alter(small_delivery: Path, to: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """A delivery of links to the good one, with one table written anew."""
    to.mkdir()
    for file in small_delivery.iterdir():
        if file.stem != table:
            (to / file.name).symlink_to(file)
    change(pl.read_parquet(small_delivery / f"{table}.parquet")).write_parquet(to / f"{table}.parquet")
    return to


def reasons(home: Path, table: str = "transactions") -> dict[str, int]:
    rows = Published(Home(home).lake, f"quarantine/{table}").read(AS_OF)
    return dict(rows.group_by("reason").len().iter_rows())


def hundredth(frame: pl.DataFrame) -> pl.Expr:
    return pl.int_range(frame.height, eager=False) % 100 == 0


def later(frame: pl.DataFrame) -> pl.DataFrame:
    """The same lines in new baskets of the year 2030."""
    instant = pl.lit(datetime(2030, 1, 1)).cast(frame["transaction_timestamp"].dtype)
    return frame.with_columns(instant.alias("transaction_timestamp"), pl.col("basket_id") + 10**12)


ROW_FAULTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "negative quantity": (
        lambda t: t.with_columns(pl.when(hundredth(t)).then(-1).otherwise("quantity").alias("quantity")),
        "quantity",
    ),
    "no amount": (
        lambda t: t.with_columns(pl.when(hundredth(t)).then(None).otherwise("sales_value").alias("sales_value")),
        "sales_value",
    ),
    "exact copies": (lambda t: pl.concat([t, t.gather_every(100)]), "copy"),
    "conflicting keys": (
        lambda t: pl.concat([t, t.gather_every(200).with_columns(pl.col("sales_value") + 1)]),
        "same key",
    ),
    "future events": (lambda t: pl.concat([t, later(t.head(50))]), "future"),
    "unknown product": (
        lambda t: t.with_columns(pl.when(hundredth(t)).then(-7).otherwise("product_id").alias("product_id")),
        "unknown product",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_bad_rows_are_quarantined_with_their_reason(fault: str, small_delivery: Path, tmp_path: Path) -> None:
    change, word = ROW_FAULTS[fault]
    home = tmp_path / "home"
    result = ingest(home, alter(small_delivery, tmp_path / "delivery", "transactions", change))
    assert result.success
    found = {reason: count for reason, count in reasons(home).items() if word in reason}
    assert len(found) == 1, reasons(home)
    assert next(iter(found.values())) >= 50
    shown = result.asset_materializations_for_node("ingest")[-1].metadata["reasons"].value
    assert next(iter(found)) in shown


DELIVERY_FAULTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], list[str]]] = {
    "missing column": (lambda t: t.drop("sales_value"), ["transactions", "sales_value"]),
    "wrong type": (
        lambda t: t.with_columns(pl.lit("three dollars").alias("sales_value")),
        ["transactions", "sales_value", "three dollars"],
    ),
    "empty": (lambda t: t.head(0), ["transactions"]),
    "too many bad rows": (
        lambda t: t.with_columns(
            pl.when(pl.col("basket_id") % 5 == 0).then(-1).otherwise("quantity").alias("quantity")
        ),
        ["transactions", "quantity", "limit"],
    ),
}


@pytest.mark.parametrize("fault", DELIVERY_FAULTS)
def test_a_broken_delivery_is_one_clear_error(fault: str, small_delivery: Path, tmp_path: Path) -> None:
    change, words = DELIVERY_FAULTS[fault]
    home = tmp_path / "home"
    result = ingest(home, alter(small_delivery, tmp_path / "delivery", "transactions", change))
    assert not result.success
    error = result.failure_data_for_node("ingest").error
    message = error.message if error.cause is None else error.cause.message
    assert all(word in message for word in words), message
    assert not (Home(home).lake / "tables").exists(), "a partition of a broken delivery was published"


def test_a_missing_optional_table_switches_off_what_needs_it(small_delivery: Path, tmp_path: Path) -> None:
    delivery = tmp_path / "delivery"
    shutil.copytree(small_delivery, delivery)
    (delivery / "campaigns.parquet").unlink()
    home = tmp_path / "home"
    assert ingest(home, delivery).success
    tables = Lake(root=str(Home(home).lake)).tables(AS_OF)
    assert {"ctr", "cvr"} <= set(tables.dataset.tasks_off)


def test_what_the_source_never_holds_is_absent_and_each_table_is_checked(small_delivery: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = ingest(home, small_delivery)
    tables = Lake(root=str(Home(home).lake)).tables(AS_OF)
    absent = {source for source in (*CONTRACT, *PARTS) if not tables.has(source)}
    assert reader_of(tables.dataset).never == absent
    checks = {c.asset_key.path[-1]: c for c in result.get_asset_check_evaluations() if c.check_name == READABLE}
    assert set(checks) == set(CONTRACT)
    assert all(check.passed for check in checks.values())
    assert "not delivered" in str(checks["sessions"].metadata["rows that the night may read"].value)


def test_a_table_without_rows_before_the_as_of_date_fails_its_check(small_delivery: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ingest(home, small_delivery)
    lake = Lake(root=str(Home(home).lake))
    tables, zone = lake.scans(lake.delivery_of(AS_OF)["digest"]), lake.tables(AS_OF).dataset.zone
    assert rows_to_read(tables, "transactions", date(2018, 1, 1), zone).passed
    assert not rows_to_read(tables, "transactions", date(2016, 1, 1), zone).passed
    assert rows_to_read(tables, "sessions", date(2016, 1, 1), zone).passed


def test_a_second_delivery_of_the_same_files_is_not_read_again(
    small_delivery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    assert ingest(home, small_delivery).success

    def refuse(_: object) -> None:
        raise AssertionError("the delivery was validated again")

    monkeypatch.setattr("pipeline.intake.deliveries.ingest", refuse)
    assert ingest(home, small_delivery).success
    assert len(list((Home(home).lake / "deliveries").iterdir())) == 1


def test_a_delivery_that_collapsed_stops_until_it_is_accepted(small_delivery: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert ingest(home, small_delivery).success
    alone = alter(small_delivery, tmp_path / "alone", "transactions", lambda t: t.filter(_of_one(t)))
    loose = {"quarantine_limits": dict.fromkeys(("demographics", "campaigns", "coupon_redemptions"), 1.0)}
    yaml_file = tmp_path / "completejourney.yaml"
    described = Settings(home=home).load_dataset().model_dump(mode="json") | loose
    yaml_file.write_text(yaml.safe_dump(described))
    before = (Home(home).lake / "tables" / f"as_of={AS_OF}" / "delivery.json").read_text()
    result = ingest(home, alone, dataset_file=yaml_file)
    assert not result.success
    error = result.failure_data_for_node("ingest").error
    message = error.message if error.cause is None else error.cause.message
    assert "transactions: distinct customer_id fell to 1, before at least 240" in message
    digest = re.search(r"volume: \{accepted: \[(\w+)\]", message)
    assert digest is not None, message
    assert (Home(home).lake / "tables" / f"as_of={AS_OF}" / "delivery.json").read_text() == before

    result = ingest(home, alone, dataset_file=yaml_file, volume={"accepted": [digest[1]]})
    assert result.success
    [check] = [c for c in result.get_asset_check_evaluations() if c.check_name == "volume_as_before"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    unusual = json.loads((Home(home).lake / "tables" / f"as_of={AS_OF}" / "volume.json").read_text())
    assert any("distinct customer_id fell to 1" in line for line in unusual)
    assert ingest(home, alone, dataset_file=yaml_file).success, "an accepted delivery is a good one"


def _of_one(lines: pl.DataFrame) -> pl.Expr:
    return pl.col("household_id") == lines["household_id"][0]
