"""Publication: readers see one version or another, whatever happens to the disk, the process or the files."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from pipeline.resources.files import discard, publish_folder, strays
from pipeline.resources.publication import PublicationError, Published, altered, tables
from tests.damage import flip
from tests.pipeline.running import HANGS

HERE = Path(__file__).parent
DAY, NEXT = "2018-01-01", "2018-01-02"
NOT_THERE = (
    "filenotfound",
    "not found",
    "no such file",
    "expanded paths were empty",
    "no match for fieldref",
    "keyerror: 'night'",
)
"""What libraries say where a version was replaced between their listing and their look: the file is not there; pyarrow
and pandas drop such a file from a folder, and find a table without columns."""
LIBRARIES = ("polars", "pandas", "pyarrow", "duckdb")


def frame(churn: float, day: str = DAY) -> pl.DataFrame:
    columns = {"customer_id": ["a", "b"], "as_of": [date.fromisoformat(day)] * 2, "churn": [churn, churn]}
    return pl.DataFrame(columns)


@pytest.fixture
def scores(tmp_path: Path) -> Published:
    """Two dates, the first of them with a version that was replaced."""
    published = Published(tmp_path / "lake", "scores")
    published.publish(frame(0.1), DAY)
    published.publish(frame(0.2), DAY)
    published.publish(frame(0.3, NEXT), NEXT)
    return published


def seen(scores: Published) -> list[str]:
    return sorted(str(path.relative_to(scores.lake / "scores")) for path in (scores.lake / "scores").rglob("*"))


def test_every_reader_reads_the_folder_the_date_and_the_version(scores: Published) -> None:
    folder, version = scores.lake / "scores", scores.resolve(DAY)
    assert pl.scan_parquet(folder).collect().sort("as_of")["churn"].to_list() == [0.2, 0.2, 0.3, 0.3]
    assert pd.read_parquet(folder)["as_of"].astype(str).to_list() == [DAY, DAY, NEXT, NEXT]
    assert ds.dataset(folder, partitioning="hive").to_table()["churn"].to_pylist() == [0.2, 0.2, 0.3, 0.3]
    assert pl.read_parquet(folder / f"as_of={DAY}" / "*.parquet")["churn"].to_list() == [0.2, 0.2]
    assert pl.read_parquet(version).equals(frame(0.2).select("customer_id", "churn", "as_of"))
    assert pd.read_parquet(version)["as_of"].astype(str).to_list() == [DAY, DAY]
    assert ds.dataset(version, partitioning="hive").to_table()["as_of"].to_pylist() == [DAY, DAY]
    assert scores.read(DAY).equals(frame(0.2))
    assert scores.dates() == [DAY, NEXT]


@pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="DuckDB is not installed")
def test_duckdb_reads_the_folder_and_the_version(scores: Published) -> None:
    import duckdb

    folder, version = scores.lake / "scores", scores.resolve(DAY)
    for glob, rows in (
        (f"{folder}/*/*.parquet", 4),
        (f"{folder}/as_of={DAY}/*.parquet", 2),
        (f"{version}/*/*.parquet", 2),
    ):
        sql = "SELECT count(*), min(as_of)::VARCHAR FROM read_parquet(?, hive_partitioning = true)"
        assert duckdb.execute(sql, [glob]).fetchone() == (rows, DAY)


def test_what_was_read_by_a_path_is_the_same_or_not_there(scores: Published) -> None:
    """Readers open a path again between footer and pages: the name carries the version."""
    glob = str(scores.pointer(DAY) / "*.parquet")
    version, (path,) = scores.resolve(DAY), scores.pointer(DAY).glob("*.parquet")
    lazy, lazy_version = pl.scan_parquet(glob), pl.scan_parquet(version)
    arrow = ds.dataset(scores.pointer(DAY))
    assert len(lazy.collect_schema()) + len(lazy_version.collect_schema()) == 2 + 3
    scores.publish(frame(0.9), DAY)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        lazy.collect()
    with pytest.raises(FileNotFoundError):
        arrow.to_table()
    with pytest.raises(FileNotFoundError):
        pd.read_parquet(path)
    assert lazy_version.collect()["churn"].to_list() == [0.2, 0.2]
    assert pl.read_parquet(glob)["churn"].to_list() == [0.9, 0.9]


def test_equal_content_is_not_published_again(scores: Published) -> None:
    before = {path: path.lstat().st_mtime_ns for path in scores.lake.rglob("*")}
    scores.publish(frame(0.2), DAY)
    assert {path: path.lstat().st_mtime_ns for path in scores.lake.rglob("*")} == before | {
        scores.resolve(DAY).parent: scores.resolve(DAY)
        .parent.stat()
        .st_mtime_ns  # it was written in there, and removed
    }
    scores.publish(frame(0.1), DAY)  # the version that was replaced is there, and is pointed at again
    assert scores.read(DAY).equals(frame(0.1))


def test_an_altered_version_is_refused_and_replaced_by_publishing_again(scores: Published) -> None:
    flip(scores.file(DAY))
    with pytest.raises(PublicationError, match="was altered: run the night of 2018-01-01 again"):
        scores.read(DAY)
    scores.publish(frame(0.2), DAY)
    assert scores.read(DAY).equals(frame(0.2))
    shutil.rmtree(scores.resolve(DAY) / f"as_of={DAY}")
    with pytest.raises(PublicationError, match="not published"):
        scores.read(DAY)
    scores.publish(frame(0.2), DAY)
    assert scores.read(DAY).equals(frame(0.2))


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.resources import local_versions, publication
from tests.pipeline.resources.test_publication import DAY, frame
setattr(local_versions, sys.argv[2], lambda _: os.kill(os.getpid(), signal.SIGKILL))
publication.Published(Path(sys.argv[1]), "scores").publish(frame(0.7), DAY)
"""


