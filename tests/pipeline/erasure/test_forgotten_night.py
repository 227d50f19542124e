"""A whole night with a planted customer, who is forgotten: nothing is left, and the next night leaves them out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.home.folder import Home
from pipeline.resources.publication import Published
from tests.pipeline.erasure.traces import traces
from tests.pipeline.running import LAST, PLE, MakeHome, night

pytestmark = pytest.mark.trial

WHO = 918_273_645


def planted(delivery: Path, folder: Path) -> Path:
    """The delivery, with the household of most lines under another number."""
    shutil.copytree(delivery, folder)
    lines = pl.read_parquet(folder / "transactions.parquet")
    most = lines.group_by("household_id").len().sort("len", "household_id")["household_id"][-1]
    for file in folder.glob("*.parquet"):
        frame = pl.read_parquet(file)
        if "household_id" in frame.columns:
            own = pl.when(pl.col("household_id") == most).then(pl.lit(WHO)).otherwise(pl.col("household_id"))
            frame.with_columns(own.cast(frame["household_id"].dtype).alias("household_id")).write_parquet(file)
    return folder


def test_of_a_customer_of_a_night_nothing_is_left_and_no_night_brings_them_back(
    small_delivery: Path, make_home: MakeHome, tmp_path: Path
) -> None:
    home, delivery = Home(make_home(tmp_path / "home")), planted(small_delivery, tmp_path / "delivery")
    night(home.root, delivery, LAST)
    scores = Published(home.lake, "scores")
    before = scores.read(LAST)
    others = pl.col("customer_id") != str(WHO)
    assert before.filter(~others).height == 1
    command = [*PLE, "forget", str(WHO), "--yes"]
    done = subprocess.run(
        command, env={**os.environ, "PLE_HOME": str(home.root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert traces(home, str(WHO)) == []
    assert_frame_equal(scores.read(LAST), before.filter(others))
    said = night(home.root, delivery, LAST)
    assert "of forgotten customers and left out" in said
    assert scores.read(LAST).filter(~others).is_empty()
    assert traces(home, str(WHO)) == []
