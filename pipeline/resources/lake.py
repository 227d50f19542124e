"""The lake: published tables, validated deliveries and the material of trainings, under `$PLE_HOME/lake`."""

import json
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from feature_assets.data.tables import Tables
from pipeline.resources.blocks import AT_A_TIME, Rows, Views, refuse_altered, spool, stored_tables
from pipeline.resources.publication import PublicationError, Published, tables
from pipeline.steps import tried_again

DRIFT_REFERENCES = "drift_references"
"""References of drift (`pipeline.monitoring.reference`) of versions whose bundle has none."""


class ParquetIOManager(dg.ConfigurableIOManager):
    """Frames of assets partitioned by as-of date: `<lake>/<asset key>/as_of=<partition>` (`Published`)."""

    root: str

    def handle_output(self, context: dg.OutputContext, obj: Rows) -> None:
        """Publish a frame; its path and size go into the metadata."""
        with tried_again(context.step_context.previous_attempt_count):
            table = self._table(context.asset_key)
            file = table.publish(obj, context.asset_partition_key)
        size = round(file.stat().st_size / 2**20, 2)
        context.add_output_metadata({"path": dg.MetadataValue.path(str(table.address(file))), "size (MiB)": size})

    def load_input(self, context: dg.InputContext) -> Rows:
        """The frame of a date: whole, or to be read in parts where the input is a `pl.LazyFrame`. Raises `dg.Failure`
        where it is not there or was altered."""
        table, as_of = self._table(context.asset_key), context.asset_partition_key
        try:
            return table.scan(as_of) if context.dagster_type.typing_type is pl.LazyFrame else table.read(as_of)
        except PublicationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    def _table(self, key: dg.AssetKey) -> Published:
        return Published(Path(self.root), "/".join(key.path))


class Lake(dg.ConfigurableResource):
    """Paths of the lake, and the validated tables behind an as-of date.

    Attributes:
        at_a_time: customers whose data are in memory together, where a step computes in blocks.
    """

    root: str
    at_a_time: int = AT_A_TIME

    def path(self, *parts: str) -> Path:
        """A path inside the lake. Raises `dg.Failure` where a part, such as a digest in an altered file, leads out."""
        if not all(part and Path(part).name == part and part != ".." for part in parts):
            raise dg.Failure(f"{'/'.join(parts)!r} is no path inside the lake", allow_retries=False)
        return Path(self.root, *parts)

    def published(self, table: str) -> Published:
        """A table that readers see, such as `scores` or `features/matrix`."""
        return Published(Path(self.root), table)

    def published_tables(self) -> list[str]:
        """Names of the tables that readers see."""
        return tables(Path(self.root))

    def partition(self, asset: str, as_of: str) -> Path:
        """The folder of one partition of an asset."""
        return self.path(asset, f"as_of={as_of}")

    def training(self, as_of: str) -> Path:
        """Working folder of the training of one as-of date: state, snapshots, labels, checkpoints, bundle."""
        return self.partition("training", as_of)

    def read_json(self, file: Path) -> Any:
        """A JSON document of the lake. Raises `dg.Failure` where it is missing or was altered."""
        if not file.exists():
            raise dg.Failure(f"{file} is not there: materialise the assets upstream first", allow_retries=False)
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            why = f"{file} was altered: materialise the assets upstream again"
            raise dg.Failure(why, allow_retries=False) from error

    def delivery(self, digest: str) -> Path:
        """Folder of the validated tables of one delivery, named by its digest."""
        return self.path("deliveries", digest)

    def delivery_of(self, as_of: str) -> dict[str, Any]:
        """Digest and files of the delivery behind an as-of date."""
        return self.read_json(self.partition("tables", as_of) / "delivery.json")

    def scans(self, digest: str) -> dict[str, pl.LazyFrame]:
        """The contract tables of one validated delivery, of which only what is asked for is read."""
        refuse_altered(self.delivery(digest))
        return {file.stem: pl.scan_parquet(file) for file in sorted(self.delivery(digest).glob("*.parquet"))}

    def tables(self, as_of: str) -> Tables:
        """The validated tables behind an as-of date, of a sample of about `at_a_time` customers where there are more:
        what a training learns from (shared between the steps of a process)."""
        return stored_tables(self.delivered(as_of), self.at_a_time)

    def views(self, as_of: str) -> Views:
        """The view of an as-of date, a block of customers at a time."""
        return Views(self.delivered(as_of), date.fromisoformat(as_of), self.at_a_time)

    def spool(self) -> AbstractContextManager[Path]:
        """A folder for the time of a step."""
        return spool(Path(self.root))

    def delivered(self, as_of: str) -> Path:
        """Folder of the validated tables behind an as-of date, not verified. Raises `dg.Failure` where it is gone."""
        folder = self.delivery(self.delivery_of(as_of)["digest"])
        if not folder.exists():
            raise dg.Failure(
                f"the delivery behind as-of {as_of} is no longer in the lake: materialise the ingestion assets again",
                allow_retries=False,
            )
        return folder
