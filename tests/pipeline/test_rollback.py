"""Two trainings of a small shop, one month apart: the second challenges the first, takes over, and is rolled back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipeline.resources.publication import Published
from tests.deliveries import shop
from tests.pipeline.running import PLE, MakeHome, score_file

FIRST, SECOND = "2023-09-20", "2023-10-28"


def scores(home: Path, as_of: str, folder: str = "scores") -> pl.DataFrame:
    """The scores of a date without their run."""
    return Published(home / "lake", folder).read(as_of).drop("run_id")


@pytest.mark.trial
def test_after_a_rollback_the_nights_give_the_old_scores_bit_for_bit(make_home: MakeHome, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    settings = yaml.safe_load((home / "settings.yaml").read_text())
    settings |= {"dataset_file": str(shop.describe(tmp_path)), "preset": "trunk"}
    settings["promotion"] |= {"shadow": "on"}
    (home / "settings.yaml").write_text(yaml.safe_dump(settings))

    def ple(*arguments: str) -> str:
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("AS_OF", "DATASET", "DATASET_FILE", "DATA_DIR")
        }
        environment = kept | {"PLE_HOME": str(home), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*PLE, *arguments], env=environment, capture_output=True, text=True, timeout=1_500)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    ple("nightly", "--as-of", FIRST)
    old = scores(home, FIRST)
    assert old["model_version"].unique().to_list() == ["1"]
    assert not (home / "lake" / "shadow").exists(), "there is no challenger beside the champion"

    # The champion's evaluation fit answers on the test rows of the second training, with features of its own state.
    printed = ple("nightly", "--as-of", SECOND)
    assert "with the evaluation fit of version 1" in printed
    found = json.loads((home / "lake" / "training" / f"as_of={SECOND}" / "challenge.json").read_text())
    assert (found["champion"], found["refused"]) == ("1", "")
    measured = {
        row["task"]: row["rows"] for row in found["against"]["champion"] if row["difference"]["low"] is not None
    }
    assert measured["engagement"] > 20  # in the shop nobody churns
    new = scores(home, SECOND)
    assert new["model_version"].unique().to_list() == ["2"], printed

    assert "the champion is version 1" in ple("rollback", "--because", "a trial")
    printed = ple("nightly", "--as-of", SECOND)
    assert "scoring only: version 2, trained as of 2023-10-28, is rolled back" in printed
    assert scores(home, SECOND)["model_version"].unique().to_list() == ["1"]
    assert scores(home, SECOND, "shadow/scores").equals(new), "in the shadow it says what it said as the champion"
    ple("nightly", "--as-of", FIRST)
    assert scores(home, FIRST).equals(old)
    assert score_file(home, FIRST).exists()

    assert "the champion is version 2" in ple("promote", "--because", "it was the telephone")
    ple("nightly", "--as-of", SECOND)
    assert scores(home, SECOND).equals(new)
