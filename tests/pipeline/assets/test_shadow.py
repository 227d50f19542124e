"""Shadow scores: beside the scores, by the challenger's own features, and never at the cost of the night."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pipeline.assets import shadow
from pipeline.definitions import build_definitions
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake, ParquetIOManager
from pipeline.resources.publication import Published
from pipeline.resources.tracking import REFUSED, RegisteredVersion, Tracking
from pipeline.settings import Settings

DAY = "2018-01-01"
SCORES = pl.DataFrame({"customer_id": ["a", "b"], "churn": [0.25, 0.5]})


class Registry(Tracking):
    """Stands in for MLflow: a challenger that was trained as of a date, or none."""

    trained: str | None

    def challenger(self) -> RegisteredVersion | None:
        if self.trained is None:
            return None
        day = date.fromisoformat(self.trained)
        return RegisteredVersion("8", "r", day, "s", self.dataset, Path(), REFUSED)


def run(home: Path, trained: str | None = "2017-12-31") -> dg.ExecuteInProcessResult:
    settings = Settings(home=home)
    dataset = settings.load_dataset()
    lake = str(home / "lake")
    resources: dict[str, Any] = {
        "lake": Lake(root=lake),
        "tracking": Registry(uri="", artifacts="", dataset=dataset.name, trained=trained),
        "settings": settings,
        "io_manager": ParquetIOManager(root=lake),
    }
    assets = shadow.shadow_assets(dataset, as_of_partitions(dataset))
    return dg.materialize(assets, partition_key=DAY, resources=resources, raise_on_error=False)


def warned(result: dg.ExecuteInProcessResult) -> str:
    [check] = result.get_asset_check_evaluations()
    return "" if check.passed else str(check.metadata["what"].value)


def test_the_asset_is_there_only_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    for asked in ("off", "on"):
        settings = Settings(home=tmp_path, promotion={"shadow": asked})  # type: ignore[arg-type]  # as in the file
        keys = build_definitions(settings).resolve_job_def("nightly").asset_layer.executable_asset_keys
        assert (shadow.SHADOW in keys) is (asked == "on")


def test_the_scores_of_the_challenger_lie_where_no_reader_of_scores_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "shadow", lambda *_: (SCORES, {}))
    result = run(tmp_path)
    assert result.success
    assert not warned(result)
    [written] = [file for file in (tmp_path / "lake").rglob("*") if file.is_file()]
    assert written.is_relative_to(tmp_path / "lake" / "published" / "shadow" / "scores")
    assert Published(tmp_path / "lake", "shadow/scores").read(DAY).equals(SCORES)
    assert not (tmp_path / "lake" / "scores").exists()
    metadata = result.asset_materializations_for_node("shadow__scores")[0].metadata
    assert (metadata["model version"].value, metadata["status"].value) == ("8", REFUSED)


@pytest.mark.parametrize("trained", [None, "2018-01-02"])
def test_without_a_challenger_of_this_time_nothing_is_written(trained: str | None, tmp_path: Path) -> None:
    result = run(tmp_path, trained)
    assert result.success
    assert not warned(result)
    assert not (tmp_path / "lake").exists()
    assert not result.asset_materializations_for_node("shadow__scores")


def test_a_challenger_that_cannot_score_warns_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("ltv has 3 nulls")

    monkeypatch.setattr(shadow, "shadow", fail)
    result = run(tmp_path)
    assert result.success
    assert warned(result) == "version 8: ValueError: ltv has 3 nulls"
    assert not (tmp_path / "lake").exists(), "nothing is published, nothing is left behind"
