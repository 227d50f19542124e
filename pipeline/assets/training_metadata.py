"""Dagster metadata of the training assets: facts, tables and figures for the UI."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline.reports import plots
from pipeline.reports.describe import markdown
from pipeline.reports.drawing import Drawing
from pipeline.resources.tracking import Tracking
from pipeline.training.evaluation import Evaluation
from pipeline.training.takeover import Decided, decision_table

if TYPE_CHECKING:
    from ple_model.interpretation.parts import Parts
    from ple_model.training.trainer import FitResult


CHALLENGE_LEGEND = (
    "Evaluation fits on the same test rows, which neither has learnt from. A difference is challenger less the other "
    "model, with its 95 % interval by customer: ▲ the challenger is ahead, ▼ behind, = level, ○ open (too few rows to "
    "say), ? not comparable. On a critical task the whole interval must be better than what it may be worse by."
)


EVALUATION_LEGEND = (
    "Each model's headline metric on test rows that are later than every training label (↑ higher, ↓ lower is better). "
    "“model” is what is registered. A sign says how it compares with the column's baseline, by the 95 % interval of "
    "the difference by customer: ▲ it is ahead, ▼ behind, = level within the task's margin, ○ open (too few rows to "
    "say), ? not comparable. constant: the same prediction for everybody. network, LightGBM: the two halves of the "
    "registered blend alone. BG/NBD: a model of repeat buying, which knows purchase days and amounts alone. own past: "
    "the customer's own earlier purchases. An empty cell: the task has no such baseline."
)
TOGETHER = "\N{NO-BREAK SPACE}"
"""Between a value and its sign, which narrow columns would set on two lines."""
CONCEPT_NAMES = {
    "dead": "share of latents that no row activates",
    "l0": "mean number of active latents a row",
    "explained_variance": "share of the shared representation's variance that the latents explain",
}


def decision_metadata(decided: Decided, tracking: Tracking) -> dict[str, Any]:
    """One decision about the champion: what, why, by whom, and where the version is described."""
    return {
        "decision": decided.status,
        "why": decided.words,
        "facts": markdown(decision_table(decided)),
        "model card": dg.MetadataValue.url(tracking.version_url(decided.version)),
    }


def horizon_metadata(read: DatasetConfig, described: DatasetConfig) -> dict[str, Any]:
    """How far labels look ahead, where that is not as the description of the data set has it."""
    if read.horizon_days == described.horizon_days:
        return {}
    return {"labels look ahead": f"{read.horizon_days} days: the data are too short for {described.horizon_days}"}


def training_metadata(result: "FitResult", rows: int, drawing: Drawing) -> dict[str, Any]:
    """Best epoch, speed, device, learning curve and task transfer of a fit on so many training rows."""
    phase, epoch = result.resumed_from or (0, 0)
    return {
        "best epoch": f"{result.best[1]} of phase {result.best[0]}",
        "validation score (mean skill over a constant)": result.score,
        "epochs": len(result.history),
        "stopped by": ", ".join(f"phase {phase}: {why}" for phase, why in result.stopped_by.items()),
        "resumed after": f"epoch {epoch} of phase {phase}" if result.resumed_from else "not resumed",
        "rows": rows,
        "rows per second": round(max((report.rows_per_second for report in result.history), default=0)),
        "largest share of an epoch's time waiting for rows": max((r.waiting for r in result.history), default=0.0),
        "device": f"{result.device}, {result.precision}",
        **drawing.figure("validation score by epoch", lambda: plots.learning_curve(result.history)),
        **_transfer(result, drawing),
    }


def refit_metadata(result: "FitResult", rows: int) -> dict[str, Any]:
    """Epochs, speed and time of a refit on so many rows."""
    phase, epoch = result.resumed_from or (0, 0)
    return {
        "epochs": len(result.history),
        "epochs of": "the evaluation fit, task by task; no validation row takes part",
        "resumed after": f"epoch {epoch} of phase {phase}" if result.resumed_from else "not resumed",
        "rows": rows,
        "rows per second": round(max((report.rows_per_second for report in result.history), default=0)),
        "largest share of an epoch's time waiting for rows": max((r.waiting for r in result.history), default=0.0),
        "seconds of the network": round(sum(report.seconds for report in result.history)),
        "device": f"{result.device}, {result.precision}",
    }


def _transfer(result: "FitResult", drawing: Drawing) -> dict[str, Any]:
    """Picture and conflicts of adaTT at the end of phase 1, where it is on."""
    reports = [report.adatt for report in result.history if report.adatt is not None]
    if not reports:
        return {}
    conflicts = [f"{task}: {', '.join(others)}" for task, others in reports[-1]["conflicts"].items()]
    return {
        **drawing.figure("adaTT", lambda: plots.transfer_heatmaps(reports[-1])),
        "tasks in conflict": "; ".join(conflicts) or "none",
    }


def parts_check(parts: "Parts") -> dg.AssetCheckResult:
    """A warning where an expert gets no gradient, a gate stands where it started, or an absent input breaks outputs."""
    experts = pl.DataFrame({"expert": list(parts.gradients), "norm of its gradient": list(parts.gradients.values())})
    gates = pl.DataFrame({"task": list(parts.moved), "its gate moved by": list(parts.moved.values())})
    return dg.AssetCheckResult(
        check_name="every_part_learns",
        passed=not parts.idle and not parts.not_finite,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "takes no part": ", ".join(parts.idle) or "none",
            "outputs are not finite without": ", ".join(parts.not_finite) or "none",
            "experts": markdown(experts),
            "gates": markdown(gates),
        },
    )


def uncertainty_table(by_task: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """A row a task: its signal, whether it ranks errors among equal predictions, errors by quarter of u, the area under
    the risk–coverage curve, the coverage of its regions, and its fallbacks, all on test rows."""

    def interval(found: Mapping[str, Any] | None) -> str:
        if found is None or found["estimate"] is None:
            return "–"
        if found["low"] is None:
            return f"{found['estimate']:.3f}"
        return f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"

    rows = []
    for task, told in by_task.items():
        worth, held = told["selective"], told["coverage"]
        area = "–" if worth is None else f"{worth['aurc']:.3f} ({worth['aurc_random']:.3f}, {worth['aurc_best']:.3f})"
        rows.append(
            {
                "task": task,
                "uncertainty": told["uncertainty"],
                "ranks errors among equal predictions": "–" if worth is None else interval(worth["ranking"]),
                "mean error by quarter of u": "–" if worth is None else " · ".join(f"{e:.3f}" for e in worth["error"]),
                "area under risk and coverage (random, best)": area,
                "stated": told["region_level"] or "–",
                "held": "–" if held is None else interval(held["held"]),
                "mean size": "–" if held is None else f"{held['size']:.3g}",
                "fallback": f"{told['fallback_share']:.1%}: {told['fallback']}",
            }
        )
    return pl.DataFrame(rows)


def group_tables(evaluation: Evaluation) -> dict[str, pl.DataFrame]:
    """What rows are grouped by → a row a group: its rows, and each task's headline metric with its interval. A group
    with too few labels of a task shows how many it has."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for row in evaluation.groups:
        shown = f"({row['note']})" if row["value"] is None else f"{row['value']:.3f}"
        if row["low"] is not None:
            shown += f" [{row['low']:.3f}, {row['high']:.3f}]"
        tables.setdefault(row["by"], {}).setdefault(row["group"], {})[row["task"]] = shown
    return {
        by: pl.DataFrame([{by: group, **values} for group, values in groups.items()]) for by, groups in tables.items()
    }


