"""Monitoring: what a night made, in one place for people."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.common import MONITORING, asset_options
from pipeline.assets.scoring import SCORES
from pipeline.reports.describe import markdown
from pipeline.reports.summary import SUMMARY
from pipeline.resources.lake import Lake, publish_json
from pipeline.resources.tracking import Tracking

LEGEND = (
    "Model and baselines on test rows later than every training label. The model is ▲ better or ▼ worse than the\n"
    "baseline beyond the 95 % interval of their paired difference by customer, = level. ↑ higher, ↓ lower is better."
    "\nu: mean uncertainty tonight; fallback: share of rows that carry their cluster's base rate."
)


def monitoring_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The summary of the night."""

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
        summary = summarise(context.partition_key, scores, lake, tracking, dataset)
        publish_json(summary, Path(lake.root).parent / "reports" / f"as_of={context.partition_key}" / SUMMARY)
        facts = pl.DataFrame({"": list(summary["facts"]), "value": [str(v) for v in summary["facts"].values()]})
        return dg.MaterializeResult(
            metadata={
                "tasks": markdown(pl.DataFrame(summary["tasks"])),
                "legend": LEGEND,
                "night": markdown(facts),
                "notice": dataset.notice,
            }
        )

    return [night_summary]


def summarise(
    as_of: str, scores: pl.DataFrame, lake: Lake, tracking: Tracking, dataset: DatasetConfig
) -> dict[str, Any]:
    """The summary as JSON: tasks (rows of the table), facts, legend, notice."""
    champion = tracking.champion()
    assert champion is not None  # the scores asset, upstream, scored with it
    evaluation = tracking.read_json(champion, "evaluation.json")
    tasks = []
    for row in evaluation["table"]:
        measured = {name: value for name, value in row.items() if name != "customers"}
        u, fallback = scores.select(pl.col(f"{row['task']}__u").mean(), pl.col(f"{row['task']}__fallback").mean()).row(
            0
        )
        tasks.append({**measured, "mean u": f"{u:.2f}", "fallback": f"{fallback:.1%}"})
    hindsight = champion.as_of > date.fromisoformat(as_of)
    facts = {
        "as-of date": as_of + ("  (hindsight: the model knows later events)" if hindsight else ""),
        "rows scored": f"{scores.height:,}",
        "model version": f"{champion.version}, trained as of {champion.as_of}",
        "state version": champion.state_version,
        "scores": str(lake.partition("scores", as_of)),
        "quarantine": str(lake.path("quarantine")),
    }
    return {
        "dataset": dataset.title,
        "as_of": as_of,
        "tasks": tasks,
        "facts": facts,
        "legend": LEGEND,
        "notice": dataset.notice,
    }
