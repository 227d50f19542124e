"""What needs a look after a night, each with what it is, in words, and what to do. Empty where all is as it should be.

Each function takes plain facts of the night; none of them reads or stops anything.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import polars as pl

from pipeline.monitoring.alerts import DO, NIGHT_FAILED
from pipeline.monitoring.record import Check
from pipeline.monitoring.skill import CALIBRATION
from pipeline.monitoring.summary import DRIFT, MISSING_SOURCES, TRAINING_FAILED, VOLUME
from pipeline.reports.drawing import DRAWN
from pipeline.reports.pages.page import Item
from pipeline.training.evaluation import Evaluation

CHECKS = {
    "faults_within_limit": "look at the asset quarantine: repair the delivery and run the night again, or raise the "
    "limit (quarantine_limits of the data set)",
    "volume_as_before": DO[VOLUME],
    "inputs_are_informative": "look at the check in Dagster: it names the inputs that are empty or the same for every "
    "customer; repair their source and run the night again",
    "complete_and_sound": "the scores were not published; report the message, and run the night again",
    "no_drift": DO[DRIFT],
    "skill_as_promised": "look at the assets skill and drift for when it began; `ple train` learns what changed",
    "has_rows_to_read": "no row of the table lies before the as-of date: look at the delivery, or take a later date",
    "values_are_sound": "look at the asset of the group in Dagster, which names the columns; repair their source",
    "all_removed": "free or unlock what the message names; the next night tries again",
    "shadow_scored": "nothing for tonight's scores; such a challenger had better not be promoted",
    "no_label_leaks": "a column knows the answer of a task: look at the check in Dagster, remove or explain the column",
    "every_part_learns": "the version works; look at the check in Dagster whether an input of the model is missing",
    "report_is_whole": "no score depends on it; report the message",
    DRAWN: "nothing: no number depends on it; report the message",
}
"""Check → what to do where it did not pass."""
OF_FACTS = {DRIFT: "no_drift", VOLUME: "volume_as_before"}
"""Facts of the summary that are checks as well, and are said once."""
ERRORS = 3.0
"""Standard errors by which skill falls short of its promise before it is said: by chance one task of 740 does."""
FALLBACKS = 0.05
"""Share of base rates above that of the evaluation, and at least twice as large."""
LONGEST = 2_000
"""Characters of the reason of a failure."""
MORE_ROWS = 1.1
"""Rows in quarantine over those of the night before."""


def of_runs(failure: str, training_failure: str, published: bool) -> list[Item]:
    """A night or a training that failed, by its reason (empty: it did not)."""
    found = []
    if failure:
        scores = "its date has scores of an earlier run" if published else "its date has no scores"
        found.append(Item("The night failed", f"{scores}. {failure[:LONGEST]}", DO[NIGHT_FAILED]))
    if training_failure:
        found.append(Item("The training failed", training_failure[:LONGEST], DO[TRAINING_FAILED]))
    return found


def of_checks(checks: Sequence[Check], facts: Mapping[str, str]) -> list[Item]:
    """Every check that did not pass; those that stop a night first. `facts`: of the summary."""
    words = {OF_FACTS[fact]: told for fact, told in facts.items() if fact in OF_FACTS}
    return [
        Item(
            f"Check {check.name} of {check.asset} {'failed' if check.stops else 'warns'}",
            words.get(check.name) or check.words,
            CHECKS.get(check.name, f"open the asset {check.asset} in Dagster, page Checks"),
        )
        for check in sorted(checks, key=lambda check: not check.stops)
    ]


def of_facts(facts: Mapping[str, str], said: Collection[str]) -> list[Item]:
    """Red lines of the summary that no check said already (`said`: names of checks)."""
    named = {MISSING_SOURCES: "A source is missing", VOLUME: "The delivery is unusual", DRIFT: "Inputs or scores drift"}
    return [Item(named[f], facts[f], DO[f]) for f in named if f in facts and OF_FACTS.get(f) not in said]


def of_skill(skill: pl.DataFrame, evaluation: Evaluation) -> list[Item]:
    """Tasks whose newest realised headline metric falls short of the promise by more than `ERRORS` standard errors of
    the difference. `skill`: `matured.SCHEMA`, newest scored date first."""
    found = []
    for row in (
        skill.filter(pl.col("metric") != CALIBRATION).unique("task", keep="first", maintain_order=True).to_dicts()
    ):
        promise = evaluation.promise(row["task"])
        if promise is None or row["realised"] is None or row["promised"] is None or not row["rows"]:
            continue
        error = promise.error * math.sqrt(1 + promise.rows / row["rows"])
        short = (row["promised"] - row["realised"]) * promise.better
        if short > ERRORS * error > 0:
            words = (
                f"{row['realised']:.4g} on the scores of {row['scored']} ({row['rows']:,} customers), where the "
                f"evaluation promised {row['promised']:.4g} ({promise.title})"
            )
            do = "look for a bad delivery of that date; if later dates are as low, train (`ple train`)"
            found.append(Item(f"Predictions of {row['task']} were worse than promised", words, do))
    return found


def of_fallbacks(shares: Mapping[str, float | None], evaluation: Evaluation) -> list[Item]:
    """Tasks in which base rates stand in for far more customers than in the evaluation. `shares`: by task."""
    found = []
    for task, share in shares.items():
        usual = float(evaluation.uncertainty.get(task, {}).get("fallback_share") or 0.0)
        if share is not None and share > max(2 * usual, usual + FALLBACKS):
            words = f"base rates stand in for {share:.1%} of the customers; in the evaluation for {usual:.1%}"
            found.append(Item(f"Many predictions of {task} are too uncertain", words, "see the drift below"))
    return found


def of_champion(trained: date, as_of: date, retrain_after_days: int, challenger: str) -> list[Item]:
    """A champion that is too old or knows the future, and a challenger beside it, in words (empty: none)."""
    age, found = (as_of - trained).days, []
    if age < 0:
        words = f"the model was trained as of {trained} and knows events after {as_of}"
        found.append(Item("These scores are hindsight", words, "do not judge the model by them"))
    elif age >= retrain_after_days:
        words = f"it was trained {age} days before; a training is due after {retrain_after_days}"
        do = "look at training/champion in Dagster, which says why no newer version took over"
        found.append(Item("The champion is old", words, do))
    if challenger:
        found.append(Item("A challenger did not take over", challenger, "read its card; `ple promote` if you agree"))
    return found


def of_quarantine(tonight: Mapping[str, int], before: Mapping[str, int] | None) -> list[Item]:
    """Tables of which clearly more rows were set aside than the night before, or any on a first night."""
    grown = {
        table: rows for table, rows in tonight.items() if rows > MORE_ROWS * (before.get(table, 0) if before else 0)
    }
    if not grown:
        return []
    told = ", ".join(
        f"{table} {rows:,}" + (f" (night before {before.get(table, 0):,})" if before else "")
        for table, rows in grown.items()
    )
    return [
        Item(
            "Rows were set aside" if before is None else "More rows were set aside",
            told,
            "look at the asset quarantine, which has the reason of each row; repair the source if they should count",
        )
    ]
