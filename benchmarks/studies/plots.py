"""Plots of a study, made from the kept predictions: what sharing gives one task and takes from the other, and what
changes along the origins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.studies.judge import Results
from benchmarks.studies.study import variant_of
from pipeline.reports.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<>hd"


def draw(results: Results, folder: Path) -> list[str]:
    """Write the plots that the study asks for; each as a line of Markdown."""
    study, found = results.study, []
    stem = study.name.replace("-", "_")
    if study.seesaw:
        others = [variant.name for variant in study.variants if variant.run == "peer"]
        models = [f"{name}/peer" for name in others if f"{name}/peer" != study.seesaw]
        for origin in results.origins:
            tasks = list(results.origins[origin].about()["tasks"])
            figure = seesaw(results, study.seesaw, models, tasks) if len(tasks) == 2 else None
            if figure is not None:
                found.append(_save(figure, folder / f"{stem}_seesaw_{origin}.svg", f"Seesaw, {origin}"))
    if study.along:
        figure = along_origins(results, study.along)
        if figure is not None:
            found.append(_save(figure, folder / f"{stem}_along.svg", "Along the origins"))
    return found


def seesaw(results: Results, baseline: str, models: Sequence[str], tasks: Sequence[str]) -> Figure | None:
    """A point a model: its gain over the baseline on the first task against that on the second, with 95 % intervals
    over customers. Up and right of the cross: both gain; elsewhere one task pays for the other, or both lose."""
    points = []
    for model in models:
        both = [results.finding(model, baseline, task) for task in tasks]
        found = [f.pooled.differences[baseline].interval for f in both if f is not None]
        if len(found) == len(tasks) and all(i.low is not None and i.high is not None for i in found):
            better = [f.pooled.better for f in both if f is not None]
            points.append((model, found, better))
    if not points:
        return None
    figure, (axis,) = new_figure(6.4, 5.0)
    for number, (model, (first, second), (a, b)) in enumerate(points):
        x, y = a * (first.estimate or 0.0), b * (second.estimate or 0.0)
        bars = [
            np.abs(np.sort([sign * (i.low or 0.0), sign * (i.high or 0.0)]) - at)[:, None]
            for sign, i, at in ((a, first, x), (b, second, y))
        ]
        marker = MARKERS[number % len(MARKERS)]
        axis.errorbar(x, y, xerr=bars[0], yerr=bars[1], marker=marker, ms=6, lw=0.7, label=variant_of(model))
    for line in (axis.axhline, axis.axvline):
        line(0.0, color="grey", lw=1, ls="--")
    axis.set_xlabel(f"gain on {tasks[0]}")
    axis.set_ylabel(f"gain on {tasks[1]}")
    axis.set_title(f"gain over {variant_of(baseline)}; bars: 95 % over customers", fontsize=9)
    axis.legend(fontsize=7)
    return figure


def along_origins(results: Results, models: Sequence[str]) -> Figure | None:
    """The metric of one seed's predictions, averaged over an origin's tasks, by model along the origins; bars: standard
    deviation over seeds."""
    figure, (axis,) = new_figure(7.0, 4.2)
    drawn, title = False, ""
    for number, model in enumerate(models):
        at, middle, spread = [], [], []
        for origin in results.origins:
            tasks = list(results.origins[origin].about()["tasks"])
            alone = [found for task in tasks if (found := results.alone(model, task)) is not None]
            if len(alone) == len(tasks):
                single = np.array([found.single[model] for found in alone])
                at.append(float(origin))
                middle.append(single[:, 0].mean())
                spread.append(np.nan_to_num(single[:, 1]).mean())
                title = alone[0].pooled.title
        if at:
            marker = MARKERS[number % len(MARKERS)]
            axis.errorbar(at, middle, yerr=spread, marker=marker, ms=5, lw=1, capsize=2, label=variant_of(model))
            drawn = True
    axis.set_xlabel("correlation of the tasks' weights")
    axis.set_ylabel(f"{title}, mean of both tasks")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    return figure if drawn else None


def _save(figure: Figure, file: Path, title: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    return f"![{title}]({file.name})"
