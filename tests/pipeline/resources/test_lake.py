"""Publishing: a reader sees the old file or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipeline.resources.files import publish_folder, publish_frame
from pipeline.resources.lake import Lake, ParquetIOManager

PARTITIONS = dg.StaticPartitionsDefinition(["2017-10-01", "2017-10-02"])


def test_a_write_that_dies_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part-0.parquet"
    publish_frame(pl.DataFrame({"a": [1]}), file)

    def dies(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", dies)
    with pytest.raises(OSError, match="disk full"):
        publish_frame(pl.DataFrame({"a": [2]}), file)
    assert pl.read_parquet(file)["a"].to_list() == [1]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        beside = tmp_path / ".part"
        beside.mkdir()
        (beside / content).write_text(content)
        publish_folder(beside, tmp_path / "bundle")
    assert [f.name for f in (tmp_path / "bundle").iterdir()] == ["new"]
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]


def test_frames_of_assets_lie_under_their_key_and_partition(tmp_path: Path) -> None:
    @dg.asset(key=["features", "toy"], partitions_def=PARTITIONS)
    def toy() -> pl.DataFrame:
        return pl.DataFrame({"customer_id": ["1"], "as_of": ["x"]})

    @dg.asset(partitions_def=PARTITIONS, ins={"toy": dg.AssetIn(["features", "toy"])})
    def reader(toy: pl.DataFrame) -> pl.DataFrame:
        return toy.with_columns(seen=True)

    result = dg.materialize(
        [toy, reader], partition_key="2017-10-02", resources={"io_manager": ParquetIOManager(root=str(tmp_path))}
    )
    assert result.success
    lake = Lake(root=str(tmp_path))
    assert lake.published("features/toy").read("2017-10-02")["as_of"].to_list() == ["x"]
    assert lake.published("reader").read("2017-10-02")["seen"].all()
    (file,) = (tmp_path / "features" / "toy" / "as_of=2017-10-02").glob("*.parquet")
    file.write_bytes(b"PAR1")
    os.utime(file, ns=(1, 1))
    with pytest.raises(dg.Failure, match="was altered: run the night of 2017-10-02 again"):
        dg.materialize(
            [toy, reader],
            selection=[reader],
            partition_key="2017-10-02",
            resources={"io_manager": ParquetIOManager(root=str(tmp_path))},
        )


def test_what_is_not_there_names_the_step_that_makes_it(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    with pytest.raises(dg.Failure, match="upstream"):
        lake.tables("2017-10-01")
    file = lake.partition("tables", "2017-10-01") / "delivery.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x00 no json")
    with pytest.raises(dg.Failure, match=r"delivery\.json was altered: materialise the assets upstream again"):
        lake.tables("2017-10-01")
