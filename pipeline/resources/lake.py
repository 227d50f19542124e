"""The lake: Parquet under `$PLE_HOME/lake`, one folder an as-of date, each file published whole by rename."""

import json
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster import UPathIOManager
from upath import UPath

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from pipeline.resources.digests import broken
from pipeline.resources.files import publish_frame

Context = dg.InputContext | dg.OutputContext


class _PartitionedParquet(UPathIOManager):
    extension = ".parquet"

    def get_path_for_partition(self, context: Context, path: UPath, partition: str) -> UPath:  # noqa: ARG002 (Dagster's)
        """The folder name carries the partition key in the way Hive, polars and DuckDB read."""
        return path / f"as_of={partition}" / "part-0"

    def make_directory(self, path: UPath) -> None:
        """`publish_frame` creates the folders."""

    def dump_to_path(self, context: dg.OutputContext, obj: pl.DataFrame, path: UPath) -> None:
        """Publish a frame; its size goes into the metadata."""
        publish_frame(obj, Path(str(path)))
        size = Path(str(path)).stat().st_size / 2**20
        context.add_output_metadata({"size (MiB)": round(size, 2)})

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:  # noqa: ARG002 (Dagster's)
        """Read a frame whole."""
        return pl.read_parquet(str(path), hive_partitioning=False)


class ParquetIOManager(dg.ConfigurableIOManagerFactory[_PartitionedParquet]):
    """Frames of assets: `<lake>/<asset key>/as_of=<partition>/part-0.parquet`, published by rename."""

    root: str

    def create_io_manager(self, context: dg.InitResourceContext) -> _PartitionedParquet:  # noqa: ARG002 (Dagster's)
        """The manager of the lake under `root`."""
        return _PartitionedParquet(base_path=UPath(self.root))


class Lake(dg.ConfigurableResource):
    """Paths of the lake, and the validated tables behind an as-of date."""

    root: str

    def path(self, *parts: str) -> Path:
        """A path inside the lake."""
        return Path(self.root, *parts)

    def partition(self, asset: str, as_of: str) -> Path:
        """The folder of one partition of an asset."""
        return self.path(asset, f"as_of={as_of}")

    def training(self, as_of: str) -> Path:
        """Working folder of the training of one as-of date: state, snapshots, labels, checkpoints, bundle."""
        return self.partition("training", as_of)

    def read_json(self, file: Path) -> Any:
        """A JSON document of the lake. Raises `dg.Failure` where it is missing."""
        if not file.exists():
            raise dg.Failure(f"{file} is not there: materialise the assets upstream first", allow_retries=False)
        return json.loads(file.read_text())

    def delivery(self, digest: str) -> Path:
        """Folder of the validated tables of one delivery, named by its digest."""
        return self.path("deliveries", digest)

    def delivery_of(self, as_of: str) -> dict[str, Any]:
        """Digest and files of the delivery behind an as-of date."""
        return self.read_json(self.partition("tables", as_of) / "delivery.json")

    def tables_of(self, digest: str) -> Tables:
        """The validated tables of one delivery (shared between the steps of a process)."""
        return _load_tables(self.delivery(digest))

    def tables(self, as_of: str) -> Tables:
        """The validated tables behind an as-of date (shared between the steps of a process)."""
        return _load_tables(self._delivered(as_of))

    def view(self, as_of: str) -> View:
        """The view of an as-of date (shared between the steps of a process)."""
        return _view(self._delivered(as_of), date.fromisoformat(as_of))

    def _delivered(self, as_of: str) -> Path:
        folder = self.delivery(self.delivery_of(as_of)["digest"])
        if not folder.exists():
            raise dg.Failure(
                f"the delivery behind as-of {as_of} is no longer in the lake: materialise the ingestion assets again",
                allow_retries=False,
            )
        return folder


@lru_cache(maxsize=1)
def _load_tables(folder: Path) -> Tables:
    why = broken(folder)
    if why:
        raise dg.Failure(f"{why}: materialise the ingestion assets again", allow_retries=False)
    return Tables.load(folder)


@lru_cache(maxsize=1)
def _view(folder: Path, as_of: date) -> View:
    return View(_load_tables(folder), as_of)
