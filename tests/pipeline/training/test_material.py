"""The digest of a training's material changes with everything that decides its content, and with nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from feature_assets.data.dataset import DatasetConfig
from feature_assets.snapshots import NotEnoughHistory
from pipeline.settings import Settings
from pipeline.training import material

DAY = date(2017, 10, 1)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the code of the packages."""
    file = tmp_path / "code.py"
    file.write_text("a = 1")
    monkeypatch.setattr(material, "package_files", lambda: [file])
    return file


def test_content_changes_the_digest(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    plugin = tmp_path / "plugin.py"
    plugin.write_text("")

    def digest(settings: Settings = settings, delivery: str = "d", day: date = DAY, files: tuple = ()) -> str:
        return material.material_digest(settings, delivery, day, files)

    first = digest()
    assert digest() == first
    others = {
        digest(delivery="e"),
        digest(day=date(2017, 10, 8)),
        digest(settings=settings.model_copy(update={"seed": 8})),
        digest(settings=settings.model_copy(update={"plugins": ("mine",)})),
        digest(files=(plugin,)),
    }
    assert len(others | {first}) == 6
    code.write_text("a = 2")
    assert digest() not in others | {first}
    code.write_text("a = 1")
    assert digest() == first
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    assert digest() not in others | {first}


def test_where_and_when_a_training_runs_does_not(code: Path, tmp_path: Path) -> None:
    assert code.exists()
    settings = Settings(home=tmp_path)
    moved = Settings(home=tmp_path / "b", data_dir=tmp_path, schedule_cron="0 4 * * *", retrain_after_days=3)
    assert material.material_digest(settings, "d", DAY) == material.material_digest(moved, "d", DAY)


def test_all_three_packages_are_covered() -> None:
    names = {str(file) for file in material.package_files()}
    for part in ("feature_assets/build.py", "ple_model/model.py", "pipeline/training/training_set.py"):
        assert any(name.endswith(part) for name in names), part


def test_the_plan_follows_the_settings_and_refuses_too_early_a_date(tmp_path: Path, dataset: DatasetConfig) -> None:
    weekly = material.training_plan(Settings(home=tmp_path), dataset, date(2018, 1, 1))
    monthly = material.training_plan(Settings(home=tmp_path, snapshot_step_days=28), dataset, date(2018, 1, 1))
    assert len(weekly.train) > len(monthly.train) > 0
    assert "balance_util" not in weekly.windows
    with pytest.raises(NotEnoughHistory, match="earliest possible"):
        material.training_plan(Settings(home=tmp_path), dataset, date(2017, 4, 1))
