"""Two trainings of a small shop, one month apart: the second challenges the first, takes over, and is rolled back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipeline.resources.publication import Published
from tests.deliveries import shop
from tests.pipeline.running import HANGS, PLE, MakeHome, score_file

FIRST, SECOND = "2023-09-20", "2023-10-28"


class Shop:
    """A home of the shop, with each command's output noted, so that a killed trial goes on behind the last one."""

    def __init__(self, folder: Path, make_home: MakeHome) -> None:
        self.folder, self.home = folder, folder / "home"
        self.done = 0
        if not self.home.exists():
            folder.mkdir(exist_ok=True)
            made = make_home(folder / "home.part")
            settings = yaml.safe_load((made / "settings.yaml").read_text())
            settings |= {"dataset_file": str(shop.describe(folder)), "preset": "trunk"}
            settings["promotion"] |= {"shadow": "on"}
            (made / "settings.yaml").write_text(yaml.safe_dump(settings))
            made.rename(self.home)

    def ple(self, *arguments: str) -> str:
        """What the command printed, now or before."""
        self.done += 1
        return self.noted(f"{self.done}.json", lambda: self._ple(arguments))

    def _ple(self, arguments: tuple[str, ...]) -> str:
        of_a_user = ("AS_OF", "DATASET", "DATASET_FILE", "DATA_DIR")
        kept = {key: value for key, value in os.environ.items() if key not in of_a_user}
        environment = kept | {"PLE_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*PLE, *arguments], env=environment, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    def noted(self, name: str, make: Callable[[], str]) -> str:
        """A text that is made once."""
        file = self.folder / name
        if not file.exists():
            beside = file.with_suffix(".part")
            beside.write_text(make())
            beside.rename(file)
        return file.read_text()

    def scores(self, moment: str, as_of: str, folder: str = "scores") -> pl.DataFrame:
        """The scores of a date as they were published at a moment, without their run."""
        file = self.folder / f"{moment}.parquet"
        if not file.exists():
            beside = file.with_suffix(".part")
            Published(self.home / "lake", folder).read(as_of).drop("run_id").write_parquet(beside)
            beside.rename(file)
        return pl.read_parquet(file)


def versions(scores: pl.DataFrame) -> list[str]:
    """The versions that made scores."""
    return scores["model_version"].unique().to_list()


@pytest.mark.trial
def test_after_a_rollback_the_nights_give_the_old_scores_bit_for_bit(make_home: MakeHome, trial_folder: Path) -> None:
    deployment = Shop(trial_folder / "rollback", make_home)
    home, ple, scores = deployment.home, deployment.ple, deployment.scores

    ple("nightly", "--as-of", FIRST)
    old = scores("old", FIRST)
    assert versions(old) == ["1"]
    shadow = deployment.noted("shadow.txt", lambda: str((home / "lake" / "shadow").exists()))
    assert shadow == "False", "there is no challenger beside the champion"

    # The champion's evaluation fit answers on the test rows of the second training, with features of its own state.
    printed = ple("nightly", "--as-of", SECOND)
    assert "with the evaluation fit of version 1" in printed
    found = json.loads((home / "lake" / "training" / f"as_of={SECOND}" / "challenge.json").read_text())
    assert (found["champion"], found["refused"]) == ("1", "")
    measured = {
        row["task"]: row["rows"] for row in found["against"]["champion"] if row["difference"]["low"] is not None
    }
    assert measured["engagement"] > 20  # in the shop nobody churns
    new = scores("new", SECOND)
    assert versions(new) == ["2"], printed

    assert "the champion is version 1" in ple("rollback", "--because", "a trial")
    printed = ple("nightly", "--as-of", SECOND)
    assert "scoring only: version 2, trained as of 2023-10-28, is rolled back" in printed
    assert versions(scores("rolled back", SECOND)) == ["1"]
    assert scores("shadow", SECOND, "shadow/scores").equals(new), "in the shadow it says what it said as the champion"
    ple("nightly", "--as-of", FIRST)
    assert scores("old again", FIRST).equals(old)
    assert score_file(home, FIRST).exists()

    assert "the champion is version 2" in ple("promote", "--because", "it was the telephone")
    ple("nightly", "--as-of", SECOND)
    assert scores("new again", SECOND).equals(new)
