"""The judgement of the thirty nights, on notes made by hand: everything holds; then each thing that may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.thirty_nights import report, shuffled_labels, skill
from benchmarks.thirty_nights.calendar import (
    BAD,
    BETTER,
    DRIFT,
    NIGHTS,
    RETENTION,
    SABOTAGED,
    TASK,
    TRAININGS,
    day_of,
)
from benchmarks.thirty_nights.claims import judge
from benchmarks.thirty_nights.story import Story
from feature_assets.snapshots import plan
from pipeline.plugins import Extensions
from pipeline.training import training_set

CUSTOMERS, CLASSES = 200, 4
Notes = dict[str, dict[str, Any]]


def version_of(night: int) -> int:
    """The champion of a night: the sabotaged version, the third, never is one."""
    return {1: 1, 2: 2, 3: 2, 4: 4, 5: 5}[sum(first <= night for first in TRAININGS)]


def tags(number: int) -> dict[str, str]:
    refused = TRAININGS[number - 1] == SABOTAGED
    said = {"promotion": "refused", "promotion.reason": "behind"} if refused else {"promotion": "promoted"}
    return {"as_of": str(day_of(TRAININGS[number - 1])), "promotion.reason": "better", **said}


@pytest.fixture
def notes() -> Notes:
    """Nights on which everything happens as it must."""
    found: Notes = {}
    for night in range(1, NIGHTS + 1):
        trained = sum(first <= night for first in TRAININGS)
        alarms = ["base__sessions"] if night in (DRIFT + 1, DRIFT + 2) else []
        found[f"night {night}"] = {
            "version": str(version_of(night)),
            "printed": "alert, drift: far" if alarms else "",
            "facts": {"rows scored": "200"},
            "alarms": alarms,
            "farthest": [["base__sessions", 0.3]],
            "versions": {str(number): tags(number) for number in range(1, trained + 1)},
            "challenge": None,
            "MiB": {"home": 110.0, "mlflow": 10.0},
            "kept": {name: RETENTION[name] for name in ("keep_nights", "keep_features", "keep_deliveries")},
            "seconds": 1.0,
        }
        found[f"night {night}"]["kept"] |= {"keep_trainings": 2, "keep_versions": trained}
    difference = {"estimate": 0.1, "low": 0.05, "high": 0.15, "reason": ""}
    beside = {"task": TASK, "difference": difference}
    found[f"night {BETTER}"]["challenge"] = {"against": {"champion": [beside]}}
    found["bad delivery"] = {
        "printed": f"table transactions: not usable ... no scores of {day_of(BAD)} are published",
        "rows": 1_000,
        "spoilt": 100,
        "quarantined": 102,
        "published": False,
        "yesterday as before": True,
        "seconds": 1.0,
    }
    found["rollback"] = {"as before": True, "forward as before": True, "version": "2", "seconds": 1.0}
    return found


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Scores whose errors grow with the drift, until the version that learnt after it."""
    made, rng = Story(tmp_path, print), np.random.default_rng(0)
    made.kept.mkdir()
    labels = {}

    def predicted(night: int, version: int, error: float) -> pl.DataFrame:
        logit = np.eye(CLASSES)[labels[night]["label"].to_numpy()] + error * rng.normal(size=(CUSTOMERS, CLASSES))
        chance = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
        return pl.DataFrame(
            {
                "customer_id": labels[night]["customer_id"],
                "model_version": [str(version)] * CUSTOMERS,
                f"{TASK}__p": chance.tolist(),
                f"{TASK}__eligible": [True] * CUSTOMERS,
            }
        )

    for night in skill.JUDGED:
        ids = [f"c{number:03}" for number in range(CUSTOMERS)]
        labels[night] = pl.DataFrame({"customer_id": ids, "label": rng.integers(0, CLASSES, CUSTOMERS)})
        worse = DRIFT - skill.WINDOW_WEEKS <= night < BETTER
        predicted(night, version_of(night), 0.9 if worse else 0.6).write_parquet(made.slim(night))
    predicted(BETTER, 2, 0.9).write_parquet(made.replaced)
    monkeypatch.setattr(skill, "labels_of", lambda _: labels)
    return made


