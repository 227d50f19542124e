"""docs/own_data.md is executed: its files are written, its tables filled, described as there, and read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from feature_assets.data.database import DatabaseTable
from feature_assets.data.dataset import load_dataset
from feature_assets.data.mapping import ColumnMapping, TableMapping, TextFormat
from feature_assets.data.tables import Tables
from feature_assets.sources import Ingested, ingest, read_delivery
from pipeline.intake import deliveries
from pipeline.monitoring import volume
from pipeline.resources.lake import Lake
from pipeline.settings import VolumeLimits
from tests.pipeline.postgres_server import Server

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"
BLOCK = re.compile(r"^```(?:csv|yaml)\n# (?P<file>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


SQL = re.compile(r"^```sql\n-- (?P<file>\w+)\.sql.*?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("tea_house")
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (folder / name).write_text(text, encoding="utf-8")
    return ingest(read_delivery(load_dataset(str(folder / "tea_house.yaml"), folder)))


def test_the_example_becomes_contract_tables(read: Ingested) -> None:
    frames = read.tables.frames
    lines = frames["transactions"].sort("at", "product_id").select("customer_id", "product_id", "amount", "kind")
    assert lines.rows() == [
        ("00017", "K2", 1003.9, "purchase"),
        ("00017", "T1", 9.0, "purchase"),
        ("00023", "T1", 4.5, "purchase"),
        ("00017", "T3", 8.4, "purchase"),
        ("00023", "T1", -4.5, "refund"),
    ]
    assert frames["transactions"]["at"].min() == datetime(2023, 1, 2, 8, 15, tzinfo=UTC)
    assert frames["products"].select("product_id", "brand").rows() == [
        ("K2", "Ironworks"), ("T1", "Leaf & Co"), ("T3", None)
    ]  # fmt: skip
    assert frames["customers"].rows() == [("00017", date(2023, 1, 2), "gold"), ("00023", date(2023, 1, 2), None)]
    assert read.tables.protected.rows() == [("00017", "f"), ("00023", "m")]
    assert "table transactions: 1 of 6 rows are left out: not as where says (not missing(Kunde))" in read.notes


def test_nothing_is_set_aside(read: Ingested) -> None:
    assert {name: found.dropped for name, found in read.validated.items()} == dict.fromkeys(read.validated, 0)


def test_the_example_of_a_database_is_read_night_by_night(postgres: Server, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    filled = dict(SQL.findall(page))
    url = postgres.database()
    described = dict(BLOCK.findall(page))["till.yaml"].replace("postgresql://ple@db.example:5432/shop", url)
    (tmp_path / "till.yaml").write_text(described, encoding="utf-8")
    dataset, lake = load_dataset(str(tmp_path / "till.yaml"), tmp_path), Lake(root=str(tmp_path / "lake"))
    said: list[str] = []
    paid = {}
    for day, name in ((date(2023, 1, 10), "till_day_1"), (date(2023, 1, 11), "till_day_2")):
        postgres.run(filled[name], url.rpartition("/")[2])
        judge = volume.judge_of_arrivals(VolumeLimits())
        night = deliveries.of_night(dataset, None, lake, day, said.append, judge)
        lines = Tables.load(lake.delivery(night.digest)).frames["transactions"].sort("transaction_id")
        paid[day.day] = lines.select("transaction_id", "amount").rows()
    assert paid[10] == [("1", 9.0), ("2", 1003.9), ("3", 4.5)]
    assert paid[11] == [("1", 9.0), ("2", 1003.9), ("3", 5.5), ("4", 4.5), ("5", 899.0), ("6", 4.5)]
    [line] = re.findall(r"`(table transactions: read [^`]*)`", page)
    assert line.replace("db.example:5432/shop", url.partition("@")[2]) in said


def test_the_page_explains_every_key() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", PAGE.read_text(encoding="utf-8")))
    for settings in (TableMapping, TextFormat, ColumnMapping, DatabaseTable):
        assert set(settings.model_fields) - explained == set()
