"""Losses of rows and of constants: the one module of this folder that needs torch.

Source: MODEL §9.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_GRID = 1001
_LOGITS = 12.0  # p from 6e-6 to 1 − 6e-6


def focal(logits: Tensor, labels: Tensor, gamma: float, alpha: float) -> Tensor:
    """−α_t (1 − p_t)^γ log p_t for each row from logits [B] and labels 0/1 [B]; α for label 1, 1 − α for label 0.

    With z = ±logit, log p_t = logsigmoid(z) and (1 − p_t)^γ = exp(γ·logsigmoid(−z)): nothing overflows and no power of
    zero is differentiated. Source: Lin et al. (2017).
    """
    z = torch.where(labels > 0.5, logits, -logits).float()
    weight = torch.where(labels > 0.5, alpha, 1.0 - alpha)
    return -weight * torch.exp(gamma * F.logsigmoid(-z)) * F.logsigmoid(z)


def log_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p of the label for each row, from logits [B] and labels 0/1 [B], in float32."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")


def least_focal(labels: Tensor, gamma: float, alpha: float) -> float:
    """Mean focal loss of the best constant logit on labels 0/1 [n], by a grid search."""
    grid = torch.linspace(-_LOGITS, _LOGITS, _GRID)
    share = labels.float().mean()
    of_1 = focal(grid, torch.ones_like(grid), gamma, alpha)
    of_0 = focal(grid, torch.zeros_like(grid), gamma, alpha)
    return (share * of_1 + (1 - share) * of_0).min().item()


def class_entropy(labels: Tensor, classes: int) -> float:
    """Negative log likelihood of the class shares of labels [n] on these labels."""
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    return torch.special.entr(shares).sum().item()


def value_losses(raw: Tensor, value: Tensor, loss: str, delta: float | None) -> Tensor:
    """[B] Huber or squared error of standardised values [B, out], mean over outputs."""
    if loss == "huber":
        return F.huber_loss(raw.float(), value, reduction="none", delta=delta or 1.0).mean(1)
    return F.mse_loss(raw.float(), value, reduction="none").mean(1)


def least_value_loss(values: Tensor, loss: str, delta: float | None) -> float:
    """Mean loss of the best constant on standardised values [n, out], mean over outputs."""
    if loss == "mse":
        return values.var(0, correction=0).mean().item()
    return sum(_least_huber(column, delta or 1.0) for column in values.unbind(1)) / values.shape[1]


def _least_huber(values: Tensor, delta: float) -> float:
    """Ternary search: the loss is convex in the constant."""
    low, high = values.min().item(), values.max().item()

    def cost(point: float) -> float:
        return F.huber_loss(torch.full_like(values, point), values, delta=delta).item()

    while high - low > 1e-4:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if cost(left) <= cost(right) else (left, high)
    return cost((low + high) / 2)


def popularity_loss(labels: Tensor, candidates: int) -> float:
    """InfoNCE over the whole table where every row scores the log odds of popularity. labels [n, M], −1 = padding."""
    labelled, safe = labels >= 0, labels.clamp(min=0)
    share = (torch.bincount(labels[labelled], minlength=candidates).double() + 0.5) / (len(labels) + 1.0)
    scores = torch.logit(share)
    own = torch.where(labelled, scores[safe], -torch.inf)
    others = (scores.exp().sum() - own.exp().sum(1, keepdim=True)).clamp(min=torch.finfo(torch.float64).tiny).log()
    losses = torch.where(labelled, F.softplus(others - scores[safe]), 0.0)
    return (losses.sum(1) / labelled.sum(1)).mean().item()
