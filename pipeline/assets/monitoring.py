"""Monitoring: the summary of a night, in one place for people; and what the night removes."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline import retention
from pipeline.assets.common import MONITORING, GivenSettings, asset_options
from pipeline.assets.scoring import SCORES
from pipeline.monitoring.summary import LEGEND, SUMMARY, summarise
from pipeline.monitoring.volume import VOLUME
from pipeline.reports.describe import markdown
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking
from pipeline.runs import training_failure
from pipeline.training.decision import waiting
from pipeline.training.evaluation import Evaluation


def monitoring_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The summary of the night, and its housekeeping."""

    @dg.asset(
        key="night_summary",
        partitions_def=partitions,
        description=f"Rows scored, each task's metric beside its baselines, model version, paths. {dataset.notice}",
        ins={"scores": dg.AssetIn(SCORES)},
        **asset_options(MONITORING, "python"),
    )
    def night_summary(
        context: dg.AssetExecutionContext, scores: pl.DataFrame, lake: Lake, tracking: Tracking
    ) -> dg.MaterializeResult:
        as_of = context.partition_key
        champion = tracking.champion()
        assert champion is not None  # the scores asset, upstream, scored with it
        failed = training_failure(context.instance, as_of) if champion.as_of < date.fromisoformat(as_of) else ""
        evaluation = Evaluation.load(champion.folder / "evaluation.json")
        unusual = lake.read_json(lake.partition("tables", as_of) / VOLUME)
        challenger = tracking.challenger()
        beside = waiting(challenger) if challenger is not None else ""
        card = tracking.version_url(champion.version)
        summary = summarise(as_of, scores, champion, evaluation, lake, dataset, failed, unusual, beside, card)
        publish_json(summary, Path(lake.root).parent / "reports" / f"as_of={as_of}" / SUMMARY)
        facts = pl.DataFrame({"": list(summary["facts"]), "value": [str(v) for v in summary["facts"].values()]})
        return dg.MaterializeResult(
            metadata={
                "tasks": markdown(pl.DataFrame(summary["tasks"])),
                "legend": LEGEND,
                "night": markdown(facts),
                "notice": dataset.notice,
            }
        )

    @dg.asset(
        key="housekeeping",
        partitions_def=partitions,
        description="What this night removed: whatever the setting `retention` does not keep, and what killed "
        f"processes left. {dataset.notice}",
        deps=["night_summary"],
        check_specs=[
            dg.AssetCheckSpec(
                "all_removed", asset="housekeeping", description="Everything that was due could be removed."
            )
        ],
        **asset_options(MONITORING, "python"),
    )
    def housekeeping(
        context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking, settings: GivenSettings
    ) -> dg.MaterializeResult:
        due: list[retention.Removal] = []
        try:
            due = retention.plan(settings, lake, tracking, context.instance, context.partition_key)
            failed = [f"{removal.kind} {removal.name}: {why}" for removal, why in retention.apply(due)]
        except Exception as error:  # the scores are published: housekeeping costs no night
            failed = [f"anything, for want of a plan: {type(error).__name__}: {error}"]
        for line in failed:
            context.log.warning(f"could not be removed: {line}")
        return dg.MaterializeResult(
            metadata={"removed": markdown(retention.table(due)), "MiB": sum(removal.bytes for removal in due) / 2**20},
            check_results=[
                dg.AssetCheckResult(
                    check_name="all_removed",
                    passed=not failed,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"could not be removed": failed},
                )
            ],
        )

    return [night_summary, housekeeping]
