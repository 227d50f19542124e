"""Settings are typed and closed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.settings import load_settings


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("retrain_after_days: 3\ndataset: other\n")
    settings = load_settings({"PLE_HOME": str(tmp_path), "DATASET": "completejourney", "DATA_DIR": str(tmp_path / "d")})
    assert settings.home == tmp_path
    assert settings.retrain_after_days == 3
    assert settings.dataset == "completejourney"
    assert settings.data_dir == tmp_path / "d"


def test_nothing_set_means_the_defaults(tmp_path: Path) -> None:
    settings = load_settings({"PLE_HOME": str(tmp_path), "DATASET": "", "DATA_DIR": ""})
    assert settings.data_dir is None
    assert settings.load_dataset().name == "completejourney"


@pytest.mark.parametrize(
    ("text", "named"),
    [("retrain_after_day: 3", "retrain_after_days"), ("training: {phase1_epoch: 3}", "phase1_epochs")],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(ValidationError, match=named):
        load_settings({"PLE_HOME": str(tmp_path)})


def test_an_unknown_data_set_names_those_there_are(tmp_path: Path) -> None:
    settings = load_settings({"PLE_HOME": str(tmp_path), "DATASET": "completejurney"})
    with pytest.raises(FileNotFoundError, match="completejourney"):
        settings.load_dataset()
