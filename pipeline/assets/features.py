"""Feature assets: one for each group of the registry, built by one factory, then the feature matrix.

Nobody writes an asset for a group by hand: a group that joins the registry gets its asset, lineage and column schema.
All of them are computed with the champion's fitted state, whichever as-of date it was trained on.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from feature_assets import registry
from feature_assets.build import compute_group, groups_of
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.parts import table_of
from feature_assets.group import FeatureGroup
from feature_assets.state import FeatureState
from pipeline.assets import all_groups
from pipeline.assets.common import FEATURES, GivenSettings, asset_options, checked, in_this_data_set
from pipeline.assets.ingestion import CONTRACT_TABLES, table_key
from pipeline.intake import lost_sources
from pipeline.intake.lost_sources import Lost
from pipeline.monitoring.inputs import uninformative, unsound
from pipeline.reports.columns import group_columns, matrix_columns
from pipeline.reports.describe import frame_metadata, markdown
from pipeline.reports.drawing import Drawing, drawn_spec
from pipeline.reports.feature_plots import PICTURES, Picture
from pipeline.resources.blocks import Rows, Views
from pipeline.resources.digests import file_digest
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.scores.table import STATE_VERSION
from pipeline.settings import Settings
from pipeline.shards.step import TOLD, ShardedStep
from pipeline.shards.tasks import Matrix, stored_state
from pipeline.shards.work import frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATE_IN_USE = dg.AssetKey(["training", "champion"])
MATRIX = dg.AssetKey(["features", "matrix"])
SOUND = "values_are_sound"


def group_key(group: str) -> dg.AssetKey:
    """Asset key of a feature group."""
    return dg.AssetKey(["features", group])


def feature_assets(
    dataset: DatasetConfig, partitions: dg.PartitionsDefinition, retrain_after_days: int
) -> list[dg.AssetsDefinition]:
    """An asset for every group of the registry, and the matrix that the model reads."""
    state = champion_dep(retrain_after_days)
    groups = [_group_asset(group, dataset, partitions, state) for group in registry.registry().values()]
    return [*groups, _matrix_asset(dataset, partitions, state)]


def champion_dep(retrain_after_days: int) -> dg.AssetDep:
    """Lineage to the champion: promoted on this as-of date or on one of the days for which a champion is kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of the last parameter: the first dates have no earlier ones
        mapping = dg.TimeWindowPartitionMapping(
            start_offset=1 - retrain_after_days, end_offset=0, allow_nonexistent_upstream_partitions=True
        )
    return dg.AssetDep(STATE_IN_USE, partition_mapping=mapping)


def champion_state(tracking: Tracking) -> tuple[RegisteredVersion, FeatureState]:
    """The champion and the fitted state it was trained on."""
    champion = tracking.champion()
    if champion is None:
        raise dg.Failure(
            "There is no champion yet: run the job `training` (or `ple nightly`, which trains the first one), or "
            "promote the version that waits (`ple promote`).",
            allow_retries=False,
        )
    state = stored_state(champion.folder / "state")
    if state.version != champion.state_version:
        raise dg.Failure(
            f"The fitted state in the bundle of version {champion.version} is {state.version}, registered as "
            f"{champion.state_version}: the bundle was altered and is refused.",
            allow_retries=False,
        )
    return champion, state


def tonights_losses(
    views: Views, champion: RegisteredVersion, state: FeatureState, tracking: Tracking, settings: Settings
) -> Lost:
    """What tonight's delivery lacks of what the champion was trained with; raises where that stops the night."""
    tasks = [task["name"] for task in tracking.read_json(champion, "tasks.json")]
    lost = lost_sources.find(views.has, state, tasks)
    if lost.sources and settings.missing_sources == "stop":
        raise dg.Failure(
            f"{lost.words()} depend on it. Deliver it, or set `missing_sources: mask` in settings.yaml to score with "
            "these inputs missing and these tasks withheld.",
            allow_retries=False,
        )
    return lost


def _group_asset(
    group: FeatureGroup, dataset: DatasetConfig, partitions: dg.PartitionsDefinition, state_in_use: dg.AssetDep
) -> dg.AssetsDefinition:
    draw = PICTURES.get(group.name)

    @dg.asset(
        key=group_key(group.name),
        partitions_def=partitions,
        description=in_this_data_set(
            f"{group.description}. One row a customer known at the as-of date, natural units. {dataset.notice}",
            dataset,
            group.sources,
        ),
        deps=[state_in_use, *(table_key(table) for table in CONTRACT_TABLES if table in _tables_of(group))],
        ins={f"needs_{name}": dg.AssetIn(group_key(name), dagster_type=pl.LazyFrame) for name in group.needs},
        check_specs=[
            dg.AssetCheckSpec(
                SOUND,
                asset=group_key(group.name),
                description="Every column that the champion reads has a value for some customer, and none is infinite. "
                "It warns; a group without any information stops the night at the matrix.",
            ),
            *([] if draw is None else [drawn_spec(group_key(group.name))]),
        ],
        metadata={
            **group_columns(group, table_key),
            "columns": len(group.columns),
            "side inputs": ", ".join(s.name for s in group.side_inputs) or "none",
        },
        **asset_options(FEATURES, "polars", "parquet"),
    )
    def compute(
        context: dg.AssetExecutionContext,
        lake: Lake,
        tracking: Tracking,
        settings: GivenSettings,
        **upstream: pl.LazyFrame,
    ) -> Iterator[dg.Output[Rows] | dg.AssetCheckResult]:
        champion, state = champion_state(tracking)
        views, drawing = lake.views(context.partition_key), Drawing(context.log.warning)
        lost = tonights_losses(views, champion, state, tracking, settings)
        if group.name not in groups_of(state):
            why = f"the data set has no {', '.join(s for s in group.sources if not views.has(s)) or 'source'} for it"
            yield dg.Output(views.customers(), metadata={"absent": why})
            yield _sound([], f"absent: {why}")
            if draw is not None:
                yield drawing.check()
            return
        if views.whole:
            (view,) = views
            needs = {name.removeprefix("needs_"): rows.collect() for name, rows in upstream.items()}
            frame: Rows = lost_sources.masked(group, view, lost, lambda: compute_group(group.name, view, state, needs))
            told: dict[str, str] = {}
        else:
            waiting, words = all_groups.computed(context, lake, views, champion.folder / "state", lost, settings)
            frame, told = frames(waiting, group.name), {TOLD: words}
        picture = _masked_note(group, lost)
        if draw is not None and not picture:
            picture = drawing.figure("picture", lambda: _drawn(draw, views, state, frame, upstream))
            picture |= (
                {} if views.whole else {"of the picture": f"the first {lake.at_a_time:,} customers, by their ids"}
            )
        yield dg.Output(
            frame,
            metadata={
                **frame_metadata(frame),
                **told,
                **picture,
                **group.facts(state.groups[group.name]),
                "state version": state.version,
                "fitted with model version": champion.version,
                **drawing.table("missing share by column", lambda: _missing(frame), rows=20),
            },
        )
        found = unsound(frame)
        expected = {*state.present, *(side.name for side in group.side_inputs)} - set(lost.columns)
        expected = set() if group.name in lost.groups else expected
        yield _sound([words for name, words in found.items() if name in expected])
        if draw is not None:
            yield drawing.check()

    return compute


