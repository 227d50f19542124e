"""What the runs of an as-of date did: steps with their times and rows, checks that did not pass, why one failed. Read
from Dagster's log; nothing is computed again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, EventLogEntry, RunRecord, RunsFilter

from pipeline.runs.in_process import PARTITION_TAG, failure_message

EVENTS = {
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
}
ROWS = "dagster/row_count"
LONGEST = 400
"""Characters of what a check says."""


@dataclass
class Step:
    """A step that ended. seconds: it took. rows: of the table that it wrote, None where it wrote none, or several."""

    name: str
    seconds: float
    failed: bool = False
    rows: int | None = None


@dataclass(frozen=True)
class Check:
    """A check that did not pass. stops: it ended the night; else it warned. words: what it said."""

    asset: str
    name: str
    stops: bool
    words: str


@dataclass(frozen=True)
class Record:
    """One run.

    job, run_id, status: Dagster's. began, seconds: of the run; None where it has not begun, or not ended. steps: that
    ended, in order. checks: that did not pass. failure: why it failed; empty where it did not.
    """

    job: str
    run_id: str
    status: DagsterRunStatus
    began: datetime | None
    seconds: float | None
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    failure: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended without success."""
        return self.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def newest(instance: DagsterInstance, job: str, as_of: str) -> Record | None:
    """The newest run of a job for a date; None where none is known."""
    found = instance.get_run_records(RunsFilter(job_name=job, tags={PARTITION_TAG: as_of}), limit=1)
    return read(instance, found[0]) if found else None


def read(instance: DagsterInstance, found: RunRecord) -> Record:
    """The record of a run."""
    run = found.dagster_run
    entries = instance.all_logs(run.run_id, of_type=EVENTS)
    record = Record(
        run.job_name,
        run.run_id,
        run.status,
        datetime.fromtimestamp(found.start_time, UTC) if found.start_time else None,
        found.end_time - found.start_time if found.end_time and found.start_time else None,
        list(_steps(entries)),
        list(_checks(entries)),
    )
    return Record(**{**record.__dict__, "failure": failure_message(instance, run.run_id)}) if record.failed else record


def _steps(entries: Sequence[EventLogEntry]) -> Iterator[Step]:
    began: dict[str, float] = {}
    rows: dict[str, list[int]] = {}
    for entry in entries:
        event = entry.get_dagster_event()
        key = event.step_key or ""
        if event.event_type is DagsterEventType.STEP_START:
            began[key], rows[key] = entry.timestamp, []
        elif event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
            count = event.step_materialization_data.materialization.metadata.get(ROWS)
            if count is not None:
                rows.setdefault(key, []).append(int(str(count.value)))
        elif event.event_type in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
            own = rows.get(key, [])
            yield Step(
                key.replace("__", "/"),
                entry.timestamp - began.get(key, entry.timestamp),
                event.event_type is DagsterEventType.STEP_FAILURE,
                own[0] if len(own) == 1 else None,
            )


def _checks(entries: Sequence[EventLogEntry]) -> Iterator[Check]:
    for entry in entries:
        event = entry.get_dagster_event()
        if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if not found.passed:
                stops = found.severity is dg.AssetCheckSeverity.ERROR
                yield Check(found.asset_key.to_user_string(), found.check_name, stops, _words(found))


def _words(found: dg.AssetCheckEvaluation) -> str:
    """What a check noted, but for its tables, which are in Dagster."""
    told = {name: value for name, value in found.metadata.items() if not isinstance(value, dg.MarkdownMetadataValue)}
    text = "; ".join(f"{name}: {_plain(value.value)}" for name, value in told.items())
    return " ".join((found.description or text).split())[:LONGEST]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