@pytest.mark.parametrize(("when", "stray"), [("flush_below", 1), ("flush", 0)])
def test_a_kill_leaves_nothing_that_a_scan_could_see(scores: Published, when: str, stray: int) -> None:
    before = seen(scores)
    command = [sys.executable, "-c", KILLED, str(scores.lake), when]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(HERE.parents[2])}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert seen(scores) == before
    assert scores.read(DAY).equals(frame(0.2))
    left = list(strays(scores.lake))
    assert len(left) == stray
    for path in left:
        discard(path)
    scores.publish(frame(0.7), DAY)
    assert scores.read(DAY).equals(frame(0.7))


def test_a_version_stays_as_long_as_it_is_told_and_the_pointed_one_for_ever(scores: Published) -> None:
    (replaced,) = scores.left(-1)
    assert pl.read_parquet(replaced)["churn"].to_list() == [0.1, 0.1]
    assert list(scores.left(10)) == []
    now = scores.resolve(DAY)
    os.utime(now, (1, 1))  # it was published long ago
    scores.publish(frame(0.4), DAY)
    assert list(scores.left(10)) == []  # its readers begin to leave it now
    scores.withdraw(NEXT)
    assert scores.dates() == [DAY]
    assert {v.parent.name for v in scores.left(-1)} == {DAY, NEXT}
    for version in list(scores.left(-1)):
        scores.forget(version)
    assert [path.name for path in (scores.lake / "published" / "scores").iterdir()] == [DAY]
    assert scores.read(DAY).equals(frame(0.4))


def test_a_folder_of_an_earlier_release_is_read_and_replaced(tmp_path: Path) -> None:
    old = Published(tmp_path, "scores")
    old.pointer(DAY).mkdir(parents=True)
    frame(0.1).write_parquet(old.pointer(DAY) / "part-0.parquet")
    assert tables(tmp_path) == ["scores"]
    assert old.read(DAY).equals(frame(0.1))
    assert old.resolve(DAY) == old.pointer(DAY)
    old.publish(frame(0.2), DAY)
    assert old.pointer(DAY).is_symlink()
    assert old.read(DAY).equals(frame(0.2))
    assert [path.name for path in (tmp_path / "scores").iterdir()] == [f"as_of={DAY}"]


@pytest.mark.parametrize("follows", [True, False])
def test_a_copy_of_the_lake_reads_its_own_files(scores: Published, tmp_path: Path, follows: bool) -> None:
    shutil.copytree(scores.lake, tmp_path / "copy", symlinks=not follows)
    copy = Published(tmp_path / "copy", "scores")
    shutil.rmtree(scores.lake)
    assert copy.read(DAY).equals(frame(0.2))
    assert copy.resolve(DAY).is_relative_to(tmp_path / "copy" / "published")
    copy.publish(frame(0.2), DAY)
    copy.publish(frame(0.5), DAY)
    assert copy.read(DAY).equals(frame(0.5))


def test_the_column_of_the_date_stays_where_it_says_more_than_the_path(tmp_path: Path) -> None:
    table = Published(tmp_path, "features/g")
    other = pl.DataFrame({"as_of": [date(2018, 1, 1), date(2017, 12, 1)]})
    for content in (other, other.head(1).vstack(pl.DataFrame({"as_of": [None]}, other.schema)), frame(0.1).head(0)):
        table.publish(content, DAY)
        assert table.read(DAY).equals(content)
    assert tables(tmp_path) == ["features/g"]


