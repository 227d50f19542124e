"""Training: why it runs, on which dates, the model, its evaluation, its registration and its promotion.

The assets of the job `training`. Each calls one step of `pipeline/training/` and shows its result; a night that only
scores materialises none of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.events.view import View
from feature_assets.snapshots import require_customers
from pipeline.assets.common import TRAINING, GivenSettings, asset_options, checked
from pipeline.assets.ingestion import CONTRACT_TABLES, table_key
from pipeline.assets.training_metadata import evaluation_metadata, parts_check, refit_metadata, training_metadata
from pipeline.monitoring.reference import add_reference
from pipeline.plugins import load_plugins
from pipeline.reports.describe import markdown
from pipeline.reports.drawing import Drawing, drawn_spec
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import CHAMPION, Tracking
from pipeline.training import (
    columns,
    fits,
    fitting,
    log,
    material,
    model,
    promotion,
    refit,
    registration,
    training_set,
    trees,
)
from pipeline.training.columns import ColumnChoice
from pipeline.training.decision import decide
from pipeline.training.evaluation import Evaluation, evaluate
from pipeline.training.workspace import Workspace

Context = dg.AssetExecutionContext


def key(name: str) -> dg.AssetKey:
    """Asset key of a training asset."""
    return dg.AssetKey([TRAINING, name])


def day_of(context: Context) -> date:
    """The as-of date of the run."""
    return date.fromisoformat(context.partition_key)


def workspace(context: Context, lake: Lake) -> Workspace:
    """The files of this as-of date's training."""
    return Workspace(lake.training(context.partition_key))


def decision(context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings) -> dg.MaterializeResult:
    """Note why this training runs; refuse a date whose future the champion knows."""
    made = decide(tracking.champion(), day_of(context), settings.retrain_after_days)
    if made.hindsight:
        raise dg.Failure(f"no training for {context.partition_key}: {made.reason}", allow_retries=False)
    reason = made.reason if made.due else f"asked for, though not due: {made.reason}"
    context.log.info(f"training: {reason}")
    tables = lake.tables(context.partition_key)
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    require_customers(plan, tables)
    workspace(context, lake).save_decision(made)
    return dg.MaterializeResult(
        metadata={
            "reason": reason,
            "champion so far": made.champion,
            "training snapshots": [d.isoformat() for d in plan.train],
            "evaluation snapshots": [d.isoformat() for d in plan.holdout],
            "purge": f"labels whose window ends after {plan.holdout_start} train nothing",
        }
    )


def fitted_state(context: Context, lake: Lake, settings: GivenSettings) -> dg.MaterializeResult:
    """Fit the feature state, or take up the files of an interrupted training of the same material."""
    work, tables = workspace(context, lake), lake.tables(context.partition_key)
    delivery = lake.delivery_of(context.partition_key)["digest"]
    plugin_files = load_plugins(settings.plugins).files
    if work.take_up(material.material_digest(settings, delivery, day_of(context), plugin_files)):
        context.log.info("taking up the files of an interrupted training of the same material")
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    state = fitting.fit(work, tables, plan, settings.seed, context.log.info)
    return dg.MaterializeResult(
        metadata={
            "state version": state.version,
            "present columns": len(state.present),
            "groups": markdown(fitting.state_table(state)),
        }
    )


def build_training_set(context: Context, lake: Lake, settings: GivenSettings) -> Iterator[dg.MaterializeResult]:
    """Compute features and labels of every snapshot and look for leaks."""
    work, tables = workspace(context, lake), lake.tables(context.partition_key)
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    labels = training_set.build(work, tables, plan, settings.max_training_rows, context.log.info)
    leaks = training_set.check_leaks(work, plan)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": labels.height,
            "rows by role": markdown(training_set.role_table(labels)),
            "labels by task": markdown(training_set.label_table(labels, plan)),
            "base rates of the training rows": markdown(training_set.training_base_rates(labels, work.label_state())),
        },
        check_results=[checked("no_label_leaks", not leaks["leaks"].any(), trees=markdown(leaks))],
    )


