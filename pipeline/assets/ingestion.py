"""Ingestion: the delivery, validated into contract tables, with a quarantine of what was set aside and why."""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

import feature_assets
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.quarantine import QUARANTINE_SCHEMA
from feature_assets.data.tables import Tables
from feature_assets.sources import Delivery, Ingested, ingest, read_delivery
from pipeline.assets.common import INGESTION, asset_options, checked
from pipeline.reports.describe import frame_metadata, markdown
from pipeline.resources.lake import Lake, publish, publish_folder, publish_json
from pipeline.settings import Settings
from pipeline.simulation import data_folder

CONTRACT_TABLES = tuple(CONTRACT)
QUARANTINE = dg.AssetKey("quarantine")
KEPT_DELIVERIES = 5
"""Validated deliveries that stay in the lake; older ones can be made again from their files."""
VERDICT = "verdict.json"
COUNTS_SCHEMA = {"table": pl.String, "reason": pl.String, "action": pl.String, "rows": pl.Int64, "first row": pl.String}


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
            description=f"Contract table {name}: {table.meaning} {dataset.notice}",
            partitions_def=partitions,
            **asset_options(INGESTION, "polars", "parquet"),
        )
        for name, table in CONTRACT.items()
    ]
    quarantine = dg.AssetSpec(
        QUARANTINE,
        description="Rows of the delivery that broke a rule, with the reason and what was done with them.",
        partitions_def=partitions,
        **asset_options(INGESTION, "polars", "parquet"),
    )

    @dg.multi_asset(
        name="ingest",
        specs=[*tables, quarantine],
        check_specs=[
            dg.AssetCheckSpec(
                "faults_within_limit",
                asset=QUARANTINE,
                blocking=True,
                description="No table loses more of its rows than its limit (quarantine_limits of the data set).",
            )
        ],
    )
    def ingest_delivery(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult]:
        as_of = context.partition_key
        delivery = read_delivery(dataset, data_folder(settings, dataset, context.log.info))
        digest = delivery_digest(delivery)
        folder = lake.delivery(digest)
        if not folder.exists():
            keep_validated(ingest(delivery), folder)
        rows, counts = (pl.read_parquet(folder / "quarantine" / f"{name}.parquet") for name in ("rows", "counts"))
        found = {
            "dagster/row_count": rows.height,
            "reasons": markdown(counts) if counts.height else "every row of the delivery is good",
            "first rows": markdown(rows.group_by("table", "reason", maintain_order=True).head(3)),
            "delivery": digest,
        }
        _publish_quarantine(rows, lake, as_of)
        verdict = lake.read_json(folder / "quarantine" / VERDICT)
        over = verdict["over_limit"]
        if over:
            yield dg.MaterializeResult(
                asset_key=QUARANTINE, metadata=found, check_results=[checked("faults_within_limit", False, why=over)]
            )
            raise dg.Failure(over, allow_retries=False)
        files = {name: str(path) for name, path in delivery.files.items()}
        publish_json({"digest": digest, "files": files}, lake.partition("tables", as_of) / "delivery.json")
        for note in verdict["notes"]:
            context.log.warning(note)
        for name in CONTRACT:
            facts = _table_facts(lake.tables(as_of), name, date.fromisoformat(as_of))
            yield dg.MaterializeResult(asset_key=table_key(name), metadata={**facts, "delivery": digest})
        yield dg.MaterializeResult(
            asset_key=QUARANTINE,
            metadata=found,
            check_results=[checked("faults_within_limit", True, reasons=counts["rows"].sum())],
        )
        _forget_old(lake, keep=digest)

    return [ingest_delivery]


def delivery_digest(delivery: Delivery) -> str:
    """16 hex digits of the delivered bytes, the data set's description and the code that validates them."""
    sha = hashlib.sha256(delivery.dataset.model_dump_json().encode())
    code = sorted(Path(feature_assets.__file__).parent.rglob("*.py"))
    for file in [*code, *(delivery.files[name] for name in sorted(delivery.files))]:
        sha.update(f"{file.name} {file.stat().st_size} ".encode())
        with file.open("rb") as stream:
            sha.update(hashlib.file_digest(stream, "sha256").digest())
    return sha.hexdigest()[:16]


def keep_validated(ingested: Ingested, folder: Path) -> None:
    """Write tables, quarantine and the verdict on its limits into a folder that appears whole or not at all."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.parent.mkdir(parents=True, exist_ok=True)
    ingested.tables.save(beside)
    results = ingested.validated.values()
    rows = [result.quarantine for result in results]
    publish(pl.concat(rows) if rows else pl.DataFrame(schema=QUARANTINE_SCHEMA), beside / "quarantine" / "rows.parquet")
    counts = [
        {"table": result.table, "reason": c.reason, "action": c.action, "rows": c.rows, "first row": c.first}
        for result in results
        for c in result.counts
    ]
    publish(pl.DataFrame(counts, schema=COUNTS_SCHEMA), beside / "quarantine" / "counts.parquet")
    publish_json({"over_limit": _over_limit(ingested), "notes": ingested.notes}, beside / "quarantine" / VERDICT)
    publish_folder(beside, folder)


def _over_limit(ingested: Ingested) -> str:
    """Which tables lost too many rows, in words; empty where none did."""
    try:
        ingested.check_limits()
    except DeliveryError as error:
        return str(error)
    return ""


def _publish_quarantine(rows: pl.DataFrame, lake: Lake, as_of: str) -> None:
    """`quarantine/<table>/as_of=…`: what stands there belongs to this delivery, also where nothing is set aside now."""
    stale = {folder.parent.name for folder in lake.path("quarantine").glob(f"*/as_of={as_of}")}
    for table in stale | set(rows["table"]):
        part = rows.filter(pl.col("table") == table)
        publish(part, lake.partition(f"quarantine/{table}", as_of) / "part-0.parquet")


def _table_facts(tables: Tables, name: str, as_of: date) -> dict[str, Any]:
    if not tables.has(name):
        return {"dagster/row_count": 0, "not delivered": "groups and tasks that need this table are off"}
    frame = tables.frames[name]
    facts = frame_metadata(frame, CONTRACT[name].meanings)
    if "at" in frame.columns:
        before = (frame["at"] < tables.dataset.instant(as_of)).sum()
        facts |= {"rows before the as-of instant": before, "rows at or after it (not read)": frame.height - before}
    return facts


def _forget_old(lake: Lake, keep: str) -> None:
    folders = sorted(lake.path("deliveries").iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_DELIVERIES:]:
        if folder.name != keep:
            shutil.rmtree(folder)
