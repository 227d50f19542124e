"""What a training tells MLflow and the UI: epochs, parameters, data digests, the learning curve."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.candidate import ROLES, Candidate
from pipeline.reports import plots
from pipeline.resources.tracking import Tracking
from ple_model.training.report import EpochReport
from ple_model.training.trainer import FitResult


def log_epoch(work: Candidate, tracking: Tracking, run_id: str, report: EpochReport) -> None:
    """One epoch's losses, skills, weights and gates; steps count on through both phases."""
    step = report.epoch + (work.settings.training.phase1_epochs if report.phase == 2 else 0)
    values: dict[str, float | None] = {
        "epoch/score": report.score,
        "epoch/loss": report.loss,
        "epoch/learning_rate": report.learning_rate,
        "epoch/rows_per_second": report.rows_per_second,
        "epoch/phase": report.phase,
        "gate/entropy": report.gate_entropy,
        "gate/entropy_of_mean": report.mean_gate_entropy,
    }
    parts: dict[str, Mapping[str, float | None]] = {
        "train_loss": report.train_loss,
        "valid_loss": report.valid_loss,
        "skill": report.skill,
        "weight": report.weights,
    }
    values |= {f"{part}/{task}": value for part, found in parts.items() for task, value in found.items()}
    if report.adatt is not None:
        values |= {
            "adatt/prior_share": report.adatt["prior_share"],
            "adatt/share_of_time": report.adatt["share"],
            "adatt/correlation_of_spaces": report.adatt["correlation"],
            "adatt/pairs_in_conflict": sum(len(others) for others in report.adatt["conflicts"].values()),
        }
        picture = plots.transfer_heatmaps(report.adatt)
        tracking.log_figures(run_id, {f"plots/adatt_epoch_{step:02d}.png": picture})
    tracking.log_metrics(run_id, values, step)


def log_training(work: Candidate, tracking: Tracking, run_id: str, result: FitResult) -> None:
    """Parameters, every epoch (those before a resume too), digests of the data, the learning curve."""
    for report in result.history:
        log_epoch(work, tracking, run_id, report)
    tracking.log_params(run_id, _params(work))
    material = json.loads((work.folder / "material.json").read_text())["digest"]
    for role in ROLES:
        labels = work.labels.filter(pl.col("role") == role).drop("role").cast({"as_of": pl.Datetime("us")})
        name = f"{work.tables.dataset.name}-{role}"
        tracking.log_dataset(run_id, labels, name, f"{material}-{role}", role)
    tracking.log_figures(run_id, {"plots/learning_curve.png": plots.learning_curve(result.history)})


def _params(work: Candidate) -> dict[str, Any]:
    model = work.model_config().to_dict()
    model["inputs"].pop("columns")
    model["inputs"]["present"] = len(model["inputs"]["present"])
    return {
        **flatten(model, "model"),
        **flatten(work.settings.training.to_dict(), "training"),
        "as_of": work.as_of,
        "dataset": work.tables.dataset.name,
        "state_version": work.state.version,
        "seed": work.settings.seed,
        "training_snapshots": len(work.plan.train),
        "evaluation_snapshots": len(work.plan.holdout),
        "purge_line": work.plan.holdout_start,
    }


def training_facts(work: Candidate, result: FitResult) -> dict[str, Any]:
    """What the UI shows of a training."""
    phase, epoch = result.resumed_from or (0, 0)
    resumed = f"epoch {epoch} of phase {phase}" if result.resumed_from else "not resumed"
    return {
        "best epoch": f"{result.best[1]} of phase {result.best[0]}",
        "validation score (mean skill over a constant)": result.score,
        "epochs": len(result.history),
        "stopped by": ", ".join(f"phase {phase}: {why}" for phase, why in result.stopped_by.items()),
        "resumed after": resumed,
        "rows": work.labels.filter(pl.col("role") == "train").height,
        "rows per second": round(max(report.rows_per_second for report in result.history)),
        "device": f"{result.device}, {result.precision}",
        **_transfer_facts(result),
    }


def _transfer_facts(result: FitResult) -> dict[str, Any]:
    """Picture and conflicts of adaTT at the end of phase 1, where it is on."""
    reports = [report.adatt for report in result.history if report.adatt is not None]
    if not reports:
        return {}
    conflicts = [f"{task}: {', '.join(others)}" for task, others in reports[-1]["conflicts"].items()]
    return {
        "adaTT": plots.as_markdown(plots.transfer_heatmaps(reports[-1])),
        "tasks in conflict": "; ".join(conflicts) or "none",
    }


def flatten(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Nested settings as `a.b.c` keys; a list of named settings is keyed by their names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, name)
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
            for item in value:
                flat |= flatten({k: v for k, v in item.items() if k != "name"}, f"{name}.{item['name']}")
        else:
            flat[name] = value
    return flat