def test_a_folder_whose_place_cannot_be_taken_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "old").touch()
    (tmp_path / ".state.part").mkdir()
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name == ".state.part":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        publish_folder(tmp_path / ".state.part", tmp_path / "state")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["old"]


# --- faults below the process -----------------------------------------------------------------------------------


def under_faults(shim: Path, first: int, step: int, last: int) -> list[int]:
    """The calls that failed, of those that publishing makes; in memory where there is such a folder, since thousands of
    fsyncs take minutes on a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        command = [sys.executable, str(HERE / "publishing_under_faults.py"), folder, *map(str, (first, step, last))]
        environment = os.environ | {"LD_PRELOAD": str(shim), "PYTHONPATH": str(HERE.parents[2])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library. Skips where there is no C compiler, or no Linux."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, on Linux")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    return library


def test_a_call_that_fails_loses_nothing_and_the_next_publication_works(shim: Path) -> None:
    assert len(under_faults(shim, 3, 17, 130)) >= 7


@pytest.mark.trial
def test_whichever_call_fails_nothing_is_lost(shim: Path) -> None:
    hit = under_faults(shim, 1, 1, 200)
    assert len(hit) >= 100, hit
    assert hit == list(range(1, len(hit) + 1))


# --- readers ----------------------------------------------------------------------------------------------------


def read_while_published(tmp_path: Path, readers: int, publications: int) -> None:
    """Publish while so many processes of each library read; no error by the version, no mixture by the glob."""
    sys.path.insert(0, str(HERE))
    from reading_under_publication import DAY, ROWS

    scores, stop = Published(tmp_path / "lake", "scores"), tmp_path / "stop"

    def night(number: int) -> pl.DataFrame:
        return pl.DataFrame({"customer_id": range(ROWS), "night": [number] * ROWS})

    scores.publish(night(0), DAY)
    libraries = [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]
    script = str(HERE / "reading_under_publication.py")
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[2]), "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    readers_of = {tmp_path / f"{name}-{number}": name for name in libraries for number in range(readers)}
    processes = {
        rounds: subprocess.Popen(
            [sys.executable, script, name, str(scores.lake), str(stop), str(rounds)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rounds, name in readers_of.items()
    }  # fmt: skip

    def a_round() -> None:
        """Wait until each reader has ended a round that it had not ended before."""
        sizes = {rounds: rounds.stat().st_size if rounds.exists() else 0 for rounds in processes}
        for rounds, process in processes.items():
            while process.poll() is None and not (rounds.exists() and rounds.stat().st_size > sizes[rounds]):
                time.sleep(0.01)

    a_round()
    for number in range(1, publications + 1):
        scores.publish(night(number), DAY)
        a_round()
    stop.touch()
    for rounds, process in processes.items():
        printed, errors = process.communicate(timeout=120)
        name = rounds.name
        assert process.returncode == 0, f"{name}: {errors[-2000:]}"
        told = json.loads(printed)
        assert told["version"] == [], name
        assert told["mixed"] == [], name
        for error in (*told["glob"], *told["folder"]):
            assert any(words in error.lower() for words in NOT_THERE), (name, error)
    assert scores.read(DAY)["night"][0] == publications


def test_readers_see_one_version_while_another_is_published(tmp_path: Path) -> None:
    read_while_published(tmp_path, readers=1, publications=6)


@pytest.mark.trial
def test_eight_readers_of_each_library_see_one_version_during_twenty_publications(tmp_path: Path) -> None:
    read_while_published(tmp_path, readers=8, publications=20)


def test_a_file_of_another_name_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").touch()
    assert not altered(tmp_path / "part-0.parquet")


def test_what_cannot_be_read_is_left_out_of_a_comparison_and_named(
    scores: Published, caplog: pytest.LogCaptureFixture
) -> None:
    file = scores.file(DAY)
    file.write_bytes(b"no parquet")
    assert [day for day, _ in scores.sound(scores.dates())] == [NEXT]
    assert f"left out of the comparison: {file} was altered" in caplog.text


def test_any_column_of_a_scan_has_all_rows(scores: Published) -> None:
    frame = pl.DataFrame({"customer_id": ["a", "b"], "as_of": [date(2017, 5, 1)] * 2})
    scores.publish(frame, "2017-05-01")
    for name in frame.columns:
        assert scores.scan("2017-05-01").select(name).collect().equals(frame.select(name))
