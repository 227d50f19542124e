"""The study of somebody's own data: dates, names of files, and a run to the report."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import report
from benchmarks.studies.catalogue import own
from benchmarks.studies.judge import Results
from benchmarks.studies.nights import content
from benchmarks.studies.run import run
from benchmarks.studies.store import Store
from feature_assets.snapshots import NotEnoughHistory
from pipeline.training.trees import searched_file
from tests.benchmarks.studies.test_small_bank import TREE

DESCRIPTION = """\
name: corner
title: The corner shop
notice: Invented for a test.
zone: UTC
covers_from: 2023-01-01
covers_until: {until}
tables:
  transactions: {{files: sold.csv, columns: {{customer_id: customer, at: date, amount: price}}}}
"""


@pytest.fixture(autouse=True)
def _small() -> None:
    """The real plan, not that of the material made by hand."""


def corner(folder: Path, days: int = 420, customers: int = 120) -> Path:
    """Purchases of a shop, one customer more often than the other; the file of its description."""
    chance, begin = np.random.default_rng(1), date(2023, 1, 1)
    lines = []
    for c in range(customers):
        at = np.cumsum(chance.exponential(3 + c % 40, days))
        lines += [f"c{c:03},{begin + timedelta(days=int(day))},{chance.gamma(2, 5):.2f}" for day in at[at < days]]
    (folder / "sold.csv").write_text("\n".join(["customer,date,price", *lines]), encoding="utf-8")
    file = folder / "corner.yaml"
    file.write_text(DESCRIPTION.format(until=begin + timedelta(days=days)), encoding="utf-8")
    return file


def test_its_dates_are_the_end_of_the_data_and_those_before_it(tmp_path: Path) -> None:
    study = own(corner(tmp_path))
    assert study.origins == ("2023-12-31", "2024-01-28", "2024-02-25")
    settings = study.origin_settings(tmp_path)
    assert settings.dataset_name == "corner"
    assert searched_file(settings) == tmp_path / "trees" / "corner.yaml"
    assert "default/BG/NBD" in study.comparisons[0].others
    short = own(corner(tmp_path, days=100))
    assert 0 < len(short.origins) < 3, "as many as can be trained"
    assert short.origins[-1] == str(date(2023, 1, 1) + timedelta(days=100))
    with pytest.raises(NotEnoughHistory):
        own(corner(tmp_path, days=20))


def test_its_material_is_of_the_files_content(tmp_path: Path) -> None:
    study = own(corner(tmp_path))
    before = Store(tmp_path).origin(study, "2024-02-25").folder
    with (tmp_path / "sold.csv").open("a", encoding="utf-8") as file:
        file.write("\nc000,2023-05-05,1.00\n")
    content.data_digest.cache_clear()
    assert Store(tmp_path).origin(study, "2024-02-25").folder != before


@pytest.mark.trial
def test_from_a_file_to_the_report(tmp_path: Path) -> None:
    quick = {
        "snapshot_step_days": 28,
        "training.phase1_epochs": 2,
        "columns": "all",
        "boosting": {"single": TREE, "multiclass": TREE},
    }
    study = own(corner(tmp_path))
    study = replace(study, origins=study.origins[-1:], seeds=(1,), settings=quick)
    said: list[str] = []
    assert run(study, tmp_path / "studies", said.append, threads=1) == []
    results = Results(study, tmp_path / "studies")
    assert len(results.abouts) == results.wanted == 2
    text = report.text(results)
    assert "default/model against tuned trees/LightGBM" in text
    assert "default/model against default/BG/NBD" in text
    assert "own --dataset-file corner.yaml" in text
