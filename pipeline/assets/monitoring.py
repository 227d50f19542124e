"""Monitoring: the summary of a night, the drift of what the model reads and says, and what the night removes."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.state import FeatureState
from pipeline.assets.common import MONITORING, GivenSettings, asset_options
from pipeline.assets.features import MATRIX
from pipeline.assets.scoring import SCORES
from pipeline.monitoring import drift as drifting
from pipeline.monitoring.reference import reference, scored_columns, watched
from pipeline.monitoring.summary import LEGEND, SUMMARY, summarise
from pipeline.monitoring.volume import VOLUME
from pipeline.reports.describe import markdown
from pipeline.reports.drawing import Drawing, drawn_spec
from pipeline.reports.drift_plots import drift_lines
from pipeline.resources.blocks import in_slices
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking
from pipeline.runs.in_process import training_failure
from pipeline.scores.table import MISSING_SOURCES
from pipeline.training.decision import waiting
from pipeline.training.evaluation import Evaluation
from pipeline.upkeep import retention

DRIFT = dg.AssetKey(drifting.TABLE)
NO_DRIFT = "no_drift"
DRAWN_COLUMNS = 6


def monitoring_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The summary of the night, its drift, and its housekeeping."""

    @dg.asset(
        key="night_summary",
        partitions_def=partitions,
        description=f"Rows scored, each task's metric beside its baselines, model version, paths. {dataset.notice}",
        ins={"scores": dg.AssetIn(SCORES), "drift": dg.AssetIn(DRIFT)},
        **asset_options(MONITORING, "python"),
    )
    def night_summary(
        context: dg.AssetExecutionContext, scores: pl.LazyFrame, drift: pl.DataFrame, lake: Lake, tracking: Tracking
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
        drifted = drift.filter("alarms").sort("index", descending=True)["column"].to_list()
        off = tracking.read_json(champion, "labels.json").get("off", {})
        summary = summarise(
            as_of, scores, champion, evaluation, lake, dataset, failed, unusual, beside, card, drifted, off
        )
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

    @dg.asset(
        key=DRIFT,
        partitions_def=partitions,
        description="How far each input and each score lies from the newest snapshot of the champion's training: "
        f"binned counts and their distances, one row a column. {dataset.notice}",
        ins={"matrix": dg.AssetIn(MATRIX), "scores": dg.AssetIn(SCORES)},
        check_specs=[
            dg.AssetCheckSpec(
                NO_DRIFT,
                asset=DRIFT,
                description="No column or score is farther from the training than on any earlier night, for several "
                "nights. It warns and stops nothing.",
            ),
            drawn_spec(DRIFT),
        ],
        **asset_options(MONITORING, "polars", "parquet"),
    )
    def drift(
        context: dg.AssetExecutionContext,
        matrix: pl.LazyFrame,
        scores: pl.LazyFrame,
        lake: Lake,
        tracking: Tracking,
        settings: GivenSettings,
    ) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
        champion, day, limits = tracking.champion(), date.fromisoformat(context.partition_key), settings.drift
        assert champion is not None  # the scores asset, upstream, scored with it
        tasks = [task["name"] for task in tracking.read_json(champion, "tasks.json")]
        present = FeatureState.load(champion.folder / "state").present

        def tonight() -> Iterator[pl.DataFrame]:
            return (watched(rows, said, present, tasks) for rows in in_slices(matrix, lake.at_a_time))

        said = scored_columns(scores, tasks)
        bins, against = reference(champion, lake, tonight)
        lost = scores.select(pl.col(MISSING_SOURCES).list.len().sum()).collect().item() > 0
        rows = drifting.rows_of(tonight(), bins, against, champion.as_of <= day and not lost, limits)
        found = drifting.judge(day, rows, drifting.earlier_nights(lake, day, limits), limits)
        shown, drawing = drifting.table(found, rows, limits), Drawing(context.log.warning)
        lines = {found.columns[at]: found.index[:, at].tolist() for at in found.worst[:DRAWN_COLUMNS]}
        yield dg.Output(
            rows.with_columns(pl.Series("alarms", found.judged.alarms)),
            metadata={
                "farthest columns": markdown(shown),
                **drawing.figure("picture", lambda: drift_lines(found.nights, lines, limits.floor)),
                "columns": rows.height,
                "compared with": against,
                "earlier nights": len(found.nights) - 1,
                "false alarms": f"on at most {limits.false_alarms:.1%} of the nights without a change, all columns",
                "notice": dataset.notice,
            },
        )
        yield dg.AssetCheckResult(
            check_name=NO_DRIFT,
            passed=not found.alarms,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"columns": ", ".join(found.alarms) or "none", "farthest columns": markdown(shown)},
        )
        yield drawing.check()

    return [night_summary, drift, housekeeping]