def choose_columns(context: Context, lake: Lake, settings: GivenSettings) -> dg.MaterializeResult:
    """Choose the columns that network and trees read, on training rows only."""
    work = workspace(context, lake)
    plan = material.training_plan(settings, lake.tables(context.partition_key).dataset, day_of(context))
    choice = columns.choose(work, plan, settings, context.log.info)
    return dg.MaterializeResult(
        metadata={
            "choice": settings.columns,
            **choice.summary(),
            "columns": markdown(pl.DataFrame(choice.table, infer_schema_length=None), rows=len(choice.table)),
        }
    )


def train_model(
    context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings
) -> Iterator[dg.MaterializeResult]:
    """Fit, calibrate and write the bundle; every epoch goes to MLflow."""
    work, dataset = workspace(context, lake), lake.tables(context.partition_key).dataset
    plan = material.training_plan(settings, dataset, day_of(context))
    tags = {"dagster_run_id": context.run_id, "dataset": dataset.name}
    run_id = log.open_run(work, tracking, day_of(context), tags)
    phase1, drawing = settings.training.phase1_epochs, Drawing(context.log.warning)
    result, parts = model.train(
        work,
        plan,
        dataset,
        settings,
        on_epoch=lambda report: log.log_epoch(tracking, run_id, report, phase1, drawing),
        log=context.log.info,
    )
    state = work.state()
    choice = ColumnChoice.from_dict(work.columns())
    network = model.model_config(settings, state, work.label_state(), plan, choice).to_dict()
    parameters = log.parameters_of(settings, network, plan, dataset, state.version)
    log.log_training(work, tracking, run_id, result, parameters, dataset, phase1, drawing)
    rows = work.labels().filter(pl.col("role") == "train").height
    yield dg.MaterializeResult(
        metadata={
            **training_metadata(result, rows, drawing),
            "predicted by": markdown(pl.DataFrame(model.predicted_by(work.bundle)), rows=100),
            "mlflow run": run_id,
        },
        check_results=[parts_check(parts), drawing.check()],
    )


def evaluation(context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings) -> dg.MaterializeResult:
    """Compare the candidate with its baselines on test rows."""
    work = workspace(context, lake)
    result = evaluate(work, lake.tables(context.partition_key), settings, context.log.info)
    drawing = Drawing(context.log.warning)
    log.log_evaluation(result, tracking, log.open_run(work, tracking, day_of(context), {}), drawing)
    return dg.MaterializeResult(
        metadata={**evaluation_metadata(result, drawing), "boosting budget": trees.budget_of(settings).to_dict()},
        check_results=[drawing.check()],
    )


def fit_again(context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings) -> dg.MaterializeResult:
    """Fit what was evaluated again on all matured labels, where the settings ask for it."""
    work = workspace(context, lake)
    if settings.refit == "off":
        context.log.info("refit: off. Nothing is fitted; the evaluation fit is what gets registered")
        return dg.MaterializeResult(
            metadata={"refit": "off", "fitted": "nothing: the evaluation fit is passed on as it is"}
        )
    tables = lake.tables(context.partition_key)
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    result = refit.refit(work, tables, plan, settings, context.log.info)
    labels = work.refit_labels()
    run_id = log.open_run(work, tracking, day_of(context), {})
    log.log_labels(work, tracking, run_id, labels, tables.dataset, training_set.REFIT)
    return dg.MaterializeResult(
        metadata={
            "refit": "on",
            **fits.notes(context.partition_key, labels),
            **refit_metadata(result, labels.height),
            "labels": markdown(fits.label_table(work.labels(), labels, plan), rows=100),
        }
    )


