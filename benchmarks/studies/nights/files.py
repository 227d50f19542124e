"""The material of a night's origin."""

from __future__ import annotations

import json
from typing import Self

from benchmarks.studies.store import OriginFiles
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import DESCRIPTION
from pipeline.resources.files import publish_bytes
from pipeline.training.workspace import Workspace


class NightFiles(OriginFiles):
    """An origin whose folder is a training's workspace."""

    @classmethod
    def of(cls, files: OriginFiles) -> Self:
        """The same folder."""
        return cls(files.folder)

    @property
    def workspace(self) -> Workspace:
        """State, snapshots and labels."""
        return Workspace(self.folder)

    def describe(self, dataset: DatasetConfig) -> None:
        """Keep the description of the data set as its tables made it: tasks that they cannot answer are off."""
        publish_bytes(dataset.model_dump_json(indent=1).encode(), self.folder / DESCRIPTION)

    def dataset(self) -> DatasetConfig:
        """What `describe` kept."""
        return DatasetConfig(**json.loads((self.folder / DESCRIPTION).read_text(encoding="utf-8")))
