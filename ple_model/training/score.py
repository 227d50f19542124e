"""The validation score that picks epochs: how much better than a constant, averaged over tasks.

A task's *skill* is 1 − L / L₀: L its validation loss, L₀ the validation loss of the best constant prediction, chosen
on the validation labels themselves. 0 is as good as that constant, 1 is perfect, and the scale is the same for a loss
of 0.01 and one of 6. Skills are cut off at −1, so that one task that explodes cannot outweigh all others, and a loss
that is not finite counts as −1. Tasks without validation labels have no skill and are left out of the mean.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ple_model.config import TaskConfig
from ple_model.inputs import Targets
from ple_model.losses.multitask import focal
from ple_model.multitask import MultiTaskNetwork

_GRID = 1001
_LOGITS = 12.0  # p from 6e-6 to 1 − 6e-6


def constant_losses(model: MultiTaskNetwork, targets: Targets) -> dict[str, float]:
    """Task → loss of its best constant prediction on these labels, in the unit of `MultiTaskLoss`.

    Class shares for NLL, the mean for MSE, a grid search for focal and Huber, popularity (log odds of a brand being
    among a row's positives) for InfoNCE. Tasks without a label, and those whose labels a constant predicts without
    error, are left out.
    """
    losses = {}
    for task in model.config.tasks:
        mask = targets.mask.get(task.name)
        if mask is None or not bool(mask.any()):
            continue
        loss = _constant_loss(model, task, targets.values[task.name][mask])
        if loss > 1e-9:
            losses[task.name] = loss
    return losses


def skills(losses: Mapping[str, float], constant: Mapping[str, float]) -> dict[str, float]:
    """Task → skill in [−1, 1], for the tasks of `constant`."""
    found = {}
    for task, base in constant.items():
        loss = losses.get(task, math.nan)
        found[task] = max(1.0 - loss / base, -1.0) if math.isfinite(loss) else -1.0
    return found


def score(found: Mapping[str, float]) -> float:
    """Mean of the skills."""
    return sum(found.values()) / len(found)


def _constant_loss(model: MultiTaskNetwork, task: TaskConfig, labels: Tensor) -> float:
    if task.kind == "binary":
        grid = torch.linspace(-_LOGITS, _LOGITS, _GRID)
        gamma, alpha, share = task.focal_gamma or 0.0, task.focal_alpha or 0.5, labels.float().mean()
        of_1 = focal(grid, torch.ones_like(grid), gamma, alpha)
        of_0 = focal(grid, torch.zeros_like(grid), gamma, alpha)
        return (share * of_1 + (1 - share) * of_0).min().item()
    if task.kind == "multiclass":
        shares = torch.bincount(labels, minlength=task.out).double() / len(labels)
        return torch.special.entr(shares).sum().item()
    if task.kind == "contrastive":
        return _popularity_loss(labels, task.candidates or 0)
    values = model.scale(task.name).standardise(labels)
    if task.loss == "mse":
        return values.var(0, correction=0).mean().item()
    return sum(_least_huber(column, task.huber_delta or 1.0) for column in values.unbind(1)) / values.shape[1]


def _least_huber(values: Tensor, delta: float) -> float:
    """Ternary search: the loss is convex in the constant."""
    low, high = values.min().item(), values.max().item()

    def cost(point: float) -> float:
        return F.huber_loss(torch.full_like(values, point), values, delta=delta).item()

    while high - low > 1e-4:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if cost(left) <= cost(right) else (left, high)
    return cost((low + high) / 2)


def _popularity_loss(labels: Tensor, candidates: int) -> float:
    """InfoNCE over the whole table where every row scores the log odds of popularity. labels [n, M], −1 = padding."""
    labelled, safe = labels >= 0, labels.clamp(min=0)
    share = (torch.bincount(labels[labelled], minlength=candidates).double() + 0.5) / (len(labels) + 1.0)
    scores = torch.logit(share)
    own = torch.where(labelled, scores[safe], -torch.inf)
    others = (scores.exp().sum() - own.exp().sum(1, keepdim=True)).clamp(min=torch.finfo(torch.float64).tiny).log()
    losses = torch.where(labelled, F.softplus(others - scores[safe]), 0.0)
    return (losses.sum(1) / labelled.sum(1)).mean().item()
