"""Shards on a Ray cluster: one that the settings name, or one on this machine for the time of a step.

A process of its own is Ray's driver (`_drive`): Ray ends the driver of a cluster that is gone, and the night must
survive that. Nothing of a customer passes through Ray's object store, since results are files; so there is nothing that
Ray could spill. Ray computes a shard again whose worker died, wherever a core is free.
"""

import os
import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Any

from feature_assets.kernels.compiled import VARIABLE as KERNELS
from pipeline.resources.blocks import Shard
from pipeline.shards.child import Child, Failed, one_thread
from pipeline.shards.local_pool import died, words
from pipeline.shards.runner import ATTEMPTS, SHARDS_OF_A_PROCESS, ShardFailed
from pipeline.shards.work import Done, Work

LOOKS_EVERY = 1.0
"""Seconds between two looks of the driver whether the night is still there."""
OBJECTS = 100 * 2**20
"""Bytes of the object store of a cluster of our own; it holds no result."""


class MissingExtra(RuntimeError):
    """A setting needs a package that is not installed; says how to install it."""


class RayCluster:
    """Ray tasks, of which at most `workers` are given out at the same time; each has one core and one thread."""

    name = "Ray"

    def __init__(self, workers: int, address: str | None) -> None:
        if find_spec("ray") is None:
            raise MissingExtra(
                "`runner: ray` needs the package ray: `pip install --constraint constraints.txt --editable '.[ray]'`"
            )
        self.workers = workers
        self._address = address or ""

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        """As `ShardRunner.run`."""
        if not shards:
            return
        numbered = {shard.number: shard for shard in shards}
        with TemporaryDirectory(prefix="ple-ray-", ignore_cleanup_errors=True) as session:
            driver = Child(_drive, work, list(shards), self.workers, self._address, session, environment=one_thread())
            try:
                for _ in shards:
                    yield self._answer(driver, numbered)
                driver.end()
            finally:
                driver.kill()

    def _answer(self, driver: Child, numbered: dict[int, Shard]) -> Done:
        where = f"the Ray cluster {self._address or 'of this step'}"
        try:
            answer: Done | tuple[int, Failed] | Failed | int = driver.connection.recv()
        except (EOFError, OSError) as error:
            raise ConnectionError(f"{where} was lost; the shards that it finished are kept") from error
        if isinstance(answer, Done):
            return answer
        if isinstance(answer, int):
            raise ShardFailed(died(numbered[answer]))
        if isinstance(answer, Failed):
            raise ConnectionError(f"{where}: {answer.kind}: {answer.text}; the shards that it finished are kept")
        number, failed = answer
        raise failed.error(words(numbered[number]))


def compute(work: Work, shard: Shard) -> Done | Failed:
    """The Ray task."""
    try:
        return work(shard)
    except Exception as error:  # whatever it is, the run says it
        return Failed.of(error)


def _drive(
    connection: Connection, work: Work, shards: Sequence[Shard], workers: int, address: str, session: str
) -> None:
    """The driver's life: it gives out shards while fewer than `workers` are under way, and tells what became of them.

    It sends a `Done`, the number of a shard whose workers die, (number, `Failed`) of one that cannot be computed, or a
    `Failed` where the cluster is the fault.
    """
    ray: Any = None
    try:
        ray = _connected(workers, address, session)
        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1, max_calls=SHARDS_OF_A_PROCESS)(compute)
        given = ray.put(work)
        waiting = deque(shards)
        running: dict[Any, Shard] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                shard = waiting.popleft()
                running[remote.options(name=f"shard {shard.number}").remote(given, shard)] = shard
            ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOKS_EVERY)
            if connection.poll():
                return  # the night has gone
            for reference in ready:
                shard = running.pop(reference)
                try:
                    answer: Done | Failed = ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    connection.send(shard.number)
                    return
                connection.send((shard.number, answer) if isinstance(answer, Failed) else answer)
    except OSError as error:
        connection.send(Failed.of(error))
    except Exception as error:
        if ray is not None and not isinstance(error, ray.exceptions.RayError):
            raise
        connection.send(Failed.of(error))
    finally:
        if ray is not None:
            ray.shutdown()


def _connected(workers: int, address: str, session: str) -> Any:
    """Ray, in this process, and its cluster."""
    ours = {} if address else _own_cluster()
    os.environ.update(ours)  # before Ray is imported: it reads some of them then
    ray = import_module("ray")
    environment = one_thread() | ({KERNELS: os.environ[KERNELS]} if KERNELS in os.environ else {})
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": environment},
        "log_to_driver": False,
        "configure_logging": False,
    }
    if not address:
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECTS}
        options |= {"_temp_dir": session}
    for left in reversed(range(1 if address else ATTEMPTS)):  # on a busy machine Ray gives up its own start too soon
        try:
            ray.init(address=address or "local", **options)
            break
        except Exception:
            ray.shutdown()
            if not left:
                raise
    return ray


def _own_cluster() -> dict[str, str]:
    """The environment of a cluster of our own: on loopback, with a secret that stands in no file, telling nobody."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: no other machine can join, so listen on loopback
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
