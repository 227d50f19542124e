"""Rows to train and validate on, held as tensors and cut into batches by index.

Sampling row by row in Python caps at some 15 thousand rows a second; a permutation and `index_select` on contiguous
tensors do not (PERFORMANCE §2). Daily sequences rest in float16, half the memory; `Inputs.read` gives float32.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ple_model.config import TaskConfig
from ple_model.inputs import Inputs, Targets
from ple_model.serving.files import digest_of_tensors

_FLOAT16_MAX = 65_504.0
_HALF = ("txn_seq", "session_seq")


@dataclass(frozen=True)
class TensorTable:
    """`inputs` and `targets` of the same R rows; daily sequences are float16 where their values fit."""

    inputs: Inputs
    targets: Targets

    @classmethod
    def of(cls, inputs: Inputs, targets: Targets) -> "TensorTable":
        """A table that owns a compact form of `inputs`.

        Raises
            ValueError: another number of rows in the targets than in the inputs.
        """
        for name, values in targets.values.items():
            if len(values) != len(inputs):
                raise ValueError(f"targets of {name} have {len(values)} rows, the inputs {len(inputs)}")
        sides = {name: _compact(values) if name in _HALF else values for name, values in inputs.sides.items()}
        return cls(replace(inputs, sides=sides), targets)

    @classmethod
    def concat(cls, parts: "Sequence[TensorTable]") -> "TensorTable":
        """The rows of all parts in their order. All must hold the same tasks and the same inputs."""
        if not parts:
            raise ValueError("no parts to put together")
        return cls(_concat_inputs([part.inputs for part in parts]), _concat_targets([part.targets for part in parts]))

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, rows: Tensor) -> "TensorTable":
        """The rows of an index (int64) or of a mask (bool [R])."""
        index = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        return TensorTable(self.inputs.index(index), self.targets.index(index))

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Inputs, Targets]:
        """Rows by int64 index on a device."""
        return self.inputs.index(rows).to(device), self.targets.index(rows).to(device)

    def digest(self) -> str:
        """SHA-256 over every tensor: two tables with one digest train the same model."""
        tensors = self.inputs.tensors()
        tensors |= {f"label/{name}": values for name, values in self.targets.values.items()}
        tensors |= {f"labelled/{name}": mask for name, mask in self.targets.mask.items()}
        return digest_of_tensors(tensors)


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


def targets_from_frame(labels: pl.DataFrame, tasks: Sequence[TaskConfig]) -> Targets:
    """Targets from a frame with one column a task; null (and for brands an empty list) is a masked label.

    Binary and regression columns become float32 [R] in the label's unit, multiclass class indices int64 [R],
    contrastive lists int64 [R, M] padded with −1, M the longest list.

    Raises
        ValueError: a task without a column, a value that is not finite, a class index outside 0..out−1; with the task,
            the first offending values and what was expected.
    """
    if missing := [task.name for task in tasks if task.name not in labels.columns]:
        raise ValueError(f"labels have no column for {', '.join(missing)}; columns: {', '.join(labels.columns)}")
    values: dict[str, Tensor] = {}
    mask: dict[str, Tensor] = {}
    for task in tasks:
        column = labels[task.name]
        if task.kind == "contrastive":
            values[task.name] = torch.from_numpy(_padded_lists(column))
            mask[task.name] = values[task.name][:, 0] >= 0
        elif task.kind == "multiclass":
            indices = column.cast(pl.Int64)
            _refuse(indices.filter((indices < 0) | (indices >= task.out)), task.name, f"classes 0 to {task.out - 1}")
            values[task.name] = torch.from_numpy(indices.fill_null(0).to_numpy().copy())
            mask[task.name] = torch.from_numpy(column.is_not_null().to_numpy().copy())
        else:
            numbers = column.cast(pl.Float64)
            _refuse(numbers.filter(numbers.is_not_null() & ~numbers.is_finite()), task.name, "finite numbers")
            if task.kind == "binary":
                _refuse(numbers.filter((numbers != 0) & (numbers != 1)), task.name, "0 and 1")
            values[task.name] = torch.from_numpy(numbers.fill_null(0.0).to_numpy().astype(np.float32))
            mask[task.name] = torch.from_numpy(column.is_not_null().to_numpy().copy())
    return Targets(values=values, mask=mask)


def _refuse(bad: pl.Series, task: str, expected: str) -> None:
    if len(bad):
        raise ValueError(f"labels of {task}: {bad.head(5).to_list()} ({len(bad)} rows) where {expected} were expected")


def _padded_lists(column: pl.Series) -> np.ndarray:
    """A list column as int64 [R, M], padded with −1; M is at least 1."""
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    flat = column.filter(column.list.len() > 0).explode().cast(pl.Int64).to_numpy()
    padded = np.full((len(lengths), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    padded[rows, np.arange(len(flat)) - np.repeat(starts, lengths)] = flat
    return padded


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