def reason_table(evaluation: Evaluation, shown: int = 5) -> pl.DataFrame:
    """A row a task: unit, the columns and inputs that move it most with their mean absolute contribution, and what is
    left unexplained on average."""
    tasks: dict[str, dict[str, str]] = {}
    for row in evaluation.reasons:
        own = tasks.setdefault(
            row["task"], {"task": row["task"], "unit": row["unit"], "moved by": "", "unexplained": ""}
        )
        if not row["source"]:
            own["unexplained"] = f"{row['strength']:.2g}"
        elif own["moved by"].count(",") < shown - 1:
            own["moved by"] += f"{', ' if own['moved by'] else ''}{row['source']} {row['strength']:.2g}"
    return pl.DataFrame(list(tasks.values()))


def leaderboard(evaluation: Evaluation) -> str:
    """Headline metrics as a small Markdown table, task × model, with the verdict against each baseline. Without
    padding and intervals, so that the UI shows it open (it folds what has 1,000 characters)."""
    rows = [
        {"task": f"{row['task']}, {row['metric'].replace(' ', TOGETHER)}"}
        | {name: _short(row[name]) for name in row if name not in ("task", "metric", "rows", "customers")}
        for row in evaluation.table
    ]
    columns = list(rows[0]) if rows else ["task"]
    lines = [columns, ["-"] * len(columns), *([row[name] for name in columns] for row in rows)]
    return "\n".join(f"|{'|'.join(line)}|" for line in lines)