def registered_version(context: Context, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
    """Register the bundle as a version, the challenger."""
    work, dataset = workspace(context, lake), lake.tables(context.partition_key).dataset
    run_id = log.open_run(work, tracking, day_of(context), {})
    if tracking.version_of_run(run_id) is None:
        tables = lake.tables(context.partition_key)
        add_reference(work, lambda day: View(tables, day))
    version = registration.register(work, tracking, run_id, dataset, day_of(context))
    return dg.MaterializeResult(
        metadata={
            "version": version.version,
            "mlflow run": version.run_id,
            "state version": version.state_version,
            **registration.fits_of(work.candidate),
            "load it": f'mlflow.pyfunc.load_model("models:/ple/{version.version}")',
        }
    )


def champion(context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings) -> dg.MaterializeResult:
    """Point the alias `champion` at the new version if every rule of promotion agrees, else fail and say why."""
    work = workspace(context, lake)
    rules = (*promotion.RULES, *load_plugins(settings.plugins).promotion_rules)
    verdict = promotion.judge(Evaluation.load(work.evaluation), rules)
    version = work.version()
    work.clean_up()
    if version is None or not verdict.promote:
        raise dg.Failure(f"version {version} is not promoted: {verdict.reason}", allow_retries=False)
    tracking.set_alias(CHAMPION, version)
    now = tracking.champion()
    assert now is not None  # the alias was set just now
    return dg.MaterializeResult(
        metadata={
            "promotion": verdict.reason,
            "version": now.version,
            "trained as of": now.as_of.isoformat(),
            "state version": now.state_version,
            "bundle": dg.MetadataValue.path(str(now.folder)),
        }
    )


@dataclass(frozen=True)
class Step:
    """One training asset: its name, its function, its description, and what Dagster must know of it."""

    name: str
    run: Callable[..., Any]
    description: str
    kinds: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


STEPS: Sequence[Step] = (
    Step("decision", decision, "Why this as-of date trains a model, and on which dates.", ("python",)),
    Step(
        "fitted_state",
        fitted_state,
        "The fitted state of the features (vocabularies, normaliser, mixture model ...), from training dates only.",
        ("polars", "scikitlearn"),
    ),
    Step(
        "training_set",
        build_training_set,
        "Weekly snapshots: features and labels, each label masked where its window reaches past its purge line.",
        ("polars", "parquet"),
        {"check_specs": [dg.AssetCheckSpec("no_label_leaks", asset=key("training_set"), blocking=True)]},
    ),
    Step(
        "columns",
        choose_columns,
        "Columns that network and trees read, each within its training range; chosen on training rows.",
        ("lightgbm",),
    ),
    Step(
        "model",
        train_model,
        "PLE-Cluster-adaTT and boosted trees, fitted on the training snapshots, blended and calibrated on validation "
        "customers.",
        ("pytorch", "lightgbm"),
        {
            "pool": "gpu",
            "check_specs": [dg.AssetCheckSpec("every_part_learns", asset=key("model")), drawn_spec(key("model"))],
        },
    ),
    Step(
        "evaluation",
        evaluation,
        "The calibrated model, its network alone, its trees alone and a constant on the same test rows, which are "
        "later than every training label.",
        ("lightgbm", "pytorch"),
        {"check_specs": [drawn_spec(key("evaluation"))]},
    ),
    Step(
        "refit",
        fit_again,
        "With `refit: on`, what was evaluated is fitted again on all matured labels, as many epochs; this fit scores, "
        "and all figures stay those of the evaluation fit. With `refit: off` nothing is fitted.",
        ("pytorch", "lightgbm"),
        {"pool": "gpu"},
    ),
    Step(
        "registered_version",
        registered_version,
        "The candidate as a version of the registered model `ple`: weights, fitted state, calibration, schema.",
        ("mlflow",),
    ),
    Step(
        "champion",
        champion,
        "The version that scores from now on, with its fitted state. A candidate takes over when every rule agrees.",
        ("mlflow",),
    ),
)


def training_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The training assets, each downstream of the one before it; the first reads the contract tables."""
    assets = []
    deps = [table_key(name) for name in CONTRACT_TABLES]
    for step in STEPS:
        define = dg.asset(
            key=key(step.name),
            partitions_def=partitions,
            description=f"{step.description} {dataset.notice}",
            deps=deps,
            **asset_options(TRAINING, *step.kinds),
            **step.options,
        )
        assets.append(define(step.run))
        deps = [key(step.name)]
    return assets
