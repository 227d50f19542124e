"""Retention: what a deployment keeps, and what a night removes of the rest.

`plan` only tells; `apply` removes. Nothing goes that the champion, the challenger, a version with another alias, or a
published version that a reader may have resolved needs. Inputs (arrivals, simulations) are never touched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl
from dagster import DagsterInstance, DagsterRun

from pipeline.clock import age
from pipeline.home.folder import Home
from pipeline.resources import publication
from pipeline.resources.files import discard, strays
from pipeline.resources.lake import DRIFT_REFERENCES, Lake
from pipeline.resources.tracking import Tracking
from pipeline.settings import Retention, Settings

PARTITION_TAG = "dagster/partition"
STRAY_HOURS = 1.0
"""Nothing that is being written is older."""
KEPT_TRACEBACKS = 50


@dataclass(frozen=True)
class Removal:
    """One thing that is not kept.

    Attributes:
        kind: of thing, for a table of what goes.
        name: of the thing.
        why: it is not kept, in words.
        bytes: on disk.
        remove: deletes it; may be called again after a kill.
    """

    kind: str
    name: str
    why: str
    bytes: int
    remove: Callable[[], None] = field(repr=False, compare=False)


def plan(
    settings: Settings, lake: Lake, tracking: Tracking, instance: DagsterInstance, tonight: str | None = None
) -> list[Removal]:
    """What would be removed now.

    Args:
        tonight: as-of date that is being made; it and its delivery stay, however old.
    """
    kept, home = settings.retention, Home(settings.home)
    aliased = tracking.aliased()
    needed = {version.as_of for version in aliased}
    nights = _kept_dates(lake, kept.keep_nights, tonight) | needed
    features = _kept_dates(lake, kept.keep_features, tonight)
    return [
        *_strays(home),
        *_tables(lake, kept, nights, features),
        *_dated(lake.path("tables"), nights, "night", f"older than {kept.keep_nights} nights"),
        *_dated(home.reports, nights, "report", f"older than {kept.keep_nights} nights"),
        *_dated(lake.path("training"), _trainings(lake, kept, tonight) | needed, "training",
                f"older than {kept.keep_trainings} trainings"),
        *_deliveries(lake, kept, tonight),
        *_volumes(lake, max(kept.keep_nights, settings.volume.compared)),
        *_versions(lake, tracking, kept, nights),
        *_references(lake, tracking),
        *_runs(home, instance, kept, nights),
        *_tracebacks(home),
    ]  # fmt: skip


def apply(removals: Iterable[Removal]) -> list[tuple[Removal, str]]:
    """Remove; what could not be removed, with the reason. One that fails keeps none of the others."""
    failed = []
    for removal in removals:
        try:
            removal.remove()
        except Exception as error:  # of the disk, MLflow or Dagster: the next night tries again
            failed.append((removal, f"{type(error).__name__}: {error}"))
    return failed


def table(removals: Sequence[Removal]) -> pl.DataFrame:
    """A row a kind: things, MiB, the first and the last name."""
    schema = {"kind": pl.String, "name": pl.String, "why": pl.String, "bytes": pl.Int64}
    rows = pl.DataFrame([(r.kind, r.name, r.why, r.bytes) for r in removals], schema=schema, orient="row")
    return rows.group_by("kind", "why", maintain_order=True).agg(
        things=pl.len(),
        MiB=(pl.col("bytes").sum() / 2**20).round(1),
        first=pl.col("name").first(),
        last=pl.col("name").last(),
    )


def _kept_dates(lake: Lake, count: int, tonight: str | None) -> set[str]:
    """The newest dates, and those that were made last (a backfill of old dates stays as long as any other night)."""
    made = {
        folder.name.partition("=")[2]: (folder / "delivery.json").stat().st_mtime
        for folder in lake.path("tables").glob("as_of=*")
        if (folder / "delivery.json").exists()
    }
    dates = sorted({*made, *lake.published("scores").dates()})
    last = sorted(dates, key=lambda day: (made.get(day, 0.0), day))
    return {*dates[-count:], *last[-count:], *([tonight] if tonight else [])}


def _trainings(lake: Lake, kept: Retention, tonight: str | None) -> set[str]:
    dates = sorted(folder.name.partition("=")[2] for folder in lake.path("training").glob("as_of=*"))
    return {*dates[-kept.keep_trainings :], *([tonight] if tonight else [])}


def _strays(home: Home) -> Iterator[Removal]:
    for root in (home.lake, home.reports):
        for path in strays(root):
            if age(path.lstat().st_mtime) > STRAY_HOURS * 3600:
                yield Removal("stray", str(path), "left by a killed process", _size(path), partial(discard, path))


def _tables(lake: Lake, kept: Retention, nights: set[str], features: set[str]) -> Iterator[Removal]:
    for name in lake.published_tables():
        published = lake.published(name)
        dates, count = (features, kept.keep_features) if name.startswith("features/") else (nights, kept.keep_nights)
        for version in published.left(kept.keep_replaced_hours * 3600):
            why = f"replaced more than {kept.keep_replaced_hours:g} hours ago"
            day, size = publication.named(version)[0], published.bytes_of(version)
            yield Removal("version of a table", f"{name} {day}", why, size, partial(published.forget, version))
        for day in published.dates():
            if day not in dates:
                size = published.bytes_of(published.resolve(day))
                why = f"older than {count} nights"
                yield Removal("published table", f"{name} {day}", why, size, partial(published.withdraw, day))


def _dated(root: Path, dates: set[str], kind: str, why: str) -> Iterator[Removal]:
    for folder in sorted(root.glob("as_of=*")):
        if folder.name.partition("=")[2] not in dates:
            yield Removal(kind, folder.name, why, _size(folder), partial(discard, folder))


def _deliveries(lake: Lake, kept: Retention, tonight: str | None) -> Iterator[Removal]:
    """Any of them can be validated again from its files."""
    used = lake.partition("tables", tonight) / "delivery.json" if tonight else None
    stays = lake.delivery_of(tonight)["digest"] if tonight and used is not None and used.exists() else ""
    for folder in _oldest(lake.path("deliveries").glob("[!.]*"), kept.keep_deliveries):
        if folder.name != stays:
            why = f"not among the last {kept.keep_deliveries}"
            yield Removal("validated delivery", folder.name, why, _size(folder), partial(discard, folder))


def _volumes(lake: Lake, count: int) -> Iterator[Removal]:
    for file in _oldest(lake.path("volumes").glob("[!.]*.json"), count):
        yield Removal(
            "size of a delivery", file.name, f"not among the last {count}", _size(file), partial(discard, file)
        )


def _versions(lake: Lake, tracking: Tracking, kept: Retention, nights: set[str]) -> Iterator[Removal]:
    """Versions and runs of MLflow but for the newest, those with an alias, and those that scored a kept night."""
    versions = tracking.numbers()
    old = versions[: -kept.keep_versions]
    if old:
        stay = {version.version for version in tracking.aliased()} | _scored_by(lake, nights)
        why = f"not among the last {kept.keep_versions}, without an alias, scored no kept night"
        for number in old:
            if number not in stay:
                folder = tracking.model_files(number)
                size = 0 if folder is None else _size(folder)
                yield Removal("model version", number, why, size, partial(tracking.remove_version, number))
    for run_id in tracking.runs_without_version()[: -kept.keep_versions]:
        why = f"registered nothing, not among the last {kept.keep_versions} such runs"
        yield Removal("MLflow run", run_id, why, 0, partial(tracking.remove_run, run_id))


def _references(lake: Lake, tracking: Tracking) -> Iterator[Removal]:
    """References of versions that are gone."""
    versions = {*tracking.numbers()}
    for file in sorted(lake.path(DRIFT_REFERENCES).glob("version-*.parquet")):
        number = file.stem.partition("-")[2]
        if number not in versions:
            yield Removal("reference of drift", f"version {number}", "the version is gone", _size(file),
                          partial(discard, file))  # fmt: skip


def _scored_by(lake: Lake, nights: set[str]) -> set[str]:
    """Versions of the model that kept scores name. Scores that cannot be read name none: they are made again."""
    found: set[str] = set()
    published = lake.published("scores")
    for day in nights & {*published.dates()}:
        try:
            found |= set(published.read(day)["model_version"].unique())
        except (publication.PublicationError, pl.exceptions.ColumnNotFoundError):
            continue
    return found


def _runs(home: Home, instance: DagsterInstance, kept: Retention, nights: set[str]) -> Iterator[Removal]:
    """Finished runs of dates that are not kept; of a kept date all but the newest of each job and its last success."""
    by_night: dict[tuple[str, str], list[DagsterRun]] = {}
    known = set()
    for run in instance.get_runs():  # newest first
        known.add(run.run_id)
        if day := run.tags.get(PARTITION_TAG):
            by_night.setdefault((run.job_name, day), []).append(run)
    for (job, day), runs in by_night.items():
        success = next((run.run_id for run in runs if run.status == dg.DagsterRunStatus.SUCCESS), None)
        for number, run in enumerate(runs):
            stays = number < kept.keep_runs or run.run_id == success
            if run.is_finished and not (day in nights and stays):
                logs = home.dagster / "storage" / run.run_id
                why = (
                    f"not among the last {kept.keep_runs} of its date"
                    if day in nights
                    else "of a night that is not kept"
                )
                events = _events(home, run.run_id)
                size = sum(_size(path) for path in (logs, *events))
                yield Removal("run", f"{job} {day} {run.run_id[:8]}", why, size,
                              partial(_remove_run, instance, run.run_id, [logs, *events]))  # fmt: skip
    for file in sorted((home.dagster / "history" / "runs").glob("*-*.db")):  # beside index.db
        if file.stem not in known and age(file.stat().st_mtime) > STRAY_HOURS * 3600:
            events = _events(home, file.stem)
            yield Removal("events of a run", file.stem[:8], "the run is gone", sum(map(_size, events)),
                          partial(_discard_all, events))  # fmt: skip


def _events(home: Home, run_id: str) -> list[Path]:
    """The sqlite file of a run's events, with its journals. Dagster deletes their rows and leaves the file as it is."""
    return sorted((home.dagster / "history" / "runs").glob(f"{run_id}.db*"))


def _remove_run(instance: DagsterInstance, run_id: str, files: Sequence[Path]) -> None:
    """The run and its files. After a kill between the two the next night finds files without a run."""
    instance.delete_run(run_id)
    _discard_all(files)


def _discard_all(files: Sequence[Path]) -> None:
    for file in files:
        discard(file)


def _tracebacks(home: Home) -> Iterator[Removal]:
    for file in _oldest(home.logs.glob("error-*.log"), KEPT_TRACEBACKS):
        yield Removal(
            "traceback", file.name, f"not among the last {KEPT_TRACEBACKS}", _size(file), partial(discard, file)
        )


def _oldest(paths: Iterable[Path], keep: int) -> list[Path]:
    """All but the newest."""
    return sorted(paths, key=lambda path: (path.stat().st_mtime, path.name))[:-keep]


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file() or path.is_symlink():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
