"""What can move a prediction: each column that is read, each side input, and the cluster posterior.

Columns and inputs of one origin form a family: those of a feature group, and those of the joint sets of
`permutation.TOGETHER`, whose columns and side inputs carry the same information.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ple_model.config import InputConfig
from ple_model.config.inputs import SideName
from ple_model.inputs import Inputs
from ple_model.interpretation.permutation import TOGETHER

CLUSTERS = "cluster_probs"


@dataclass(frozen=True)
class Sources:
    """S sources of one `InputConfig`: first its present columns in their order, then side inputs, then the clusters.

    Attributes:
        names: of columns and inputs.
        families: name of the family of each source.
        present: positions of the columns in the feature matrix.
        sides: names of the side inputs.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    present: tuple[int, ...]
    sides: tuple[SideName, ...]

    @classmethod
    def of(cls, config: InputConfig) -> Self:
        """The sources of a network's inputs."""
        columns = [config.columns[i] for i in config.present]
        sides = tuple(side.name for side in config.sides)
        of_input = {name: joint for joint, (inputs, _) in TOGETHER.items() for name in inputs}
        of_group = {name: joint for joint, (_, groups) in TOGETHER.items() for name in groups}
        groups = [name.split("__")[0] for name in columns]
        families = [of_group.get(group, group) for group in groups]
        families += [of_input.get(name, name) for name in (*sides, CLUSTERS)]
        return cls((*columns, *sides, CLUSTERS), tuple(families), config.present, sides)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def members(self) -> list[NDArray[np.int64]]:
        """Indices of the sources of each family."""
        return [np.flatnonzero(np.array(self.families) == name) for name in dict.fromkeys(self.families)]

    def differ(self, one: Inputs, other: Inputs) -> NDArray[np.bool_]:
        """[S] sources in which two rows (each the only one of its inputs) are not the same."""
        present = list(self.present)
        a, b = one.features_mask[0, present], other.features_mask[0, present]
        unequal = one.features[0, present] != other.features[0, present]
        columns = (a != b) | (a & b & unequal)
        sides = [not _same_side(one, other, name) for name in self.sides]
        clusters = not torch.equal(one.cluster_probs, other.cluster_probs)
        return np.array([*columns.tolist(), *sides, clusters], dtype=bool)

    def mixed(self, one: Inputs, other: Inputs, taken: Tensor) -> Inputs:
        """Rows [n] that have a source of `one` where `taken` [n, S] is True, else of `other`, a row each."""
        count = len(self.present)
        columns = torch.zeros((len(taken), one.features.shape[1]), dtype=torch.bool)
        columns[:, list(self.present)] = taken[:, :count]
        of_side: dict[str, Tensor] = {name: taken[:, count + i] for i, name in enumerate(self.sides)}

        def of(first: Tensor, second: Tensor, chosen: Tensor) -> Tensor:
            return torch.cat([second, first]).index_select(0, chosen.long())

        def each(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: of(first[name], second[name], of_side[name]) for name in first}

        return replace(
            one,
            features=torch.where(columns, one.features, other.features),
            features_mask=torch.where(columns, one.features_mask, other.features_mask),
            cluster_probs=of(one.cluster_probs, other.cluster_probs, taken[:, -1]),
            sides=each(one.sides, other.sides),
            masks=each(one.masks, other.masks),
            present=each(one.present, other.present),
        )


def _same_side(one: Inputs, other: Inputs, name: SideName) -> bool:
    a, b = bool(one.present_rows(name)[0]), bool(other.present_rows(name)[0])
    if not (a and b):
        return a == b
    masks = name not in one.masks or torch.equal(one.masks[name], other.masks[name])
    return masks and torch.equal(one.sides[name], other.sides[name])
