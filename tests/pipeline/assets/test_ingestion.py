"""Altered deliveries: quarantine with a reason and a count, or one clear error; never half a partition."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipeline.assets.ingestion import ingestion_assets
from pipeline.home import Home
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake
from pipeline.settings import Settings

AS_OF = "2018-01-01"


def ingest(home: Path, delivery: Path) -> dg.ExecuteInProcessResult:
    settings = Settings(home=home, data_dir=delivery)
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
    rows = pl.read_parquet(Home(home).lake / "quarantine" / table / f"as_of={AS_OF}" / "part-0.parquet")
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


def test_a_second_delivery_of_the_same_files_is_not_read_again(
    small_delivery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    assert ingest(home, small_delivery).success

    def refuse(_: object) -> None:
        raise AssertionError("the delivery was validated again")

    monkeypatch.setattr("pipeline.deliveries.ingest", refuse)
    assert ingest(home, small_delivery).success
    assert len(list((Home(home).lake / "deliveries").iterdir())) == 1
