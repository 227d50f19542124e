"""Ingestion: the delivery, validated into contract tables, with a quarantine of the rows that broke a rule.

Both jobs materialise these assets; a delivery that is validated already is looked up by its digest.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.known import KNOWN
from feature_assets.events.barrier import rows_before
from feature_assets.sources.arrivals import ARRIVED, COUNTED
from pipeline.assets.common import INGESTION, asset_options, checked, compared, in_this_data_set
from pipeline.intake import deliveries
from pipeline.monitoring import volume
from pipeline.reports.columns import table_columns
from pipeline.reports.describe import frame_metadata, markdown
from pipeline.reports.drawing import Drawing
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.settings import Settings

CONTRACT_TABLES = tuple(CONTRACT)
QUARANTINE = dg.AssetKey("quarantine")
READABLE, COMPARED = "has_rows_to_read", "earlier good deliveries that it is compared with"
SHOWN_FILES = 200
"""Files of a delivery that the UI lists; `delivery.json` lists all."""


def table_key(table: str) -> dg.AssetKey:
    """Asset key of a contract table."""
    return dg.AssetKey(["tables", table])


def ingestion_assets(
    settings: Settings, dataset: DatasetConfig, partitions: dg.PartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The contract tables and the quarantine: one step, so that a delivery is read once."""
    tables = [
        dg.AssetSpec(
            table_key(name),
            description=in_this_data_set(f"One row each: {table.meaning} {dataset.notice}", dataset, [name]),
            partitions_def=partitions,
            metadata=table_columns(table),
            **asset_options(INGESTION, "polars", "parquet"),
        )
        for name, table in CONTRACT.items()
    ]
    quarantine = dg.AssetSpec(
        QUARANTINE,
        description="Rows of the delivery that broke a rule, with the reason and what was done with them. "
        f"{dataset.notice}",
        partitions_def=partitions,
        deps=[table_key(name) for name in CONTRACT],
        **asset_options(INGESTION, "polars", "parquet"),
    )

    @dg.multi_asset(
        name="ingest",
        specs=[*tables, quarantine],
        check_specs=[
            *(
                dg.AssetCheckSpec(
                    READABLE,
                    asset=table_key(name),
                    description="The table has rows that this night may read: those before its as-of date. One that "
                    "was not delivered passes: what needs it is off. It warns and stops nothing.",
                )
                for name in CONTRACT
            ),
            dg.AssetCheckSpec(
                "faults_within_limit",
                asset=QUARANTINE,
                blocking=True,
                description="No table loses a larger share of its rows than its limit (`quarantine_limits` in the "
                "description of the data set). Otherwise the run stops: nothing is scored from such a delivery.",
            ),
            dg.AssetCheckSpec(
                "volume_as_before",
                asset=QUARANTINE,
                blocking=True,
                description="Rows, customers, days, distinct and unknown keys of each table are those of the last good "
                "deliveries, within the limits of the setting `volume`. More than unusual stops the run.",
            ),
        ],
    )
    def ingest_delivery(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult]:
        as_of = context.partition_key
        day = date.fromisoformat(as_of)
        inbox = deliveries.data_folder(settings, context.log.info)
        may_lack = settings.missing_sources == "mask"
        judge = volume.judge_of_arrivals(settings.volume)
        delivery = deliveries.of_night(dataset, inbox, lake, day, context.log.warning, judge)
        digest, folder = delivery.digest, delivery.folder
        files = {name: str(path) for name, path in delivery.files.items()}
        rows, counts = (pl.read_parquet(folder / "quarantine" / f"{name}.parquet") for name in ("rows", "counts"))
        shown = {
            "dagster/row_count": rows.height,
            "reasons": markdown(counts) if counts.height else "every row of the delivery is good",
            "first rows": markdown(rows.group_by("table", "reason", maintain_order=True).head(3)),
            "files read": markdown(pl.DataFrame([*files.items()], ["table", "file"], orient="row").head(SHOWN_FILES)),
            "delivery": digest,
            **_arrived(delivery.arrivals, day),
        }
        deliveries.publish_quarantine(rows, lake, as_of)
        verdict = lake.read_json(folder / "quarantine" / deliveries.VERDICT)
        over = verdict["over_limit"]
        if over:
            why = "not compared: the delivery is refused for its faults"
            unseen = checked("volume_as_before", True, QUARANTINE, {"why": why})
            yield dg.MaterializeResult(
                asset_key=QUARANTINE,
                metadata=shown,
                check_results=[checked("faults_within_limit", False, QUARANTINE, {"why": over}), unseen],
            )
            raise dg.Failure(over, allow_retries=False)
        set_aside = {"rows set aside, all tables": counts["rows"].sum()}
        within = checked("faults_within_limit", True, QUARANTINE, set_aside)
        size = delivery.verdict
        if size is None:
            measured = volume.measure(lake.scans(digest), dataset.zone, verdict["delivered"], counts)
            size = volume.judge_delivery(measured, lake, digest, settings.volume, may_lack)
        as_before = checked("volume_as_before", True, QUARANTINE, {COMPARED: size.compared})
        if size.unusual:
            found = {"unusual": list(size.unusual), COMPARED: size.compared}
            as_before = compared("volume_as_before", bool(size.refusal), QUARANTINE, found)
        if size.refusal:
            yield dg.MaterializeResult(asset_key=QUARANTINE, metadata=shown, check_results=[within, as_before])
            raise dg.Failure(size.refusal, allow_retries=False)
        if delivery.verdict is None:
            volume.keep(size.volume, lake, digest)
            for line in size.unusual:
                context.log.warning(line)
        publish_json({"digest": digest, "files": files}, lake.partition("tables", as_of) / "delivery.json")
        publish_json(size.unusual, lake.partition("tables", as_of) / volume.VOLUME)
        for note in verdict["notes"]:
            context.log.warning(note)
        drawing, tables = Drawing(context.log.warning), lake.scans(digest)
        for name in CONTRACT:
            facts = drawing.facts(name, partial(_table_facts, tables, name, day, dataset.zone)) | _arrived(
                delivery.arrivals, day, name
            )
            yield dg.MaterializeResult(
                asset_key=table_key(name),
                metadata={**facts, "delivery": digest},
                check_results=[rows_to_read(tables, name, day, dataset.zone)],
            )
        yield dg.MaterializeResult(
            asset_key=QUARANTINE,
            metadata=shown,
            check_results=[within, as_before],
        )

    return [ingest_delivery]


