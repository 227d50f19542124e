"""All cells of a study, one after the other or some side by side, each in a process of its own: memory goes back, and a
cell that fails does not end the study. What is finished is not computed again; a killed run goes on where it
stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.studies.store import Cell, CellAbout, Store
from benchmarks.studies.study import Log, Study
from feature_assets.kernels.compiled import use_cache
from pipeline.shards.child import THREADS
from pipeline.stopping import end_with


def cells_of(study: Study, root: Path, threads: int = 2, only: Sequence[str] = ()) -> list[Cell]:
    """The cells of a study, those of one seed together: a run that is stopped early has whole seeds."""
    variants = [study.variant(name) for name in only] or list(study.variants)
    return [
        Cell(study, day, variant, seed, root, threads)
        for seed in study.seeds
        for day in study.origins
        for variant in variants
    ]


def run(
    study: Study,
    root: Path,
    log: Log,
    threads: int = 2,
    any_code: bool = False,
    only: Sequence[str] = (),
    alone: Callable[..., Any] | None = None,
    workers: int = 1,
) -> list[str]:
    """Prepare the origins and compute the cells that are missing.

    Args:
        study: to run.
        root: folder of the results.
        log: receives a line after each step.
        threads: of each process.
        any_code: take up cells that other code computed.
        only: names of variants; all without one.
        alone: calls a function with arguments in another process and gives its result.
        workers: cells side by side.

    Returns:
        What failed, one line each.

    Raises:
        ValueError: a setting of a variant does not exist; nothing has been computed then.
    """
    alone = alone or in_a_process
    tasks = cells_of(study, root, threads, only)
    study.check(root)
    for name in THREADS:
        os.environ[name] = str(threads)
    use_cache(root / "kernels")
    store, failed = Store(root), []
    for day in study.origins:
        if not store.origin(study, day).prepared:
            log(f"preparing {day}")
            alone(prepare, study, day, root)
    missing = [task for task in tasks if not task.files.done(any_code)]
    if study.core_hours and missing:
        every = len(study.origins) * len(study.seeds) * len(study.variants)
        log(f"what is missing costs about {study.core_hours * len(missing) / every:.1f} core-hours")
    log(f"{study.name}: {len(tasks)} cells, {len(tasks) - len(missing)} finished, {len(missing)} to compute")
    if workers > 1:  # what several cells read, before they would all make it
        for task in {(task.origin, task.variant.name): task for task in missing}.values():
            alone(share, task)
    spent: dict[str, list[float]] = {}

    def computed(task: Cell) -> tuple[CellAbout | None, float]:
        if task.files.done(any_code):  # a cell of equal content was computed meanwhile
            return None, 0.0
        started = time.monotonic()
        return alone(compute, task), time.monotonic() - started

    with ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(computed, task): task for task in missing}
        for number, done in enumerate(as_completed(running), start=1):
            task = running.pop(done)
            try:
                about, seconds = done.result()
            except Exception as error:  # the other cells are worth having
                failed.append(f"{task.title}: {type(error).__name__}: {error}")
                log(f"[{number}/{len(missing)}] FAILED {failed[-1]}")
                continue
            if about is None:
                continue
            spent.setdefault(task.variant.run, []).append(seconds)
            left = timedelta(seconds=round(sum(_expected(spent, t.variant.run) for t in running.values()) / workers))
            speed = f", {about.rows_per_second:,.0f} rows/s" if about.rows_per_second else ""
            best = f", best {about.best}" if about.best else ""
            log(
                f"[{number}/{len(missing)}] {task.title}: {seconds:.0f} s{speed}, {about.peak_gib:.1f} GiB{best}; "
                f"about {left} left"
            )
    return failed


def prepare(study: Study, origin: str, root: Path) -> None:
    """`Study.prepare` of a process of its own."""
    study.prepare(origin, Store(root), say)


def share(cell: Cell) -> None:
    """`Study.share` of a process of its own."""
    cell.study.share(cell, say)


def compute(cell: Cell, log: Log | None = None) -> CellAbout:
    """Train, predict, write the result. What a training left that other code began is thrown away."""
    import torch

    torch.set_num_threads(cell.threads)
    started, files = time.monotonic(), cell.files
    mark = files.folder / "code"
    if files.work.exists() and not (mark.is_file() and mark.read_text() == files.code):
        shutil.rmtree(files.work)
    files.folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(files.code)
    trained = cell.study.compute(cell, log or say)
    for role, arrays in trained.predictions.items():
        files.save(role, arrays)
    about = cell.about(trained, started)
    files.finish(about)
    shutil.rmtree(files.work, ignore_errors=True)
    return about


def say(line: str) -> None:
    """A line of a process of its own."""
    print(line, flush=True)


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a fresh process, which ends with it, and with this one, however this one ends."""
    own = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, initializer=end_with, initargs=(os.getpid(),), **own) as pool:
        return pool.submit(function, *arguments).result()


def _expected(spent: dict[str, list[float]], kind: str) -> float:
    """Mean seconds of the cells of a kind, of all kinds where none of it has ended."""
    known = spent.get(kind) or [seconds for of_kind in spent.values() for seconds in of_kind]
    return sum(known) / len(known)
