"""Every runner gives the same bytes, whatever dies; never more at a time than it may; faults in words."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest

from pipeline import faults
from pipeline.resources.blocks import Shard
from pipeline.resources.digests import file_digest
from pipeline.settings import Settings
from pipeline.shards.runner import ATTEMPTS, InThisProcess, ShardFailed, runner_of
from pipeline.shards.work import Done, Task, Work, frames
from tests.pipeline.shards import toy
from tests.pipeline.shards.conftest import POOLS, POOLS_AT_LENGTH, needs_ray, runner


def marks(folder: Path) -> Path:
    place = folder / "marks"
    place.mkdir(exist_ok=True)
    return place


def content(folder: Path) -> dict[str, str]:
    """Published name → digest of what a runner left."""
    return {str(file.relative_to(folder)): file_digest(file) for file in sorted(folder.glob("[0-9]*/*"))}


def computed(kind: str, task: Task, shards: list[Shard], folder: Path, workers: int = 2) -> list[Done]:
    done = [*runner(kind, folder, workers).run(Work(task, folder / kind), shards)]
    assert sorted(one.number for one in done) == [shard.number for shard in shards]
    return done


def attempts(folder: Path) -> Counter[str]:
    """First customer of a shard → attempts at it."""
    return Counter(file.name.split("-")[0] for file in folder.glob("*-*-*"))


@pytest.fixture(scope="module")
def expected(shards: list[Shard], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process computes."""
    folder = tmp_path_factory.mktemp("alone")
    assert [*InThisProcess().run(Work(toy.Spend(marks(folder)), folder), shards)]
    return content(folder)


@pytest.mark.parametrize("kind", POOLS)
def test_the_same_bytes_from_several_processes(
    kind: str, shards: list[Shard], expected: dict[str, str], tmp_path: Path
) -> None:
    done = computed(kind, toy.Spend(marks(tmp_path)), shards, tmp_path)
    assert content(tmp_path / kind) == expected
    assert len(expected) == 3 * len(shards), "two frames and a seal a shard"
    assert frames(tmp_path / kind, "ids").collect().height == sum(one.customers for one in done) == 40
    assert not any(one.retries for one in done)
    processes = {file.name.split("-")[1] for file in marks(tmp_path).iterdir()}
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize("kind", POOLS)
def test_a_killed_worker_changes_nothing(
    kind: str, shards: list[Shard], expected: dict[str, str], tmp_path: Path
) -> None:
    third = shards[3].view().customers["customer_id"][2]
    done = computed(kind, toy.DiesOnce(marks(tmp_path), third), shards, tmp_path)
    assert content(tmp_path / kind) == expected
    assert {one.number: one.retries for one in done if one.retries} == {3: 1}
    found = attempts(marks(tmp_path))
    assert found.pop(shards[3].view().customers["customer_id"][0]) == 2
    assert set(found.values()) == {1}, "nothing else was computed again"


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_a_shard_that_kills_every_worker_is_given_up_in_words(kind: str, shards: list[Shard], tmp_path: Path) -> None:
    first = shards[0].view().customers["customer_id"][0]
    with pytest.raises(ShardFailed, match=rf"shard 0 of .* \(7 customers\): {ATTEMPTS} workers died of it.*at_a_time"):
        computed(kind, toy.DiesOnce(marks(tmp_path), first, always=True), shards, tmp_path)
    assert attempts(marks(tmp_path))[first] == ATTEMPTS


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_never_more_shards_at_a_time_than_workers(kind: str, shards: list[Shard], tmp_path: Path) -> None:
    computed(kind, toy.Slow(marks(tmp_path)), shards, tmp_path, workers=2)
    beside = [int(file.read_text()) for file in marks(tmp_path).glob("beside-*")]
    assert len(beside) == len(shards)
    assert max(beside) <= 2


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_an_error_of_a_shard_names_it_and_keeps_what_it_is(kind: str, shards: list[Shard], tmp_path: Path) -> None:
    with pytest.raises(ShardFailed, match=r"shard \d of .*: ValueError: no such column") as raised:
        computed(kind, toy.Fails(ValueError, "no such column"), shards, tmp_path)
    assert isinstance(raised.value.__cause__, ValueError)
    assert not faults.passes(raised.value)
    assert "toy.py" in raised.value.__notes__[0]


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_a_worker_has_one_thread(kind: str, shards: list[Shard], tmp_path: Path) -> None:
    computed(kind, toy.Threads(), shards[:1], tmp_path)
    assert frames(tmp_path / kind, "rows").collect()["threads"].to_list() == [[1, 1]]


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_whoever_stops_asking_leaves_no_process(kind: str, shards: list[Shard], tmp_path: Path) -> None:
    run = runner(kind, tmp_path).run(Work(toy.Slow(marks(tmp_path)), tmp_path / kind), shards)
    next(run)
    run.close()  # type: ignore[attr-defined]  # it is a generator
    assert_gone(marks(tmp_path))


