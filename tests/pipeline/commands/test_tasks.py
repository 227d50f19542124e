"""`ple tasks`: what a task means, and whether it is on in a data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feature_assets.data.tables import DESCRIPTION
from feature_assets.labels import every_task
from pipeline.cli import main
from pipeline.monitoring.summary import OFF, SUMMARY
from pipeline.settings import load_settings
from tests.deliveries import shop

pytestmark = pytest.mark.usefixtures("home")


def ple(*words: str) -> Result:
    return CliRunner().invoke(main, ["tasks", *words])


def test_every_task_is_listed_with_its_state() -> None:
    done = ple()
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    for task in every_task():
        assert task.name in lines
        assert lines[task.name].split()[1] == ("off" if task.name == "balance_util" or not task.default else "on")
    assert "Off: the data set has no balance and no limit." in lines["balance_util"]
    assert "no night has read it yet" in done.stdout
    assert "on" in ple("balance_util", "--dataset", "bank_simulation").stdout.split()


def test_one_task_is_explained_in_words() -> None:
    told = ple("churn").stdout
    for words in (
        "No purchase in the next 28 days, among customers with a purchase in the last 56 days.",
        "a prediction, marked as not eligible",
        "28 days",
        "binary",
    ):
        assert words in told
    assert "no prediction (null)" in ple("ctr").stdout
    found = json.loads(ple("ltv", "--json").stdout)
    assert (found["window_days"], found["natural_unit"], found["on"]) == (84, "currency", True)


def test_what_a_night_found_missing_is_off_with_its_reason(home: Path) -> None:
    read = load_settings().load_dataset().model_copy(update={"tasks_off": {"channel": "one channel only"}})
    for name, path in (("delivery.json", "lake/tables/as_of=2018-01-01"), (DESCRIPTION, "lake/deliveries/abc")):
        (home / path).mkdir(parents=True)
        text = json.dumps({"digest": "abc"}) if name == "delivery.json" else read.model_dump_json()
        (home / path / name).write_text(text, encoding="utf-8")
    told = ple("channel").stdout
    assert "off: one channel only" in told
    found = json.loads(ple("--json").stdout)
    assert found["read_on"] == "2018-01-01"
    assert {task["name"] for task in found["tasks"] if not task["on"]} >= {"channel", "balance_util"}
    assert json.loads(ple("--json", "--dataset", "bank_simulation").stdout)["read_on"] is None


@pytest.mark.parametrize("stated", ["", "horizon_days: 28"])
def test_how_far_labels_look_is_what_the_night_found_unless_the_file_states_it(home: Path, stated: str) -> None:
    file = shop.describe(home, f"{shop.DESCRIPTION}{stated}\n")
    read = load_settings(dataset_file=file).load_dataset().model_copy(update={"horizon_days": 7, "active_days": 14})
    for name, path in (("delivery.json", "lake/tables/as_of=2023-10-28"), (DESCRIPTION, "lake/deliveries/abc")):
        (home / path).mkdir(parents=True)
        text = json.dumps({"digest": "abc"}) if name == "delivery.json" else read.model_dump_json()
        (home / path / name).write_text(text, encoding="utf-8")
    found = json.loads(ple("churn", "--json", "--dataset-file", str(file)).stdout)
    assert found["window_days"] == (28 if stated else 7)
    assert found["eligibility"] == "customers with a purchase in the last 14 days"


def test_what_the_newest_version_has_too_few_labels_of_is_off_with_its_reason(home: Path) -> None:
    dataset = load_settings().load_dataset()
    folder = home / "reports" / "as_of=2018-01-01"
    folder.mkdir(parents=True)
    off = {"ltv": "12 customers have a training label, 20 are needed", "balance_util": "none"}
    (folder / SUMMARY).write_text(json.dumps({"dataset": dataset.title, OFF: off}), encoding="utf-8")
    assert "off: 12 customers have a training label, 20 are needed" in ple("ltv").stdout
    assert "the data set has no balance and no limit" in ple("balance_util").stdout, "the data set's reason comes first"
    assert json.loads(ple("ltv", "--json", "--dataset", "bank_simulation").stdout)["on"]


def test_an_unknown_task_says_the_nearest() -> None:
    done = ple("chrun")
    assert done.exit_code == 1
    assert "did you mean 'churn'" in done.output
