"""Scores: the champion's calibrated predictions about every customer known before the as-of date."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl

from feature_assets import registry
from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.common import SCORING, asset_options, checked
from pipeline.assets.features import MATRIX, STATE_VERSION, champion_state
from pipeline.reports.describe import frame_metadata, markdown
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking

SCORES = dg.AssetKey("scores")


def score_meanings(tasks: Sequence[dict[str, str]]) -> dict[str, str]:
    """Column → meaning, for the UI and the README. `tasks`: name, kind and unit of each task of the bundle."""
    meanings = {
        "customer_id": "customer",
        "as_of": "as-of date: the prediction knows events before it",
        "top_experts": "the three experts with most weight in the gates, heaviest first",
        "hindsight": "true where the model was trained on events at or after the as-of date",
        "model_version": "version of the registered model `ple`",
        "state_version": "version of the fitted feature state that travelled with the model",
        "run_id": "Dagster run that wrote these rows",
    }
    values = {
        "binary": "calibrated probability",
        "regression": "calibrated value",
        "multiclass": "most likely class",
        "contrastive": "most likely brand",
    }
    for task in tasks:
        name, kind = task["name"], task["kind"]
        unit = f" in {task['unit']}" if task.get("unit") else ""
        meanings[name] = f"{values[kind]}{unit}: {task.get('meaning', name)}"
        meanings[f"{name}__p"] = "calibrated probability of each class, in the order of the bundle's classes; sums to 1"
        meanings[f"{name}__top"] = "brands, most likely first"
        meanings[f"{name}__u"] = "uncertainty by the task's evidential head, 0 (certain) to 1 (knows nothing)"
        meanings[f"{name}__fallback"] = "true where the prediction was too uncertain: the cluster's base rate stands in"
    return meanings


def scoring_assets(dataset: DatasetConfig, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The one published table of the product."""

    @dg.asset(
        key=SCORES,
        partitions_def=partitions,
        description=f"One row a customer: calibrated predictions with their uncertainty. {dataset.notice}",
        ins={"matrix": dg.AssetIn(MATRIX)},
        check_specs=[dg.AssetCheckSpec("complete_and_sound", asset=SCORES, blocking=True)],
        **asset_options(SCORING, "pytorch", "parquet"),
    )
    def scores(
        context: dg.AssetExecutionContext, matrix: pl.DataFrame, lake: Lake, tracking: Tracking
    ) -> Iterator[dg.Output[pl.DataFrame] | dg.AssetCheckResult]:
        day = date.fromisoformat(context.partition_key)
        champion = tracking.champion()
        _, state = champion_state(tracking)
        assert champion is not None  # champion_state raises where there is none
        _refuse_mismatch(matrix, champion, registry.digest(state.present), tracking)
        hindsight = champion.as_of > day
        if hindsight:
            context.log.warning(
                f"hindsight: version {champion.version} was trained on events up to {champion.as_of}, after {day}; "
                "these scores are marked and enter neither monitoring nor promotion"
            )
        frame = score_matrix(matrix, champion.folder).with_columns(
            pl.lit(hindsight).alias("hindsight"),
            pl.lit(champion.version).alias("model_version"),
            pl.lit(champion.state_version).alias("state_version"),
            pl.lit(context.run_id).alias("run_id"),
        )
        problems = find_problems(frame, lake.view(context.partition_key).customers["customer_id"])
        if problems:
            raise dg.Failure("scores are not published: " + "; ".join(problems), allow_retries=False)
        frame = _keep_what_stands(frame, lake, context.partition_key)
        tasks = tracking.read_json(champion, "tasks.json")
        yield dg.Output(
            frame,
            metadata={
                **frame_metadata(frame, score_meanings(tasks)),
                "model version": champion.version,
                "trained as of": champion.as_of.isoformat(),
                "hindsight": hindsight,
                "distribution": markdown(_distribution(frame, [task["name"] for task in tasks])),
                "notice": dataset.notice,
            },
        )
        yield checked("complete_and_sound", passed=True, rows=frame.height, columns=frame.width)

    return [scores]


def score_matrix(matrix: pl.DataFrame, bundle: Path) -> pl.DataFrame:
    """Scores of a feature matrix with the bundle in a folder."""
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    return Scorer(load_bundle(bundle)).score(matrix)


def _refuse_mismatch(matrix: pl.DataFrame, champion: RegisteredVersion, digest: str, tracking: Tracking) -> None:
    """Refuse a matrix made with another state or schema than the champion's: cluster 7 must mean cluster 7."""
    made_with = matrix[STATE_VERSION].unique().to_list()
    if made_with != [champion.state_version]:
        raise dg.Failure(
            f"The feature matrix was made with state {made_with}, but champion {champion.version} was trained with "
            f"{champion.state_version}. Materialise the features again before scoring.",
            allow_retries=False,
        )
    trained = tracking.read_json(champion, "schema.json")["digest"]
    if trained != digest:
        raise dg.Failure(
            f"The feature schema is {digest}, champion {champion.version} was trained with {trained}. Train anew.",
            allow_retries=False,
        )


def find_problems(scores: pl.DataFrame, customers: pl.Series) -> list[str]:
    """What is wrong with a table of scores; empty when it may be published."""
    problems = []
    if scores["customer_id"].n_unique() != scores.height:
        problems.append("a customer has more than one row")
    missing = set(customers.to_list()) ^ set(scores["customer_id"].to_list())
    if missing:
        problems.append(f"{len(missing)} customers are missing or unknown, e.g. {sorted(missing)[:3]}")
    for name, dtype in scores.schema.items():
        column = scores[name]
        if column.null_count():
            problems.append(f"{name} has {column.null_count()} nulls")
        elif dtype.is_float() and not column.is_finite().all():
            problems.append(f"{name} has values that are not finite")
        elif name.endswith("__p"):
            off = (column.list.sum() - 1.0).abs().max()
            if not isinstance(off, float) or off > 1e-6:
                problems.append(f"{name} does not sum to 1 (off by {off!r})")
        elif name.endswith("__u") and not column.is_between(0.0, 1.0).all():
            problems.append(f"{name} leaves [0, 1]")
    return problems


def _keep_what_stands(frame: pl.DataFrame, lake: Lake, as_of: str) -> pl.DataFrame:
    """The frame to publish: one that says what stands there already keeps its run id, so a re-run changes no byte."""
    file = lake.partition("scores", as_of) / "part-0.parquet"
    if not file.exists():
        return frame
    old = pl.read_parquet(file, hive_partitioning=False)
    if old.columns == frame.columns and old.drop("run_id").equals(frame.drop("run_id")):
        return old
    return frame


def _distribution(scores: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """How each task's prediction spreads over the customers."""
    rows = []
    for task in tasks:
        column = scores[task]
        numeric = column.dtype.is_numeric()
        common = None if numeric else column.value_counts(sort=True).row(0)
        rows.append(
            {
                "task": task,
                "5 %": column.quantile(0.05) if numeric else None,
                "median": column.median() if numeric else None,
                "95 %": column.quantile(0.95) if numeric else None,
                "most common": f"{common[0]!s} ({common[1] / scores.height:.0%})" if common else None,
                "mean uncertainty": scores[f"{task}__u"].mean(),
                "fallback share": scores[f"{task}__fallback"].mean(),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)
