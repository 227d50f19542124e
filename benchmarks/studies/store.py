"""The files of the studies under one folder, each under a digest of what decides its content.

    origins/<data set>-<as-of date>-<digest>/   a training's workspace, `judged/<role>…` of the rows to judge,
                                                `prepared.json` once all of it is there; `shared/<digest>/`, choices of
                                                columns and trees that several cells read
    cells/<digest>/                             `<role>.npz` predictions, `cell.json` once all of it is there,
                                                `work/` of a training that was interrupted

The digest of a cell leaves the code of the network out: `cell.json` names the code that computed it, and a cell of
other code counts as missing unless it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import feature_assets
import pipeline
import ple_model
from benchmarks.studies.study import Study, Variant
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import DESCRIPTION
from feature_assets.sources import read_delivery
from pipeline.intake import deliveries
from pipeline.resources.digests import code_digest
from pipeline.resources.files import publish_bytes, publish_json
from pipeline.settings import Settings
from pipeline.training import trees
from pipeline.training.material import NOT_CONTENT
from pipeline.training.workspace import Workspace
from ple_model.serving.files import publishing

MODEL_SETTINGS = (
    *("preset", "losses", "network", "training", "columns", "column_budget"),
    *("boosting", "tuned_trees", "blend", "refit", "row_spacing_days"),
)
"""Settings that decide nothing about an origin's material."""
JUDGING = (
    *("bootstrap", "breakdown", "classes", "compare", "intervals", "pooled", "ranking", "reliability", "selective"),
    *("totals", "values", "verdict"),
)
"""Modules of `ple_model.evaluation` that judge predictions and make none."""


@dataclass(frozen=True)
class Judged:
    """Rows of a role: customer and as-of date of each row, and by task the labels and the mask."""

    customers: NDArray[np.str_]
    days: NDArray[np.str_]
    labels: dict[str, NDArray]
    mask: dict[str, NDArray[np.bool_]]

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        arrays = {f"labels|{task}": values for task, values in self.labels.items()}
        arrays |= {f"mask|{task}": values for task, values in self.mask.items()}
        save_arrays(file, {"customers": self.customers, "days": self.days, **arrays})

    @classmethod
    def load(cls, file: Path) -> Judged:
        """What `save` wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
        parts = {
            part: {key.split("|")[1]: v for key, v in found.items() if key.startswith(f"{part}|")}
            for part in ("labels", "mask")
        }
        return cls(found["customers"], found["days"], parts["labels"], parts["mask"])


@dataclass(frozen=True)
class OriginFiles:
    """The material of an origin."""

    folder: Path

    @property
    def workspace(self) -> Workspace:
        """State, snapshots and labels."""
        return Workspace(self.folder)

    @property
    def prepared(self) -> bool:
        """Whether all of it is there."""
        return (self.folder / "prepared.json").is_file()

    def finish(self, about: Mapping[str, Any]) -> None:
        """Note that all of it is there."""
        publish_json(dict(about), self.folder / "prepared.json")

    def about(self) -> dict[str, Any]:
        """What `finish` noted: `tasks` (task → kind), `rows` (role → rows), `seconds`."""
        return json.loads((self.folder / "prepared.json").read_text())

    def describe(self, dataset: DatasetConfig) -> None:
        """Keep the description of the data set as its tables made it: tasks that they cannot answer are off."""
        publish_bytes(dataset.model_dump_json(indent=1).encode(), self.folder / DESCRIPTION)

    def dataset(self) -> DatasetConfig:
        """What `describe` kept."""
        return DatasetConfig(**json.loads((self.folder / DESCRIPTION).read_text(encoding="utf-8")))

    def judged(self, role: str) -> Path:
        """File of the rows of a role (`Judged`)."""
        return self.folder / "judged" / f"{role}.npz"

    def shared(self, what: Mapping[str, Any]) -> Path:
        """Folder of what several cells read, named by what decides it beside the code."""
        return self.folder / "shared" / _digest({**what, "code": model_code()})

    def extra(self, role: str, what: str) -> Path:
        """File of predictions that need no training: `own past`, `BG/NBD`, `oracle`; task → [labelled rows, …]."""
        return self.folder / "judged" / f"{role}-{re.sub('[^a-zA-Z]', '-', what)}.npz"


@dataclass(frozen=True)
class CellAbout:
    """What is known of a finished cell. predictions: digest of what its variant decides. best: epochs, in words."""

    study: str
    origin: str
    variant: str
    seed: int
    code: str
    predictions: str
    seconds: float
    peak_gib: float
    rows_per_second: float | None = None
    best: str = ""


@dataclass(frozen=True)
class CellFiles:
    """The result of one cell."""

    folder: Path

    @property
    def work(self) -> Path:
        """Workspace of its training, deleted once it has ended."""
        return self.folder / "work"

    def about(self) -> CellAbout | None:
        """None where the cell is not finished."""
        file = self.folder / "cell.json"
        return CellAbout(**json.loads(file.read_text())) if file.is_file() else None

    def done(self, any_code: bool = False) -> bool:
        """Whether it is finished, by the code at hand or by any."""
        about = self.about()
        return about is not None and (any_code or about.code == model_code())

    def save(self, role: str, arrays: Mapping[str, NDArray]) -> None:
        """Predictions of the labelled rows of a role: `<source>|<task>`; of what a version publishes beside them `|u`,
        `|fallback`, and `|held`, whether its interval or set holds the label."""
        save_arrays(self.folder / f"{role}.npz", arrays)

    def load(self, role: str) -> dict[str, NDArray]:
        """What `save` wrote."""
        return load_arrays(self.folder / f"{role}.npz")

    def finish(self, about: CellAbout) -> None:
        """Note that the cell is finished."""
        publish_json(asdict(about), self.folder / "cell.json")


@dataclass(frozen=True)
class Store:
    """All files under one folder."""

    root: Path

    def origin(self, study: Study, as_of: str) -> OriginFiles:
        """The material of an origin of a study."""
        settings = study.origin_settings(self.root)
        content = {
            "settings": _content(settings, *MODEL_SETTINGS),
            "later weeks": study.later_weeks,
            "oracle": study.oracle,
            "code": material_code(),
            **({"data": data_digest(study.dataset_file)} if study.dataset_file else {}),
        }
        return OriginFiles(self.root / "origins" / f"{settings.dataset_name}-{as_of}-{_digest(content)}")

    def cell(self, study: Study, as_of: str, variant: Variant, seed: int) -> CellFiles:
        """The result of a cell; cells of equal content in several studies are one."""
        settings = study.settings_of(variant, seed, self.root)
        content = {
            "origin": self.origin(study, as_of).folder.name,
            "settings": _content(settings),
            "run": variant.run,
            "stopping": variant.stopping,
            **({"peer": variant.peer} if variant.peer else {}),
            **({"searched": trees.budget_of(settings).to_dict()} if study.dataset_file else {}),
        }
        return CellFiles(self.root / "cells" / _digest(content))


@cache
def data_digest(description: Path) -> str:
    """Digest of a description of somebody's own and of the files that it reads; computed once a process."""
    dataset = load_dataset(description.stem, description.parent)
    return deliveries.delivery_digest(read_delivery(dataset))


