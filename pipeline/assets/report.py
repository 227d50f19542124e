"""The night's report: one HTML file behind everything else. Nothing depends on it, no fault in it fails a night."""

from collections.abc import Sequence

import dagster as dg

from feature_assets.data.dataset import DatasetConfig
from pipeline.assets.common import MONITORING, GivenSettings, asset_options
from pipeline.monitoring.night_report import REPORT, Reporter
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking

KEY = dg.AssetKey("report")
WHOLE = "report_is_whole"


def report_asset(
    dataset: DatasetConfig, partitions: dg.PartitionsDefinition, behind: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The asset `report`; `behind`: the assets whose steps and checks it tells of."""

    @dg.asset(
        key=KEY,
        partitions_def=partitions,
        deps=[*behind],
        description="The night in one HTML file that opens anywhere: what came out, what needs a look, what ran, what "
        f"changed, each task, the model, drift. {dataset.notice}",
        check_specs=[
            dg.AssetCheckSpec(
                WHOLE, asset=KEY, description="Every part of the report could be made. It warns and stops nothing."
            )
        ],
        **asset_options(MONITORING, "html"),
    )
    def report(
        context: dg.AssetExecutionContext, lake: Lake, tracking: Tracking, settings: GivenSettings
    ) -> dg.MaterializeResult:
        reporter = Reporter(settings, lake, tracking, context.instance, context.log.warning)
        failed = reporter.try_to_write(context.partition_key)
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.path(str(reporter.folder(context.partition_key) / REPORT)),
                "again": f"ple report {context.partition_key}",
                "notice": dataset.notice,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=WHOLE, passed=not failed, severity=dg.AssetCheckSeverity.WARN, metadata=dict(failed)
                )
            ],
        )

    return report
