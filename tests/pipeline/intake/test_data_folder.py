"""Where the delivery of a night comes from: the operator's folder, the data set's own files, or its generator."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_assets.sources import read_delivery
from pipeline.intake.deliveries import data_folder
from pipeline.settings import REPOSITORY, Settings


def test_a_generator_simulates_once_when_no_folder_is_given(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, dataset="bank_simulation", customers=200)
    said: list[str] = []
    folder = data_folder(settings, said.append)
    assert folder is not None
    read = {Path(name).parts[0] for name in read_delivery(settings.load_dataset(), folder).files}
    assert read >= {"customers", "transactions"}
    assert not (folder / "oracle").exists()
    count = len(said)
    assert data_folder(settings, said.append) == folder
    assert len(said) == count, "simulated again"


def test_a_given_folder_and_own_files_need_no_generator(tmp_path: Path) -> None:
    given = Settings(home=tmp_path, dataset="bank_simulation", data_dir=tmp_path / "mine")
    assert data_folder(given, print) == tmp_path / "mine"
    assert data_folder(Settings(home=tmp_path, dataset="completejourney"), print) is None
    assert not (tmp_path / "simulations").exists()


def test_an_unknown_generator_names_the_nearest(tmp_path: Path) -> None:
    text = (REPOSITORY / "data" / "bank_simulation.yaml").read_text(encoding="utf-8")
    description = tmp_path / "bank_simulation.yaml"
    description.write_text(text.replace("generator: bank_simulation", "generator: bank_simulator"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"generator: .*'bank_simulator'; did you mean 'bank_simulation'"):
        data_folder(Settings(home=tmp_path, dataset_file=description), print)
