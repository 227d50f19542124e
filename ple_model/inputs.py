"""The bundles that go into the model and its losses. Absence is an explicit mask, never an all-zero row.

Source: MODEL §1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Inputs:
    """One row = one customer at one as-of date.

    features [B, columns] float, 0 where missing; features_mask [B, columns] bool, True = present; cluster_probs
    [B, clusters], rows sum to 1; txn_seq [B, steps, width] float, oldest day first, or None where the data set has
    none; txn_seq_mask [B, steps] bool, True = valid day. present: input name → bool [B], filled from the masks where
    it is not given (`txn_seq`). Values under a False mask are never read, so they may be NaN.
    """

    features: Tensor
    features_mask: Tensor
    cluster_probs: Tensor
    txn_seq: Tensor | None = None
    txn_seq_mask: Tensor | None = None
    present: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features.shape != self.features_mask.shape:
            raise ValueError(
                f"features {tuple(self.features.shape)} and mask {tuple(self.features_mask.shape)} differ in shape"
            )
        if (self.txn_seq is None) != (self.txn_seq_mask is None):
            raise ValueError("txn_seq and txn_seq_mask come together")
        if "txn_seq" not in self.present:
            none = torch.zeros(len(self), dtype=torch.bool, device=self.features.device)
            valid = none if self.txn_seq_mask is None else self.txn_seq_mask.any(1)
            self.present = {**self.present, "txn_seq": valid}

    def __len__(self) -> int:
        return self.features.shape[0]

    def index(self, rows: Tensor) -> Inputs:
        """The given rows (int64 indices [b])."""
        return self._map(lambda t: t.index_select(0, rows))

    def to(self, device: torch.device | str) -> Inputs:
        """The same bundle on a device."""
        return self._map(lambda t: t.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        return Inputs(
            features=change(self.features),
            features_mask=change(self.features_mask),
            cluster_probs=change(self.cluster_probs),
            txn_seq=None if self.txn_seq is None else change(self.txn_seq),
            txn_seq_mask=None if self.txn_seq_mask is None else change(self.txn_seq_mask),
            present={name: change(mask) for name, mask in self.present.items()},
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
