"""Rows to train and validate on, held as tensors and cut into batches by index.

Sampling row by row in Python caps at some 15 thousand rows a second; a permutation and `index_select` on contiguous
tensors do not (PERFORMANCE §2). Daily sequences and histories rest in float16, half the memory; `Inputs.read` gives
float32.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import polars as pl
import torch
from torch import Tensor

from ple_model.config import TaskConfig
from ple_model.inputs import Inputs, Targets
from ple_model.tasks import kind_of
from ple_model.training.distributed import World

RESIDENT = 0.4
"""Share of a GPU's free memory that rows may take to rest there."""
LABEL, LABELLED = "label/", "labelled/"
"""Begin the names of labels and of their masks among a table's tensors."""
_FLOAT16_MAX = 65_504.0
_HALF = ("txn_seq", "session_seq", "brand_history")


class Rows(Protocol):
    """What a training reads its rows from: a `TensorTable`, or shards on disk (`ple_model.training.shards`)."""

    def __len__(self) -> int:
        """Rows of all processes together."""

    @property
    def targets(self) -> Targets:
        """Labels of all rows."""

    @property
    def waits(self) -> bool:
        """Whether a batch may have to wait for a disk, and is better fetched ahead."""

    @property
    def device(self) -> torch.device:
        """Where the rows rest."""

    def resident(self, device: torch.device) -> "Rows":
        """The rows on a GPU that has room for them; else the same."""

    def share(self, rows: Tensor, world: World) -> Tensor:
        """Of a batch's row indices those that this process takes."""

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Inputs, Targets]:
        """Rows of this process, by int64 index among all, on a device."""

    def digest(self) -> str:
        """SHA-256 of the content of all rows."""


