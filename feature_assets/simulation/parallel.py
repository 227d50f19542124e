"""Jobs over spawned processes, with their results as they are done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Job = TypeVar("Job")


def spread(work: Callable[[Job], None], jobs: Sequence[Job], workers: int) -> Iterator[Job]:
    """Do every job, in this process if there is one worker; yields each job when it is done."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            work(job)
            yield job
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(running):
            future.result()
            yield running[future]
