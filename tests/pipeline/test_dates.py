"""Nights of other dates than the last: earlier, too early, outside the data."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.pipeline.running import EARLIER, LAST, MakeHome, night, score_file, start


@pytest.mark.trial
def test_a_home_trains_on_what_was_known_and_anew_when_its_champion_is_old(
    small_delivery: Path, make_home: MakeHome, tmp_path: Path
) -> None:
    """Here without the optional campaign tables: their group and tasks are absent, everything else goes on."""
    delivery = tmp_path / "delivery"
    shutil.copytree(small_delivery, delivery, ignore=shutil.ignore_patterns("campaign*", "coupon*"))
    home = make_home(tmp_path / "home")
    night(home, delivery, EARLIER)
    scores = pl.read_parquet(score_file(home, EARLIER), hive_partitioning=False)
    assert not scores["hindsight"].any()
    assert {"ctr", "cvr"}.isdisjoint(scores.columns)
    assert "churn" in scores.columns
    labels = pl.read_parquet(home / "lake" / "training" / f"as_of={EARLIER}" / "labels.parquet")
    assert labels["as_of"].max().isoformat() <= "2017-10-04"

    # Two months later the champion is too old. A training that fails does not cost the night, and is said loudly.
    before = score_file(home, EARLIER).read_bytes()
    settings = (home / "settings.yaml").read_text()
    (home / "settings.yaml").write_text(settings + "min_history_days: 300\n")
    printed = night(home, delivery, LAST)
    assert "the champion is 61 days old" in printed
    assert "The training that was due failed" in printed
    assert "training failed" in printed, "the summary says it, too"
    assert "earliest possible" in printed
    assert set(pl.read_parquet(score_file(home, LAST), hive_partitioning=False)["model_version"]) == {"1"}

    # Repaired: a new version is trained, takes over, and leaves the old scores alone.
    (home / "settings.yaml").write_text(settings)
    printed = night(home, delivery, LAST)
    assert "training failed" not in printed
    later = pl.read_parquet(score_file(home, LAST), hive_partitioning=False)
    assert scores["model_version"].unique().to_list() == ["1"]
    assert later["model_version"].unique().to_list() == ["2"]
    assert not later["hindsight"].any()
    assert score_file(home, EARLIER).read_bytes() == before


def test_a_date_outside_the_data_is_a_clear_error(small_delivery: Path, make_home: MakeHome, tmp_path: Path) -> None:
    process = start(make_home(tmp_path / "home"), small_delivery, "2018-03-01")
    output = process.communicate(timeout=600)[0]
    assert process.returncode != 0
    assert "2018-01-01" in output
    assert "Traceback" not in output


def test_too_early_a_date_names_the_earliest(small_delivery: Path, make_home: MakeHome, tmp_path: Path) -> None:
    process = start(make_home(tmp_path / "home"), small_delivery, "2017-04-01")
    output = process.communicate(timeout=600)[0]
    assert process.returncode != 0
    assert "earliest possible" in output
    assert "Traceback" not in output


def test_a_broken_delivery_is_one_message_and_publishes_nothing(
    small_delivery: Path, make_home: MakeHome, tmp_path: Path
) -> None:
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    for file in small_delivery.iterdir():
        (delivery / file.name).symlink_to(file)
    (delivery / "transactions.parquet").unlink()
    lines = pl.read_parquet(small_delivery / "transactions.parquet")
    lines.with_columns(pl.lit("three dollars").alias("sales_value")).write_parquet(delivery / "transactions.parquet")
    home = make_home(tmp_path / "home")
    process = start(home, delivery)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 1
    for word in ("transactions", "sales_value", "three dollars"):
        assert word in output, output
    assert "Traceback" not in output
    assert not (home / "lake" / "scores").exists()
