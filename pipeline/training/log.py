"""A training in MLflow: its run, its epochs, parameters, data digests, evaluation and figures."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.snapshots import SnapshotPlan
from pipeline.reports import plots
from pipeline.reports.drawing import Drawing
from pipeline.resources.tracking import Tracking
from pipeline.settings import Settings
from pipeline.training.evaluation import MODEL, Evaluation
from pipeline.training.training_set import ROLES
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult

HEADLINE = "_headline"
"""MLflow's pages sort metrics by name."""
NOT_IN_A_NAME = re.compile(r"[^\w\-. ]")
"""What MLflow refuses in the name of a metric; names of classes may hold anything."""


def open_run(workspace: Workspace, tracking: Tracking, as_of: date, tags: Mapping[str, str]) -> str:
    """The MLflow run of this training: created once, the same for every later step and after an interruption."""
    run_id = workspace.run()
    if run_id is not None and tracking.run_exists(run_id):
        return run_id
    run_id = tracking.start_run(f"training {as_of}", {"as_of": as_of.isoformat(), **tags})
    workspace.save_run(run_id)
    return run_id


def log_epoch(tracking: Tracking, run_id: str, report: "EpochReport", phase1_epochs: int, drawing: Drawing) -> None:
    """One epoch's losses, skills, weights and gates; steps count on through both phases."""
    step = report.epoch + (phase1_epochs if report.phase == 2 else 0)
    values: dict[str, float | None] = {
        "epoch/score": report.score,
        "epoch/loss": report.loss,
        "epoch/learning_rate": report.learning_rate,
        "epoch/rows_per_second": report.rows_per_second,
        "epoch/phase": report.phase,
        "epoch/share_of_time_waiting_for_rows": report.waiting,
        "gate/entropy": report.gate_entropy,
        "gate/entropy_of_mean": report.mean_gate_entropy,
    }
    by_task: dict[str, Mapping[str, float | None]] = {
        "train_loss": report.train_loss,
        "valid_loss": report.valid_loss,
        "skill": report.skill,
        "weight": report.weights,
    }
    values |= {f"{name}/{task}": value for name, tasks in by_task.items() for task, value in tasks.items()}
    if report.adatt is not None:
        values |= {
            "adatt/prior_share": report.adatt["prior_share"],
            "adatt/share_of_time": report.adatt["share"],
            "adatt/correlation_of_spaces": report.adatt["correlation"],
            "adatt/pairs_in_conflict": sum(len(others) for others in report.adatt["conflicts"].values()),
        }
        adatt = report.adatt
        _log_figure(tracking, run_id, f"adatt_epoch_{step:02d}", lambda: plots.transfer_heatmaps(adatt), drawing)
    tracking.log_metrics(run_id, values, step)


def log_training(
    workspace: Workspace,
    tracking: Tracking,
    run_id: str,
    result: "FitResult",
    parameters: Mapping[str, Any],
    dataset: DatasetConfig,
    phase1_epochs: int,
    drawing: Drawing,
) -> None:
    """Parameters, every epoch (those before an interruption too), digests of the data, the learning curve."""
    for report in result.history:
        log_epoch(tracking, run_id, report, phase1_epochs, drawing)
    tracking.log_params(run_id, parameters)
    rows = workspace.labels()
    for role in ROLES:
        log_labels(workspace, tracking, run_id, rows, dataset, role)
    _log_figure(tracking, run_id, "learning_curve", lambda: plots.learning_curve(result.history), drawing)


def _log_figure(tracking: Tracking, run_id: str, name: str, draw: "Callable[[], Figure]", drawing: Drawing) -> None:
    """A figure as the artifact `plots/<name>.png`, if it can be drawn."""
    path = f"plots/{name}.png"
    drawing.attempt(path, lambda: tracking.log_figures(run_id, {path: draw()}))


def log_labels(
    workspace: Workspace, tracking: Tracking, run_id: str, labels: pl.DataFrame, dataset: DatasetConfig, role: str
) -> None:
    """The rows of a role as an input of the run, with the digest of their material."""
    rows = labels.filter(pl.col("role") == role).drop("role").cast({"as_of": pl.Datetime("us")})
    tracking.log_dataset(run_id, rows, f"{dataset.name}-{role}", f"{workspace.material()}-{role}", role)


def parameters_of(
    settings: Settings, model: Mapping[str, Any], plan: SnapshotPlan, dataset: DatasetConfig, state_version: str
) -> dict[str, Any]:
    """Parameters of a run, flat. `model`: the network's configuration as plain values."""
    inputs = {name: value for name, value in model["inputs"].items() if name not in ("columns", "bounds")}
    inputs["present"] = len(inputs["present"])
    return {
        **flatten({**model, "inputs": inputs}, "model"),
        **flatten(settings.training.to_dict(), "training"),
        "as_of": plan.as_of,
        "dataset": dataset.name,
        "state_version": state_version,
        "columns": settings.columns,
        "blend": settings.blend,
        "refit": settings.refit,
        "seed": settings.seed,
        "training_snapshots": len(plan.train),
        "evaluation_snapshots": len(plan.holdout),
        "purge_line": plan.holdout_start,
    }


def log_evaluation(evaluation: Evaluation, tracking: Tracking, run_id: str, drawing: Drawing) -> None:
    """Metrics of the model and the baselines, those of the headline first, the evaluation as JSON, and its figures."""
    values: dict[str, float | None] = headlines(evaluation)
    for row in evaluation.metrics:
        suffix = "" if row["model"] == MODEL else "/" + row["model"].replace(" ", "_")
        metric = NOT_IN_A_NAME.sub("_", row["metric"])
        values[f"test/{row['task']}/{metric}{suffix}"] = row["value"]
    values |= {f"test/{row['task']}/total_predicted_over_observed": row["ratio"] for row in evaluation.totals}
    tracking.log_metrics(run_id, values)
    tracking.log_json(run_id, asdict(evaluation), "evaluation.json")
    figures: dict[str, Callable[[], Figure]] = {
        "calibration": lambda: plots.reliability(evaluation.reliability),
        "gates": lambda: plots.gate_heatmap(evaluation.gates),
    }
    if curves := plots.published(evaluation.uncertainty):
        figures["risk_coverage"] = lambda: plots.risk_coverage(curves)
    if evaluation.inputs:
        figures["inputs"] = lambda: plots.input_heatmap(evaluation.inputs)
    for name, draw in figures.items():
        _log_figure(tracking, run_id, name, draw, drawing)


def headlines(evaluation: Evaluation) -> dict[str, float | None]:
    """Each task's headline metric on test rows, under names that MLflow shows before all others."""
    from ple_model.tasks.kinds import KINDS

    by_title = {kind.headline.title: kind.headline.metric for kind in KINDS.values()}
    found = {(row["task"], row["metric"]): row["value"] for row in evaluation.metrics if row["model"] == MODEL}
    titles = {row["task"]: row["metric"].rsplit(" ", 1)[0] for row in evaluation.table}
    return {
        f"{HEADLINE}/{task} {NOT_IN_A_NAME.sub('_', title)}": found.get((task, by_title.get(title, title)))
        for task, title in titles.items()
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
