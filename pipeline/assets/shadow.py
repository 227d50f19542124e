"""Shadow scores: what the challenger would have said tonight, beside the scores and never among them.

The asset exists where the settings ask for it (`promotion: {shadow: on}`). It has no reader in the night: whatever goes
wrong in it is a check that warns, and costs nothing else.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from pathlib import Path

import dagster as dg

from feature_assets.data.dataset import DatasetConfig
from feature_assets.state import FeatureState
from pipeline.assets.common import SCORING, GivenSettings, asset_options
from pipeline.assets.scoring import SCORES
from pipeline.intake import lost_sources
from pipeline.reports.describe import frame_metadata
from pipeline.resources.blocks import Rows
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.scores.table import find_problems, score_meanings, stamped
from pipeline.shards.step import ShardedStep
from pipeline.shards.tasks import OwnFeatures

SHADOW = dg.AssetKey(["shadow", "scores"])
"""Lies in the lake under this name."""
CHECK = "shadow_scored"


def shadow_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The scores of the challenger."""

    @dg.asset(
        key=SHADOW,
        partitions_def=partitions,
        description="What the challenger would have said tonight, with its own features. Nobody should act on it. "
        f"{dataset.notice}",
        deps=[SCORES],
        output_required=False,
        check_specs=[dg.AssetCheckSpec(CHECK, asset=SHADOW, description="The challenger could score tonight.")],
        **asset_options(SCORING, "pytorch", "parquet"),
    )
    def shadow_scores(
        context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking, settings: GivenSettings
    ) -> Iterator[dg.Output[Rows] | dg.AssetCheckResult]:
        challenger = tracking.challenger()
        if challenger is None or challenger.as_of > date.fromisoformat(context.partition_key):
            why = "no challenger beside the champion" if challenger is None else "the challenger knows later events"
            context.log.info(f"no shadow scores: {why}")
            yield _check(True, why)
            return
        step = ShardedStep(Path(lake.root), "shadow", settings, context.log.info)
        with ExitStack() as kept:
            try:
                frame, meanings = shadow(challenger, lake, tracking, context.partition_key, context.run_id, step, kept)
                told = frame_metadata(frame, meanings)
            except Exception as error:  # the night has its scores; what is wrong with the challenger is shown
                step.forget()
                context.log.warning(f"version {challenger.version} could not score in the shadow: {error}")
                yield _check(False, f"version {challenger.version}: {type(error).__name__}: {error}")
                return
            of = {"model version": challenger.version, "trained as of": challenger.as_of.isoformat()}
            yield dg.Output(frame, metadata={**told, **of, "status": challenger.status or "–"})
        yield _check(True, f"version {challenger.version} scored {told['dagster/row_count']:,} customers")

    return [shadow_scores]


def shadow(
    version: RegisteredVersion,
    lake: Lake,
    tracking: Tracking,
    as_of: str,
    run_id: str,
    step: ShardedStep,
    kept: ExitStack,
) -> tuple[Rows, dict[str, str]]:
    """A version's scores of an as-of date by features of its own fitted state, and the meaning of each column. Those of
    several shards wait in files until `kept` is closed.

    Raises:
        ValueError: the scores are not sound.
    """
    views, state = lake.views(as_of), FeatureState.load(version.folder / "state")
    described = tracking.read_json(version, "tasks.json")
    lost = lost_sources.find(views.has, state, [task["name"] for task in described])
    tasks = lost_sources.withheld(described, lost)
    active = tracking.read_json(version, "dataset.json").get("active_days")

    task = OwnFeatures(version.folder, lost, tasks, active)
    content = {"version": [version.version, version.run_id], "lost": asdict(lost), "tasks": tasks, "active": active}
    scored, _ = kept.enter_context(step.rows(task, views, content))
    frame = stamped(scored, lost.sources, False, version.version, version.state_version, run_id)
    problems = find_problems(frame, views.customers()["customer_id"], tasks)
    if problems:
        raise ValueError("; ".join(problems))
    return frame, score_meanings(tasks)


def _check(passed: bool, words: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=CHECK, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata={"what": words}
    )
