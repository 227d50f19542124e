"""How the losses of tasks add up: uncertainty weighting or fixed weights.

Source: MODEL §9; Kendall, Gal, Cipolla (2018) in the form w (exp(−s) L + s), whose minimiser over s alone is log L.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.config import TaskConfig, WeightingConfig


class Weighting(nn.Module):
    """losses [T], labelled [T] bool (the task has a label in the batch) → contributions [T] to the total."""

    weights: Tensor

    def __init__(self, tasks: Sequence[TaskConfig]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([task.weight for task in tasks]), persistent=False)

    def forward(self, losses: Tensor, labelled: Tensor) -> Tensor:
        """w_k L_k: the fixed weights, applied once."""
        return self.weights * losses * labelled


class UncertaintyWeighting(Weighting):
    """w_k (exp(−s_k) L_k + s_k) with s_k learnt, kept in its bounds, and exp(−s_k) in its own.

    s is projected onto its bounds before use rather than clamped in the graph: a value outside would get no gradient
    and never come back.
    """

    def __init__(self, tasks: Sequence[TaskConfig], config: WeightingConfig) -> None:
        super().__init__(tasks)
        self.bounds, self.precision_bounds = config.log_variance, config.precision
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Tensor, labelled: Tensor) -> Tensor:
        self.log_variance.data.clamp_(*self.bounds)
        precision = torch.exp(-self.log_variance).clamp(*self.precision_bounds)
        return self.weights * (precision * losses + self.log_variance) * labelled


def build_weighting(config: WeightingConfig, tasks: Sequence[TaskConfig]) -> Weighting:
    """The strategy of that name."""
    return UncertaintyWeighting(tasks, config) if config.strategy == "uncertainty" else Weighting(tasks)
