"""The nights whose labels have matured: which are judged tonight, and their skill beside the promise."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from feature_assets.data.dataset import SPANS
from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, compute_labels
from pipeline.monitoring import skill
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion
from pipeline.training.evaluation import Evaluation

TABLE = "skill"
"""The asset's table in the lake."""
DATES_JUDGED = 12
"""Scored dates that one night judges at most, the newest: labels of a date take as long as in a training. After a long
pause the oldest are left out."""
FIRST_DAYS = 7
"""Without an earlier night, labels that matured in so many days are judged."""
SCHEMA: dict[str, Any] = {"scored": pl.Date, "version": pl.String, **skill.SCHEMA}


def due(scored: Sequence[date], windows: Mapping[str, int], since: date | None, as_of: date) -> dict[date, list[str]]:
    """Scored date → tasks whose label window (days) ended after `since` and by `as_of`, newest dates first.

    Args:
        since: as-of date of the last night that judged, None where there is none.
    """
    start, found = since or as_of - timedelta(days=FIRST_DAYS), {}
    for day in sorted(scored, reverse=True):
        tasks = [task for task, days in windows.items() if start < day + timedelta(days=days) <= as_of]
        if tasks:
            found[day] = tasks
    return dict(list(found.items())[:DATES_JUDGED])


def judge(
    day: date,
    names: Collection[str],
    as_of: date,
    tables: Callable[[], Iterable[Tables]],
    lake: Lake,
    version_of: Callable[[str], RegisteredVersion],
) -> pl.DataFrame:
    """The skill (`SCHEMA`) of the scores of a day on the named tasks, by labels known on `as_of`; `tables` reads the
    customers' data in blocks. Scores in hindsight
    or with a missing source are not judged, nor those that an older version of this program published without saying
    so, nor those that were altered: no row."""
    scores = next((frame for _, frame in lake.published("scores").sound([day.isoformat()])), None)
    if scores is None:
        return pl.DataFrame(schema=SCHEMA)
    says = {"hindsight", "missing_sources", *(f"{name}__eligible" for name in names if name in scores.columns)}
    if not says <= {*scores.columns}:
        return pl.DataFrame(schema=SCHEMA)
    marked = scores["hindsight"] | (scores["missing_sources"].list.len() > 0)
    if not scores.height or marked.any():
        return pl.DataFrame(schema=SCHEMA)
    version = version_of(scores["model_version"][0])
    tasks = [task for task in json.loads((version.folder / "tasks.json").read_text()) if task["name"] in names]
    state = LabelState.from_dict(json.loads((version.folder / "labels.json").read_text()))
    labels = pl.concat(compute_labels(as_trained(some, version), day, state, known_until=as_of) for some in tables())
    found = skill.realised(scores, labels, tasks, Evaluation.load(version.folder / "evaluation.json"))
    return found.select(pl.lit(day).alias("scored"), pl.lit(version.version).alias("version"), pl.all())


def as_trained(tables: Tables, version: RegisteredVersion) -> Tables:
    """The tables with labels that look as far ahead as those that a version was trained with."""
    kept = json.loads((version.folder / "dataset.json").read_text())
    spans = {name: kept[name] for name in SPANS if name in kept}
    if all(getattr(tables.dataset, name) == days for name, days in spans.items()):
        return tables
    return replace(tables, dataset=tables.dataset.model_copy(update=spans), presorted=True)


def judged_until(lake: Lake, as_of: date) -> date | None:
    """The last night before a date that judged, None where there is none."""
    return max((day for day in _nights(lake) if day < as_of), default=None)


def earlier(lake: Lake, as_of: date) -> pl.DataFrame:
    """What the nights before a date found (`SCHEMA`), newest scored date first."""
    return until(lake, as_of - timedelta(days=1))


def until(lake: Lake, as_of: date) -> pl.DataFrame:
    """What the nights up to a date found (`SCHEMA`), newest scored date first."""
    nights = [day.isoformat() for day in sorted(_nights(lake)) if day <= as_of]
    frames = [frame for _, frame in lake.published(TABLE).sound(nights)]
    found: pl.DataFrame = pl.concat([pl.DataFrame(schema=SCHEMA), *frames])
    return found.sort("scored", "task", "metric", descending=[True, False, False])


def _nights(lake: Lake) -> list[date]:
    return [date.fromisoformat(day) for day in lake.published(TABLE).dates()]
