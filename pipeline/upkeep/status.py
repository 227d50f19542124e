"""The state of a deployment in a screenful: what scores, what was scored, what runs, and what needs a look.

Each part is read by itself: one that cannot be read says so in its place. Nothing is changed.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from pipeline.deployment import Deployment
from pipeline.monitoring import record
from pipeline.monitoring.lateness import daemons_alive, late_night, next_tick, on_since, switched
from pipeline.monitoring.night_report import HEADLINE
from pipeline.partitions import as_of_partitions
from pipeline.resources.publication import Published
from pipeline.runs.in_process import NIGHTLY, PARTITION_TAG, TRAINING
from pipeline.runs.queue import queue_of
from pipeline.training.decision import waiting

AUTOMATION = ("nightly", "training", "after_success", "after_failure", "after_cancellation")
"""Schedules and sensors that make the nights run by themselves."""


def status_of(deployment: Deployment) -> dict[str, Any]:
    """Part → plain values, or `{"unknown": reason}`: home, champion, scores, running, waiting, daemon, automation, next
    tick, last night, last failure, look."""
    found = {}
    for name, read in PARTS.items():
        try:
            found[name] = read(deployment)
        except Exception as error:  # whatever is broken: the other parts are still worth reading
            found[name] = {"unknown": f"{type(error).__name__}: {error}"}
    return found


def _home(deployment: Deployment) -> dict[str, Any]:
    dataset = deployment.settings.load_dataset()
    home = {"folder": str(deployment.home.root), "data set": dataset.name, "covers until": str(dataset.covers_until)}
    return home if deployment.home.lake_url is None else home | {"lake": deployment.home.lake_url}


def _champion(deployment: Deployment) -> dict[str, Any] | None:
    champion, challenger = deployment.tracking.champion(), deployment.tracking.challenger()
    beside = {"challenger": waiting(challenger)} if challenger is not None else {}
    if champion is None:
        return beside or None
    dates = Published(deployment.home.lake, "scores").dates()
    reference = max(date.fromisoformat(dates[-1]), champion.as_of) if dates else champion.as_of
    age = (reference - champion.as_of).days
    return {"version": champion.version, "trained as of": str(champion.as_of), "age in days": age, **beside}


def _scores(deployment: Deployment) -> dict[str, Any] | None:
    published = Published(deployment.home.lake, "scores")
    dates = published.dates()
    if not dates:
        return None
    frame = published.read(dates[-1])
    version = str(frame["model_version"][0]) if frame.height else "–"
    return {"as of": dates[-1], "rows": frame.height, "version": version, "dates": len(dates)}


def _running(deployment: Deployment) -> list[str]:
    queue = queue_of(deployment.instance, deployment.home)
    found = [_of_run(deployment.instance, run_id) for run_id in queue.running]
    found += [f"{_of_run(deployment.instance, run_id)}: its process is gone" for run_id in queue.dead]
    held = queue.holder.words() if queue.holder is not None else ""
    return [*found, *([held] if held and not queue.running else [])]


def _of_run(instance: DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    what = f"{run.job_name} of {run.tags[PARTITION_TAG]}" if run and PARTITION_TAG in run.tags else "a run"
    return f"{what} (run {run_id[:8]})"


def _waiting(deployment: Deployment) -> list[str]:
    runs = deployment.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED]))
    return [_of_run(deployment.instance, run.run_id) for run in reversed(runs)]


def _daemon(deployment: Deployment) -> dict[str, bool]:
    return daemons_alive(deployment.instance, deployment.now)


def _automation(deployment: Deployment) -> dict[str, bool]:
    on = switched(deployment.instance)
    return {name: on.get(name, False) for name in AUTOMATION}


def _tick(deployment: Deployment) -> str | None:
    if on_since(deployment.instance, NIGHTLY) is None:
        return None
    zone = as_of_partitions(deployment.settings.load_dataset()).timezone
    return next_tick(deployment.settings, zone, deployment.now).isoformat(timespec="minutes")


def _last_night(deployment: Deployment) -> dict[str, Any] | None:
    return _newest(deployment, NIGHTLY, [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED])


def _last_failure(deployment: Deployment) -> dict[str, Any] | None:
    failed = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    found = [last for job in (NIGHTLY, TRAINING) if (last := _newest(deployment, job, failed))]
    return max(found, key=lambda last: last["ended"], default=None)


def _newest(deployment: Deployment, job: str, statuses: list[DagsterRunStatus]) -> dict[str, Any] | None:
    found = deployment.instance.get_run_records(RunsFilter(job_name=job, statuses=statuses), limit=1)
    if not found:
        return None
    run = record.read(deployment.instance, found[0])
    ended = datetime.fromtimestamp(found[0].end_time or found[0].create_timestamp.timestamp(), UTC)
    told = {"job": job, "as of": found[0].dagster_run.tags.get(PARTITION_TAG, "–"), "result": run.status.value.lower()}
    return told | {"ended": ended.isoformat(timespec="minutes")} | ({"reason": run.failure} if run.failed else {})


def _look(deployment: Deployment) -> list[dict[str, str]]:
    """What the newest report says, and what has gone wrong since."""
    settings, instance, home = deployment.settings, deployment.instance, deployment.home
    late = late_night(instance, as_of_partitions(settings.load_dataset()), settings, deployment.now)
    found = [{"what": "A night is late", "words": late.words, "do": "`ple nightly`, or start `ple ui`"}] if late else []
    problems = queue_of(instance, home).problems()
    found += [{"what": "The queue stands still", "words": words, "do": ""} for words in problems]
    newest = max(home.reports.glob(f"as_of=*/{HEADLINE}"), default=None)
    told = json.loads(newest.read_text())["looks"] if newest else []
    return [*found, *({key: look[key] for key in ("what", "words", "do")} for look in told)]


PARTS: dict[str, Callable[[Deployment], Any]] = {
    "home": _home,
    "champion": _champion,
    "scores": _scores,
    "running": _running,
    "waiting": _waiting,
    "daemon": _daemon,
    "automation": _automation,
    "next tick": _tick,
    "last night": _last_night,
    "last failure": _last_failure,
    "look": _look,
}
