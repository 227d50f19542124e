"""Weighting of the losses of tasks: uncertainty weighting, fixed weights, GradNorm, dynamic weight averaging.

Every strategy multiplies the fixed weights of tasks once with factors that it learns or measures. Methods that
resolve conflicts of gradients are in `conflict.py`.
Source: MODEL §9; Kendall, Gal, Cipolla (2018); Chen et al., "GradNorm" (2018); Liu, Johns, Davison, "End-to-End
Multi-Task Learning with Attention" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ple_model.config import TaskConfig, WeightingConfig


class Weighting(nn.Module):
    """losses [T], labelled [T] bool (the task has a label in the batch) → contributions [T] to the total.

    As it stands: the fixed weights w_k L_k. `reads_norms`: whether `measure` wants norms of gradients.
    """

    reads_norms: ClassVar[bool] = False
    weights: Tensor

    def __init__(self, tasks: Sequence[TaskConfig]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([task.weight for task in tasks]), persistent=False)

    def multipliers(self) -> Tensor:
        """[T] current factor of each loss."""
        return self.weights

    def forward(self, losses: Tensor, labelled: Tensor) -> Tensor:
        return self.multipliers() * losses * labelled

    def epoch(self, mean_losses: Tensor) -> None:
        """Called after every epoch with the mean training loss of each task, [T], 0 where it had no label."""

    def measure(self, norms: Tensor, losses: Tensor, labelled: Tensor) -> None:
        """Called every few steps with norms ‖∂L_k/∂shared‖ [T] of the plain losses (the roots of a Gram matrix's
        diagonal), the losses [T] and which tasks had labels [T]."""


class UncertaintyWeighting(Weighting):
    """w_k (exp(−s_k) L_k + s_k) with s_k learnt, kept in its bounds, and exp(−s_k) in its own.

    The minimiser over s_k alone is log L_k. s is projected onto its bounds before use rather than clamped in the graph:
    a value outside would get no gradient and never come back.
    """

    def __init__(self, tasks: Sequence[TaskConfig], config: WeightingConfig) -> None:
        super().__init__(tasks)
        self.bounds, self.precision_bounds = config.log_variance, config.precision
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def multipliers(self) -> Tensor:
        return self.weights * torch.exp(-self.log_variance).clamp(*self.precision_bounds)

    def forward(self, losses: Tensor, labelled: Tensor) -> Tensor:
        self.log_variance.data.clamp_(*self.bounds)
        return (self.multipliers() * losses + self.weights * self.log_variance) * labelled


class GradNorm(Weighting):
    """m_k w_k L_k, where m_k (mean 1) is moved so that m_k‖∇L_k‖ follows how fast task k learns.

    A step goes down |m_k n_k − n̄ r_k^α| summed over tasks, with n̄ the mean of m_k n_k and r_k the inverse training rate
    L_k / L_k(0) over its mean; the target is a constant. Its gradient is written out, so no graph is kept. Departures:
    the step is taken on log m, divided by n̄, so that m stays positive and the rate does not depend on the unit of a
    loss; n_k leaves the fixed weight out, which would otherwise be undone. Source: Chen et al. (2018), algorithm 1.
    """

    reads_norms = True
    scale: Tensor
    first: Tensor

    def __init__(self, tasks: Sequence[TaskConfig], config: WeightingConfig) -> None:
        super().__init__(tasks)
        self.restoring, self.rate = config.restoring, config.rate
        self.register_buffer("scale", torch.ones(len(tasks)))
        self.register_buffer("first", torch.zeros(len(tasks)))  # 0: not seen yet

    def multipliers(self) -> Tensor:
        return self.weights * self.scale

    @torch.no_grad()
    def measure(self, norms: Tensor, losses: Tensor, labelled: Tensor) -> None:
        """Moves m. A measurement that is not finite is left out."""
        norms, losses = norms.to(self.scale), losses.to(self.scale)
        usable = labelled & norms.isfinite() & losses.isfinite()
        self.first.copy_(torch.where(usable & (self.first == 0), losses, self.first))
        usable = usable & (self.first > 0)
        gradient = torch.where(usable, self._gradient(norms, losses, usable), 0.0)
        self.scale.mul_(torch.exp(-self.rate * gradient))
        self.scale.mul_(len(self.scale) / self.scale.sum())

    def _gradient(self, norms: Tensor, losses: Tensor, usable: Tensor) -> Tensor:
        """∂ Σ|m_k n_k − n̄ r_k^α| / ∂ log m_k, over n̄. [T]; what is not usable is arbitrary."""
        count = usable.sum().clamp(min=1)
        scaled = torch.where(usable, self.scale * norms, 0.0)
        mean = (scaled.sum() / count).clamp(min=torch.finfo(scaled.dtype).tiny)
        ratio = torch.where(usable, losses / self.first, 0.0)
        rate = ratio / (ratio.sum() / count).clamp(min=torch.finfo(scaled.dtype).tiny)
        return torch.sign(scaled - mean * rate**self.restoring) * scaled / mean


class DynamicWeightAveraging(Weighting):
    """m_k w_k L_k with m = K·softmax(r / temperature), r_k the ratio of the last epoch's loss to that before it.

    m is 1 for the first two epochs and for a task without labels in one of them. Source: Liu et al. (2019), equation 7.
    """

    scale: Tensor
    last: Tensor

    def __init__(self, tasks: Sequence[TaskConfig], config: WeightingConfig) -> None:
        super().__init__(tasks)
        self.temperature = config.temperature
        self.register_buffer("scale", torch.ones(len(tasks)))
        self.register_buffer("last", torch.zeros(len(tasks)))  # 0: no loss of the epoch before

    def multipliers(self) -> Tensor:
        return self.weights * self.scale

    @torch.no_grad()
    def epoch(self, mean_losses: Tensor) -> None:
        mean_losses = mean_losses.to(self.scale)
        known = (self.last > 0) & (mean_losses > 0) & mean_losses.isfinite()
        if bool(known.any()):
            ratio = torch.where(known, mean_losses / self.last, -torch.inf)
            self.scale.copy_(torch.where(known, known.sum() * (ratio / self.temperature).softmax(0), 1.0))
        self.last.copy_(torch.where(mean_losses.isfinite(), mean_losses, 0.0))


def build_weighting(config: WeightingConfig, tasks: Sequence[TaskConfig]) -> Weighting:
    """The strategy of that name."""
    if config.strategy == "uncertainty":
        return UncertaintyWeighting(tasks, config)
    if config.strategy == "gradnorm":
        return GradNorm(tasks, config)
    if config.strategy == "dwa":
        return DynamicWeightAveraging(tasks, config)
    return Weighting(tasks)
