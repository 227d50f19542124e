"""Losses of tasks and their weighted total. A masked label contributes nothing, to no value and to no gradient.

All are computed in float32. Source: MODEL §9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import ModelConfig, TaskConfig
from ple_model.inputs import Targets
from ple_model.model import Outputs, PLEClusterAdaTT
from ple_model.weighting import build_weighting


@dataclass
class LossResult:
    """total: scalar to differentiate (weighted tasks + regularisation). per_task: mean unweighted loss of each task,
    0 without labels. counts: labels of each task in the batch. regularisation: its terms by name."""

    total: Tensor
    per_task: dict[str, Tensor]
    counts: dict[str, Tensor]
    regularisation: dict[str, Tensor]


def focal(logits: Tensor, labels: Tensor, gamma: float, alpha: float) -> Tensor:
    """−α_t (1 − p_t)^γ log p_t for each row from logits [B] and labels 0/1 [B]; α for label 1, 1 − α for label 0.

    With z = ±logit, log p_t = logsigmoid(z) and (1 − p_t)^γ = exp(γ·logsigmoid(−z)): nothing overflows and no power of
    zero is differentiated. Source: Lin et al. (2017).
    """
    z = torch.where(labels > 0.5, logits, -logits).float()
    weight = torch.where(labels > 0.5, alpha, 1.0 - alpha)
    return -weight * torch.exp(gamma * F.logsigmoid(-z)) * F.logsigmoid(z)


class MultiTaskLoss(nn.Module):
    """Holds the learnt weights of tasks, so its parameters belong to the optimizer and its state to the checkpoint."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.weighting = build_weighting(config.weighting, config.tasks)

    def forward(self, outputs: Outputs, targets: Targets, model: PLEClusterAdaTT) -> LossResult:
        losses, counts = [], []
        for task in self.config.tasks:
            rows, mask = self._rows(task, outputs.predictions[task.name], targets, model)
            count = mask.sum()
            losses.append(torch.where(mask, rows, 0.0).sum() / count.clamp(min=1))
            counts.append(count)
        stacked, labels = torch.stack(losses), torch.stack(counts)
        regularisation = model.regularisation(outputs)
        total = self.weighting(stacked, labels > 0).sum() + sum(regularisation.values(), start=stacked.new_zeros(()))
        names = [task.name for task in self.config.tasks]
        return LossResult(
            total=total,
            per_task=dict(zip(names, stacked.detach().unbind(), strict=True)),
            counts=dict(zip(names, labels.unbind(), strict=True)),
            regularisation={name: term.detach() for name, term in regularisation.items()},
        )

    def _rows(self, task: TaskConfig, raw: Tensor, targets: Targets, model: PLEClusterAdaTT) -> tuple[Tensor, Tensor]:
        """Loss of each row [B] and the mask of labelled rows [B]. Masked labels are never read."""
        if task.name not in targets.values:
            none = torch.zeros(len(raw), dtype=torch.bool, device=raw.device)
            return raw.float().sum(1) * 0.0, none
        label, mask = targets.values[task.name], targets.mask[task.name]
        safe = mask.unsqueeze(-1) if label.dim() == 2 else mask
        if task.kind == "contrastive":
            label = torch.where(safe, label, -1)
            negatives = task.negatives or 0 if model.training else 0  # validation compares with the whole table
            return model.table(task.name).loss(raw, label, negatives), mask & (label >= 0).any(1)
        if task.kind == "multiclass":
            return F.cross_entropy(raw.float(), torch.where(safe, label, 0), reduction="none"), mask
        label = torch.where(safe, label.float(), 0.0)
        if task.kind == "binary":
            return focal(raw.squeeze(-1), label, task.focal_gamma or 0.0, task.focal_alpha or 0.5), mask
        value = model.scale(task.name).standardise(label)
        if task.loss == "huber":
            rows = F.huber_loss(raw.float(), value, reduction="none", delta=task.huber_delta or 1.0)
        else:
            rows = F.mse_loss(raw.float(), value, reduction="none")
        return rows.mean(1), mask
