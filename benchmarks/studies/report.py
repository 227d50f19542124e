"""The result of a study as Markdown: what was asked, how it was measured, and every figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.studies import plots
from benchmarks.studies.judge import ORACLE, Finding, Results
from benchmarks.studies.study import Comparison, Study, variant_of
from pipeline.settings import REPOSITORY
from pipeline.training.material import environment
from ple_model.evaluation.bootstrap import LEVEL
from ple_model.evaluation.pooled import RESAMPLES
from ple_model.evaluation.verdict import SIGNS
from ple_model.tasks import kind_of

FOLDER = REPOSITORY / "docs" / "results"
SHOWN = ("ahead", "level", "behind", "open")
WIDE = 3
"""With more opponents than this a comparison is a matrix, one row an opponent."""


def write(results: Results, folder: Path = FOLDER) -> Path:
    """Write `<study>.md`; its path."""
    file = folder / f"{results.study.name.replace('-', '_')}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(results, folder)
    file.write_text(text(results, pictures), encoding="utf-8")
    return file


def text(results: Results, pictures: Sequence[str] = ()) -> str:
    """The whole report; pictures: lines of Markdown that show them."""
    study = results.study
    parts = [f"# {study.title}", study.question, *_notes(results), *_models(results), *pictures]
    for comparison in study.comparisons:
        findings = results.findings(comparison)
        parts.append(f"## {comparison.title}")
        if not findings:
            parts.append("No cell of both sides is finished.")
            continue
        if len(comparison.others) > WIDE:
            parts += _matrix(comparison, findings, study)
        else:
            for other, of_other in groupby(findings, key=lambda finding: finding.other):
                parts += _list(comparison.subject, other, list(of_other))
        parts += _calibration(results, comparison.subject)
        parts += _coverage(results, comparison.subject)
        parts += _rankings(results, comparison.subject)
    if study.oracle:
        for subject in dict.fromkeys(comparison.subject for comparison in study.comparisons):
            parts += _oracle(results, subject)
    parts += _cells(results)
    return "\n\n".join(parts) + "\n"


def counts(findings: Iterable[Finding]) -> str:
    """How often the subject is ahead, level, behind, open."""
    found = list(findings)
    by = {s: [f.task for f in found if f.pooled.differences[f.other].verdict == s] for s in SIGNS}
    words = [f"{name} on {len(tasks)}" for name, tasks in by.items() if tasks or name != "unknown"]
    named = [f"{name}: {', '.join(by[name])}" for name in ("ahead", "behind", "open", "unknown") if by[name]]
    return f"**{', '.join(words)} of {len(found)} tasks**" + (f" ({'; '.join(named)})." if named else ".")


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows of text as a Markdown table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([row.get(c, "–") for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _notes(results: Results) -> list[str]:
    study = results.study
    lines = [f"- Command: `ple study {study.arguments}`."]
    where = {"test": "test rows", "validation": "validation rows", "later": "rows of the dates from the origin on"}
    lines.append(
        f"- {study.data}, {len(study.origins)} origins × {len(study.seeds)} seeds × {len(study.variants)} variants; "
        f"judged on {where[study.role]}. {len(results.abouts)} of {results.wanted} cells are finished."
    )
    for day, files in results.origins.items():
        lines.append(f"- Origin {day}: {study.facts(files.about())}.")
    lines.append(
        f"- Predictions are averaged over seeds, the metric over origins. Intervals: {LEVEL:.0%}, paired, "
        f"{RESAMPLES:,} resamples of customers with all their rows at all origins. A gain is written so that + favours "
        "the first model. ahead, behind: beyond the interval; level: the interval holds 0 and the gain is within the "
        "task's margin; open: it holds 0 and the gain is beyond the margin."
    )
    margins = {kind_of(kind).headline.title: kind_of(kind).headline for kind in results.kinds.values()}
    lines.append(
        "- Margins: "
        + "; ".join(
            f"{title} {f'{h.margin:.0%}' if h.relative else f'{h.margin:g}'} ({h.reason})"
            for title, h in margins.items()
        )
        + "."
    )
    made = environment()
    lines.append(
        f"- {', '.join(f'{name} {version}' for name, version in made['libraries'].items())}; {made['machine']}."
    )
    if len(codes := results.codes()) > 1:
        states = ", ".join(f"{code} ({count} cells)" for code, count in codes.items())
        lines.append(f"- **The cells were computed by {len(codes)} states of the code**: {states}.")
    blocks = ["\n".join(lines)]
    if faults := results.faults():
        blocks.append(
            "**Fault of the harness: settings without effect.**\n\n" + "\n".join(f"- {line}" for line in faults)
        )
    return blocks


def _models(results: Results) -> list[str]:
    """What every model of the comparisons reaches, where some of them compare many, and what papers print."""
    study = results.study
    models = [model for c in study.comparisons for model in (c.subject, *c.others) if len(c.others) > WIDE]
    if not models:
        return []
    rows = []
    for model in dict.fromkeys(models):
        abouts = [about for (_, name, _), about in results.abouts.items() if name == variant_of(model)]
        if not abouts:
            continue
        row = {"model": model, "seeds": str(len({about.seed for about in abouts}))}
        for task in results.kinds:
            if (found := results.alone(model, task)) is not None:
                whole = found.pooled.values[model]
                interval = f"{_value(whole.estimate)} [{_value(whole.low)}, {_value(whole.high)}]"
                row[task] = f"{_spread(*found.single[model])}; {interval}"
        counts = [about.parameters for about in abouts if about.parameters]
        row["parameters"] = f"{max(counts):,}" if counts else "–"
        row["minutes"] = f"{sum(about.seconds for about in abouts) / len(abouts) / 60:.1f}"
        rows.append(row)
    rows += [
        {"model": printed.model, **{task: f"{value:.4f}" for task, value in printed.values.items()}}
        for printed in study.printed
    ]
    told = (
        "Mean and standard deviation of the metric of one seed's predictions; then that of the predictions averaged "
        "over seeds, with its interval over customers. minutes: of a cell, all its tasks together."
    )
    sources = [f"As printed: {source}." for source in dict.fromkeys(printed.source for printed in study.printed)]
    return ["## Models", told, table(rows), *sources]


def _list(subject: str, other: str, findings: Sequence[Finding]) -> list[str]:
    rows = []
    for finding in findings:
        pooled, difference = finding.pooled, finding.pooled.differences[finding.other]
        rows.append(
            {
                "task": finding.task,
                "metric": f"{pooled.title} {'↑' if pooled.better > 0 else '↓'}",
                "rows": f"{pooled.rows:,}",
                "customers": f"{pooled.customers:,}",
                subject: _value(pooled.values[subject].estimate),
                other: _value(pooled.values[other].estimate),
                "gain": _gain(finding),
                "width": _value(difference.width),
                "margin": _value(difference.margin),
                "verdict": f"{SIGNS[difference.verdict]} {difference.verdict}",
                "one seed": "; ".join(_spread(*finding.single[m]) for m in (subject, other) if m in finding.single),
            }
        )
    lines = [f"### {subject} against {other}", counts(findings), table(rows)]
    left = {f"{f.task} at {day}: {why}" for f in findings for day, why in f.pooled.left_out.items()}
    return lines + ([f"Left out: {'; '.join(sorted(left))}."] if left else [])


def _matrix(comparison: Comparison, findings: Sequence[Finding], study: Study) -> list[str]:
    """A row an opponent: counts, then the gain of the subject on each task."""
    summary, detail = [], []
    for other, group in groupby(findings, key=lambda finding: finding.other):
        of_other = list(group)
        verdicts = [finding.pooled.differences[other].verdict for finding in of_other]
        name = other.split("/")[0]
        summary.append(
            {
                f"{comparison.subject} against": name,
                **{s: str(verdicts.count(s)) for s in SHOWN},
                "what it asks": study.variant(name).why,
            }
        )
        cells = {f.task: f"{_gain(f)} {SIGNS[f.pooled.differences[other].verdict]}" for f in of_other}
        detail.append({f"gain of {comparison.subject} over": name, **cells})
    legend = ", ".join(f"{SIGNS[s]} {s}" for s in SHOWN)
    return [table(summary), f"Gain by task with its interval; {legend}.", table(detail)]


def _calibration(results: Results, model: str) -> list[str]:
    found = results.calibrations(model)
    if not found:
        return []
    rows = [
        {
            "task": task,
            "rows": f"{c.rows:,}",
            "customers": f"{c.customers:,}",
            "ECE": f"{c.error:.4f}",
            "without bias": f"{c.debiased:.4f}",
            "p": f"{c.p:.3f}",
            "": c.statement,
        }
        for task, c in found.items()
    ]
    return [f"### Calibration of {model}, pooled over origins, averaged over seeds", table(rows)]


def _coverage(results: Results, model: str) -> list[str]:
    found = results.coverages(model)
    rows = [{"task": task, "rows": f"{c.rows:,}", "covered": f"{c.share:.1%}"} for task, c in found.items()]
    return [f"### Coverage of the intervals and sets of {model}", table(rows)] if rows else []


def _rankings(results: Results, model: str) -> list[str]:
    rows = [
        {
            "task": task,
            "rows": f"{count:,}",
            "cells with u": str(cells),
            "correlation": _value(interval.estimate),
            "interval": f"[{_value(interval.low)}, {_value(interval.high)}]",
            "": "ranks errors" if interval.beyond_zero and (interval.estimate or 0) > 0 else "does not rank errors",
        }
        for task, (interval, count, cells) in results.rankings(model).items()
    ]
    return [f"### Published uncertainty of {model}: errors among equal predictions", table(rows)] if rows else []


def _oracle(results: Results, subject: str) -> list[str]:
    """The distance of a model to the best possible prediction, on the rows that the oracle knows."""
    found = results.findings(Comparison(subject, (ORACLE,), ""))
    if not found:
        return [f"## {subject} and the oracle", "The oracle knows none of the judged rows."]
    return [f"## {subject} and the oracle", *_list(subject, ORACLE, found)[2:]]


def _cells(results: Results) -> list[str]:
    """Time, memory and speed by variant."""
    rows = []
    for variant in results.study.variants:
        cells = [about for (_, name, _), about in results.abouts.items() if name == variant.name]
        if not cells:
            continue
        speeds = [about.rows_per_second for about in cells if about.rows_per_second]
        best = sorted({about.best for about in cells if about.best})
        rows.append(
            {
                "variant": variant.name,
                "cells": str(len(cells)),
                "seconds a cell": f"{sum(about.seconds for about in cells) / len(cells):,.0f}",
                "rows/s": f"{sum(speeds) / len(speeds):,.0f}" if speeds else "–",
                "peak GiB": f"{max(about.peak_gib for about in cells):.1f}",
                "epochs chosen": "; ".join(best) or "–",
            }
        )
    return ["## Cells", table(rows)] if rows else []


def _gain(finding: Finding) -> str:
    """Difference and interval, turned so that + favours the subject."""
    interval, better = finding.pooled.differences[finding.other].interval, finding.pooled.better
    if interval.estimate is None:
        return f"– ({interval.reason})"
    if interval.low is None or interval.high is None:
        return f"{better * interval.estimate:+.4f} ({interval.reason})"
    low, high = sorted((better * interval.low, better * interval.high))
    return f"{better * interval.estimate:+.4f} [{low:+.4f}, {high:+.4f}]"


def _value(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def _spread(mean: float, sd: float) -> str:
    return f"{mean:.4f}" if math.isnan(sd) else f"{mean:.4f} ± {sd:.4f}"