def _drawn(
    draw: Picture, views: Views, state: FeatureState, frame: Rows, upstream: Mapping[str, pl.LazyFrame]
) -> "Figure":
    """The picture of a group, by the first view."""
    view = next(iter(views))
    own = frame.lazy().head(view.customers.height).collect()
    needs = {name.removeprefix("needs_"): rows.head(own.height).collect() for name, rows in upstream.items()}
    return draw(view, state, own, needs)


def _sound(faults: list[str], note: str = "") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=SOUND,
        passed=not faults,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"found": "; ".join(faults) or note or "nothing wrong"},
    )


def _masked_note(group: FeatureGroup, lost: Lost) -> dict[str, Any]:
    """Of a group with masked columns, which has no picture, a note on them."""
    own = lost.of(group)
    if own or group.name in lost.groups:
        return {"masked": f"{len(own)} columns, for want of {', '.join(lost.sources)}"}
    return {}


def _tables_of(group: FeatureGroup) -> set[str]:
    """Contract tables that the group or one of its columns reads."""
    sources = {*group.sources, *(source for column in group.columns for source in column.sources)}
    return {table_of(source) for source in sources}


def _missing(frame: Rows) -> pl.DataFrame:
    """Columns by share of customers without a value, most first."""
    means = frame.lazy().select(pl.exclude("customer_id").is_null().mean()).collect(engine="streaming")
    shares = means.transpose(include_header=True, header_name="column", column_names=["missing"])
    return shares.filter(pl.col("missing") > 0).sort("missing", descending=True)


def _matrix_asset(
    dataset: DatasetConfig, partitions: dg.PartitionsDefinition, state_in_use: dg.AssetDep
) -> dg.AssetsDefinition:
    names = list(registry.registry())

    @dg.asset(
        key=MATRIX,
        partitions_def=partitions,
        description=(
            "The model's inputs: every present column, scaled with the champion's normaliser, and the side inputs. "
            f"Null is missing; columns of groups that this data set cannot feed are absent. {dataset.notice}"
        ),
        deps=[state_in_use],
        ins={name: dg.AssetIn(group_key(name), dagster_type=pl.LazyFrame) for name in names},
        check_specs=[
            dg.AssetCheckSpec(
                "inputs_are_informative",
                asset=MATRIX,
                blocking=True,
                description="No group of columns and no side input is missing, or the same for everybody, as a whole: "
                "then the night stops. Single columns without information are listed and stop nothing.",
            )
        ],
        metadata=matrix_columns(group_key, {"as_of": "the as-of date", STATE_VERSION: "the fitted state used"}),
        **asset_options(FEATURES, "polars", "parquet"),
    )
    def matrix(
        context: dg.AssetExecutionContext,
        lake: Lake,
        tracking: Tracking,
        settings: GivenSettings,
        **_: pl.LazyFrame,
    ) -> Iterator[dg.Output[Rows] | dg.AssetCheckResult]:
        champion, state = champion_state(tracking)
        views = lake.views(context.partition_key)
        lost = tonights_losses(views, champion, state, tracking, settings)

        published = {
            name: lake.published(group_key(name).to_user_string()).file(context.partition_key)
            for name in groups_of(state)
        }
        task = Matrix(champion.folder / "state", published)
        content = {"state": state.version, "groups": {name: file_digest(file) for name, file in published.items()}}
        step = ShardedStep(Path(lake.root), "matrix", settings, context.log.info)
        with step.rows(task, views, content) as (frame, told):
            yield dg.Output(
                frame,
                metadata={
                    **frame_metadata(frame),
                    **told,
                    "columns of the schema": len(registry.names()),
                    "present columns": len(state.present),
                    "state version": state.version,
                    "fitted with model version": champion.version,
                },
            )
            dull = uninformative(frame, state, lost)
        all_groups.forget(lake, settings)
        yield checked(
            "inputs_are_informative",
            passed=not dull.filter(pl.col("blocks")).height,
            metadata={
                "columns that say nothing": markdown(dull) if dull.height else "none",
                "looked at": f"{len(state.present)} columns and {len(registry.side_inputs())} side inputs",
            },
        )

    return matrix