@dataclass(frozen=True)
class TensorTable:
    """`inputs` and `targets` of the same R rows; daily sequences and histories are float16 where their values fit."""

    inputs: Inputs
    targets: Targets

    @classmethod
    def of(cls, inputs: Inputs, targets: Targets) -> "TensorTable":
        """A table that owns a compact form of `inputs`.

        Raises:
            ValueError: another number of rows in the targets than in the inputs.
        """
        for name, values in targets.values.items():
            if len(values) != len(inputs):
                raise ValueError(f"targets of {name} have {len(values)} rows, the inputs {len(inputs)}")
        sides = {name: _compact(values) if name in _HALF else values for name, values in inputs.sides.items()}
        return cls(replace(inputs, sides=sides), targets)

    @classmethod
    def concat(cls, parts: "Sequence[TensorTable]") -> "TensorTable":
        """The rows of all parts in order. All must hold the same tasks and the same inputs."""
        if not parts:
            raise ValueError("no parts to concatenate")
        return cls(_concat_inputs([part.inputs for part in parts]), _concat_targets([part.targets for part in parts]))

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, rows: Tensor) -> "TensorTable":
        """The rows of an index (int64) or of a mask (bool [R])."""
        index = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        return TensorTable(self.inputs.index(index), self.targets.index(index))

    @property
    def device(self) -> torch.device:
        """Where the rows rest."""
        return self.inputs.features.device

    @property
    def waits(self) -> bool:
        """No: the rows are in memory."""
        return False

    def resident(self, device: torch.device) -> "TensorTable":
        """The rows on a GPU that has room for them, so that no step waits for a copy; else the same table."""
        if not has_room(device, self.size):
            return self
        return TensorTable(self.inputs.to(device), self.targets.to(device))

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def share(self, rows: Tensor, world: World) -> Tensor:
        """Of a batch's row indices those that this process takes: every process holds all rows, so any will do."""
        return world.share(rows)

    def index(self, rows: Tensor) -> "TensorTable":
        """Rows by int64 index, where the table rests."""
        return TensorTable(self.inputs.index(rows), self.targets.index(rows))

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Inputs, Targets]:
        """Rows by int64 index on a device."""
        rows = rows.to(self.device)
        return self.inputs.index(rows).to(device), self.targets.index(rows).to(device)

    def digest(self) -> str:
        """SHA-256 over every tensor: two tables with one digest train the same model."""
        return digest_of_tensors(self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name of its own."""
        tensors = self.inputs.tensors()
        tensors |= {f"{LABEL}{name}": values for name, values in self.targets.values.items()}
        return tensors | {f"{LABELLED}{name}": mask for name, mask in self.targets.mask.items()}


def targets_of_tensors(tensors: Mapping[str, Tensor]) -> Targets:
    """The targets among the tensors of `TensorTable.tensors`."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    return Targets(under(LABEL), under(LABELLED))


def has_room(device: torch.device, size: int) -> bool:
    """Whether rows of so many bytes may rest on a GPU."""
    return device.type == "cuda" and size <= RESIDENT * torch.cuda.mem_get_info(device)[0]


def steps_in(rows: int, batch_size: int) -> int:
    """Steps of one epoch."""
    return -(-rows // batch_size)


def permuted_batches(rows: int, batch_size: int, seed: int, phase: int, epoch: int) -> Iterator[Tensor]:
    """Row indices, batch by batch, of one epoch: every row once, sizes that differ by at most one.

    The permutation follows from (seed, phase, epoch) alone, so a resumed run sees the rows in the same order.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "shuffle", phase, epoch))
    yield from torch.randperm(rows, generator=generator).tensor_split(steps_in(rows, batch_size))


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed for a named purpose, the same in every process."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(dtype=torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def targets_from_frame(labels: pl.DataFrame, tasks: Sequence[TaskConfig]) -> Targets:
    """Targets from a frame with one column a task; null (and for brands an empty list) is a masked label.

    Binary and regression columns become float32 [R] in the label's unit ([R, out] from lists where a regression has
    several outputs), multiclass class indices int64 [R], contrastive lists int64 [R, M] padded with −1, M the longest
    list.

    Raises:
        ValueError: a task without a column, a value that is not finite, a class index outside 0..out−1; with the task,
            the first offending values and what was expected.
    """
    if missing := [task.name for task in tasks if task.name not in labels.columns]:
        raise ValueError(f"labels have no column for {', '.join(missing)}; columns: {', '.join(labels.columns)}")
    values: dict[str, Tensor] = {}
    mask: dict[str, Tensor] = {}
    for task in tasks:
        found, given = kind_of(task).targets(task, labels[task.name])
        values[task.name], mask[task.name] = torch.from_numpy(found), torch.from_numpy(given)
    return Targets(values=values, mask=mask)


def _compact(values: Tensor) -> Tensor:
    """float16 where every value fits its range."""
    if values.dtype != torch.float32 or not values.numel():
        return values
    low, high = torch.aminmax(values)
    return values.half() if max(-low.item(), high.item()) <= _FLOAT16_MAX else values


def _concat_inputs(parts: Sequence[Inputs]) -> Inputs:
    tensors = [part.tensors() for part in parts]
    if any(part.keys() != tensors[0].keys() for part in tensors):
        raise ValueError("parts of one table must hold the same inputs")
    joined: dict[str, Tensor] = {}
    for name in tensors[0]:
        pieces = [part[name] for part in tensors]
        if len({piece.dtype for piece in pieces}) > 1:  # a part that does not fit float16
            pieces = [piece.float() for piece in pieces]
        joined[name] = torch.cat(pieces)
    return Inputs.of_tensors(joined)


def _concat_targets(parts: Sequence[Targets]) -> Targets:
    if any(part.values.keys() != parts[0].values.keys() for part in parts):
        raise ValueError("parts of one table must hold the same tasks")
    values = {}
    for name in parts[0].values:
        tensors = [part.values[name] for part in parts]
        if tensors[0].dtype == torch.int64 and tensors[0].ndim == 2:
            width = max(tensor.shape[1] for tensor in tensors)
            tensors = [torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]), value=-1) for tensor in tensors]
        values[name] = torch.cat(tensors)
    return Targets(values, {name: torch.cat([part.mask[name] for part in parts]) for name in parts[0].mask})
