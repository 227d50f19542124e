"""The code location: assets, checks, job, schedule, resources, built by one function from the settings."""

import dagster as dg

from pipeline.assets.features import feature_assets
from pipeline.assets.ingestion import ingestion_assets
from pipeline.assets.monitoring import monitoring_assets
from pipeline.assets.scoring import scoring_assets
from pipeline.assets.training import training_assets
from pipeline.console import step_lines
from pipeline.home import Home
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake, ParquetIOManager
from pipeline.resources.tracking import Tracking
from pipeline.schedules import nightly_schedule
from pipeline.settings import Settings, load_settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """All definitions of one deployment. Nothing is read or written until a run starts."""
    dataset = settings.load_dataset()
    home = Home(settings.home)
    partitions = as_of_partitions(dataset)
    job = dg.define_asset_job(
        "nightly",
        selection=dg.AssetSelection.all(),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        config={"loggers": {"ple": {}}},
        description=f"One night: from the delivery to calibrated scores of every customer. {dataset.notice}",
    )
    return dg.Definitions(
        assets=[
            *ingestion_assets(settings, dataset, partitions),
            *training_assets(settings, dataset, partitions),
            *feature_assets(dataset, partitions),
            *scoring_assets(dataset, partitions),
            *monitoring_assets(dataset, partitions),
        ],
        jobs=[job],
        schedules=[nightly_schedule(partitions, settings)],
        resources={
            "io_manager": ParquetIOManager(root=str(home.lake)),
            "lake": Lake(root=str(home.lake)),
            "tracking": Tracking(
                uri=settings.mlflow_uri or home.tracking_uri,
                artifacts=str(home.mlflow / "artifacts"),
                dataset=dataset.name,
            ),
        },
        loggers={"ple": step_lines},
    )


defs = build_definitions(load_settings())
