"""The nights of the story, one after the other through the command. What each night did is noted; a killed run goes on
where it stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks.thirty_nights import calendar
from benchmarks.thirty_nights.calendar import BAD, BAD_SHARE, BETTER, NIGHTS, TASK, day_of
from feature_assets.simulation import simulate
from pipeline.home.folder import Home
from pipeline.monitoring.summary import read_summary
from pipeline.resources.publication import Published
from pipeline.settings import REPOSITORY, load_settings

Notes = dict[str, Any]
Log = Callable[[str], None]
FOLLOWED = ("customer_id", "model_version", f"{TASK}__p", f"{TASK}__eligible")
"""What is kept of every night's scores."""
KEPT = (BETTER - 1, BETTER)
"""Nights whose scores are kept whole: what a rollback must give back."""


class Story:
    """The story in a folder: a home, the delivery of the night, a note a step, and what is kept of the scores."""

    def __init__(self, folder: Path, log: Log) -> None:
        places = calendar.work(folder.resolve())
        self.home, self.delivery, self.notes, self.kept = (
            places[name] for name in ("home", "delivery", "notes", "kept")
        )
        self.log = log

    def run(self) -> dict[str, Notes]:
        """Every step that is not noted yet; the notes of all, by step."""
        for place in (self.home, self.notes, self.kept):
            place.mkdir(parents=True, exist_ok=True)
        (self.home / "small_bank.yaml").write_text(yaml.safe_dump(calendar.DATASET))
        steps: dict[str, Callable[[], Notes]] = {}
        for night in range(1, NIGHTS + 1):
            if night == BAD:
                steps["bad delivery"] = self._bad
            steps[f"night {night}"] = lambda night=night: self._night(night)
            if night == BETTER:
                steps["rollback"] = self._rollback
        return {name: self._once(name, step) for name, step in steps.items()}

    def _once(self, name: str, step: Callable[[], Notes]) -> Notes:
        file = self.notes / f"{name}.json"
        if not file.exists():
            started = time.monotonic()
            found = step() | {"seconds": time.monotonic() - started}
            self.log(f"{name}: {found['seconds']:.0f} s")
            beside = file.with_suffix(".part")
            beside.write_text(json.dumps(found, indent=1))
            beside.rename(file)
        noted: Notes = json.loads(file.read_text())
        return noted

    # --- steps ------------------------------------------------------------------------------------------------
    def _night(self, night: int) -> Notes:
        """A night with the delivery of its date, which must succeed."""
        self._deliver(night)
        printed = self._ple("nightly", "--as-of", str(day_of(night)), plugins=calendar.plugins(night))
        scores = self.scores(night)
        scores.select(FOLLOWED).write_parquet(self.slim(night))
        if night in KEPT:
            scores.write_parquet(self.whole(night))
        return {"printed": printed, **self._state(night)}

    def _bad(self) -> Notes:
        """The night with a bad delivery, which must fail and publish nothing."""
        self._deliver(BAD)
        file = next((self.delivery / "tables" / "transactions").glob("*.parquet"))
        bad = pl.col("customer_id").is_not_null() & (pl.int_range(pl.len()) % round(1 / BAD_SHARE) == 0)
        frame = pl.read_parquet(file)
        frame.with_columns(
            pl.when(bad).then(pl.lit("nobody")).otherwise("customer_id").alias("customer_id")
        ).write_parquet(file)
        before = self.scores(BAD - 1)
        printed = self._ple("nightly", "--as-of", str(day_of(BAD)), status=1)
        rows = Published(self.home / "lake", "quarantine/transactions").read(str(day_of(BAD)))
        return {
            "printed": printed,
            "rows": frame.height,
            "spoilt": frame.select(bad.sum()).item(),
            "quarantined": rows.height,
            "published": str(day_of(BAD)) in self._published("scores").dates(),
            "yesterday as before": self.scores(BAD - 1).equals(before),
        }

    def _rollback(self) -> Notes:
        """Back to the champion before, two nights of it, and forward again."""
        back = self._ple("rollback", "--because", "thirty nights")
        for night in KEPT[::-1]:
            self._deliver(night)  # a later one has other faulty rows before that date, too
            self._ple("nightly", "--as-of", str(day_of(night)))
        replaced = self.scores(BETTER)
        replaced.select(FOLLOWED).write_parquet(self.replaced)
        as_before = self.scores(BETTER - 1).equals(pl.read_parquet(self.whole(BETTER - 1)))
        forward = self._ple("promote", "--because", "thirty nights")
        self._deliver(BETTER)
        self._ple("nightly", "--as-of", str(day_of(BETTER)))
        return {
            "printed": back + forward,
            "as before": as_before,
            "version": replaced["model_version"][0],
            "forward as before": self.scores(BETTER).equals(pl.read_parquet(self.whole(BETTER))),
        }

    # --- what they use ----------------------------------------------------------------------------------------
    def _deliver(self, night: int) -> None:
        """The delivery of a night: what was known before its date."""
        simulate(self.delivery, calendar.CUSTOMERS, calendar.SEED, until=day_of(night), config=calendar.BANK)

    def _ple(self, *arguments: str, plugins: list[str] | None = None, status: int = 0) -> str:
        """What `ple` prints, at the end of which it must have a status."""
        settings = calendar.SETTINGS | ({"plugins": plugins} if plugins else {})
        (self.home / "settings.yaml").write_text(yaml.safe_dump(settings))
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("AS_OF", "DATASET", "DATASET_FILE", "CUSTOMERS")
        }
        own = {"PLE_HOME": str(self.home), "DATA_DIR": str(self.delivery), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        done = subprocess.run(command, env=kept | own, capture_output=True, text=True)
        if done.returncode != status:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def _published(self, table: str) -> Published:
        return Published(self.home / "lake", table)

    def scores(self, night: int) -> pl.DataFrame:
        """The published scores of a night, without their run."""
        return self._published("scores").read(str(day_of(night))).drop("run_id")

    def whole(self, night: int) -> Path:
        """Where the scores of a night are kept whole."""
        return self.kept / f"scores-{night:02}.parquet"

    def slim(self, night: int) -> Path:
        """Where the predictions of the task of a night are kept."""
        return self.kept / f"{TASK}-{night:02}.parquet"

    @property
    def replaced(self) -> Path:
        """Scores of the night of the better training by the version that it replaced."""
        return self.kept / f"{TASK}-{BETTER:02}-replaced.parquet"

    def predictions(self, night: int) -> pl.DataFrame:
        """`FOLLOWED` of a night."""
        return pl.read_parquet(self.slim(night))

    def _state(self, night: int) -> Notes:
        """What the home says after a night."""
        from pipeline.definitions import build_resources

        day = str(day_of(night))
        drift = self._published("drift").read(day)
        skill = self._published("skill").read(day)
        tracking = build_resources(load_settings(home=self.home))["tracking"]
        versions = {number: tracking.version_tags(number) for number in tracking.numbers()}
        lake = self.home / "lake"
        return {
            "version": self.scores(night)["model_version"][0],
            "facts": read_summary(Home(self.home), day_of(night))["facts"],
            "alarms": drift.filter("alarms").sort("index", descending=True)["column"].to_list(),
            "farthest": drift.sort("index", descending=True, nulls_last=True).head(3).select("column", "index").rows(),
            "skill": skill.with_columns(pl.col("scored").cast(pl.String)).to_dicts(),
            "versions": {
                number: {key: value for key, value in tags.items() if key.startswith("promotion") or key == "as_of"}
                for number, tags in versions.items()
            },
            "challenge": self._challenge(day),
            "MiB": {
                name: _size(folder) / 2**20
                for name, folder in (
                    ("home", self.home),
                    ("mlflow", self.home / "mlflow"),
                    *((f.name, f) for f in sorted(lake.iterdir()) if f.is_dir()),
                )
            },
            "kept": {
                "keep_nights": len(self._published("scores").dates()),
                "keep_features": len(self._published("features/matrix").dates()),
                "keep_deliveries": len([f for f in (lake / "deliveries").glob("[!.]*") if f.is_dir()]),
                "keep_trainings": len([*(lake / "training").glob("as_of=*")]),
                "keep_versions": len(versions),
            },
        }

    def _challenge(self, day: str) -> Notes | None:
        file = self.home / "lake" / "training" / f"as_of={day}" / "challenge.json"
        found: Notes | None = json.loads(file.read_text()) if file.exists() else None
        return found


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
