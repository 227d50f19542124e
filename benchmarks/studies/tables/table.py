"""A table: numbers and categories of rows, their labels, and what each row is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.store import Judged, load_arrays, save_arrays

if TYPE_CHECKING:
    from ple_model.config import InputConfig
    from ple_model.training.data import TensorTable

ROLES = ("train", "validation", "test")
RARE = "(rare)"
"""The name of the categories that too few training rows have, code 0."""
FEWEST = 10
"""Training rows that a category of its own needs."""


@dataclass(frozen=True)
class Table:
    """R rows.

    Attributes:
        numbers: [R, F] float32, without missing values.
        number_names: of the F columns.
        codes: [R, C] int32; code 0 is `RARE`.
        category_names: of the C columns.
        levels: of each of the C columns the name of each code.
        labels: task → [R]; 0/1 of a binary task, values of a regression.
        kinds: task → "binary" or "regression".
        roles: [R], of `ROLES`.
    """

    numbers: NDArray[np.float32]
    number_names: tuple[str, ...]
    codes: NDArray[np.int32]
    category_names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    labels: dict[str, NDArray]
    kinds: dict[str, str]
    roles: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.roles)

    def rows(self, role: str) -> NDArray[np.int64]:
        """Numbers of the rows of a role."""
        return np.flatnonzero(self.roles == role)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of `flat`: a number each, and one for each category, `column=category`."""
        pairs = zip(self.category_names, self.levels, strict=True)
        return (*self.number_names, *(f"{name}={level}" for name, levels in pairs for level in levels))

    def flat(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[rows, columns of `names`]: the numbers, and a 1 for the category of each column."""
        ends = np.cumsum([0, *map(len, self.levels)])
        out = np.zeros((len(rows), len(self.number_names) + int(ends[-1])), dtype=np.float32)
        out[:, : len(self.number_names)] = self.numbers[rows]
        at = len(self.number_names) + ends[:-1] + self.codes[rows]
        np.put_along_axis(out, at, 1.0, axis=1)
        return out

    def mixed(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[rows, F + C]: the numbers, and the code of each category column."""
        return np.concatenate([self.numbers[rows], self.codes[rows].astype(np.float32)], axis=1)

    def judged(self, role: str) -> Judged:
        """The rows of a role as a study judges them: each counts as a customer of its own."""
        rows = self.rows(role)
        labels = {task: values[rows] for task, values in self.labels.items()}
        mask = {task: np.ones(len(rows), dtype=bool) for task in labels}
        return Judged(rows.astype(str), np.full(len(rows), ""), labels, mask)

    def input_config(self) -> InputConfig:
        """The columns of `flat` as the network's inputs, without side inputs; every row is of one cluster."""
        from ple_model.config import InputConfig

        every = range(len(self.names))
        return InputConfig(columns=self.names, present=tuple(every), normalised=len(self.names), clusters=1, sides=())

    def tensors(self, role: str) -> TensorTable:
        """Inputs and labels of the rows of a role."""
        import torch

        from ple_model.inputs import Inputs, Targets
        from ple_model.training.data import TensorTable

        rows = self.rows(role)
        features = torch.from_numpy(self.flat(rows))
        given = torch.ones(len(rows), dtype=torch.bool)
        inputs = Inputs(features, torch.ones_like(features, dtype=torch.bool), torch.ones(len(rows), 1))
        values = {task: torch.from_numpy(values[rows].astype(np.float32)) for task, values in self.labels.items()}
        return TensorTable.of(inputs, Targets(values, dict.fromkeys(values, given)))

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        arrays: dict[str, NDArray] = {f"labels|{task}": values for task, values in self.labels.items()}
        arrays |= {f"kind|{task}": np.array(kind) for task, kind in self.kinds.items()}
        arrays |= {f"level|{i}": np.array(levels) for i, levels in enumerate(self.levels)}
        arrays |= {"numbers": self.numbers, "codes": self.codes, "roles": self.roles}
        arrays |= {"number_names": np.array(self.number_names), "category_names": np.array(self.category_names)}
        save_arrays(file, arrays)

    @classmethod
    def load(cls, file: Path) -> Self:
        """What `save` wrote."""
        found = load_arrays(file)

        def under(prefix: str) -> dict[str, NDArray]:
            return {key.split("|")[1]: values for key, values in found.items() if key.startswith(f"{prefix}|")}

        return cls(
            found["numbers"],
            tuple(found["number_names"].tolist()),
            found["codes"],
            tuple(found["category_names"].tolist()),
            tuple(tuple(levels.tolist()) for levels in under("level").values()),
            under("labels"),
            {task: str(kind) for task, kind in under("kind").items()},
            found["roles"],
        )


def coded(
    columns: Mapping[str, Sequence[str]], is_train: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], tuple[tuple[str, ...], ...]]:
    """Codes [R, C] of the categories of each column, and their names. A category that fewer than `FEWEST` training rows
    have is `RARE`; the others are ordered by name."""
    codes, levels = [], []
    for values in columns.values():
        names, inverse = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
        kept = np.bincount(inverse[is_train], minlength=len(names)) >= FEWEST
        place = np.where(kept, np.cumsum(kept), 0)
        codes.append(place[inverse].astype(np.int32))
        levels.append((RARE, *names[kept].tolist()))
    return np.stack(codes, axis=1), tuple(levels)
