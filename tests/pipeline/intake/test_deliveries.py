"""The digest of a delivery covers its bytes, its description and the code that reads it, and nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

import feature_assets
from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources import Delivery
from pipeline.intake import deliveries
from pipeline.resources.digests import file_digest
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from tests.damage import flip


@pytest.fixture
def delivery(tmp_path: Path, dataset: DatasetConfig) -> Delivery:
    (tmp_path / "delivered").mkdir()
    files = {name: tmp_path / "delivered" / f"{name}.parquet" for name in ("customers", "transactions")}
    for name, file in files.items():
        file.write_text(name)
    return Delivery(dataset, files, {})


def test_content_and_description_change_the_digest(delivery: Delivery) -> None:
    first = deliveries.delivery_digest(delivery)
    assert deliveries.delivery_digest(delivery) == first
    unstated = DatasetConfig(**delivery.dataset.model_dump(exclude={"horizon_days"}))
    assert unstated == delivery.dataset, "it says the same, but short data may change it"
    assert deliveries.delivery_digest(Delivery(unstated, delivery.files, {})) != first
    described = delivery.dataset.model_copy(update={"horizon_days": 14})
    assert deliveries.delivery_digest(Delivery(described, delivery.files, {})) != first
    delivery.files["customers"].write_text("others")
    assert deliveries.delivery_digest(delivery) != first


def test_of_the_code_only_what_reads_a_delivery(
    delivery: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {file.relative_to(Path(feature_assets.__path__[0])).parts[0] for file in deliveries.reading_code()}
    assert {"data", "sources"} <= folders
    assert not folders & {"kernels", "groups", "labels", "events", "simulation"}
    first = deliveries.delivery_digest(delivery)
    edited = tmp_path / "reader.py"
    edited.write_text("x = 1")
    monkeypatch.setattr(deliveries, "reading_code", lambda: [edited])
    assert deliveries.delivery_digest(delivery) != first


def test_a_kept_delivery_that_was_altered_is_validated_again_and_says_so(
    small_delivery: Path, dataset: DatasetConfig, tmp_path: Path
) -> None:
    lake, said = Lake(root=str(tmp_path)), []
    day = date(2018, 1, 1)
    kept = deliveries.of_night(dataset, small_delivery, lake, day, said.append, lambda *_: {})
    whole = {file.name: file_digest(file) for file in kept.folder.rglob("*") if file.is_file()}
    assert said == []
    (kept.folder / "campaigns.parquet").unlink()
    flip(kept.folder / "transactions.parquet")
    publish_json({"digest": kept.digest}, lake.partition("tables", str(day)) / "delivery.json")
    altered = f"{kept.folder} was altered: campaigns.parquet, transactions.parquet"
    with pytest.raises(dg.Failure, match=f"{altered}: materialise the ingestion assets again"):
        lake.tables(str(day))
    again = deliveries.of_night(dataset, small_delivery, lake, day, said.append, lambda *_: {})
    assert said == [f"{altered}; the delivery is validated again"]
    assert {file.name: file_digest(file) for file in again.folder.rglob("*") if file.is_file()} == whole
    (again.folder / "seal.json").write_text("{")
    with pytest.raises(dg.Failure, match=r"was altered: seal\.json"):
        lake.tables(str(day))
