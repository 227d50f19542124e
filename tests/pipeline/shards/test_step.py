"""A step takes up what is finished, and nothing of other content; it tells how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pipeline import faults
from pipeline.resources.blocks import Views
from pipeline.resources.files import strays
from pipeline.settings import Settings
from pipeline.shards import step as steps
from pipeline.shards.child import Failed
from pipeline.shards.runner import InThisProcess, ShardFailed, runner_of
from pipeline.shards.step import TOLD, ShardedStep
from tests.pipeline.shards import toy


class Stops(InThisProcess):
    """Stops after two shards, as a lost cluster does."""

    def run(self, work: Any, shards: Sequence[Any]) -> Any:
        yield from islice(super().run(work, shards), 2)
        raise ConnectionError("the cluster was lost")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def step(tmp_path: Path, told: list[str]) -> ShardedStep:
    return ShardedStep(tmp_path / "lake", "spend", Settings(home=tmp_path), told.append)


@pytest.fixture
def task(tmp_path: Path) -> toy.Spend:
    (tmp_path / "marks").mkdir()
    return toy.Spend(tmp_path / "marks")


def attempts(task: toy.Spend) -> int:
    return len([*task.marks.iterdir()])


def whole(views: Views, task: toy.Spend) -> pl.DataFrame:
    return pl.concat(task(view, lambda frame: frame.collect())["rows"] for view in views)


def test_one_block_is_computed_in_memory_as_ever(step: ShardedStep, views: Views, task: toy.Spend) -> None:
    everybody = replace(views, at_a_time=40)
    with step.rows(task, everybody, {}) as (frame, facts):
        assert isinstance(frame, pl.DataFrame)
        assert frame.equals(whole(views, task))
        assert facts == {}
    assert not step.lake.exists()


def test_the_rest_is_computed_and_nothing_twice(
    step: ShardedStep, views: Views, task: toy.Spend, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "runner_of", lambda _: Stops())
    with pytest.raises(ConnectionError), step.rows(task, views, {"state": "a"}):
        pass
    assert attempts(task) == 2
    assert told[-1].startswith("spend: 2 of 6 shards, 14 of 40 customers, ")
    assert told[-1].endswith(" min left")
    [kept] = strays(step.lake)
    monkeypatch.undo()
    with step.rows(task, views, {"state": "a"}) as (frame, facts):
        assert attempts(task) == 6
        assert "spend: 2 of 6 shards were finished by an earlier attempt" in told
        assert frame.lazy().collect().equals(whole(views, task))
        assert "kept of an earlier attempt: 2; computed again: 0" in facts[TOLD]
        assert kept.is_dir()
    assert not [*strays(step.lake)], "it is removed once the step has succeeded"


def test_other_content_is_computed_anew_and_leaves_one_folder(step: ShardedStep, views: Views, task: toy.Spend) -> None:
    first, _ = step.computed(task, views, {"state": "a"})
    again, _ = step.computed(task, views, {"state": "a"})
    assert again == first
    assert attempts(task) == 6
    found = {first}
    for other, content in ((views, {"state": "b"}), (replace(views, at_a_time=8), {"state": "a"})):
        found.add(step.computed(task, other, content)[0])
        assert len([*strays(step.lake)]) == 1
    more = replace(step, settings=step.settings.model_copy(update={"workers": 2}))
    found.add(more.folder(views, {"state": "a"}))  # its workers have one thread
    assert len(found) == 4
    assert attempts(task) == 6 + 6 + 5


def test_before_anybody_joined_there_is_nothing_to_compute(step: ShardedStep, views: Views, task: toy.Spend) -> None:
    with pytest.raises(dg.Failure, match="no customer is known before 1990-01-01"):
        step.computed(task, replace(views, as_of=date(1990, 1, 1)), {})


def test_a_killed_process_is_taken_up(step: ShardedStep, stored: Path, views: Views, task: toy.Spend) -> None:
    code = f"""
import os, signal
from pathlib import Path
from pipeline.resources.blocks import Views
from pipeline.settings import Settings
from pipeline.shards.step import ShardedStep
from tests.deliveries import synthetic
from tests.pipeline.shards import toy
def log(line):
    if " 3 of 6 shards" in line:
        os.kill(os.getpid(), signal.SIGKILL)
step = ShardedStep(Path({str(step.lake)!r}), "spend", Settings(home={str(step.settings.home)!r}), log)
step.computed(toy.Spend(Path({str(task.marks)!r})), Views(Path({str(stored)!r}), synthetic.AS_OF, 7), {{}})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL
    assert attempts(task) == 3
    _, words = step.computed(task, views, {})
    assert attempts(task) == 6
    assert "kept of an earlier attempt: 3" in words


def test_what_the_settings_ask_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(runner_of(Settings(home=tmp_path)), InThisProcess)
    several = runner_of(Settings(home=tmp_path, workers=3))
    assert (several.name, several.workers) == ("local", 3)
    monkeypatch.setattr("pipeline.shards.ray_cluster.find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"`runner: ray` needs the package ray: .*\[ray\]"):
        runner_of(Settings(home=tmp_path, runner="ray"))


def test_an_error_of_another_process_keeps_what_it_is() -> None:
    error = Failed.of(OSError(5, "Input/output error")).error("shard 3")
    assert isinstance(error, ShardFailed)
    assert str(error) == "shard 3: OSError: [Errno 5] Input/output error"
    assert isinstance(error.__cause__, OSError)
    assert faults.passes(error)
    assert "the memory is used up" in faults.in_words(Failed.of(MemoryError()).error("shard 3"))
    assert Failed.of(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")).error("shard 3").__cause__ is None
    assert Failed("Custom", "own words", "").error("shard 3").__cause__ is None


@pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `ray`")
def test_nothing_of_ray_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from pipeline.definitions import build_definitions
from pipeline.settings import Settings
from pipeline.shards import child, local_pool, ray_cluster, runner, step, tasks, work
for settings in (Settings(home="."), Settings(home=".", workers=2), Settings(home=".", runner="ray", workers=2)):
    build_definitions(settings)
    runner.runner_of(settings)
print([name for name in sys.modules if name.partition(".")[0] == "ray"])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]"], done.stderr
