"""Training: whether to train tonight, on what, the model, its evaluation, its registration and its promotion.

On a night that only scores, each asset says so and keeps what stands. The work itself is in `pipeline/candidate.py`
(training material, fit, bundle) and `pipeline/evaluation.py` (test rows, baselines).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.common import TRAINING, asset_options, checked
from pipeline.assets.ingestion import CONTRACT_TABLES, table_key
from pipeline.candidate import Candidate, material_digest
from pipeline.promotion import promotion_verdict
from pipeline.reports import plots
from pipeline.reports.describe import markdown
from pipeline.resources.lake import Lake, publish_json
from pipeline.resources.tracking import CHALLENGER, CHAMPION, Tracking
from pipeline.settings import Settings

if TYPE_CHECKING:
    from ple_model.interpretation.parts import Parts


@dataclass(frozen=True)
class Decision:
    """Whether tonight trains, and why."""

    retrain: bool
    reason: str
    champion: str


def decide(tracking: Tracking, as_of: date, retrain_after_days: int) -> Decision:
    """Train where there is no champion or it is too old; never for a date whose future the champion has seen."""
    champion = tracking.champion()
    if champion is None:
        return Decision(True, "there is no champion yet", "none")
    age = (as_of - champion.as_of).days
    name = f"version {champion.version}, trained as of {champion.as_of}"
    if age >= retrain_after_days:
        return Decision(True, f"the champion is {age} days old (limit {retrain_after_days})", name)
    why = f"{age} days old" if age >= 0 else "trained on later events: tonight is a hindsight run"
    return Decision(False, f"the champion is {why}", name)


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


def key(name: str) -> dg.AssetKey:
    """Asset key of a training asset."""
    return dg.AssetKey(["training", name])


def training_assets(
    settings: Settings, dataset: DatasetConfig, partitions: dg.PartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The seven training assets, in their order."""

    def candidate(context: dg.AssetExecutionContext, lake: Lake) -> Candidate:
        day = date.fromisoformat(context.partition_key)
        return Candidate(
            folder=lake.training(context.partition_key),
            tables=lake.tables(context.partition_key),
            as_of=day,
            settings=settings,
            log=context.log.info,
        )

    def trains_tonight(context: dg.AssetExecutionContext, lake: Lake) -> bool:
        return bool(lake.read_json(lake.training(context.partition_key) / "decision.json")["retrain"])

    def training_asset(name: str, description: str, deps: list[dg.AssetKey], **options: Any) -> Callable[..., Any]:
        kinds = options.pop("kinds", ("python",))
        return dg.asset(
            key=key(name),
            partitions_def=partitions,
            description=f"{description} {dataset.notice}",
            deps=deps,
            **asset_options(TRAINING, *kinds),
            **options,
        )

    def kept(tracking: Tracking) -> dict[str, Any]:
        """Metadata of a training asset on a night that only scores."""
        champion = tracking.champion()
        assert champion is not None  # a night without a champion trains
        return {
            "tonight": "not trained: the champion stays",
            "champion": f"version {champion.version}, trained as of {champion.as_of}",
            "mlflow run": champion.run_id,
        }

    @training_asset(
        "decision",
        "Whether tonight trains a model or only scores, and on which dates it would train.",
        [table_key(name) for name in CONTRACT_TABLES],
    )
    def decision(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
        day = date.fromisoformat(context.partition_key)
        made = decide(tracking, day, settings.retrain_after_days)
        context.log.info(f"{'training' if made.retrain else 'scoring only'}: {made.reason}")
        facts: dict[str, Any] = {"retrain": made.retrain, "reason": made.reason, "champion": made.champion}
        if made.retrain:
            plan = candidate(context, lake).plan
            facts |= {
                "training snapshots": [d.isoformat() for d in plan.train],
                "evaluation snapshots": [d.isoformat() for d in plan.holdout],
                "purge": f"labels whose window ends after {plan.holdout_start} train nothing",
            }
        publish_json(
            {"retrain": made.retrain, "reason": made.reason}, lake.training(context.partition_key) / "decision.json"
        )
        return dg.MaterializeResult(metadata=facts)

    @training_asset(
        "fitted_state",
        "What features need fitted (vocabularies, normaliser, mixture model ...), on training dates only.",
        [key("decision")],
        kinds=("polars", "scikitlearn"),
    )
    def fitted_state(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
        if not trains_tonight(context, lake):
            return dg.MaterializeResult(metadata=kept(tracking))
        work = candidate(context, lake)
        work.prepare(material_digest(settings, lake.delivery_of(context.partition_key)["digest"], work.as_of))
        state = work.fit_state()
        return dg.MaterializeResult(
            metadata={
                "state version": state.version,
                "present columns": len(state.present),
                "groups": markdown(work.state_table(state)),
            }
        )

    @training_asset(
        "training_set",
        "Weekly snapshots: features and labels, each label masked where its window reaches past its purge line.",
        [key("fitted_state")],
        kinds=("polars", "parquet"),
        check_specs=[dg.AssetCheckSpec("no_label_leaks", asset=key("training_set"), blocking=True)],
    )
    def training_set(
        context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking
    ) -> Iterator[dg.MaterializeResult]:
        if not trains_tonight(context, lake):
            passed = checked("no_label_leaks", True, tonight="not trained")
            yield dg.MaterializeResult(metadata=kept(tracking), check_results=[passed])
            return
        work = candidate(context, lake)
        work.build_training_set()
        leaks = work.check_leaks()
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": work.labels.height,
                "rows by role": markdown(work.role_table()),
                "labels by task": markdown(work.label_table()),
                "base rates of the training rows": markdown(work.base_rates()),
            },
            check_results=[checked("no_label_leaks", not leaks["leaks"].any(), trees=markdown(leaks))],
        )

    @training_asset(
        "model",
        "PLE-Cluster-adaTT, fitted on the training snapshots and calibrated on validation customers.",
        [key("training_set")],
        kinds=("pytorch",),
        pool="gpu",
        check_specs=[dg.AssetCheckSpec("every_part_learns", asset=key("model"))],
    )
    def model(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> Iterator[dg.MaterializeResult]:
        if not trains_tonight(context, lake):
            passed = checked("every_part_learns", True, tonight="not trained")
            yield dg.MaterializeResult(metadata=kept(tracking), check_results=[passed])
            return
        from pipeline.training_log import log_epoch, log_training, training_facts

        work = candidate(context, lake)
        run_id = work.open_run(tracking, {"dagster_run_id": context.run_id, "dataset": dataset.name})
        result, parts = work.train(on_epoch=lambda report: log_epoch(work, tracking, run_id, report))
        log_training(work, tracking, run_id, result)
        yield dg.MaterializeResult(
            metadata={
                **training_facts(work, result),
                "mlflow run": run_id,
                "validation score by epoch": plots.as_markdown(plots.learning_curve(result.history)),
            },
            check_results=[parts_check(parts)],
        )

    @training_asset(
        "evaluation",
        "The calibrated model beside a constant and LightGBM on the same test rows, later than every training label.",
        [key("model")],
        kinds=("lightgbm", "pytorch"),
    )
    def evaluation(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
        from pipeline.evaluation import Evaluation, evaluate_candidate

        if not trains_tonight(context, lake):
            champion = tracking.champion()
            assert champion is not None  # a night without a champion trains
            result = Evaluation(**tracking.read_json(champion, "evaluation.json"))
            return dg.MaterializeResult(metadata={**kept(tracking), **result.shown()})
        work = candidate(context, lake)
        result = evaluate_candidate(work)
        result.log(tracking, work.open_run(tracking, {}))
        return dg.MaterializeResult(metadata={**result.shown(), "boosting budget": settings.boosting.model_dump()})

    @training_asset(
        "registered_version",
        "The candidate as a version of the registered model `ple`: weights, fitted state, calibration, schema.",
        [key("evaluation")],
        kinds=("mlflow",),
    )
    def registered_version(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
        if not trains_tonight(context, lake):
            return dg.MaterializeResult(metadata=kept(tracking))
        work = candidate(context, lake)
        version = work.register(tracking)
        tracking.set_alias(CHALLENGER, version.version)
        return dg.MaterializeResult(
            metadata={
                "version": version.version,
                "mlflow run": version.run_id,
                "state version": version.state_version,
                "load it": f'mlflow.pyfunc.load_model("models:/ple/{version.version}")',
            }
        )

    @training_asset(
        "champion",
        "The version that scores tonight, with its fitted state. A new version takes over when its checks passed.",
        [key("registered_version")],
        kinds=("mlflow",),
    )
    def champion(context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking) -> dg.MaterializeResult:
        facts: dict[str, Any] = {}
        if trains_tonight(context, lake):
            work = candidate(context, lake)
            verdict = promotion_verdict(work)
            facts["promotion"] = verdict.reason
            if verdict.promote:
                tracking.set_alias(CHAMPION, work.registered_version())
            else:
                context.log.warning(f"not promoted: {verdict.reason}")
            work.clean_up()
        now = tracking.champion()
        if now is None:
            raise dg.Failure(f"No version may score: {facts.get('promotion')}", allow_retries=False)
        age = (date.fromisoformat(context.partition_key) - now.as_of).days
        return dg.MaterializeResult(
            metadata={
                **facts,
                "version": now.version,
                "trained as of": now.as_of.isoformat(),
                "age in days": age,
                "hindsight": age < 0,
                "state version": now.state_version,
                "bundle": dg.MetadataValue.path(str(now.folder)),
            }
        )

    return [decision, fitted_state, training_set, model, evaluation, registered_version, champion]
