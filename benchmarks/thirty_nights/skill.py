"""The realised skill of the nights on labels that have matured; intervals draw customers with all their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.thirty_nights.calendar import BETTER, DRIFT, NIGHTS, TASK, WINDOW_WEEKS, day_of
from benchmarks.thirty_nights.story import Notes, Story
from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, draw_counts, interval_of

BEFORE = range(1, DRIFT - WINDOW_WEEKS)
"""Nights whose labels matured before the drift."""
JUDGED = range(1, NIGHTS - WINDOW_WEEKS + 1)
"""Nights whose labels matured within the story."""

SKILL = "log likelihood"
"""What is measured: higher is better."""

Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Skill:
    """Mean log likelihood of what came true (minus the log loss) in the nights and in spans of them.

    nights: night → interval. spans: name of a span → interval of its mean. differences: what is compared → interval.
    """

    nights: dict[int, Interval]
    spans: dict[str, Interval]
    differences: dict[str, Interval]


FALLEN, RESTORED, BEFORE_DRIFT = "after the drift", "after the retraining", "before the drift"
SAME_NIGHT = f"night {BETTER}, new version less the one that it replaced"


def spans(notes: dict[str, Notes]) -> dict[str, list[int]]:
    """The spans of nights: before the drift; after it with a version from before; with one that learnt after it."""
    fresh = notes[f"night {BETTER}"]["version"]
    scored = {night: notes[f"night {night}"]["version"] for night in JUDGED}
    return {
        BEFORE_DRIFT: [*BEFORE],
        FALLEN: [night for night in JUDGED if DRIFT <= night < BETTER],
        RESTORED: [night for night in JUDGED if night >= BETTER and int(scored[night]) >= int(fresh)],
    }


def measure(story: Story, notes: dict[str, Notes]) -> Skill:
    """Skill by night and span. Labels are computed by the product, from the delivery of the last night."""
    labels = labels_of(story)
    rows = {night: story.predictions(night).join(labels[night], on="customer_id") for night in JUDGED}
    replaced = pl.read_parquet(story.replaced).join(labels[BETTER], on="customer_id")
    known = pl.concat([*rows.values(), replaced])["customer_id"].unique().sort()
    counts = draw_counts(len(known), RESAMPLES, seed=0)

    def draws(frame: pl.DataFrame) -> Draws:
        good = frame.filter(pl.col("label").is_not_null() & pl.col(f"{TASK}__eligible"))
        cluster = known.search_sorted(good["customer_id"]).to_numpy().astype(np.int64)
        chance = good.select(pl.col(f"{TASK}__p").list.get(pl.col("label"))).to_series().to_numpy()
        rows, total = np.bincount(cluster, minlength=len(known)), np.bincount(cluster, np.log(chance), len(known))
        weights = np.concatenate([np.ones((1, len(known))), counts])
        return weights @ total / (weights @ rows)

    by_night = {night: draws(frame) for night, frame in rows.items()}
    means = {name: np.mean([by_night[night] for night in nights], axis=0) for name, nights in spans(notes).items()}
    compared = {
        f"{FALLEN} less {BEFORE_DRIFT}": means[FALLEN] - means[BEFORE_DRIFT],
        f"{RESTORED} less {FALLEN}": means[RESTORED] - means[FALLEN],
        f"{RESTORED} less {BEFORE_DRIFT}": means[RESTORED] - means[BEFORE_DRIFT],
        SAME_NIGHT: by_night[BETTER] - draws(replaced),
    }

    def interval(drawn: Draws) -> Interval:
        return interval_of(drawn, LEVEL, len(known))

    return Skill(
        {night: interval(drawn) for night, drawn in by_night.items()},
        {name: interval(drawn) for name, drawn in means.items()},
        {name: interval(drawn) for name, drawn in compared.items()},
    )


def labels_of(story: Story) -> dict[int, pl.DataFrame]:
    """Night → customer_id and label."""
    from feature_assets.labels import LabelState, compute_labels
    from pipeline.definitions import build_resources
    from pipeline.resources.lake import Lake
    from pipeline.settings import load_settings

    champion = build_resources(load_settings(home=story.home))["tracking"].champion()
    state = LabelState.from_dict(json.loads((champion.folder / "labels.json").read_text()))
    tables = Lake(root=str(story.home / "lake")).tables(str(day_of(NIGHTS)))

    def of(night: int) -> pl.DataFrame:
        found = compute_labels(tables, day_of(night), state, known_until=day_of(NIGHTS))
        return found.select("customer_id", label=TASK)

    return {night: of(night) for night in JUDGED}


def shown(interval: Interval) -> str:
    """The estimate with its interval."""
    numbers: Iterable[float | None] = (interval.estimate, interval.low, interval.high)
    estimate, low, high = ("–" if number is None else f"{number:.3f}" for number in numbers)
    return f"{estimate} [{low}, {high}]"
