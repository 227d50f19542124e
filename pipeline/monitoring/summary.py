"""The summary of a night as plain values: each task's metric beside its baselines, and facts about the run."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any

import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline.home.folder import Home
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion
from pipeline.scores.table import Scores, of_eligible
from pipeline.training.evaluation import Evaluation

LEGEND = (
    "Model and baselines on test rows later than every training label. The model is ▲ ahead of or ▼ behind the\n"
    "baseline beyond the 95 % interval of their paired difference by customer; else = level where the difference is\n"
    "within the task's margin, ○ open where it is not. ↑ higher, ↓ lower is better."
    "\nTonight, over the customers for whom a task is defined: u, mean uncertainty (– where it ranks no errors);"
    "\nfallback, share of rows that carry their cluster's base rate."
)
SUMMARY = "summary.json"
TRAINING_FAILED, MISSING_SOURCES, VOLUME, DRIFT = "training failed", "missing sources", "delivery", "drift"
"""Facts that a person must not overlook."""
OFF = "tasks off"
"""The fact, and the key of the summary, that says which tasks have too few labels."""
ALARMING = (TRAINING_FAILED, MISSING_SOURCES, VOLUME, DRIFT)
NAMED = 5
"""Columns that drift and are named in the fact; the table of the asset `drift` has all."""


def read_summary(home: Home, as_of: date) -> dict[str, Any]:
    """The summary that the monitoring asset of an as-of date wrote."""
    return json.loads((home.reports / f"as_of={as_of}" / SUMMARY).read_text())


def tasks_off(home: Home, dataset: DatasetConfig) -> dict[str, str]:
    """Task → why the version of the newest night of a data set has too few labels of it; empty where no night ran."""
    for file in sorted(home.reports.glob(f"as_of=*/{SUMMARY}"), reverse=True):
        summary = json.loads(file.read_text())
        if summary["dataset"] == dataset.title:
            return dict(summary.get(OFF, {}))
    return {}


def summarise(
    as_of: str,
    scores: Scores,
    champion: RegisteredVersion,
    evaluation: Evaluation,
    lake: Lake,
    dataset: DatasetConfig,
    training_failure: str = "",
    volume: Sequence[str] = (),
    challenger: str = "",
    card: str = "",
    drifted: Sequence[str] = (),
    off: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The summary as JSON: tasks (rows of the table), facts, legend, notice.

    Args:
        champion: the version that scored.
        evaluation: of that version.
        training_failure: why the training that was due for this date failed; empty where none did.
        volume: what is unusual about the size of the delivery, in words.
        challenger: the version that was trained last and is not the champion, in words.
        card: address of the champion's model card.
        drifted: columns and scores whose drift alarms, worst first.
        off: task → why the champion lacks it, for want of labels.
    """
    tasks = []
    for row in evaluation.table:
        measured = {name: value for name, value in row.items() if name != "customers"}
        formats = {"mean u": ("u", ".2f"), "fallback": ("fallback", ".1%")}
        eligible = of_eligible(scores, row["task"], *(f"{row['task']}__{name}" for name, _ in formats.values()))
        shown = {title: _mean(eligible[f"{row['task']}__{name}"], form) for title, (name, form) in formats.items()}
        tasks.append({**measured, **shown})
    missing = scores.lazy().select("missing_sources").collect().to_series()
    hindsight = champion.as_of > date.fromisoformat(as_of)
    facts = {
        "as-of date": as_of + ("  (hindsight: the model knows later events)" if hindsight else ""),
        "rows scored": f"{len(missing):,}",
        "model version": f"{champion.version}, trained as of {champion.as_of}",
        "state version": champion.state_version,
        "scores": str(lake.partition("scores", as_of)),
        "quarantine": str(lake.path("quarantine")),
    }
    if card:
        facts["model card"] = card
    if challenger:
        facts["challenger"] = challenger
    if off:
        facts[OFF] = "; ".join(f"{task}: {why}" for task, why in off.items())
    if lost := missing[0].to_list() if len(missing) else []:
        facts[MISSING_SOURCES] = f"{', '.join(lost)}: what depends on it is masked, its tasks are withheld"
    if volume:
        facts[VOLUME] = "; ".join(volume)
    if drifted:
        more = f" and {len(drifted) - NAMED} more" if len(drifted) > NAMED else ""
        facts[DRIFT] = f"{', '.join(drifted[:NAMED])}{more}: far from the training, see the asset drift"
    if training_failure:
        facts[TRAINING_FAILED] = f"{training_failure} (version {champion.version} goes on scoring)"
    return {
        "dataset": dataset.title,
        "as_of": as_of,
        "tasks": tasks,
        "facts": facts,
        OFF: dict(off),
        "legend": LEGEND,
        "notice": dataset.notice,
    }


def _mean(column: pl.Series, form: str) -> str:
    """The mean as text; – without a value."""
    mean = column.cast(pl.Float64).mean()
    return f"{mean:{form}}" if isinstance(mean, float) else "–"
