"""The asset of the drift: what it keeps, shows and warns of, and that no picture costs the night."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from feature_assets import registry
from feature_assets.group import GroupState
from feature_assets.state import FeatureState
from pipeline.assets import monitoring
from pipeline.monitoring.drift import TABLE, rows_of
from pipeline.monitoring.reference import reference, watched
from pipeline.partitions import as_of_partitions
from pipeline.resources.files import publish_frame
from pipeline.resources.lake import Lake, ParquetIOManager
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.settings import DriftLimits, Settings

DAY = date(2017, 12, 1)
NAMES = list(registry.names()[:3])


class Registry(Tracking):
    """Stands in for MLflow: one champion."""

    folder: str

    def champion(self) -> RegisteredVersion | None:
        return RegisteredVersion("3", "r", DAY, "s", self.dataset, Path(self.folder))


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    FeatureState({"normalise": GroupState(meta={"columns": NAMES})}, NAMES).save(bundle / "state")
    (bundle / "tasks.json").write_text(json.dumps([{"name": "churn"}]))
    return bundle


def inputs(number: int, shift: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Matrix and scores of a night; the second input is shifted."""
    rng = np.random.default_rng(number)
    ids = [f"c{i}" for i in range(1_000)]
    matrix = pl.DataFrame({"customer_id": ids} | {name: rng.normal(size=1_000) for name in NAMES})
    scores = pl.DataFrame(
        {"customer_id": ids, "churn": rng.random(1_000), "missing_sources": [[]] * 1_000},
        schema_overrides={"missing_sources": pl.List(pl.String)},
    )
    return matrix.with_columns(pl.col(NAMES[1]) + shift), scores


def earlier(home: Path, bundle: Path, number: int, shift: float = 0.0) -> None:
    """Put what a night keeps into the lake."""
    lake, limits = Lake(root=str(home / "lake")), DriftLimits()
    version = RegisteredVersion("3", "r", DAY, "s", "any", bundle)
    tonight = watched(*inputs(number, shift), NAMES, ["churn"])
    rows = rows_of([tonight], *reference(version, lake, lambda: iter([tonight])), True, limits)
    publish_frame(rows, lake.partition(TABLE, (DAY + timedelta(days=number)).isoformat()) / "part-0.parquet")


def night(home: Path, bundle: Path, number: int, shift: float = 0.0) -> dg.ExecuteInProcessResult:
    """Materialise the drift of a night, whose inputs lie in the lake."""
    settings = Settings(home=home)
    dataset = settings.load_dataset()
    lake, day = Lake(root=str(home / "lake")), (DAY + timedelta(days=number)).isoformat()
    for table, frame in zip(("features/matrix", "scores"), inputs(number, shift), strict=True):
        publish_frame(frame, Path(lake.root, table, f"as_of={day}", "part-0.parquet"))
    resources: dict[str, Any] = {
        "lake": lake,
        "tracking": Registry(uri="", artifacts="", dataset=dataset.name, folder=str(bundle)),
        "settings": settings,
        "io_manager": ParquetIOManager(root=lake.root),
    }
    partitions = as_of_partitions(dataset)
    assets = monitoring.monitoring_assets(dataset, partitions)
    given = [dg.AssetSpec(key, partitions_def=partitions) for key in (monitoring.MATRIX, monitoring.SCORES)]
    return dg.materialize([*assets, *given], partition_key=day, resources=resources, selection=[monitoring.DRIFT])


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def test_a_shift_that_lasts_warns_and_stops_nothing(tmp_path: Path, champion: Path) -> None:
    for number in range(9):
        earlier(tmp_path, champion, number, shift=1.0 if number == 8 else 0.0)
    result = night(tmp_path, champion, 9, shift=1.0)
    assert result.success
    assert checks(result) == {"no_drift": False, "everything_is_shown": True}
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == "no_drift"]
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["columns"].value == NAMES[1]
    metadata = result.asset_materializations_for_node("drift")[0].metadata
    assert metadata["compared with"].value == "first night of version 3"
    assert f"| {NAMES[1]} " in str(metadata["farthest columns"].value).splitlines()[2], "the worst first"
    kept = pl.read_parquet(tmp_path / "lake/drift/as_of=2017-12-10/*.parquet", hive_partitioning=False)
    assert kept.filter("alarms")["column"].to_list() == [NAMES[1]]


def test_a_picture_that_fails_only_warns(tmp_path: Path, champion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr(monitoring, "drift_lines", fail)
    result = night(tmp_path, champion, 0)
    assert result.success
    assert checks(result) == {"no_drift": True, "everything_is_shown": False}
