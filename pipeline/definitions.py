"""The code location: assets, jobs, schedules, sensors and resources, built by one function from the settings.

Importing this module builds nothing and imports no kernel: Dagster calls `definitions` (workspace.yaml).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.kernels.compiled import use_cache
from pipeline.home.folder import Home
from pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


@dg.definitions
def definitions() -> dg.Definitions:
    """The definitions of the deployment that the environment names."""
    settings = load_settings()
    Home(settings.home).settle_lake(settings.lake)
    return build_definitions(settings)


def build_definitions(
    settings: Settings, *, resources: Mapping[str, Any] | None = None, plugins: Sequence[str] | None = None
) -> dg.Definitions:
    """All definitions of one deployment. Nothing is read from the lake or written until a run starts.

    Args:
        settings: of the deployment.
        resources: resources that replace those of `build_resources`, by name (in tests).
        plugins: modules that replace `settings.plugins`.

    Raises:
        PluginError: a plug-in cannot be loaded.
        FileNotFoundError, ValueError: the data set's description is missing or not valid.
    """
    use_cache(Home(settings.home).kernels)
    # These import the kernels, whose cache must be chosen before.
    from pipeline.assets.common import INGESTION, MONITORING, SCORING, TRAINING
    from pipeline.assets.features import feature_assets
    from pipeline.assets.ingestion import ingestion_assets
    from pipeline.assets.monitoring import monitoring_assets
    from pipeline.assets.promotion import promote, rollback
    from pipeline.assets.report import report_asset
    from pipeline.assets.scoring import scoring_assets
    from pipeline.assets.shadow import shadow_assets
    from pipeline.assets.skill import skill_assets
    from pipeline.assets.training import training_assets
    from pipeline.console import step_lines
    from pipeline.nights.schedules import schedules, sensors
    from pipeline.nights.telling import telling_sensors
    from pipeline.partitions import as_of_partitions
    from pipeline.plugins import load_plugins
    from pipeline.runs.executor import one_at_a_time_executor
    from pipeline.runs.in_process import NIGHTLY
    from pipeline.steps import guard

    if plugins is not None:
        settings = settings.model_copy(update={"plugins": tuple(plugins)})
    extensions = load_plugins(settings.plugins)
    dataset = settings.load_dataset()
    partitions = as_of_partitions(dataset)
    executor = one_at_a_time_executor(Home(settings.home), settings.mlflow_uri)

    def job(name: str, selection: dg.AssetSelection, description: str) -> "UnresolvedAssetJobDefinition":
        return dg.define_asset_job(
            name,
            selection=selection,
            partitions_def=partitions,
            executor_def=executor,
            config={"loggers": {"ple": {}}},
            description=f"{description} {dataset.notice}",
        )

    added = [asset for factory in extensions.monitoring_factories for asset in factory(dataset, partitions)]
    if any(spec.group_name != MONITORING for asset in added for spec in asset.specs):
        raise ValueError(f"assets that plug-ins add must be of the group {MONITORING!r}")
    assets = [
        *ingestion_assets(settings, dataset, partitions),
        *training_assets(dataset, partitions, settings.retrain_after_days),
        *feature_assets(dataset, partitions, settings.retrain_after_days),
        *scoring_assets(dataset, partitions, settings.retrain_after_days),
        *(shadow_assets(dataset, partitions) if settings.promotion.shadow == "on" else ()),
        *monitoring_assets(dataset, partitions),
        *skill_assets(dataset, partitions),
        *added,
    ]
    behind = [  # what may be skipped would take the report with it
        spec.key
        for asset in assets
        for spec in asset.specs
        if spec.group_name in (SCORING, MONITORING) and not spec.skippable
    ]
    jobs = [
        job(
            NIGHTLY,
            dg.AssetSelection.all() - dg.AssetSelection.groups(TRAINING),
            "One night: from the delivery to calibrated scores of every customer, by the standing champion.",
        ),
        job(
            TRAINING,
            dg.AssetSelection.groups(INGESTION, TRAINING),
            "One training: from the delivery to a registered version that takes over if its promotion agrees.",
        ),
    ]
    assets.append(report_asset(dataset, partitions, behind=behind))
    executed = [asset.node_def for asset in assets if asset.is_executable]
    for step in (*executed, *promote.all_node_defs, *rollback.all_node_defs):
        guard(step)
    return dg.Definitions(
        assets=assets,
        jobs=[*jobs, promote, rollback],
        executor=executor,
        schedules=schedules(partitions, settings),
        sensors=[*sensors(jobs, partitions, settings), *telling_sensors(jobs, partitions, settings)],
        resources={**build_resources(settings), **(resources or {})},
        loggers={"ple": step_lines},
    )


def build_resources(settings: Settings) -> dict[str, Any]:
    """The resources of a deployment: its lake, its MLflow, its settings."""
    from pipeline.resources.lake import Lake, ParquetIOManager
    from pipeline.resources.tracking import Tracking

    home = Home(settings.home)
    return {
        "io_manager": ParquetIOManager(root=str(home.lake)),
        "lake": Lake(root=str(home.lake), at_a_time=settings.customers_at_a_time),
        "tracking": Tracking(
            uri=settings.mlflow_uri or home.tracking_uri,
            artifacts=str(home.mlflow / "artifacts"),
            dataset=settings.load_dataset().name,
        ),
        "settings": settings,
    }
