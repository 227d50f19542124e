"""Training: why it runs, on which dates, the model, its evaluation, its registration and its promotion.

The assets of the job `training`. Each calls one step of `pipeline/training/` and shows its result; a night that only
scores materialises none of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.events.view import View
from feature_assets.snapshots import SnapshotPlan, require_customers
from feature_assets.state import FeatureState
from pipeline.assets.common import TRAINING, GivenSettings, asset_options, checked
from pipeline.assets.ingestion import CONTRACT_TABLES, table_key
from pipeline.assets.training_metadata import (
    CHALLENGE_LEGEND,
    decision_metadata,
    evaluation_metadata,
    horizon_metadata,
    parts_check,
    refit_metadata,
    training_metadata,
)
from pipeline.intake import lost_sources
from pipeline.monitoring.reference import add_reference
from pipeline.plugins import load_plugins
from pipeline.reports.describe import markdown
from pipeline.reports.drawing import Drawing, drawn_spec
from pipeline.resources.blocks import Views
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import HELD, ROLLED_BACK, Tracking
from pipeline.settings import Settings
from pipeline.training import challenge as challenges
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
    takeover,
    training_set,
    trees,
)
from pipeline.training.challenge import Challenge
from pipeline.training.columns import ColumnChoice
from pipeline.training.decision import decide
from pipeline.training.evaluation import Evaluation, evaluate
from pipeline.training.rehearsal import Rehearsal, rehearse
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


def learnt_plan(context: Context, lake: Lake, settings: Settings) -> SnapshotPlan:
    """Training and evaluation dates, for the tasks that have enough labels."""
    plan = material.training_plan(settings, lake.tables(context.partition_key).dataset, day_of(context))
    return plan.without(workspace(context, lake).label_state().off)


def customers_learnt_from(some: int, views: Views) -> str:
    """How many customers a training reads, in words."""
    return f"{some:,}" if views.whole else f"{some:,}, a sample of all {views.customers().height:,}"


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
            "customers": customers_learnt_from(tables.customers, lake.views(context.partition_key)),
            "champion so far": made.champion,
            "training snapshots": [d.isoformat() for d in plan.train],
            "evaluation snapshots": [d.isoformat() for d in plan.holdout],
            "purge": f"labels whose window ends after {plan.holdout_start} train nothing",
            **horizon_metadata(tables.dataset, settings.load_dataset()),
        }
    )


def fitted_state(context: Context, lake: Lake, settings: GivenSettings) -> dg.MaterializeResult:
    """Fit the feature state, or take up the files of an interrupted training of the same material."""
    work, tables = workspace(context, lake), lake.tables(context.partition_key)
    delivery = lake.delivery_of(context.partition_key)["digest"]
    plugin_files = load_plugins(settings.plugins).files
    if work.take_up(material.material_digest(settings, delivery, day_of(context), plugin_files)):
        context.log.info("taking up the files of an interrupted training of the same material")
        for name in work.forget_altered():
            context.log.warning(f"{name} of the interrupted training was altered: it is made again")
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    labels = training_set.fit_label_state(work, tables, plan)
    few = [*(f"task {task} is off: {why}" for task, why in labels.off.items()), *labels.merged_in_words()]
    for line in few:
        context.log.warning(line)
    state = fitting.fit(work, tables, plan, settings.seed, context.log.info)
    return dg.MaterializeResult(
        metadata={
            "state version": state.version,
            "present columns": len(state.present),
            "groups": markdown(fitting.state_table(state)),
            **({"for want of labels": few} if few else {}),
        }
    )


def build_training_set(context: Context, lake: Lake, settings: GivenSettings) -> Iterator[dg.MaterializeResult]:
    """Compute features and labels of every snapshot and look for leaks."""
    work, tables = workspace(context, lake), lake.tables(context.partition_key)
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    labels = training_set.build(work, tables, plan, settings.max_training_rows, context.log.info)
    leaks = training_set.check_leaks(work, plan)
    work.save_leaks([f"{row['column']} → {row['task']}" for row in leaks.filter("leaks").to_dicts()])
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": labels.height,
            "rows by role": markdown(training_set.role_table(labels)),
            "labels by task": markdown(training_set.label_table(labels, learnt_plan(context, lake, settings))),
            "base rates of the training rows": markdown(training_set.training_base_rates(labels, work.label_state())),
        },
        check_results=[
            checked(
                "no_label_leaks",
                not leaks["leaks"].any(),
                metadata={"how well one tree solves each task": markdown(leaks)},
            )
        ],
    )


def choose_columns(context: Context, lake: Lake, settings: GivenSettings) -> dg.MaterializeResult:
    """Choose the columns that network and trees read, on training rows only."""
    work = workspace(context, lake)
    choice = columns.choose(work, learnt_plan(context, lake, settings), settings, context.log.info)
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
    plan = learnt_plan(context, lake, settings)
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
    plan = learnt_plan(context, lake, settings)
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
            "card": dg.MetadataValue.url(tracking.version_url(version.version)),
            "mlflow run": dg.MetadataValue.url(tracking.run_url(version.run_id)),
            "state version": version.state_version,
            **registration.fits_of(work.candidate),
            "load it": f'mlflow.pyfunc.load_model("models:/ple/{version.version}")',
        }
    )


def challenge(context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings) -> dg.MaterializeResult:
    """Compare the challenger with the champion and with its trees on the same rows, and rehearse a night of it."""
    work, tables = workspace(context, lake), lake.tables(context.partition_key)
    plan = material.training_plan(settings, tables.dataset, day_of(context))
    standing = takeover.opponent(tracking, work.version())

    def view_of(day: date) -> View:
        return training_set.view_of(day, tables, plan, settings.max_training_rows)

    def by_the_champion(day: date) -> pl.DataFrame:
        assert standing is not None  # nobody asks for the features of none
        state, view = FeatureState.load(standing.folder / "state"), view_of(day)
        tasks = [task["name"] for task in tracking.read_json(standing, "tasks.json")]
        return lost_sources.matrix_of(view, state, lost_sources.find(view.has, state, tasks))

    found = challenges.challenge(work, standing, by_the_champion, settings, context.log.info)
    rehearsed = rehearse(work, view_of)
    run_id = log.open_run(work, tracking, day_of(context), {})
    tracking.log_json(run_id, asdict(found), takeover.CHALLENGE)
    return dg.MaterializeResult(
        metadata={
            "champion": f"version {found.champion}, trained as of {found.champion_as_of}" if found.champion else "none",
            "beside the champion and boosted trees": markdown(found.table()),
            "rows count from": found.counted_from or "–",
            "could not be compared": found.refused or "–",
            "legend": CHALLENGE_LEGEND,
            "rehearsal": f"{rehearsed.scored:,} of {rehearsed.customers:,} customers, "
            f"{rehearsed.seconds_per_1000:.2f} s for 1,000; {'; '.join(rehearsed.problems) or 'no problem'}",
        }
    )


def champion(
    context: Context, lake: Lake, tracking: Tracking, settings: GivenSettings
) -> Iterator[dg.AssetObservation | dg.MaterializeResult]:
    """Judge the challenger. It becomes the champion, waits for a person, or is refused, which fails this step."""
    work = workspace(context, lake)
    number = work.version()
    if number is None:
        raise dg.Failure("there is no registered version to judge: run the training again", allow_retries=False)
    version, found = tracking.version(number), Challenge.load(work.challenge)
    evidence = promotion.Evidence(
        Evaluation.load(work.evaluation),
        found,
        Rehearsal.load(work.rehearsal),
        work.leaks(),
        (version.as_of - date.fromisoformat(found.champion_as_of)).days if found.champion_as_of else None,
        rolled_back=version.status == ROLLED_BACK,
    )
    judgement = promotion.judge(evidence, settings.promotion, load_plugins(settings.plugins).promotion_rules)
    decided = takeover.settle(tracking, version, judgement, found, held=settings.promotion.mode == "held")
    work.clean_up()
    metadata = {
        **decision_metadata(decided, tracking),
        "what blocks": markdown(judgement.table(blocks=True)),
        "what informs": markdown(judgement.table(blocks=False)),
        "beside the champion and boosted trees": markdown(found.table()),
        "legend": CHALLENGE_LEGEND,
    }
    if decided.after == number:
        now = tracking.champion()
        assert now is not None  # the alias was set just now
        told = {"version": now.version, "trained as of": now.as_of.isoformat(), "state version": now.state_version}
        yield dg.MaterializeResult(metadata={**metadata, **told, "bundle": dg.MetadataValue.path(str(now.folder))})
        return
    said = f"version {number} is not promoted: {judgement.reason}"
    if decided.status == HELD:
        said = f"version {number} may take over and waits for a person: ple promote {number}"
    context.log.warning(said)
    yield dg.AssetObservation(key("champion"), partition=context.partition_key, description=said, metadata=metadata)
    if decided.status != HELD:
        raise dg.Failure(said, metadata=metadata, allow_retries=False)


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
        {
            "check_specs": [
                dg.AssetCheckSpec(
                    "no_label_leaks",
                    asset=key("training_set"),
                    blocking=True,
                    description="No shallow tree solves a task on a sample of training rows: one that does reads the "
                    "label itself. A training with such a leak stops.",
                )
            ]
        },
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
            "check_specs": [
                dg.AssetCheckSpec(
                    "every_part_learns",
                    asset=key("model"),
                    description="Every expert gets a gradient, every gate has moved, and no input is needed for finite "
                    "outputs. It warns and stops nothing.",
                ),
                drawn_spec(key("model")),
            ],
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
        "challenge",
        challenge,
        "The challenger beside the champion and boosted trees on the same test rows, which neither has learnt from, "
        "and a rehearsal of a night: every customer scored, schema, time.",
        ("pytorch", "lightgbm"),
    ),
    Step(
        "champion",
        champion,
        "The version that scores from now on, with its fitted state. A challenger takes over where it is no worse on "
        "the tasks that matter, and better somewhere or fresher; each decision is here with its table.",
        ("mlflow",),
        {"output_required": False},
    ),
)


def training_assets(
    dataset: DatasetConfig, partitions: dg.PartitionsDefinition, retrain_after_days: int
) -> list[dg.AssetsDefinition]:
    """The training assets, each downstream of the one before it; the first reads the contract tables."""
    assets = []
    deps = [table_key(name) for name in CONTRACT_TABLES]
    for step in STEPS:
        define = dg.asset(
            key=key(step.name),
            partitions_def=partitions,
            description=f"{step.description} {dataset.notice}",
            deps=deps,
            **asset_options(TRAINING, *step.kinds, days=retrain_after_days),
            **step.options,
        )
        assets.append(define(step.run))
        deps = [key(step.name)]
    return assets
