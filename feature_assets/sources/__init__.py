"""Named sources: how each delivers its tables and how these map to the contract.

Here belong readers and declarations of delivered tables. Contract schemas belong to `contract.py`.
"""

from __future__ import annotations

from pathlib import Path

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.sources import completejourney
from feature_assets.sources import contract_files as bank_simulation
from feature_assets.sources.delivery import Delivery, Ingested

__all__ = ["Delivery", "Ingested", "ingest", "load_tables", "read_delivery"]

_SOURCES = {"completejourney": completejourney, "bank_simulation": bank_simulation}


def read_delivery(dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
    """Open a delivery: the source's own files, or the files in `data_dir`.

    Raises:
        DeliveryError: a required file is missing or a file is not Parquet.
    """
    return _SOURCES[dataset.source].read(dataset, data_dir)


def ingest(delivery: Delivery) -> Ingested:
    """Validate the delivered tables and map the good rows to contract tables. Bad rows are set aside, never raised.

    Raises:
        DeliveryError: a column is missing or of a wrong type, a required table is empty, a file is damaged.
    """
    return _SOURCES[delivery.dataset.source].ingest(delivery)


def load_tables(dataset: DatasetConfig, data_dir: Path | None = None) -> Tables:
    """Read, validate and map a delivery in one step.

    Raises:
        DeliveryError: as `read_delivery` and `ingest`; or a table lost more rows than its limit allows.
    """
    ingested = ingest(read_delivery(dataset, data_dir))
    ingested.check_limits()
    return ingested.tables
