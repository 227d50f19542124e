"""What is wrong with an installation, and what to do about it. Nothing is changed.

Each check is a function of the deployment that gives its problems in words, none where all is well.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.deployment import Deployment
from pipeline.intake.forgotten import Forgotten
from pipeline.resources.publication import PublicationError, Published, tables
from pipeline.runs.in_process import NIGHTLY
from pipeline.upkeep.lost_registry import lost_registry

FREE_BYTES = 2 * 2**30
"""Free disk under which a night may not end."""


@dataclass(frozen=True)
class Finding:
    """Result of a check: what was looked at, its problems, and a word where all is well."""

    check: str
    problems: tuple[str, ...]
    fact: str = ""


def examine(deployment: Deployment) -> list[Finding]:
    """All findings, in the order of `CHECKS`. A check that itself fails is a finding."""
    found = []
    for name, check in CHECKS.items():
        try:
            problems, fact = check(deployment)
        except Exception as error:  # whatever is broken is what the doctor is asked about
            problems, fact = [f"could not be examined: {type(error).__name__}: {error}"], ""
        found.append(Finding(name, tuple(problems), fact))
    return found


def _disk(deployment: Deployment) -> tuple[list[str], str]:
    root = deployment.home.root
    free = shutil.disk_usage(root).free
    problems = (
        [] if free >= FREE_BYTES else [f"{_size(free)} are free: make room, or lower `retention` in the settings"]
    )
    if root.stat().st_mode & 0o007:
        problems.append(f"everybody may read {root}: `chmod -R o-rwx {root}`")
    return problems, f"{_size(free)} free"


def _queue(deployment: Deployment) -> tuple[list[str], str]:
    from pipeline.runs.queue import queue_of

    queue = queue_of(deployment.instance, deployment.home)
    held = f"; in use: {queue.holder.words()}" if queue.holder else ""
    return queue.problems(), f"{len(queue.running)} running, {queue.waiting} waiting{held}"


def _nights(deployment: Deployment) -> tuple[list[str], str]:
    from pipeline.monitoring.lateness import daemons_alive, late_night, on_since
    from pipeline.partitions import as_of_partitions

    settings, instance, now = deployment.settings, deployment.instance, deployment.now
    late = late_night(instance, as_of_partitions(settings.load_dataset()), settings, now)
    on = on_since(instance, NIGHTLY) is not None
    dead = [serves for serves, lives in daemons_alive(instance, now).items() if not lives]
    problems = [late.words] if late else []
    if on and dead:
        problems.append(f"the schedule is on and no daemon serves {', '.join(dead)}: start `ple ui`")
    return problems, "the schedule is on, the daemon lives" if on else "the schedule is off: nothing starts by itself"


def _model(deployment: Deployment) -> tuple[list[str], str]:
    champion = deployment.tracking.champion()
    if champion is not None:
        return [], f"version {champion.version}, trained as of {champion.as_of}, unaltered"
    if lost := lost_registry(deployment.tracking, deployment.home.lake):
        return [lost], ""
    return [], "none yet: the first night trains one"


def _lake(deployment: Deployment) -> tuple[list[str], str]:
    """Whether the published tables can be reached; with the time of a request."""
    url = deployment.home.lake_url
    if url is None:
        return [], "in the home"
    began = time.monotonic()
    known = tables(deployment.home.lake)
    return [], f"{url} answers in {time.monotonic() - began:.2f} s: {len(known)} tables"


def _scores(deployment: Deployment) -> tuple[list[str], str]:
    published = Published(deployment.home.lake, "scores")
    dates = published.dates()
    problems = []
    for day in dates[-NEWEST:]:
        try:
            published.read(day)
        except PublicationError as error:
            problems.append(str(error))
    return problems, f"{len(dates)} as-of dates, the newest {dates[-1]}" if dates else "none yet"


def _housekeeping(deployment: Deployment) -> tuple[list[str], str]:
    from pipeline.resources.lake import Lake
    from pipeline.upkeep.retention import plan

    lake = Lake(root=str(deployment.home.lake))
    removals = plan(deployment.settings, lake, deployment.tracking, deployment.instance)
    size = sum(removal.bytes for removal in removals)
    return [], f"the next night removes {len(removals)} things, {_size(size)}" if removals else "nothing to remove"


def _databases(deployment: Deployment) -> tuple[list[str], str]:
    from pipeline.home import postgres

    uses: dict[postgres.Use, str | None] = {
        "Dagster": deployment.settings.dagster_storage,
        "MLflow": deployment.settings.mlflow_uri,
    }
    said = {
        use: postgres.facts(uri, use) if uri and postgres.is_postgres(uri) else uri or "sqlite"
        for use, uri in uses.items()
    }
    return [], "; ".join(f"{use}: {words}" for use, words in said.items())


def _description(deployment: Deployment) -> tuple[list[str], str]:
    dataset = deployment.settings.load_dataset()
    return [], f"{dataset.name}, {dataset.covers_from} to {dataset.covers_until}"


def _erasure(deployment: Deployment) -> tuple[list[str], str]:
    listed = Forgotten.read(deployment.home.root)
    problems = [] if listed.finished else ["an erasure did not end: run `ple forget` with the same ids again"]
    return problems, f"{len(listed.customers):,} customers forgotten" if listed.customers else "nobody was forgotten"


CHECKS: dict[str, Callable[[Deployment], tuple[list[str], str]]] = {
    "data set": _description,
    "disk": _disk,
    "databases": _databases,
    "runs": _queue,
    "nights": _nights,
    "champion": _model,
    "lake": _lake,
    "scores": _scores,
    "housekeeping": _housekeeping,
    "erasure": _erasure,
}
NEWEST = 7
"""Newest published dates whose bytes are read."""


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
