"""The files of the studies under one folder, each under a digest of what decides its content.

    origins/<data set>-<origin>-<digest>/   the material, `judged/<role>…` of the rows to judge, `prepared.json` once
                                            all of it is there; `shared/<digest>/`, what several cells read
    cells/<digest>/                         `<role>.npz` predictions, `cell.json` once all of it is there, `work/` of a
                                            training that was interrupted

The digest of a cell leaves the code of the network out: `cell.json` names the code that computed it, and a cell of
other code counts as missing unless it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Arrays, Study, Trained, Variant
from pipeline.resources.files import publish_json
from ple_model.serving.files import publishing


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
    def prepared(self) -> bool:
        """Whether all of it is there."""
        return (self.folder / "prepared.json").is_file()

    def finish(self, about: Mapping[str, Any]) -> None:
        """Note that all of it is there."""
        publish_json(dict(about), self.folder / "prepared.json")

    def about(self) -> dict[str, Any]:
        """What `finish` noted: `tasks` (task → kind), `rows` (role → rows), `seconds`."""
        return json.loads((self.folder / "prepared.json").read_text())

    def judged(self, role: str) -> Path:
        """File of the rows of a role (`Judged`)."""
        return self.folder / "judged" / f"{role}.npz"

    def shared(self, what: Mapping[str, Any], code: str) -> Path:
        """Folder of what several cells read, named by what decides it and by the code that made it."""
        return self.folder / "shared" / digest_of({**what, "code": code})

    def extra(self, role: str, what: str) -> Path:
        """File of predictions that need no training: `own past`, `BG/NBD`, `oracle`; task → [labelled rows, …]."""
        return self.folder / "judged" / f"{role}-{re.sub('[^a-zA-Z]', '-', what)}.npz"


@dataclass(frozen=True)
class CellAbout:
    """What is known of a finished cell. predictions: digest of what its variant decides. best: epochs, in words.
    parameters: of its network."""

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
    parameters: int | None = None


@dataclass(frozen=True)
class CellFiles:
    """The result of one cell. code: digest of the code at hand."""

    folder: Path
    code: str

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
        return about is not None and (any_code or about.code == self.code)

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

    def origin(self, study: Study, origin: str) -> OriginFiles:
        """The material of an origin of a study."""
        content = digest_of(study.origin_content(self.root))
        return OriginFiles(self.root / "origins" / f"{study.data}-{origin}-{content}")

    def cell(self, study: Study, origin: str, variant: Variant, seed: int) -> CellFiles:
        """The result of a cell; cells of equal content in several studies are one."""
        content = {"origin": self.origin(study, origin).folder.name, **study.cell_content(variant, seed, self.root)}
        return CellFiles(self.root / "cells" / digest_of(content), study.code())


@dataclass(frozen=True)
class Cell:
    """One variant with one seed at one origin."""

    study: Study
    origin: str
    variant: Variant
    seed: int
    root: Path
    threads: int = 2

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.origin} · {self.variant.name} · seed {self.seed}"

    @property
    def files(self) -> CellFiles:
        """Its result."""
        return Store(self.root).cell(self.study, self.origin, self.variant, self.seed)

    @property
    def material(self) -> OriginFiles:
        """The material of its origin."""
        return Store(self.root).origin(self.study, self.origin)

    def about(self, trained: Trained, started: float) -> CellAbout:
        """What is known of it once it has ended, in the process that computed it; started: of `time.monotonic`."""
        own: Arrays = {}
        for role, arrays in trained.predictions.items():
            kept = {key: values for key, values in arrays.items() if key.split("|")[0] not in self.study.shared}
            own |= {f"{role}|{key}": values for key, values in (kept or arrays).items()}
        return CellAbout(
            self.study.name,
            self.origin,
            self.variant.name,
            self.seed,
            self.study.code(),
            digest_of_arrays(own),
            time.monotonic() - started,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            trained.speed,
            trained.best,
            trained.parameters,
        )


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


def digest_of(content: Mapping[str, Any]) -> str:
    """12 hex digits of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
