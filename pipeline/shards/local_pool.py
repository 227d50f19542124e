"""Shards on processes of this machine. A worker that dies is replaced, and its shard is computed again."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from pipeline.resources.blocks import Shard
from pipeline.shards.child import Child, Failed, one_thread
from pipeline.shards.runner import ATTEMPTS, SHARDS_OF_A_PROCESS, ShardFailed
from pipeline.shards.work import Done, Work


@dataclass
class _Worker:
    """A process and what it computes; `left`: shards until it makes place for another."""

    child: Child
    shard: Shard
    left: int = SHARDS_OF_A_PROCESS


class LocalPool:
    """As many processes as `workers`, with one thread each; each has one shard, and gets the next when it is done."""

    name = "local"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        """As `ShardRunner.run`."""
        waiting, deaths = deque(shards), [0] * (max((shard.number for shard in shards), default=0) + 1)
        busy: dict[Connection, _Worker] = {}
        try:
            for _ in range(min(self.workers, len(waiting))):
                self._give(busy, self._hired(work, waiting[0]), waiting)
            while busy:
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker = busy.pop(connection)
                    try:
                        answer: Done | Failed = connection.recv()
                    except (EOFError, OSError):
                        worker.child.end()
                        deaths[worker.shard.number] += 1
                        if deaths[worker.shard.number] == ATTEMPTS:
                            raise ShardFailed(died(worker.shard)) from None
                        waiting.appendleft(worker.shard)
                        self._give(busy, self._hired(work, worker.shard), waiting)
                        continue
                    if isinstance(answer, Failed):
                        busy[connection] = worker
                        raise answer.error(words(worker.shard))
                    worker.left -= 1
                    if not waiting or not worker.left:
                        worker.child.end()
                    if waiting:
                        self._give(busy, worker if worker.left else self._hired(work, waiting[0]), waiting)
                    yield answer
        finally:
            for worker in busy.values():
                worker.child.kill()

    def _hired(self, work: Work, shard: Shard) -> _Worker:
        return _Worker(Child(_serve, work, environment=one_thread()), shard)

    def _give(self, busy: dict[Connection, _Worker], worker: _Worker, waiting: deque[Shard]) -> None:
        worker.shard = waiting.popleft()
        busy[worker.child.connection] = worker
        with suppress(OSError):  # it died before it got anything: seen where its answer is read
            worker.child.connection.send(worker.shard)


def _serve(connection: Connection, work: Work) -> None:
    """A worker's life: a shard in, what became of it out."""
    while True:
        shard: Shard = connection.recv()
        try:
            answer: Done | Failed = work(shard)
        except Exception as error:  # whatever it is, the run says it
            answer = Failed.of(error)
        connection.send(answer)


def words(shard: Shard) -> str:
    """A shard in the words of a message."""
    return f"shard {shard.number} of {shard.as_of} ({shard.customers:,} customers)"


def died(shard: Shard) -> str:
    """What is said when the workers of a shard die."""
    return (
        f"{words(shard)}: {ATTEMPTS} workers died of it; if their memory ran out (`dmesg` says so), set a smaller "
        "`customers_at_a_time` or fewer `workers` in settings.yaml"
    )
