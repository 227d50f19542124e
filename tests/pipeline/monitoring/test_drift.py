"""The drift of a night: what is kept, which nights count, and the table for people."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.monitoring import drift
from pipeline.monitoring.bins import reference_of
from pipeline.monitoring.reference import FILE, reference, watched
from pipeline.reports.drift_plots import drift_lines
from pipeline.reports.plots import as_markdown
from pipeline.resources.files import publish_frame
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion
from pipeline.settings import DriftLimits

LIMITS = DriftLimits(least_nights=3)
FIRST = date(2018, 1, 1)
ROWS = 2_000


def columns(night: int, shift: float = 0.0) -> pl.DataFrame:
    """Inputs and scores of a night; `spend` may be shifted, by standard deviations."""
    rng = np.random.default_rng(night)
    return pl.DataFrame(
        {
            "spend": rng.normal(shift, 1, ROWS),
            "visits": rng.poisson(2, ROWS).astype(float),
            "churn": rng.beta(2, 5, ROWS),
            "nba": rng.choice(["pears", "none"], ROWS),
        }
    )


BINS = reference_of(columns(-1 % 97))


def keep(lake: Lake, night: int, shift: float = 0.0, counts: bool = True) -> pl.DataFrame:
    rows = drift.rows_of([columns(night, shift)], BINS, "training of version 1", counts, LIMITS)
    day = FIRST + timedelta(days=night)
    publish_frame(rows, lake.partition(drift.TABLE, day.isoformat()) / "part-0.parquet")
    return rows


def judged(lake: Lake, night: int, rows: pl.DataFrame) -> drift.Drift:
    day = FIRST + timedelta(days=night)
    return drift.judge(day, rows, drift.earlier_nights(lake, day, LIMITS), LIMITS)


def test_a_shift_that_lasts_alarms_and_is_named_first(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for night in range(4):
        assert not judged(lake, night, keep(lake, night)).alarms
    once = keep(lake, 4, shift=0.5)
    found = judged(lake, 4, once)
    assert not found.alarms
    assert "unusual tonight" in drift.table(found, once, LIMITS)["words"][0]
    again = keep(lake, 5, shift=0.5)
    found = judged(lake, 5, again)
    assert found.alarms == ["spend"]
    shown = drift.table(found, again, LIMITS)
    row = shown.row(0, named=True)
    assert row["column"] == "spend"
    assert row["words"] == "ALARM, for 2 nights"
    assert row["nights in a row"] == 2
    assert row["index"] > 0.2 > row["earlier maximum"]
    assert row["what moved most"].startswith("bin 10 of 10: 10.0% → ")
    assert set(shown["words"][1:]) == {"as usual"}
    assert judged(lake, 4, once).nights[-1] == FIRST + timedelta(days=4), "later nights are not looked at"


def test_a_new_version_orders_the_dimensions_of_an_embedding_anew() -> None:
    def rows(version: int, *index: float) -> pl.DataFrame:
        names = ["mamba__1", "mamba__2", "spend"]
        kept = {"column": names, "counts": [[9]] * 3, "expected": [[9]] * 3, "index": index, "distance": [0.0] * 3}
        told = {"noise": pl.lit(0.0), "reference": pl.lit(f"version {version}"), "counts_as_usual": pl.lit(True)}
        return pl.DataFrame(kept).with_columns(**told)

    def alarms(*nights: pl.DataFrame) -> list[str]:
        dated = [(FIRST + timedelta(days=at), night) for at, night in enumerate(nights)]
        return drift.judge(dated[-1][0], nights[-1], dated[:-1], LIMITS).alarms

    before = [rows(1, 0.02, 0.30, 0.02)] * 4
    assert alarms(*before, *[rows(2, 0.30, 0.02, 0.02)] * 2) == []
    assert alarms(*before, *[rows(1, 0.30, 0.02, 0.02)] * 2) == ["mamba__1"]
    assert alarms(*before, *[rows(2, 0.90, 0.02, 0.02)] * 2) == ["mamba__1"]
    assert alarms(*before, *[rows(2, 0.02, 0.02, 0.30)] * 2) == ["spend"]


def test_a_night_that_may_not_be_compared_neither_alarms_nor_counts(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for night in range(4):
        keep(lake, night)
    masked = [keep(lake, night, shift=3.0, counts=False) for night in (4, 5)]
    assert not judged(lake, 5, masked[1]).alarms
    keep(lake, 6, shift=0.5)
    found = judged(lake, 7, keep(lake, 7, shift=0.5))
    assert found.alarms == ["spend"]
    assert len(found.nights) == 6


def test_counts_are_kept_and_no_value_of_a_customer(tmp_path: Path) -> None:
    rows = keep(Lake(root=str(tmp_path)), 0)
    assert rows.columns == [
        "column",
        "counts",
        "expected",
        "index",
        "distance",
        "noise",
        "reference",
        "counts_as_usual",
    ]
    assert (rows["counts"].list.sum() == ROWS).all()
    assert rows["counts"].list.len().max() <= 22
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.parquet")) < 10_000


def test_a_column_that_a_night_did_not_have_is_no_reason_to_fail(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for night in range(4):
        rows = keep(lake, night).filter(pl.col("column") != "churn")
        publish_frame(rows, lake.partition(drift.TABLE, (FIRST + timedelta(days=night)).isoformat()) / "part-0.parquet")
    tonight = keep(lake, 4)
    shown = drift.table(judged(lake, 4, tonight), tonight, LIMITS)
    assert shown.filter(pl.col("column") == "churn")["earlier maximum"].to_list() == [None]


def test_the_reference_is_that_of_the_version_or_its_first_night(tmp_path: Path, dataset: DatasetConfig) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    version = RegisteredVersion("2", "r", FIRST, "s1", dataset.name, tmp_path / "bundle")
    first, name = reference(version, lake, lambda: iter([columns(0)]))
    assert name == "first night of version 2"
    assert reference(version, lake, lambda: iter([columns(1, shift=2.0)]))[0].equals(first), (
        "a later night does not replace it"
    )
    publish_frame(BINS, version.folder / FILE)
    assert reference(version, lake, columns(1))[0].equals(BINS)
    assert reference(version, lake, columns(1))[1] == "training of version 2"


def test_present_inputs_and_what_the_tasks_say_are_watched() -> None:
    matrix = pl.DataFrame({"customer_id": ["a", "b"], "spend": [1.0, 2.0], "absent": [None, None], "side": [[1], [2]]})
    scores = pl.DataFrame(
        {"customer_id": ["b", "a"], "churn": [0.2, 0.1], "churn__u": [0.5, 0.6], "run_id": ["r", "r"]}
    )
    found = watched(matrix, scores, ["spend"], ["churn"])
    assert found.to_dict(as_series=False) == {"spend": [1.0, 2.0], "churn": [0.1, 0.2], "churn__u": [0.6, 0.5]}


@pytest.mark.parametrize("nights", [0, 3])
def test_the_picture_is_small(nights: int) -> None:
    days = [FIRST + timedelta(days=n) for n in range(nights)]
    figure = drift_lines(days, {"spend": [0.1] * nights} if nights else {}, 0.1)
    assert len(as_markdown(figure).md_str) < 60_000
