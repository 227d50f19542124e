"""The digest of a delivery covers its bytes, its description and the code that reads it, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import feature_assets
from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources import Delivery
from pipeline import deliveries
from pipeline.resources.lake import Lake


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


def test_old_deliveries_go_and_the_present_one_stays(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for number in range(deliveries.KEPT_DELIVERIES + 2):
        lake.delivery(f"d{number}").mkdir(parents=True)
    os.utime(lake.delivery("d0"), (1, 1))
    deliveries.delete_old(lake, keep="d0")
    assert len(list(lake.path("deliveries").iterdir())) == deliveries.KEPT_DELIVERIES + 1
    assert lake.delivery("d0").exists()
