"""Scores: the champion's calibrated predictions about every customer known before the as-of date."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from feature_assets import registry
from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.common import SCORING, GivenSettings, asset_options, checked
from pipeline.assets.features import MATRIX, STATE_IN_USE, champion_dep, champion_state, tonights_losses
from pipeline.intake import lost_sources
from pipeline.reports.describe import frame_metadata
from pipeline.reports.drawing import Drawing
from pipeline.resources.blocks import Rows
from pipeline.resources.digests import file_digest
from pipeline.resources.lake import Lake
from pipeline.resources.publication import PublicationError, Published
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.scores.table import (
    STATE_VERSION,
    distribution,
    find_problems,
    score_meanings,
    stamped,
    top_lists,
)
from pipeline.shards.step import ShardedStep
from pipeline.shards.tasks import Scores

SCORES = dg.AssetKey("scores")


def scoring_assets(
    dataset: DatasetConfig, partitions: dg.PartitionsDefinition, retrain_after_days: int
) -> list[dg.AssetsDefinition]:
    """The one published table of the product."""

    @dg.asset(
        key=SCORES,
        partitions_def=partitions,
        description="One row a customer: calibrated predictions, whether the customer is eligible for each, and their "
        f"uncertainty. {dataset.notice}",
        ins={"matrix": dg.AssetIn(MATRIX)},
        deps=[champion_dep(retrain_after_days)],
        check_specs=[
            dg.AssetCheckSpec(
                "complete_and_sound",
                asset=SCORES,
                blocking=True,
                description="Every customer has one row, probabilities lie in [0, 1] and add up to 1 over the classes, "
                "no value is infinite. Scores that fail are not published.",
            )
        ],
        **asset_options(SCORING, "pytorch", "parquet"),
    )
    def scores(
        context: dg.AssetExecutionContext,
        matrix: pl.LazyFrame,
        lake: Lake,
        tracking: Tracking,
        settings: GivenSettings,
    ) -> Iterator[dg.Output[Rows] | dg.AssetCheckResult]:
        day = date.fromisoformat(context.partition_key)
        champion, state = champion_state(tracking)
        _refuse_mismatch(matrix, champion, registry.digest(state.present), tracking)
        hindsight = champion.as_of > day
        if hindsight:
            context.log.warning(
                f"hindsight: version {champion.version} was trained on events up to {champion.as_of}, after {day}; "
                "these scores are marked and enter neither monitoring nor promotion"
            )
        views = lake.views(context.partition_key)
        lost = tonights_losses(views, champion, state, tracking, settings)
        if lost.sources:
            context.log.warning(f"{lost.words()} are masked; the scores are marked")
        tasks = lost_sources.withheld(tracking.read_json(champion, "tasks.json"), lost)
        names = [task["name"] for task in tasks]
        active = tracking.read_json(champion, "dataset.json").get("active_days")

        drawing = Drawing(context.log.warning)
        version = {"model version": champion.version, "trained as of": champion.as_of.isoformat()}
        context.log_event(  # the lineage shows the version in use although this night trains nothing
            dg.AssetObservation(
                STATE_IN_USE,
                partition=context.partition_key,
                description=f"version {champion.version} scored this as-of date",
                metadata={**version, "state version": champion.state_version, "hindsight": hindsight},
            )
        )
        customers = views.customers()["customer_id"]
        file = lake.published(MATRIX.to_user_string()).file(context.partition_key)
        task = Scores(file, champion.folder, tasks, active)
        content = {
            "matrix": file_digest(file),
            "version": [champion.version, champion.run_id],
            "tasks": tasks,
            "active_days": active,
        }
        step = ShardedStep(Path(lake.root), "scores", settings, context.log.info)
        with step.rows(task, views, content) as (scored, told):
            frame = stamped(scored, lost.sources, hindsight, champion.version, champion.state_version, context.run_id)
            problems = find_problems(frame, customers, tasks)
            if problems:
                raise dg.Failure("scores are not published: " + "; ".join(problems), allow_retries=False)
            frame = _of_equal_rows(frame, lake.published(SCORES.to_user_string()), context.partition_key, context.log)
            yield dg.Output(
                frame,
                metadata={
                    **frame_metadata(frame, score_meanings(tasks)),
                    **told,
                    **version,
                    "mlflow run": champion.run_id,
                    "hindsight": hindsight,
                    "missing sources": ", ".join(lost.sources) or "none",
                    **drawing.table("distribution over eligible customers", lambda: distribution(frame, names)),
                    **drawing.table("highest predictions of eligible customers", lambda: top_lists(frame, names)),
                    "notice": dataset.notice,
                },
            )
            facts = {"rows (one a customer)": len(customers), "columns": len(frame.collect_schema())}
        yield checked("complete_and_sound", passed=True, metadata=facts)

    return [scores]


def _refuse_mismatch(matrix: pl.LazyFrame, champion: RegisteredVersion, digest: str, tracking: Tracking) -> None:
    """Refuse a matrix of another state or schema than the champion's: cluster 7 must mean cluster 7."""
    computed_with = matrix.select(pl.col(STATE_VERSION).unique()).collect()[STATE_VERSION].to_list()
    if computed_with != [champion.state_version]:
        raise dg.Failure(
            f"The feature matrix was computed with state {computed_with}, but champion {champion.version} was trained "
            f"with {champion.state_version}. Materialise the features again before scoring.",
            allow_retries=False,
        )
    trained = tracking.read_json(champion, "schema.json")["digest"]
    if trained != digest:
        raise dg.Failure(
            f"The feature schema is {digest}, champion {champion.version} was trained with {trained}. Train anew.",
            allow_retries=False,
        )


def _of_equal_rows(frame: Rows, published: Published, as_of: str, log: dg.DagsterLogManager) -> Rows:
    """The frame to publish. One whose rows equal the published ones keeps their run id: a re-run changes no byte.
    What is published and cannot be read is replaced."""
    if not published.has(as_of):
        return frame
    names = frame.collect_schema().names()
    try:
        old = published.scan(as_of)
        same = old.collect_schema().names() == names and all(
            old.select(name).collect().equals(frame.lazy().select(name).collect()) for name in names if name != "run_id"
        )
        if not same:
            return frame
        run_id = old.select(pl.col("run_id").first()).collect().item()
        return frame.with_columns(pl.lit(run_id, dtype=pl.String).alias("run_id"))
    except (PublicationError, pl.exceptions.PolarsError, OSError) as error:
        log.warning(f"the published scores are replaced: {error}")
        return frame