def material_code() -> str:
    """Digest of the code that decides an origin's material."""
    features = Path(feature_assets.__path__[0])
    training = Path(pipeline.__path__[0]) / "training"
    own = [training / f"{name}.py" for name in ("fitting", "material", "training_set")]
    return code_digest([*features.rglob("*.py"), *own, Path(__file__).with_name("origin.py")])[:16]


def model_code() -> str:
    """Digest of the code that decides a cell's predictions, beside that of its material."""
    models, training = Path(ple_model.__path__[0]), Path(pipeline.__path__[0]) / "training"
    left_out = {models / "evaluation" / f"{name}.py" for name in JUDGING}
    left_out |= set((models / "interpretation").rglob("*.py")) | set((models / "baselines").rglob("*.py"))
    own = [*(training / f"{name}.py" for name in ("columns", "evaluation", "model", "refit", "trees"))]
    own += [*(models.parent / "pipeline" / f"{name}.py" for name in ("presets", "settings"))]
    own += [*(models.parent / "data" / "trees").glob("*.yaml"), Path(__file__).with_name("cell.py")]
    return code_digest([*(file for file in models.rglob("*.py") if file not in left_out), *own])[:16]


def save_arrays(file: Path, arrays: Mapping[str, NDArray]) -> None:
    """Arrays by name as one npz, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with publishing(file) as beside, beside.open("wb") as stream:
        np.savez(stream, **arrays)


def load_arrays(file: Path) -> dict[str, NDArray]:
    """What `save_arrays` wrote."""
    with np.load(file, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def digest_of_arrays(arrays: Mapping[str, NDArray]) -> str:
    """16 hex digits of names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        sha.update(f"{name}|{values.dtype}|{values.shape}|".encode() + values.tobytes())
    return sha.hexdigest()[:16]


def _content(settings: Settings, *but: str) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=NOT_CONTENT | {"bootstrap_resamples", "importance_rows", *but})


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
