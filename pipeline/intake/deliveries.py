"""The delivery of a night: where it lies, the digest that names it, and its validated form in the lake.

Reading and validating belongs to `feature_assets.sources`, deliveries that add up to `arrivals.py`, the assets that
show the result to `assets/ingestion.py`.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import SPANS, DatasetConfig
from feature_assets.data.records import QUARANTINE_SCHEMA
from feature_assets.data.tables import DESCRIPTION, StoredTables, Tables
from feature_assets.sources import (
    Delivery,
    Ingested,
    ingest,
    ingest_in_blocks,
    is_large,
    read_delivery,
    reader_of,
    reading_code,
)
from pipeline.home.folder import Home
from pipeline.intake import extracts
from pipeline.intake.arrivals import Judge, Ledger, Refused, Verdict
from pipeline.intake.forgotten import Forgotten
from pipeline.resources.digests import broken, code_digest, file_digest, seal
from pipeline.resources.files import empty_beside, publish_folder, publish_frame, publish_json
from pipeline.resources.lake import Lake
from pipeline.settings import Settings

Log = Callable[[str], None]

VERDICT = "verdict.json"
COUNTS_SCHEMA = {"table": pl.String, "reason": pl.String, "action": pl.String, "rows": pl.Int64, "first row": pl.String}


def data_folder(settings: Settings, log: Log) -> Path | None:
    """The folder to read: the operator's, or a simulation of `settings.customers` customers, run if it is missing.

    None: the data set reads its own files.

    Raises:
        ValueError: the data set names a generator that does not exist.
    """
    dataset = settings.load_dataset()
    if settings.data_dir is not None or dataset.generator is None:
        return settings.data_dir
    if dataset.generator not in GENERATORS:
        hint = nearest(dataset.generator, GENERATORS)
        raise ValueError(f"{dataset.name}.yaml: generator: there is no generator {dataset.generator!r}; {hint}")
    folder = Home(settings.home).simulation(settings.customers, settings.seed)
    if not folder.exists():
        log(f"simulating {settings.customers:,} customers into {folder}")
        GENERATORS[dataset.generator](folder, settings, log)
    return folder


def _bank(folder: Path, settings: Settings, log: Log) -> None:
    from feature_assets.simulation import simulate

    simulate(folder, settings.customers, seed=settings.seed, workers=os.cpu_count() or 1, progress=log)


GENERATORS: dict[str, Callable[[Path, Settings, Log], None]] = {"bank_simulation": _bank}
"""`generator` of a data set → writes a delivery of it."""


def delivery_digest(delivery: Delivery, forgotten: Forgotten | None = None) -> str:
    """16 hex digits of the delivered bytes, the data set's description, the code that reads it, and who is left out.

    Kernels, feature groups and labels read validated tables only, so they are not part of it.
    """
    sha = hashlib.sha256(delivery.dataset.in_full().encode())
    sha.update(code_digest(reading_code()).encode())
    for name in sorted(delivery.files):
        sha.update(f"{name} {file_digest(delivery.files[name])} ".encode())
    if forgotten is not None:
        sha.update(forgotten.digest.encode())
    return sha.hexdigest()[:16]


@dataclass(frozen=True)
class NightsDelivery:
    """The validated delivery of a night.

    Attributes:
        digest: that names it.
        folder: of its tables and its quarantine.
        files: that it was read from, by table.
        arrivals: rows of each arrival by table (`COUNTS_SCHEMA` and `arrived_on`), where deliveries add up.
        verdict: on the size of what arrived for the as-of date, where deliveries add up.
    """

    digest: str
    folder: Path
    files: dict[str, Path]
    arrivals: pl.DataFrame | None = None
    verdict: Verdict | None = None


def of_night(
    dataset: DatasetConfig, folder: Path | None, lake: Lake, as_of: date, log: Log, judge: Judge
) -> NightsDelivery:
    """Read what is delivered for an as-of date and validate it, unless that is done already.

    Args:
        folder: with the delivered tables; None where the data set names it.
        judge: of the size of an arrival, where deliveries add up.

    Raises:
        DeliveryError: it cannot be read.
    """
    if dataset.delivery == "append":
        return _added_up(dataset, folder, lake, as_of, log, judge)
    forgotten = Forgotten.read(Path(lake.root).parent)
    delivery = forgotten.leave_out(read_delivery(dataset, folder))
    digest = delivery_digest(delivery, forgotten)
    return NightsDelivery(digest, validated(delivery, digest, lake, log), delivery.files)


def _added_up(
    dataset: DatasetConfig, folder: Path | None, lake: Lake, as_of: date, log: Log, judge: Judge
) -> NightsDelivery:
    """What has arrived by an as-of date; of an arrival that was refused its quarantine, and no tables."""
    ledger = Ledger(lake, dataset)
    try:
        with extracts.inbox(dataset, folder, ledger, lake, as_of, log) as inbox:
            ledger.take_in(inbox, as_of, log, judge)
    except Refused as refused:
        place = lake.delivery(f"refused-{refused.digest}")
        keep_validated(refused.ingested, place, "" if refused.verdict else str(refused))
        verdict = replace(refused.verdict, refusal=str(refused)) if refused.verdict else None
        return NightsDelivery(place.name, place, {}, verdict=verdict)
    digest = ledger.digest(as_of)
    place = lake.delivery(digest)
    if _to_be_made(place, log):
        keep_validated(ledger.merged(as_of), place)
        ledger.forget_old_versions()
    ledger.close(as_of)
    return NightsDelivery(digest, place, ledger.files(as_of), ledger.counts(as_of), ledger.verdict(as_of))


def known_tables(settings: Settings, log: Log) -> Tables:
    """The validated tables of a deployment outside of a night: of its delivery, or of all that has arrived.

    Raises:
        DeliveryError: it cannot be read, or a table lost more rows than its limit allows; or nothing has arrived.
    """
    dataset = settings.load_dataset()
    if dataset.delivery == "append":
        return Ledger(Lake(root=str(Home(settings.home).lake)), dataset).merged(date.max).tables
    delivery = read_delivery(dataset, data_folder(settings, log))
    ingested = ingest(Forgotten.read(settings.home).leave_out(delivery))
    ingested.check_limits()
    return ingested.tables


def as_read(settings: Settings) -> tuple[DatasetConfig, str | None]:
    """The description of a deployment's data set as the newest night that read it found it, with the tasks that its
    tables cannot answer and how far its labels look ahead, and the as-of date of that night; as the file states it, and
    None, where no night has."""
    dataset, lake = settings.load_dataset(), Lake(root=str(Home(settings.home).lake))
    for file in sorted(lake.path("tables").glob("as_of=*/delivery.json"), reverse=True):
        kept = lake.delivery(json.loads(file.read_text(encoding="utf-8"))["digest"]) / DESCRIPTION
        if kept.exists():
            found = DatasetConfig.model_validate_json(kept.read_text(encoding="utf-8"))
            if found.name == dataset.name:
                spans = {name: getattr(found, name) for name in SPANS if name not in dataset.model_fields_set}
                read = dataset.switching_off(found.tasks_off).model_copy(update=spans)
                return read, file.parent.name.partition("=")[2]
    return dataset, None


def _to_be_made(folder: Path, log: Log) -> bool:
    """Whether a validated delivery is missing or not what was written; says so in the second case."""
    why = broken(folder)
    if why and folder.exists():
        log(f"{why}; the delivery is validated again")
    return bool(why)


def validated(delivery: Delivery, digest: str, lake: Lake, log: Log) -> Path:
    """The folder of the validated delivery: the one in the lake if it is whole, else validated now.

    Raises:
        DeliveryError: a column is missing or of a wrong type, a required table is empty, a file is damaged.
    """
    folder = lake.delivery(digest)
    if not _to_be_made(folder, log):
        return folder
    if not is_large(delivery, lake.at_a_time):
        keep_validated(ingest(delivery), folder)
        return folder
    log(f"the delivery is read {lake.at_a_time:,} customers at a time (customers_at_a_time)")
    with lake.spool() as spool:
        keep_validated(ingest_in_blocks(reader_of(delivery.dataset), delivery, lake.at_a_time, spool), folder)
    return folder


def keep_validated(ingested: Ingested[Tables] | Ingested[StoredTables], folder: Path, refused: str = "") -> None:
    """Write tables, quarantine and the verdict on its limits into a folder that appears whole or not at all.

    `refused`: the verdict, where it is known.
    """
    beside = empty_beside(folder)
    ingested.tables.save(beside)
    quarantine = beside / "quarantine"
    results = ingested.validated.values()
    rows = [result.quarantine for result in results]
    publish_frame(pl.concat(rows) if rows else pl.DataFrame(schema=QUARANTINE_SCHEMA), quarantine / "rows.parquet")
    counts = [
        {"table": result.table, "reason": c.reason, "action": c.action, "rows": c.rows, "first row": c.first}
        for result in results
        for c in result.counts
    ]
    publish_frame(pl.DataFrame(counts, schema=COUNTS_SCHEMA), quarantine / "counts.parquet")
    delivered = {result.table: result.delivered for result in results}
    over = refused or _over_limit(ingested)
    publish_json({"over_limit": over, "notes": ingested.notes, "delivered": delivered}, quarantine / VERDICT)
    seal(beside)
    publish_folder(beside, folder)


def _over_limit(ingested: Ingested[Tables] | Ingested[StoredTables]) -> str:
    """The tables that lost too many rows, in words; empty where none did."""
    try:
        ingested.check_limits()
    except DeliveryError as error:
        return str(error)
    return ""


def publish_quarantine(rows: pl.DataFrame, lake: Lake, as_of: str) -> None:
    """`quarantine/<table>/as_of=…`: rows of this delivery only; a table without any overwrites older rows as well."""
    stale = {folder.parent.name for folder in lake.path("quarantine").glob(f"*/as_of={as_of}")}
    for table in stale | set(rows["table"]):
        lake.published(f"quarantine/{table}").publish(rows.filter(pl.col("table") == table), as_of)
