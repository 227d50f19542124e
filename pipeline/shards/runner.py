"""The interface of what computes shards, and its simplest form: one after the other in this process."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.resources.blocks import Shard
from pipeline.settings import Settings
from pipeline.shards.work import Done, Work

ATTEMPTS = 3
"""Attempts at a shard whose worker dies; a third death is no accident."""
SHARDS_OF_A_PROCESS = 16
"""Shards after which a worker makes place for a new one, so that no leak of a library grows with the customers."""


class ShardFailed(RuntimeError):
    """A shard could not be computed; says which, and what the worker said."""


class ShardRunner(Protocol):
    """Computes shards.

    Attributes:
        name: for people, such as `local`.
        workers: shards at most that are computed, or wait with their data in memory, at the same time.
    """

    name: str
    workers: int

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        """Compute shards, none twice; each is told as soon as it is finished, in whatever order. Whoever stops asking
        stops the work, and loses only what is being computed.

        Raises:
            ShardFailed: a shard cannot be computed, or `ATTEMPTS` workers died of it.
            ConnectionError: the workers cannot be reached, which may pass.
        """
        ...


class InThisProcess:
    """One shard after the other, in this process and with all its threads."""

    name = "in the process of the run"
    workers = 1

    def run(self, work: Work, shards: Sequence[Shard]) -> Iterator[Done]:
        """As `ShardRunner.run`; an error of a shard is raised as it is."""
        yield from map(work, shards)


def runner_of(settings: Settings) -> ShardRunner:
    """The runner that the settings ask for.

    Raises:
        MissingExtra: Ray, without the extra.
    """
    if settings.runner == "ray":
        from pipeline.shards.ray_cluster import RayCluster

        return RayCluster(settings.workers, settings.ray_address)
    if settings.workers > 1:
        from pipeline.shards.local_pool import LocalPool

        return LocalPool(settings.workers)
    return InThisProcess()
