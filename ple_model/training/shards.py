"""Rows on disk, in Arrow files that processes map into memory; each process reads a range of rows of its own.

A shard is an Arrow IPC file of one record batch, not compressed, so that a mapped file is an array as it stands. All
tensors of a type lie side by side in one column, a list of fixed size (inputs and labels apart): a row is a stretch of
bytes in each of few columns, and a batch touches few pages. `rows.json` says which values of a column are which tensor.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ple_model.inputs import Inputs, Targets
from ple_model.serving.files import publish, sha256_of_file
from ple_model.training.data import LABEL, LABELLED, TensorTable, has_room, targets_of_tensors
from ple_model.training.distributed import World

ROWS_PER_SHARD = 8_192
_INDEX = "rows.json"
_LABELS = "labels_"
"""Begins the names of the columns that hold labels and their masks."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its column, its first value in a row of it, the shape of a row."""

    column: str
    at: int
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Values of a row."""
        return math.prod(self.shape)


def write_shards(table: TensorTable, folder: Path, rows: int = ROWS_PER_SHARD) -> None:
    """Write a table as shards of so many rows into a new folder.

    Raises:
        ValueError: a table without rows.
    """
    if not len(table):
        raise ValueError("a table without rows has no shards")
    folder.mkdir(parents=True)
    tensors, places, shards = table.tensors(), _places(table), []
    for number, part in enumerate(torch.arange(len(table)).split(rows)):
        file = folder / f"rows-{number:05d}.arrow"
        _write(file, {name: tensor.index_select(0, part) for name, tensor in tensors.items()}, places)
        shards.append({"file": file.name, "rows": len(part), "sha256": sha256_of_file(file)})
    described = {name: {"column": p.column, "at": p.at, "shape": p.shape} for name, p in places.items()}
    index = {"rows": len(table), "digest": table.digest(), "shards": shards, "tensors": described}
    publish(folder / _INDEX, json.dumps(index, indent=1).encode())


class ShardedRows:
    """The rows of a folder of shards that one process of a group reads.

    A process owns the rows from R·rank/size on, up to those of the next: of each batch it takes those that it owns, so
    shares differ in size, and their gradients add up to that of the whole batch.
    """

    def __init__(
        self, folder: Path, index: Mapping[str, Any], first: int, sizes: Sequence[int], columns: dict[str, list[Tensor]]
    ) -> None:
        self.folder, self.index, self.columns = folder, index, columns
        self.first, self.last = first, first + sum(sizes)
        self.ends = torch.tensor(sizes).cumsum(0)
        self.places = _described(index)

    @classmethod
    def open(cls, folder: Path, world: World) -> ShardedRows:
        """The share of a process of this group.

        Raises:
            ValueError: fewer rows than processes, or a shard that is not what was written.
        """
        index = json.loads((folder / _INDEX).read_text())
        first, last = (index["rows"] * rank // world.size for rank in (world.rank, world.rank + 1))
        if first == last:
            raise ValueError(f"{folder} has {index['rows']} rows for {world.size} processes")
        sizes, columns, start = [], dict[str, list[Tensor]](), 0
        for shard in index["shards"]:
            low, high = max(first - start, 0), min(last - start, shard["rows"])
            start += shard["rows"]
            if low >= high:
                continue
            file = folder / shard["file"]
            if sha256_of_file(file) != shard["sha256"]:
                raise ValueError(f"{file} is not what was written")
            sizes.append(high - low)
            for name, values in _mapped(file).items():
                columns.setdefault(name, []).append(values[low:high])
        return cls(folder, index, first, sizes, columns)

    def __len__(self) -> int:
        return int(self.index["rows"])

    @property
    def targets(self) -> Targets:
        """Labels of all rows, those of other processes too; read for the call and not kept."""
        files = [self.folder / shard["file"] for shard in self.index["shards"]]
        mapped = [_mapped(file) for file in files]
        names = {place.column for place in self.places.values() if place.column.startswith(_LABELS)}
        return targets_of_tensors(self._tensors({name: torch.cat([m[name] for m in mapped]) for name in names}))

    @property
    def device(self) -> torch.device:
        """Where the rows rest."""
        return next(iter(self.columns.values()))[0].device

    @property
    def waits(self) -> bool:
        """Whether they rest on a disk."""
        return self.device.type == "cpu"

    @property
    def size(self) -> int:
        """Bytes of the own rows."""
        return sum(part.nbytes for parts in self.columns.values() for part in parts)

    def resident(self, device: torch.device) -> ShardedRows:
        """The own rows on a GPU that has room for them; else the same."""
        if not has_room(device, self.size):
            return self
        columns = {name: [torch.cat(parts).to(device)] for name, parts in self.columns.items()}
        return ShardedRows(self.folder, self.index, self.first, [self.last - self.first], columns)

    def share(self, rows: Tensor, world: World) -> Tensor:  # noqa: ARG002
        """Of a batch's row indices the own ones."""
        return rows[(rows >= self.first) & (rows < self.last)]

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Inputs, Targets]:
        """Own rows, by int64 index among all, on a device.

        Raises:
            IndexError: a row of another process.
        """
        at = rows - self.first
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < self.last - self.first:
            raise IndexError(f"this process has rows {self.first} to {self.last - 1} only")
        part = torch.bucketize(at, self.ends, right=True)
        at = at - torch.cat([self.ends.new_zeros(1), self.ends])[part]
        columns = {name: _gather(parts, part, at, device) for name, parts in self.columns.items()}
        tensors = self._tensors({name: values.to(device, non_blocking=True) for name, values in columns.items()})
        return Inputs.of_tensors(tensors), targets_of_tensors(tensors)

    def digest(self) -> str:
        """That of the table that was written."""
        return str(self.index["digest"])

    def _tensors(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors in these columns, each in one piece."""
        found = {}
        for name, place in self.places.items():
            if place.column in columns:
                values = columns[place.column][:, place.at : place.at + place.width]
                found[name] = values.reshape(len(values), *place.shape).contiguous()
        return found


def _places(table: TensorTable) -> dict[str, Place]:
    widths: dict[str, int] = {}
    places = {}
    for name, tensor in table.tensors().items():
        kind = _LABELS if name.startswith((LABEL, LABELLED)) else "inputs_"
        column = kind + str(tensor.dtype).removeprefix("torch.")
        places[name] = Place(column, widths.get(column, 0), tuple(tensor.shape[1:]))
        widths[column] = places[name].at + places[name].width
    return places


def _described(index: Mapping[str, Any]) -> dict[str, Place]:
    return {name: Place(p["column"], p["at"], tuple(p["shape"])) for name, p in index["tensors"].items()}


def _write(file: Path, tensors: Mapping[str, Tensor], places: Mapping[str, Place]) -> None:
    arrays = {}
    for column in sorted({place.column for place in places.values()}):
        own = [
            tensors[name].flatten(1) if tensors[name].ndim > 1 else tensors[name].unsqueeze(1)
            for name, place in places.items()
            if place.column == column
        ]
        values = torch.cat(own, dim=1).contiguous()
        flat = values.view(torch.uint8) if values.dtype == torch.bool else values  # Arrow packs bools into bits
        arrays[column] = pa.FixedSizeListArray.from_arrays(pa.array(flat.flatten().numpy()), values.shape[1])
    batch = pa.record_batch(arrays)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _mapped(file: Path) -> dict[str, Tensor]:
    """The columns of a shard, each [rows, width], in the mapped file; they may only be read."""
    batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
    found = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = np.frombuffer(column.values.buffers()[1], name.rpartition("_")[2], len(column.values))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            found[name] = torch.from_numpy(values).view(len(column), -1)
    return found


def _gather(parts: Sequence[Tensor], part: Tensor, at: Tensor, device: torch.device) -> Tensor:
    """Rows [b, width] by part and position in it; in pinned memory where they go on to a GPU."""
    source = parts[0].device
    found = torch.empty(
        (len(at), parts[0].shape[1]),
        dtype=parts[0].dtype,
        device=source,
        pin_memory=source.type == "cpu" and device.type == "cuda",
    )
    for number in part.unique().tolist():
        here = (part == number).nonzero().squeeze(1)
        found[here.to(source)] = parts[number].index_select(0, at[here].to(source))
    return found