def _short(cell: str) -> str:
    """A value of three decimals and its sign, without its interval; nothing where the task has no such baseline."""
    if cell == "–":
        return ""
    value, *rest = cell.split(" ")
    sign = "" if not rest or rest[0].startswith(("[", "(")) else f"{TOGETHER}{rest[0]}"
    try:
        return f"{float(value):.3f}{sign}"
    except ValueError:
        return cell


def metric_table(evaluation: Evaluation) -> pl.DataFrame:
    """Every metric as a row a task and metric, a column a model."""
    long = pl.DataFrame(evaluation.metrics, infer_schema_length=None)
    if long.is_empty():
        return long
    return long.pivot("model", index=["task", "metric"], values="value", maintain_order=True)


def evaluation_metadata(evaluation: Evaluation, drawing: Drawing) -> dict[str, Any]:
    """The comparison with the baselines and its legend, then reliability, totals in natural units, gates, uncertainty,
    inputs, reasons and concepts, as far as they are there."""
    shown: dict[str, Any] = {
        "comparison": dg.MetadataValue.md(leaderboard(evaluation)),
        "legend": EVALUATION_LEGEND,
        "verdict": dg.MetadataValue.md(evaluation.summary()),
        "figures": "of the evaluation fit, which saw no test row",
        "comparison with intervals": markdown(pl.DataFrame(evaluation.table)),
        "all metrics (task × model)": markdown(metric_table(evaluation), rows=500),
        **drawing.figure("reliability", lambda: plots.reliability(evaluation.reliability)),
        **drawing.figure("gates", lambda: plots.gate_heatmap(evaluation.gates)),
    }
    if evaluation.uncertainty:
        shown |= drawing.table("uncertainty", lambda: uncertainty_table(evaluation.uncertainty))
    if curves := plots.published(evaluation.uncertainty):
        shown |= drawing.figure("risk and coverage", lambda: plots.risk_coverage(curves))
    if evaluation.totals:
        shown["totals in natural units"] = markdown(pl.DataFrame(evaluation.totals, infer_schema_length=None))
    shown |= drawing.facts(
        "by group", lambda: {f"by {by}": markdown(frame) for by, frame in group_tables(evaluation).items()}
    )
    if evaluation.experts:
        shown |= drawing.figure("experts by segment and cluster", lambda: plots.expert_heatmap(evaluation.experts))
    if evaluation.reasons:
        shown |= drawing.table("columns that move each task", lambda: reason_table(evaluation), rows=500)
    if evaluation.inputs:
        shown |= drawing.figure("inputs", lambda: plots.input_heatmap(evaluation.inputs))
    if evaluation.concepts:
        shown["concepts"] = markdown(pl.DataFrame(evaluation.concepts))
        shown |= {
            f"concepts: {CONCEPT_NAMES.get(name, name)}": value for name, value in evaluation.concept_statistics.items()
        }
    return shown