CODE = """
import sys
from pathlib import Path
from pipeline.resources.blocks import Views
from pipeline.shards.work import Work
from tests.deliveries import synthetic
from tests.pipeline.shards import toy
from tests.pipeline.shards.conftest import runner
stored, folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
shards = Views(stored, synthetic.AS_OF, 7).shards()
for done in runner(kind, folder).run(Work(toy.Slow(folder / "marks", seconds=1.0), folder / kind), shards):
    print(done.number, flush=True)
"""


@pytest.mark.parametrize("kind", POOLS_AT_LENGTH)
def test_a_killed_run_leaves_no_process(kind: str, stored: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", CODE, str(stored), str(tmp_path), kind]
    marks(tmp_path)
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert_gone(marks(tmp_path))


def assert_gone(folder: Path) -> None:
    """The processes that left a mark have ended."""
    seen = {int(file.name.split("-")[1]) for file in folder.glob("*-*-*")}
    seen |= {int(file.name.split("-")[1]) for file in folder.glob("running-*")}
    assert seen
    deadline = time.monotonic() + toy.MEANWHILE
    while any(alive(pid) for pid in seen):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_that_were_altered_are_not_taken_up(shards: list[Shard], tmp_path: Path) -> None:
    work = Work(toy.Spend(marks(tmp_path)), tmp_path / "kept")
    work(shards[0])
    file = work.place(shards[0]) / "rows.parquet"
    assert work.finished(shards[0])
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(file, ns=(1, 1))
    assert not work.finished(shards[0])
    work(shards[0])
    assert file.read_bytes() == whole
    work(shards[0])
    assert sum(attempts(marks(tmp_path)).values()) == 2, "what is there whole is not computed"
    assert pl.read_parquet(file).height == shards[0].customers


def cluster(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """A Ray cluster in a process group of its own."""
    words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--object-store-memory=100000000", f"--temp-dir={folder}", "--disable-usage-stats"]
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    with (folder / "start.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True, stdout=log, stderr=log)


def answers(port: int) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + 4 * toy.MEANWHILE
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "the cluster does not start"
        time.sleep(0.1)


@needs_ray
@pytest.mark.trial
def test_a_cluster_that_is_stopped_and_started_computes_the_rest(
    shards: list[Shard], expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings(home=tmp_path, runner="ray", workers=2, ray_address=f"127.0.0.1:{port}")
    work = Work(toy.Slow(marks(tmp_path), seconds=2.0), tmp_path / "results")
    with TemporaryDirectory(prefix="ple-ray-") as folder:
        first = cluster(port, Path(folder))
        try:
            answers(port)
            run = runner_of(settings).run(work, shards)
            finished = {next(run).number}
            os.killpg(first.pid, signal.SIGKILL)
            with pytest.raises(ConnectionError, match=r"the Ray cluster 127\.0\.0\.1:\d+") as raised:
                finished |= {done.number for done in run}
        finally:
            first.kill()
            first.wait()
        assert faults.passes(raised.value), "the step is tried again"
        assert 0 < len(finished) < len(shards)
        for left in marks(tmp_path).glob("running-*"):
            left.unlink()
        before = attempts(marks(tmp_path))
        second = cluster(port, Path(folder))
        try:
            answers(port)
            missing = [shard for shard in shards if not work.finished(shard)]
            assert finished.isdisjoint(shard.number for shard in missing)
            run = runner_of(settings).run(work, missing)
            assert {*(done.number for done in run)} == {shard.number for shard in missing}
        finally:
            os.killpg(second.pid, signal.SIGKILL)
            second.wait()
    assert content(tmp_path / "results") == expected
    kept = {shards[number].view().customers["customer_id"][0] for number in finished}
    assert all(attempts(marks(tmp_path))[one] == before[one] == 1 for one in kept)
