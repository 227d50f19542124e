"""Sources: how a delivery is opened, read and mapped to the contract tables.

Here belong readers and the declarations of the tables that a named source delivers. The contract tables belong to
`data/contract.py`. Source: DATA §1, §4.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

import feature_assets
from feature_assets.closed import nearest
from feature_assets.data.dataset import OWN_FILES, DatasetConfig
from feature_assets.data.tables import CUSTOMERS, Tables
from feature_assets.sources.blocks import ingest_in_blocks
from feature_assets.sources.completejourney import CompleteJourney
from feature_assets.sources.contract_files import ContractFiles
from feature_assets.sources.delivery import Delivery, Ingested
from feature_assets.sources.own import OwnFiles
from feature_assets.sources.reader import Reader

__all__ = [
    "READERS",
    "Delivery",
    "Ingested",
    "Reader",
    "customers_of",
    "events_of",
    "ingest",
    "ingest_in_blocks",
    "is_large",
    "load_tables",
    "read_delivery",
    "reader_of",
    "reading_code",
]

READERS: dict[str, Reader] = {
    "contract_files": ContractFiles(),
    OWN_FILES: OwnFiles(),
    "completejourney": CompleteJourney(),
}
"""`source` of a data set → how its deliveries are read."""


def reader_of(dataset: DatasetConfig) -> Reader:
    """The reader of a data set.

    Raises:
        ValueError: the data set names a reader that does not exist.
    """
    if dataset.source not in READERS:
        hint = nearest(dataset.source, READERS)
        raise ValueError(f"{dataset.name}.yaml: source: there is no reader {dataset.source!r}; {hint}")
    return READERS[dataset.source]


def read_delivery(dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
    """Open a delivery: the files in `data_dir`, or those that the data set brings itself.

    Raises:
        DeliveryError: a required file is missing or a file is not Parquet.
        ValueError: the data set names a reader that does not exist.
    """
    return reader_of(dataset).read(dataset, data_dir)


def ingest(delivery: Delivery) -> Ingested:
    """Validate the delivered tables and map the good rows to contract tables. Bad rows are set aside, never raised.

    Raises:
        DeliveryError: a column is missing or of a wrong type, a required table is empty, a file is damaged.
    """
    return reader_of(delivery.dataset).ingest(delivery)


def customers_of(delivery: Delivery) -> int | None:
    """Rows of the delivered table of customers; None where there is none, or where counting them reads all files."""
    return _rows_of(CUSTOMERS, delivery)


def events_of(delivery: Delivery) -> int | None:
    """Rows of the delivered table of transactions; None as for `customers_of`."""
    return _rows_of("transactions", delivery)


def _rows_of(table: str, delivery: Delivery) -> int | None:
    if not reader_of(delivery.dataset).in_blocks or table not in delivery.frames:
        return None
    return int(delivery.frames[table].select(pl.len()).collect().item())


def is_large(delivery: Delivery, at_a_time: int) -> bool:
    """Whether a delivery has more than so many customers, and can be read in blocks of them (`ingest_in_blocks`)."""
    return (customers_of(delivery) or 0) > at_a_time


def load_tables(dataset: DatasetConfig, data_dir: Path | None = None) -> Tables:
    """Read, validate and map a full delivery in one step.

    Raises:
        DeliveryError: as `read_delivery` and `ingest`; or a table lost more rows than its limit allows.
        ValueError: deliveries of the data set add up, so that one of them is not its tables.
    """
    if dataset.delivery != "full":
        raise ValueError(f"{dataset.name}: deliveries add up; its tables are in the home that takes them in")
    ingested = ingest(read_delivery(dataset, data_dir))
    ingested.check_limits()
    return ingested.tables


def reading_code() -> list[Path]:
    """The source files that decide what is read from a delivery, sorted: a change in one of them makes a validated
    delivery out of date. Groups, labels, kernels and the simulation are not among them."""
    package = Path(feature_assets.__file__).parent
    folders = (package / "data", package / "sources")
    return sorted(
        [
            package / "closed.py",
            package / "yaml_file.py",
            *(file for folder in folders for file in folder.rglob("*.py")),
        ]
    )
