"""What a home keeps: a plan only tells, a night removes, and nothing that is in use goes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import polars as pl
import pytest

from pipeline.home.folder import Home
from pipeline.resources.files import publish_frame, publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Aliased, Tracking
from pipeline.settings import Settings
from pipeline.upkeep import retention

DAYS = [f"2018-01-0{day}" for day in range(1, 7)]
KEPT = {
    **{"keep_nights": 3, "keep_features": 1, "keep_deliveries": 2, "keep_trainings": 1, "keep_versions": 2},
    **{"keep_runs": 1, "keep_replaced_hours": 1},
}
LONG_AGO = 1_000_000.0


class Registry:
    """Versions 1 to 6, trained on DAYS; the first is champion."""

    def __init__(self) -> None:
        self.present = [str(number) for number in range(1, 7)]
        self.runs = ["a", "b", "c"]

    def aliased(self) -> list[Aliased]:
        return [Aliased("1", DAYS[0])]

    def numbers(self) -> list[str]:
        return list(self.present)

    def model_files(self, _: str) -> None:
        return None

    def remove_version(self, number: str) -> None:
        self.present.remove(number)

    def runs_without_version(self) -> list[str]:
        return list(self.runs)

    def remove_run(self, run_id: str) -> None:
        self.runs.remove(run_id)


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    """A home after six nights, of which the one of the second date is a backfill that was made last."""
    settings = Settings.model_validate({"home": tmp_path, "catch_up_days": 3, "retention": KEPT})
    lake, home = Lake(root=str(tmp_path / "lake")), Home(tmp_path)
    for number, day in enumerate(DAYS):
        version = str(max(number, 1))
        for content in (0.0, 1.0):  # the first is replaced
            scores = pl.DataFrame({"customer_id": ["a"], "churn": [content], "model_version": [version]})
            lake.published("scores").publish(scores, day)
        lake.published("features/rfm").publish(pl.DataFrame({"customer_id": ["a"]}), day)
        delivery = lake.delivery(f"d{number}") / "customers.parquet"
        delivery.parent.mkdir(parents=True)
        delivery.write_bytes(b"x" * 1000)
        publish_json({"digest": f"d{number}"}, lake.partition("tables", day) / "delivery.json")
        publish_json({}, lake.path("volumes", f"d{number}.json"))
        publish_json({}, home.reports / f"as_of={day}" / "summary.json")
        (lake.training(day) / "bundle").mkdir(parents=True)
        when = time.time() + (100 if number == 1 else number)
        for path in (lake.partition("tables", day) / "delivery.json", delivery.parent):
            os.utime(path, (when, when))
    for version in ("0", "1"):
        publish_frame(pl.DataFrame({"bin": [0]}), lake.path("drift_references", f"version-{version}.parquet"))
    return SimpleNamespace(settings=settings, lake=lake, home=home, tracking=Registry())


def plan(made: SimpleNamespace, instance: dg.DagsterInstance, tonight: str | None = None) -> list[retention.Removal]:
    return retention.plan(made.settings, made.lake, cast("Tracking", made.tracking), instance, tonight)


def names(removals: Iterable[retention.Removal]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for removal in removals:
        found.setdefault(removal.kind, set()).add(removal.name)
    return found


def dates(folder: Path) -> set[str]:
    return {path.name.partition("=")[2] for path in folder.glob("as_of=*")}


def files(root: Path) -> Mapping[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


def test_a_plan_removes_nothing_and_the_night_what_was_planned(made: SimpleNamespace) -> None:
    instance = dg.DagsterInstance.ephemeral()
    before = files(made.home.root)
    told = plan(made, instance, tonight=DAYS[-1])
    assert files(made.home.root) == before
    # the newest three, the three made last (with the backfill of the second date), the date of the champion
    nights = {DAYS[0], DAYS[1], *DAYS[3:]}
    assert names(told)["night"] == names(told)["report"] == {f"as_of={DAYS[2]}"}
    assert names(told)["training"] == {f"as_of={day}" for day in DAYS[1:5]}
    assert names(told)["validated delivery"] == {"d0", "d2", "d3", "d4"} - {"d1"}
    assert names(told)["model version"] == {"2"}  # 1 has the alias, 3 and 4 scored kept nights
    assert names(told)["MLflow run"] == {"a"}
    assert names(told)["reference of drift"] == {"version 0"}
    assert sum(r.bytes for r in told if r.kind == "validated delivery") == 4_000
    assert retention.apply(told) == []
    scores = made.lake.published("scores")
    assert set(scores.dates()) == dates(made.lake.path("tables")) == dates(made.home.reports) == nights
    assert made.lake.published("features/rfm").dates() == [DAYS[1], DAYS[5]]
    assert dates(made.lake.path("training")) == {DAYS[0], DAYS[5]}
    assert {path.name for path in made.lake.path("deliveries").iterdir()} == {"d1", "d5"}
    assert made.tracking.present == ["1", "3", "4", "5", "6"]
    assert retention.table(told)["things"].sum() == len(told)
    assert plan(made, instance, tonight=DAYS[-1]) == []


def test_a_version_that_readers_may_hold_stays_for_its_hours(made: SimpleNamespace) -> None:
    instance, scores = dg.DagsterInstance.ephemeral(), made.lake.published("scores")
    held = scores.resolve(DAYS[2])
    retention.apply(plan(made, instance))
    assert DAYS[2] not in scores.dates()
    assert pl.read_parquet(held)["churn"].to_list() == [1.0]
    for version in scores.lake.glob("published/scores/*/*"):
        os.utime(version, (LONG_AGO, LONG_AGO))
    told = plan(made, instance)
    assert names(told) == {"version of a table": {f"scores {day}" for day in DAYS}}
    retention.apply(told)
    assert not held.exists()
    assert all(scores.read(day)["churn"].to_list() == [1.0] for day in scores.dates())


def test_strays_go_once_they_are_old(made: SimpleNamespace) -> None:
    instance = dg.DagsterInstance.ephemeral()
    retention.apply(plan(made, instance))
    folder = made.lake.path("published", "scores", DAYS[5], ".1-abc.part")
    (folder / f"as_of={DAYS[5]}").mkdir(parents=True)
    file = made.lake.path("training", f"as_of={DAYS[5]}", ".labels.parquet.12.part")
    file.touch()
    assert plan(made, instance) == []
    for path in (folder, file):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert names(plan(made, instance)) == {"stray": {str(folder), str(file)}}
    retention.apply(plan(made, instance))
    assert not folder.exists()
    assert not file.exists()


def test_what_cannot_be_removed_is_told_and_the_rest_goes(
    made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(made.tracking, "remove_version", read_only)
    told = plan(made, dg.DagsterInstance.ephemeral())
    (failed,) = retention.apply(told)
    assert failed[0].kind == "model version"
    assert "Permission denied" in failed[1]
    assert DAYS[2] not in made.lake.published("scores").dates()


def test_of_a_kept_night_the_newest_run_and_the_last_success_stay(made: SimpleNamespace) -> None:
    @dg.op
    def works(context):  # type: ignore[no-untyped-def]  # Dagster reads the annotation, which is a string here
        if context.has_tag("fail"):
            raise dg.Failure("asked for")

    @dg.job(name="nightly")
    def nightly() -> None:
        works()

    with dg.DagsterInstance.ephemeral() as instance:

        def run(day: str, **tags: str) -> str:
            done: Any = nightly.execute_in_process(
                instance=instance, tags={retention.PARTITION_TAG: day, **tags}, raise_on_error=False
            )
            return done.run_id

        removed = run(DAYS[2]), run(DAYS[5]), run(DAYS[5], fail="yes")
        kept = run(DAYS[5]), run(DAYS[5], fail="yes"), run(DAYS[1])
        for run_id in (*removed, *kept):
            (made.home.dagster / "storage" / run_id).mkdir(parents=True, exist_ok=True)
        told = [removal for removal in plan(made, instance) if removal.kind == "run"]
        assert {removal.name.split()[-1] for removal in told} == {run_id[:8] for run_id in removed}
        assert retention.apply(told) == []
        assert {found.run_id for found in instance.get_runs()} == set(kept)
        assert {path.name for path in (made.home.dagster / "storage").iterdir()} >= set(kept)
        assert not any((made.home.dagster / "storage" / run_id).exists() for run_id in removed)


def test_a_removed_run_leaves_no_file_of_its_events(
    made: SimpleNamespace, instance: dg.DagsterInstance, store: object
) -> None:
    """Dagster deletes their rows and leaves the file as large as it was: 4 MiB a night, found after thirty nights."""
    if store is not None:
        return  # a server keeps the events of all runs in one table

    @dg.op
    def works() -> None:
        """Nothing."""

    @dg.job(name="nightly")
    def nightly() -> None:
        works()

    events = made.home.dagster / "history" / "runs"
    removed, kept = (
        nightly.execute_in_process(instance=instance, tags={retention.PARTITION_TAG: day}).run_id
        for day in (DAYS[2], DAYS[5])
    )
    orphan, new = events / f"{'1' * 8}-1.db", events / f"{'2' * 8}-2.db"
    for file in (orphan, new):
        shutil.copyfile(events / f"{kept}.db", file)
    os.utime(orphan, (LONG_AGO, LONG_AGO))
    assert retention.apply([removal for removal in plan(made, instance) if "run" in removal.kind]) == []
    assert {file.name for file in events.glob("*-*.db")} == {f"{kept}.db", new.name}
    assert [found.run_id for found in instance.get_runs()] == [kept]
    assert len(instance.all_logs(kept)) > 1
    assert removed not in {record.dagster_run.run_id for record in instance.get_run_records()}


def test_nights_are_kept_as_long_as_they_are_looked_for() -> None:
    with pytest.raises(ValueError, match=r"keep_nights \(5\) must be at least catch_up_days \(7\)"):
        Settings.model_validate({"home": "/tmp", "retention": {"keep_nights": 5}})
