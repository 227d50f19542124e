"""Nights of real purchases that nobody prepared: described by `ple data init`, and level with boosted trees or ahead.

CDNOW (Fader & Hardie, in the package lifetimes): 23,570 customers who first bought at an online shop for music in the
first quarter of 1997, and a tenth of them. Customer, day, CDs and dollars; no product, no time of day.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.training.baselines import BOOSTING, REPEAT_BUYING
from tests.deliveries.real import REAL
from tests.pipeline.test_thin_nights import ple


def put(name: str, folder: Path) -> None:
    """The file as it comes; the sample, which names no columns, as a table of customer, date and price."""
    if name == "CDNOW_master.txt":
        shutil.copy(REAL / name, folder)
        return
    lines = [line.split() for line in (REAL / name).read_text(encoding="utf-8").splitlines()]
    rows = [f"{customer},{day[:4]}-{day[4:6]}-{day[6:]},{price}" for _, customer, day, _, price in lines]
    (folder / "sample.csv").write_text("\n".join(["customer,date,price", *rows]), encoding="utf-8")


@pytest.mark.trial
@pytest.mark.parametrize("name", ["CDNOW_sample.txt", "CDNOW_master.txt"])
def test_real_purchases_end_in_scores_no_worse_than_trees(name: str, trial_folder: Path) -> None:
    place = trial_folder / Path(name).stem.lower()
    home, own = place / "home", place / "own"
    description = place / "music.yaml"
    if not description.exists():
        own.mkdir(parents=True, exist_ok=True)
        put(name, own)
        described = ple(home, "data", "init", own, "--output", description)
        assert described.returncode == 0, described.stdout + described.stderr
    checked = ple(home, "data", "check", description)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = ple(home, "nightly", "--dataset-file", description)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (summary,) = home.glob("reports/as_of=*/summary.json")
    tasks = json.loads(summary.read_text())["tasks"]
    against = {task["task"]: task[BOOSTING][-1] for task in tasks}
    assert sum(sign in "▲=" for sign in against.values()) > len(against) / 2, against
    assert sum(task[REPEAT_BUYING] != "–" for task in tasks) >= 3, tasks
