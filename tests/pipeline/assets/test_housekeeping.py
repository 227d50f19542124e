"""Housekeeping costs no night: it says what went and what could not go."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.monitoring import monitoring_assets
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking
from pipeline.settings import Settings
from pipeline.upkeep import retention

DAY = "2018-01-01"


@pytest.mark.parametrize("fault", ["", "one", "plan"])
def test_the_night_goes_on_whatever_cannot_be_removed(
    fault: str, tmp_path: Path, dataset: DatasetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> None:
        raise PermissionError(13, "Permission denied")

    def plan(*_: object) -> list[retention.Removal]:
        if fault == "plan":
            refuses()
        removals = [retention.Removal("report", f"r{number}", "old", 2**20, lambda: None) for number in range(2)]
        return [*removals, retention.Removal("report", "kept", "old", 0, refuses)] if fault == "one" else removals

    monkeypatch.setattr(retention, "plan", plan)
    [housekeeping] = [
        a for a in monitoring_assets(dataset, dg.StaticPartitionsDefinition([DAY])) if "house" in str(a.key)
    ]
    resources = {
        "lake": Lake(root=str(tmp_path)),
        "tracking": Tracking(uri="", artifacts="", dataset=dataset.name),
        "settings": Settings(home=tmp_path),
    }
    result = dg.materialize([housekeeping], partition_key=DAY, resources=resources)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (not fault, dg.AssetCheckSeverity.WARN)
    (made,) = result.asset_materializations_for_node("housekeeping")
    if fault:
        assert "Permission denied" in str(check.metadata["could not be removed"].value)
    else:
        assert made.metadata["MiB"].value == 2.0
        assert "report" in str(made.metadata["removed"].value)
