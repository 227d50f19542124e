"""Where the delivery of a night comes from: the operator's folder, the data set's own files, or its generator."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.sources import read_delivery
from pipeline.settings import REPOSITORY, Settings
from pipeline.simulation import data_folder


@pytest.fixture
def bank() -> DatasetConfig:
    return load_dataset("bank_simulation", REPOSITORY / "data")


def test_a_generator_simulates_once_when_no_folder_is_given(tmp_path: Path, bank: DatasetConfig) -> None:
    settings = Settings(home=tmp_path, dataset="bank_simulation", customers=200)
    said: list[str] = []
    folder = data_folder(settings, bank, said.append)
    assert folder is not None
    assert read_delivery(bank, folder).files.keys() >= {"customers", "transactions"}
    assert not (folder / "oracle").exists()
    count = len(said)
    assert data_folder(settings, bank, said.append) == folder
    assert len(said) == count, "simulated again"


def test_a_given_folder_and_own_files_need_no_generator(
    tmp_path: Path, bank: DatasetConfig, dataset: DatasetConfig
) -> None:
    given = Settings(home=tmp_path, data_dir=tmp_path / "mine")
    assert data_folder(given, bank, print) == tmp_path / "mine"
    assert data_folder(Settings(home=tmp_path), dataset, print) is None
    assert not (tmp_path / "simulations").exists()


def test_an_unknown_generator_names_the_nearest(tmp_path: Path, bank: DatasetConfig) -> None:
    wrong = bank.model_copy(update={"generator": "bank_simulator"})
    with pytest.raises(ValueError, match=r"generator: .*'bank_simulator'; did you mean 'bank_simulation'"):
        data_folder(Settings(home=tmp_path), wrong, print)
