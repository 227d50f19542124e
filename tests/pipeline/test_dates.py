"""Nights of other dates than the last: earlier, too early, outside the data."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from running import EARLIER, MakeHome, night, score_file, start


def test_an_earlier_date_in_an_empty_home_trains_on_what_was_known(
    small_delivery: Path, make_home: MakeHome, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "home")
    night(home, small_delivery, EARLIER)
    scores = pl.read_parquet(score_file(home, EARLIER), hive_partitioning=False)
    assert not scores["hindsight"].any()
    labels = pl.read_parquet(home / "lake" / "training" / f"as_of={EARLIER}" / "labels.parquet")
    assert labels["as_of"].max().isoformat() <= "2017-10-04"


def test_a_date_outside_the_data_is_a_clear_error(small_delivery: Path, make_home: MakeHome, tmp_path: Path) -> None:
    process = start(make_home(tmp_path / "home"), small_delivery, "2018-03-01")
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "2018-01-01" in output
    assert "Traceback" not in output


def test_too_early_a_date_names_the_earliest(small_delivery: Path, make_home: MakeHome, tmp_path: Path) -> None:
    process = start(make_home(tmp_path / "home"), small_delivery, "2017-04-01")
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "earliest possible" in output
    assert "Traceback" not in output
