"""The report of a night: gathered from the lake, MLflow and Dagster's log, judged, and written as one HTML file.

It is written behind the scores, by `ple nightly`, `ple backfill` and the daemon where a night failed, and again by
`ple report`. What cannot be read costs a part of the report and is said in it; it never costs a night.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from dagster import DagsterInstance

from pipeline.home.folder import Home
from pipeline.monitoring import attention, drift, matured, record
from pipeline.monitoring.record import Record
from pipeline.monitoring.summary import SUMMARY
from pipeline.reports.drawing import Drawing
from pipeline.reports.pages.night import NightFacts, Scored, headline, night_page
from pipeline.reports.pages.page import Item
from pipeline.resources.files import publish_bytes, publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.runs.in_process import NIGHTLY, TRAINING
from pipeline.scores.table import Scores, of_eligible, tasks_in
from pipeline.servers.interfaces import addresses
from pipeline.settings import Settings
from pipeline.training.decision import waiting
from pipeline.training.evaluation import Evaluation

REPORT, HEADLINE = "report.html", "report.json"
"""Files of a night below `reports/as_of=…`: the page; and what `ple status` repeats (headline, looks)."""


@dataclass(frozen=True)
class Reporter:
    """Writes reports of one deployment. `warn` gets a line for each part that could not be made."""

    settings: Settings
    lake: Lake
    tracking: Tracking
    instance: DagsterInstance
    warn: Callable[[str], None]

    def folder(self, as_of: str) -> Path:
        """Where the report of a date lies."""
        return Home(self.settings.home).reports / f"as_of={as_of}"

    def write(self, as_of: str, failure: str = "") -> dict[str, str]:
        """Make the report of a date.

        Args:
            as_of: the date.
            failure: why its night failed, where Dagster's log does not say it; empty: as the log has it.

        Returns:
            What could not be made, with the reason; empty where the report is whole.
        """
        drawing = Drawing(self.warn)
        facts = self.gather(as_of, failure, drawing)
        page = drawing.attempt("the page", lambda: night_page(facts).html())
        if page is not None:
            publish_bytes(page.encode(), self.folder(as_of) / REPORT)
            told = {"headline": headline(facts), "looks": [asdict(look) for look in facts.looks]}
            publish_json(told, self.folder(as_of) / HEADLINE)
        return drawing.failed

    def try_to_write(self, as_of: str, failure: str = "") -> dict[str, str]:
        """As `write`, but nothing that goes wrong is raised: a full disk, say, costs the report alone."""
        try:
            return self.write(as_of, failure)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self.warn(f"the report of {as_of} could not be written: {why}")
            return {"the report": why}

    def gather(self, as_of: str, failure: str, drawing: Drawing) -> NightFacts:
        """Everything that the page tells; a part that cannot be read is left out and becomes something to look at."""
        day, dataset = date.fromisoformat(as_of), self.settings.load_dataset()
        scored = self.lake.published("scores").dates()
        previous = max((other for other in scored if other < as_of), default=None)
        there = self.lake.published("scores").has(as_of)
        tonight = drawing.attempt("the scores", lambda: self._scored(as_of)) if there else None
        before = drawing.attempt("the night before", lambda: self._scored(previous)) if previous else None
        runs = drawing.attempt("the runs", lambda: self._runs(as_of)) or []
        night = next((run for run in runs if run.job == NIGHTLY), None)
        version = drawing.attempt("the version that scored", lambda: self._version(tonight))
        evaluation: Evaluation | None = None
        tasks: list[dict[str, Any]] = []
        if version is not None:
            evaluation = drawing.attempt("its evaluation", lambda: Evaluation.load(version.folder / "evaluation.json"))
            tasks = drawing.attempt("its tasks", lambda: self.tracking.read_json(version, "tasks.json")) or []
        skill = drawing.attempt("realised skill", lambda: matured.until(self.lake, day))
        summary = drawing.attempt("the summary", lambda: self._summary(as_of)) or {}
        dates = [each for each in (as_of, previous) if each]
        volumes = drawing.attempt("rows of the delivery", lambda: [self._volume(each) for each in dates])
        aside = drawing.attempt("rows set aside", lambda: [self._set_aside(each) for each in dates])
        failure = failure or (night.failure if night is not None and night.failed else "")
        looks = drawing.attempt(
            "what needs a look",
            lambda: self._looks(day, failure, runs, summary, tonight, version, evaluation, skill, aside or [{}]),
        )
        drifted = drawing.attempt("drift", lambda: self._drift(day))
        lost = [
            Item(
                f"A part of this report is missing: {name}", why, "no score depends on it; report it, and `ple report`"
            )
            for name, why in drawing.failed.items()
        ]
        return NightFacts(
            as_of=day,
            dataset=dataset.title,
            notice=dataset.notice,
            failure=failure,
            looks=[*(looks or ()), *lost],
            tonight=tonight,
            before=before,
            trained=version.as_of if version else None,
            tasks=tasks,
            evaluation=asdict(evaluation) if evaluation else {},
            ran=_ran(runs),
            steps=_steps(runs),
            volumes=_pair(volumes),
            quarantine=_pair(aside),
            skill=skill,
            drift=drifted,
            links=self._links(as_of, previous, night, version),
        )

    def _looks(
        self,
        day: date,
        failure: str,
        runs: list[Record],
        summary: Mapping[str, Any],
        tonight: Scored | None,
        version: RegisteredVersion | None,
        evaluation: Evaluation | None,
        skill: pl.DataFrame | None,
        aside: Sequence[Mapping[str, int]],
    ) -> list[Item]:
        training = next((run.failure for run in runs if run.job == TRAINING and run.failed), "")
        facts = summary.get("facts", {})
        checks = [check for run in runs for check in run.checks]
        found = [
            *attention.of_runs(failure, training, tonight is not None),
            *attention.of_checks(checks, facts),
            *attention.of_facts(facts, {check.name for check in checks}),
        ]
        if tonight is not None and evaluation is not None:
            found += attention.of_skill(skill, evaluation) if skill is not None else []
            found += attention.of_fallbacks(_fallbacks(tonight.scores), evaluation)
        if version is not None and tonight is not None:
            challenger = self.tracking.challenger()
            words = waiting(challenger) if challenger is not None else ""
            found += attention.of_champion(version.as_of, day, self.settings.retrain_after_days, words)
        return found + attention.of_quarantine(aside[0], aside[1] if len(aside) > 1 else None)

    def _scored(self, as_of: str) -> Scored:
        return Scored(date.fromisoformat(as_of), self.lake.published("scores").scan(as_of))

    def _version(self, tonight: Scored | None) -> RegisteredVersion | None:
        """The version that scored; where no scores are, the champion."""
        return self.tracking.champion() if tonight is None else self.tracking.version(tonight.version)

    def _runs(self, as_of: str) -> list[Record]:
        found = (record.newest(self.instance, job, as_of) for job in (TRAINING, NIGHTLY))
        return [run for run in found if run is not None]

    def _summary(self, as_of: str) -> dict[str, Any]:
        file = self.folder(as_of) / SUMMARY
        return json.loads(file.read_text()) if file.exists() else {}

    def _set_aside(self, as_of: str) -> dict[str, int]:
        """Table → rows in the quarantine of a date."""
        names = [name for name in self.lake.published_tables() if name.startswith("quarantine/")]
        published = {name.partition("/")[2]: self.lake.published(name) for name in names}
        return {name: table.read(as_of).height for name, table in published.items() if table.has(as_of)}

    def _volume(self, as_of: str) -> dict[str, int]:
        """Table → good rows of the delivery behind a date; empty where they are no longer known."""
        file = self.lake.partition("tables", as_of) / "delivery.json"
        if not file.exists():
            return {}
        size = self.lake.path("volumes", f"{json.loads(file.read_text())['digest']}.json")
        measures = json.loads(size.read_text())["measures"] if size.exists() else {}
        return {name: int(measured["rows"]) for name, measured in measures.items() if "rows" in measured}

    def _drift(self, day: date) -> pl.DataFrame | None:
        table, limits = self.lake.published(drift.TABLE), self.settings.drift
        if not table.has(day.isoformat()):
            return None
        rows = table.read(day.isoformat())
        return drift.table(drift.judge(day, rows, drift.earlier_nights(self.lake, day, limits), limits), rows, limits)

    def _links(
        self, as_of: str, previous: str | None, night: Record | None, version: RegisteredVersion | None
    ) -> list[Item]:
        dagster, links = addresses()["Dagster"], []
        if previous and (self.folder(previous) / REPORT).exists():
            links.append(Item("Report of the night before", previous, address=f"../as_of={previous}/{REPORT}"))
        if (self.lake.path("scores") / f"as_of={as_of}").exists():
            links.append(Item("The scores", "Parquet, one row a customer", address=f"../../lake/scores/as_of={as_of}"))
        if night is not None:
            links.append(Item("The run in Dagster", "steps and their log", address=f"{dagster}/runs/{night.run_id}"))
        links.append(Item("The assets in Dagster", "checks, tables, plots", address=f"{dagster}/assets/night_summary"))
        if version is not None:
            words, page = "what this version is", self.tracking.version_url(version.version)
            links.append(Item("The model card in MLflow", words, address=page))
        return [*links, Item("Dagster and MLflow answer", "while `ple ui` runs on the machine of this home")]


def _fallbacks(scores: Scores) -> dict[str, float | None]:
    found = {}
    for name in tasks_in(scores.collect_schema().names()):
        share = of_eligible(scores, name, f"{name}__fallback").to_series().cast(pl.Float64).mean()
        found[name] = share if isinstance(share, float) else None
    return found


def _pair(nights: Sequence[Mapping[str, int]] | None) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Tonight's and those of the night before; empty where there are none."""
    tonight, before = [*(nights or ()), {}, {}][:2]
    return tonight, before


def _ran(runs: list[Record]) -> str:
    """The runs in words."""
    told = []
    for run in runs:
        began = f" began at {run.began:%Y-%m-%d %H:%M} UTC" if run.began else " has not begun"
        took = f" and took {_time(run.seconds)}" if run.seconds is not None else ""
        told.append(f"The job {run.job}{began}{took}{': it failed' if run.failed else ''} (run {run.run_id[:8]}).")
    return " ".join(told) or "Nothing is known of the runs of this date: none ran, or their log is no longer kept."


def _time(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _steps(runs: list[Record]) -> pl.DataFrame:
    schema = {"job": pl.String, "step": pl.String, "seconds": pl.Float64, "rows": pl.Int64, "failed": pl.Boolean}
    rows = [(run.job, step.name, step.seconds, step.rows, step.failed) for run in runs for step in run.steps]
    return pl.DataFrame(rows, schema=schema, orient="row")