def rows_to_read(tables: Mapping[str, pl.LazyFrame], name: str, as_of: date, zone: str) -> dg.AssetCheckResult:
    """Whether a table that was delivered has rows before the as-of date, where its rows have a time, or any."""
    if name not in tables:
        rows, words = -1, "not delivered: groups and tasks that need this table are off"
    else:
        height, rows = _heights(tables[name], name, as_of, zone)
        words = f"{rows:,} of {height:,} rows"
    return dg.AssetCheckResult(
        check_name=READABLE,
        asset_key=table_key(name),
        passed=rows != 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rows that the night may read": words},
    )


def _table_facts(tables: Mapping[str, pl.LazyFrame], name: str, as_of: date, zone: str) -> dict[str, Any]:
    if name not in tables:
        return {"dagster/row_count": 0, "not delivered": "groups and tasks that need this table are off"}
    facts = frame_metadata(tables[name])
    if KNOWN[name].is_instant:
        height, before = _heights(tables[name], name, as_of, zone)
        facts |= {"rows before the as-of instant": before, "rows at or after it (not read)": height - before}
    return facts


def _heights(rows: pl.LazyFrame, name: str, as_of: date, zone: str) -> tuple[int, int]:
    """Rows of a table, and those of them that are known before the as-of date, where its rows have an instant."""
    before = rows_before(name, rows, as_of, zone) if KNOWN[name].is_instant else rows
    counted = pl.collect_all([rows.select(pl.len()), before.select(pl.len())], engine="streaming")
    return counted[0].item(), counted[1].item()


def _arrived(arrivals: pl.DataFrame | None, as_of: date, table: str | None = None) -> dict[str, Any]:
    """Where deliveries add up: the rows, of one table or of all, that arrived for this as-of date, and by arrival."""
    if arrivals is None:
        return {}
    rows = arrivals if table is None else arrivals.filter(pl.col("table") == table)
    today = rows.filter(pl.col(ARRIVED) == as_of).select(COUNTED).sum().row(0, named=True)
    shown = rows.sort(ARRIVED, descending=True, maintain_order=True)
    return {f"arrived: {name}": count for name, count in today.items()} | {"arrivals, newest first": markdown(shown)}
