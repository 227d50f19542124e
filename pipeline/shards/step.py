"""The shards of a step: what an earlier attempt finished is kept, the rest computed, the results one below the other.

Finished shards lie in a hidden folder of the lake, named by everything that decides their content: an attempt at the
same step takes them up, whichever process made them, and no other step can. The folder goes when the step has
succeeded; what a step leaves that never does is a stray.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import dagster as dg

from pipeline.plugins import load_plugins
from pipeline.resources.blocks import Rows, Shard, Views
from pipeline.resources.digests import LIBRARIES, code_digest, package_files
from pipeline.resources.files import discard, make_folder
from pipeline.settings import Settings
from pipeline.shards.runner import InThisProcess, ShardRunner, runner_of
from pipeline.shards.tasks import ROWS
from pipeline.shards.work import Done, Task, Work, frames

TOLD = "shards"
"""Key of the metadata of an asset."""
Content = Mapping[str, Any]
"""What decides the results beside the delivery, the date and the blocks, as JSON has it."""


@dataclass(frozen=True)
class ShardedStep:
    """A step that works shard by shard where the customers are more than one block.

    Attributes:
        lake: the folder.
        name: of the step; its folders in the lake have it.
        settings: which runner.
        log: for progress; Dagster's shows it in the UI.
    """

    lake: Path
    name: str
    settings: Settings
    log: Callable[[str], object]

    @contextmanager
    def rows(self, task: Task, views: Views, content: Content) -> Iterator[tuple[Rows, dict[str, str]]]:
        """The rows of a task with one frame, and metadata about its shards; those of several shards stay in files
        until the block ends.

        Raises:
            dg.Failure: nobody is known before the date.
            ShardFailed, ConnectionError: as `ShardRunner.run`.
        """
        if views.whole:
            (view,) = views
            yield task(view, lambda everybody: everybody.collect())[ROWS], {}
            return
        folder, told = self.computed(task, views, content)
        yield frames(folder, ROWS), {TOLD: told}
        self.forget()

    def computed(self, task: Task, views: Views, content: Content) -> tuple[Path, str]:
        """The folder with the results of all shards (`work.frames`), and what became of them in words."""
        shards, runner = views.shards(), runner_of(self.settings)
        if not shards:
            raise dg.Failure(f"no customer is known before {views.as_of}", allow_retries=False)
        folder = self.folder(views, content)
        for other in self._folders():  # of other content: a step never keeps two
            if other != folder:
                discard(other)
        make_folder(folder)
        work = Work(task, folder, self.settings.plugins)
        missing = [shard for shard in shards if not work.finished(shard)]
        told = _Progress(self.name, shards, missing, runner, self.log)
        for done in runner.run(work, missing):
            told.add(done)
        return folder, told.words()

    def forget(self) -> None:
        """Remove what the shards of this step left, of whatever content."""
        for folder in self._folders():
            discard(folder)

    def _folders(self) -> list[Path]:
        return [*self.lake.glob(f".shards-{self.name}-*.part")]

    def folder(self, views: Views, content: Content) -> Path:
        """Where the results of some content lie, named by 16 hex digits of everything that decides them. Threads do:
        sums of float32 are rounded by them."""
        description = {
            "content": content,
            "delivery": views.folder.name,
            "as_of": views.as_of.isoformat(),
            "at_a_time": views.at_a_time,
            "code": code_digest([*package_files(), *load_plugins(self.settings.plugins).files]),
            "libraries": {name: version(name) for name in LIBRARIES},
            "machine": platform.machine(),
            "one thread": not isinstance(runner_of(self.settings), InThisProcess),
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
        return self.lake / f".shards-{self.name}-{digest}.part"


class _Progress:
    """What a step says of its shards while they are computed, and afterwards."""

    def __init__(
        self,
        name: str,
        shards: list[Shard],
        missing: list[Shard],
        runner: ShardRunner,
        log: Callable[[str], object],
    ) -> None:
        self._name, self._runner, self._log = name, runner, log
        self._shards, self._everybody = len(shards), sum(shard.customers for shard in shards)
        self._kept = self._shards - len(missing)
        self._left = sum(shard.customers for shard in missing)
        self._computed = self._customers = self._retries = 0
        self._started = perf_counter()
        if self._kept:
            log(f"{name}: {self._kept} of {self._shards} shards were finished by an earlier attempt")

    def add(self, done: Done) -> None:
        """Tell of a finished shard."""
        self._computed += 1
        self._customers += done.customers
        self._left -= done.customers
        self._retries += done.retries
        speed = self._customers / max(perf_counter() - self._started, 1e-9)
        if done.retries:
            self._log(f"{self._name}: shard {done.number} was computed again, for its worker died")
        finished, customers = self._kept + self._computed, self._everybody - self._left
        self._log(
            f"{self._name}: {finished} of {self._shards} shards, {customers:,} of {self._everybody:,} customers, "
            f"{speed:,.0f} customers/s, about {self._left / speed / 60:.1f} min left"
        )

    def words(self) -> str:
        """In one line, for the metadata."""
        workers = f"{self._runner.workers} workers, " if self._runner.workers > 1 else ""
        seconds = perf_counter() - self._started
        return (
            f"{self._shards} of {self._everybody:,} customers; runner: {workers}{self._runner.name}; "
            f"kept of an earlier attempt: {self._kept}; computed again: {self._retries}; {seconds:.0f} s"
        )
