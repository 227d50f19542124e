"""docs/extending.md is executed: its blocks become plug-ins and a data set of a home, and the product sees them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.deliveries import shop

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (?P<file>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FACTS = Path(__file__).with_name("extending_facts.py")
SMALL = {
    "bootstrap_resamples": 20,
    "importance_rows": 100,
    "snapshot_step_days": 28,
    "promotion": {"critical": []},
    "training": {"phase1_epochs": 2, "phase2_epochs": 1, "warmup_epochs": 1, "phase2_warmup_epochs": 1},
    "boosting": {
        "single": {"rounds": 5, "leaves": 7},
        "multiclass": {"rounds": 3, "leaves": 7},
        "brand": {"rounds": 2, "leaves": 7},
        "brands": 2,
    },
}


def recipes() -> dict[str, list[tuple[str, str]]]:
    """Heading of the page → files of its blocks."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.splitlines()[0]: BLOCK.findall(part) for part in sections}


def written(home: Path) -> Path:
    """A home with the settings and the data set of the page, and its plug-ins in `plugins/`."""
    (home / "plugins").mkdir(parents=True)
    for name, text in (block for blocks in recipes().values() for block in blocks):
        (home / ("plugins" if name.endswith(".py") else ".") / name).write_text(text, encoding="utf-8")
    shop.describe(home, (home / "shop.yaml").read_text(encoding="utf-8"))
    return home


def environment(home: Path) -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("AS_OF", "DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS")
    }
    paths = [str(home / "plugins"), str(PAGE.parents[1]), str(PAGE.parents[1] / "benchmarks")]
    return kept | {"PLE_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Observations of a process in which the plug-ins are loaded."""
    home = written(tmp_path_factory.mktemp("extended") / "home")
    done = subprocess.run([sys.executable, str(FACTS)], env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_recipe_is_one_file_beside_the_settings() -> None:
    blocks = {heading: [name for name, _ in found] for heading, found in recipes().items()}
    settings = blocks.pop("# Extending")
    assert settings == ["settings.yaml"]
    assert len(blocks) == 6
    assert all(len(names) == 1 for names in blocks.values()), blocks
    plugins = {names[0].removesuffix(".py") for names in blocks.values() if names[0].endswith(".py")}
    text = next(text for found in recipes().values() for name, text in found if name == "settings.yaml")
    assert set(yaml.safe_load(text)["plugins"]) == plugins


def test_a_feature_group_is_registered_fitted_and_computed(facts: dict[str, Any]) -> None:
    group = facts["group"]
    assert group["position"] < group["normalised"] == 645
    assert group["section"] == "habits"
    assert group["asset"]
    assert group["columns"] == ["customer_id", "weekend_share__excess_90d"]
    assert group["mean"] == pytest.approx(0.0, abs=1e-6)  # of the rows it was fitted on
    assert group["spread"] > 0.01


def test_a_task_has_labels_a_description_and_a_tower(facts: dict[str, Any]) -> None:
    task = facts["task"]
    assert task["described"]["meaning"] == (
        "A basket worth 25 or more in the next 28 days, among customers with a purchase in the last 56 days."
    )
    assert task["described"]["eligibility"] == "customers with a purchase in the last 56 days"
    assert 0 < task["positive"] < task["known"]
    assert facts["expert"]["probabilities"] == 64


def test_an_expert_takes_part_in_the_model(facts: dict[str, Any]) -> None:
    expert = facts["expert"]
    assert expert["names"] == ["deepfm", "spend_line"]
    assert expert["width"] == 16
    assert expert["learns"]


def test_a_promotion_rule_can_refuse(facts: dict[str, Any]) -> None:
    assert facts["rule"]["ahead"]["promote"]
    assert not facts["rule"]["behind"]["promote"]
    assert facts["rule"]["behind"]["reason"] == "behind LightGBM on 2 of 3 tasks"


def test_a_monitoring_asset_belongs_to_the_night(facts: dict[str, Any]) -> None:
    assert facts["asset"]["in_nightly"]
    assert facts["asset"]["metadata"] == {"churn": 0.25}


def test_a_data_set_is_read(facts: dict[str, Any]) -> None:
    assert facts["dataset"] == {"name": "shop", "tables": ["customers", "products", "transactions"]}


@pytest.mark.trial
def test_a_training_and_a_night_use_all_of_them(trial_folder: Path) -> None:
    home = trial_folder / "extended"
    if not home.exists():
        made = written(trial_folder / "extended.part")
        settings = yaml.safe_load((made / "settings.yaml").read_text()) | SMALL
        (made / "settings.yaml").write_text(yaml.safe_dump(settings))
        made.rename(home)
    command = [sys.executable, "-m", "pipeline.cli", "nightly"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    scores = pl.read_parquet(home / "lake/scores/as_of=2023-10-28/*.parquet", hive_partitioning=False)
    matrix = pl.read_parquet(home / "lake/features/matrix/as_of=2023-10-28/*.parquet", hive_partitioning=False)
    assert scores.height == shop.CUSTOMERS
    assert scores["large_basket"].is_between(0, 1).all()
    assert scores["large_basket__eligible"].any()
    assert "weekend_share__excess_90d" in matrix.columns
    assert "spend_line" in scores["top_experts"].explode().to_list()
