"""Skill: the scores of earlier nights by labels that have matured, what is expected of tonight's, and their state."""

from collections.abc import Iterator
from datetime import date
from functools import partial

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.labels import windows
from pipeline.assets.common import MONITORING, GivenSettings, asset_options
from pipeline.assets.scoring import SCORES
from pipeline.monitoring import matured
from pipeline.monitoring.skill import LEAST_ROWS, NIGHTS_SHORT, expected, falls_short
from pipeline.reports.describe import markdown
from pipeline.reports.drawing import Drawing, drawn_spec
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking
from pipeline.scores.table import Scores, of_eligible, tasks_in

SKILL = dg.AssetKey(matured.TABLE)
AS_PROMISED = "skill_as_promised"
SHOWN = 60


def skill_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The asset `skill`."""

    @dg.asset(
        key=SKILL,
        partitions_def=partitions,
        description="Metric and calibration of earlier nights on the labels that matured tonight, beside what the "
        f"evaluation promised; what to expect of tonight's scores; fallbacks, experts, age. {dataset.notice}",
        ins={"scores": dg.AssetIn(SCORES)},
        check_specs=[
            dg.AssetCheckSpec(
                AS_PROMISED,
                asset=SKILL,
                description="No task stayed below what its evaluation promised, by more than the margin of a "
                f"promotion, on the last {NIGHTS_SHORT} scored dates with at least {LEAST_ROWS} matured labels. It "
                "warns and stops nothing.",
            ),
            drawn_spec(SKILL),
        ],
        **asset_options(MONITORING, "polars", "parquet"),
    )
    def skill(
        context: dg.AssetExecutionContext,
        scores: pl.LazyFrame,
        lake: Lake,
        tracking: Tracking,
        settings: GivenSettings,
    ) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
        as_of, champion = date.fromisoformat(context.partition_key), tracking.champion()
        assert champion is not None  # the scores asset, upstream, scored with it
        before = matured.earlier(lake, as_of)
        scored = [date.fromisoformat(day) for day in lake.published("scores").dates() if day < context.partition_key]
        tasks = tracking.read_json(champion, "tasks.json")
        looking = windows(dataset) | {task["name"]: task["window_days"] for task in tasks if "window_days" in task}
        due = matured.due(scored, looking, matured.judged_until(lake, as_of), as_of)
        views, drawing = lake.views(context.partition_key), Drawing(context.log.warning)
        rows = pl.DataFrame(schema=matured.SCHEMA)
        for day, names in due.items():
            judge = partial(matured.judge, day, names, as_of, views.tables, lake, tracking.version)
            found = drawing.attempt(f"skill of {day}", judge)
            rows = rows if found is None else pl.concat([rows, found])
        yield dg.Output(
            rows,
            metadata={
                "matured tonight": markdown(rows),
                "matured on earlier nights": markdown(before, SHOWN),
                **drawing.table("expected of tonight's scores (an estimate)", lambda: expected(scores, tasks)),
                **drawing.table("share of fallbacks", lambda: fallbacks(scores)),
                **drawing.table("expert with most weight", lambda: first_experts(scores)),
                "days since the champion's training": max((as_of - champion.as_of).days, 0),  # hindsight: not yet
                "notice": dataset.notice,
            },
        )
        short = falls_short(pl.concat([rows, before]), tasks, settings.promotion)
        yield dg.AssetCheckResult(
            check_name=AS_PROMISED,
            asset_key=SKILL,
            passed=short.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"tasks below their promise": markdown(short)},
        )
        yield drawing.check()

    return [skill]


def fallbacks(scores: Scores) -> pl.DataFrame:
    """Task and share of its eligible customers who carry a base rate."""
    names = tasks_in(scores.collect_schema().names())
    shares = [of_eligible(scores, name, f"{name}__fallback").to_series().mean() for name in names]
    return pl.DataFrame({"task": names, "share": shares}, schema={"task": pl.String, "share": pl.Float64})


def first_experts(scores: Scores) -> pl.DataFrame:
    """Expert and share of customers for whom it has most weight in the gates, largest share first."""
    first = scores.lazy().select(expert=pl.col("top_experts").list.first()).drop_nulls().collect()
    counted = first.group_by("expert").agg(share=pl.len() / max(first.height, 1))
    return counted.sort("share", "expert", descending=[True, False])