def test_every_claim_holds_and_is_written_down(story: Story, notes: Notes) -> None:
    claims = judge(story, notes)
    assert [claim.line for claim in claims if not claim.holds] == []
    text = report.write(story, notes, claims, story.kept).read_text()
    assert "**no**" not in text
    for words in ("version 4: better; beside the champion 0.100 [0.050, 0.150]", "102 of 1,000 rows", "| 30 | "):
        assert words in text


def _early(notes: Notes) -> None:
    notes[f"night {DRIFT - 1}"]["alarms"] = ["base__sessions"]


def _late(notes: Notes) -> None:
    for night in (DRIFT + 1, DRIFT + 2):
        notes[f"night {night}"]["alarms"] = []


def _no_word(notes: Notes) -> None:
    notes["bad delivery"]["printed"] = f"no scores of {day_of(BAD)} are published"


def _promoted(notes: Notes) -> None:
    notes[f"night {SABOTAGED}"]["versions"]["3"]["promotion"] = "promoted"


def _refused(notes: Notes) -> None:
    notes[f"night {BETTER}"]["versions"]["4"]["promotion"] = "refused"


def _other(notes: Notes) -> None:
    notes["rollback"]["as before"] = False


def _grown(notes: Notes) -> None:
    notes[f"night {NIGHTS}"]["MiB"]["home"] = 150.0


def _too_many(notes: Notes) -> None:
    notes[f"night {NIGHTS}"]["kept"]["keep_deliveries"] += 1


def _unscored(notes: Notes) -> None:
    notes[f"night {BAD}"]["facts"] = {}


@pytest.mark.parametrize(
    ("spoil", "about"),
    [
        (_early, "no night before the drift alarms"),
        (_late, "the alarm comes within 3 nights"),
        (_no_word, "the bad delivery"),
        (_unscored, "the bad delivery"),
        (_promoted, "the sabotaged challenger"),
        (_refused, "the better challenger"),
        (_other, "after the rollback"),
        (_grown, "the home has stopped growing"),
        (_too_many, "at the end no more is kept"),
    ],
)
def test_what_goes_wrong_is_seen(spoil: Callable[[Notes], None], about: str, story: Story, notes: Notes) -> None:
    spoil(notes)
    failed = [claim.what for claim in judge(story, notes) if not claim.holds]
    assert len(failed) == 1
    assert failed[0].startswith(about)


def test_skill_that_no_training_restores_is_seen(story: Story, notes: Notes) -> None:
    for night in range(BETTER, skill.JUDGED[-1] + 1):
        frame = story.predictions(night)
        frame.with_columns(pl.col(f"{TASK}__p").shuffle(seed=night)).write_parquet(story.slim(night))
    failed = [claim.what for claim in judge(story, notes) if not claim.holds]
    assert "the retraining restores it, on labels that matured afterwards" in failed


def test_the_sabotage_shuffles_the_labels_of_training_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    true = pl.DataFrame({"customer_id": [f"c{number:03}" for number in range(CUSTOMERS)], TASK: range(CUSTOMERS)})
    monkeypatch.setattr(training_set, "compute_labels", lambda *_, **__: true)
    shuffled_labels.extend(Extensions())
    as_of = day_of(SABOTAGED)
    made = plan(as_of, date(2024, 1, 1), {TASK: 7 * skill.WINDOW_WEEKS})
    for day in made.dates:
        found = training_set.compute_labels(None, day, None, known_until=as_of)  # type: ignore[arg-type]
        assert found.sort("customer_id")["customer_id"].equals(true["customer_id"])
        assert found.equals(true) == (day in made.holdout)
