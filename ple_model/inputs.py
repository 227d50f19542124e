"""The tensors that go into the model and its losses. Absence is an explicit mask, never an all-zero row.

Source: MODEL §1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ple_model.config import SideConfig


@dataclass
class Inputs:
    """One row = one customer at one as-of date.

    features [B, columns] float, 0 where missing; features_mask [B, columns] bool, True = present; cluster_probs
    [B, clusters], rows sum to 1. sides: name → [B, *shape] of the side inputs of the batch (`SideConfig`); masks:
    name → [B, shape[0]] bool, True = valid, of those that are masked (days of a sequence, points of a diagram).
    present: name → bool [B], the rows that have a side input; where it is not given, a masked one is present if any of
    its places is valid, and another in all rows. Values that are not present or not valid are never read, so they may
    be NaN.
    """

    features: Tensor
    features_mask: Tensor
    cluster_probs: Tensor
    sides: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features.shape != self.features_mask.shape:
            raise ValueError(
                f"features {tuple(self.features.shape)} and mask {tuple(self.features_mask.shape)} differ in shape"
            )
        for what, given in (("masks", self.masks), ("present", self.present)):
            if lost := sorted(given.keys() - self.sides.keys()):
                raise ValueError(f"{what} of {', '.join(lost)} without the side input")
        rows = torch.ones(len(self), dtype=torch.bool, device=self.features.device)
        self.present = {
            name: self.present[name]
            if name in self.present
            else (self.masks[name].any(1) if name in self.masks else rows)
            for name in self.sides
        }

    def __len__(self) -> int:
        return self.features.shape[0]

    def read(self, side: SideConfig) -> tuple[Tensor, Tensor]:
        """Values [B, *shape] as float32 with 0 where they are not present or not valid, and where they are: [B] bool,
        or [B, shape[0]] of a masked side input. Zeros and False where the batch does not have it."""
        values = self.sides.get(side.name)
        given = self.present_rows(side.name)
        if values is None:
            zeros = self.features.new_zeros((len(self), *side.shape), dtype=torch.float32)
            return zeros, given.unsqueeze(1).expand(-1, side.shape[0]) if side.masked else given
        if side.masked:
            given = self.masks[side.name] & given.unsqueeze(1)
        outside = ~given.reshape(*given.shape, *([1] * (values.dim() - given.dim())))
        return values.float().masked_fill(outside, 0.0), given

    def present_rows(self, name: str) -> Tensor:
        """[B] bool: rows that have the side input."""
        none = torch.zeros(len(self), dtype=torch.bool, device=self.features.device)
        return self.present.get(name, none)

    def without(self, *names: str) -> Inputs:
        """The same rows without these side inputs."""

        def kept(given: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor for name, tensor in given.items() if name not in names}

        return Inputs(
            self.features,
            self.features_mask,
            self.cluster_probs,
            kept(self.sides),
            kept(self.masks),
            kept(self.present),
        )

    def index(self, rows: Tensor) -> Inputs:
        """The given rows (int64 indices [b])."""
        return self.map(lambda t: t.index_select(0, rows))

    def to(self, device: torch.device | str) -> Inputs:
        """The same rows on a device."""
        return self.map(lambda t: t.to(device))

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """Every tensor changed in the same way."""
        return Inputs(
            features=change(self.features),
            features_mask=change(self.features_mask),
            cluster_probs=change(self.cluster_probs),
            sides={name: change(values) for name, values in self.sides.items()},
            masks={name: change(mask) for name, mask in self.masks.items()},
            present={name: change(mask) for name, mask in self.present.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name of its own, for digests and for joining batches."""
        return {
            "features": self.features,
            "features_mask": self.features_mask,
            "cluster_probs": self.cluster_probs,
            **{f"side/{name}": values for name, values in self.sides.items()},
            **{f"mask/{name}": mask for name, mask in self.masks.items()},
            **{f"present/{name}": mask for name, mask in self.present.items()},
        }

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> Inputs:
        """From the tensors of `tensors`."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        return cls(
            tensors["features"],
            tensors["features_mask"],
            tensors["cluster_probs"],
            under("side/"),
            under("mask/"),
            under("present/"),
        )


@dataclass
class Targets:
    """Labels by task, with their masks (True = labelled).

    values: binary float [B] 0/1; multiclass int64 [B]; regression float [B] or [B, out] in the label's unit;
    contrastive int64 [B, M] candidate indices, padded with −1. mask: bool [B]. A masked value is never read.
    """

    values: dict[str, Tensor]
    mask: dict[str, Tensor]

    def index(self, rows: Tensor) -> Targets:
        """The given rows (int64 indices [b])."""
        return self._map(lambda t: t.index_select(0, rows))

    def to(self, device: torch.device | str) -> Targets:
        """The same labels on a device."""
        return self._map(lambda t: t.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Targets:
        return Targets({k: change(v) for k, v in self.values.items()}, {k: change(v) for k, v in self.mask.items()})
