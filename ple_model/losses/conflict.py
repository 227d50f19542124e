"""Gradient-conflict methods: from the T×T Gram matrix of tasks' gradients to a weight for each task.

Each method says how much every task's gradient counts in the shared step; torchjd computes the weights from the Gram
matrix, so no gradient is ever stored. They are scaled so that tasks without a conflict have about 1 each, as in the
plain sum: the regularisers beside the tasks keep their share.
Nash-MTL is solved here: its bargaining solution Gα = 1/α is the minimum of ½αᵀGα − Σ log α, which Newton's method
finds in a millisecond, where torchjd's sequence of conic programs takes seconds and ends short of it.
Source: MODEL §9; Quinton and Rey (2024, UPGrad, torchjd); Yu et al. (2020, PCGrad); Liu et al. (2021, CAGrad); Navon et
al. (2022, Nash-MTL); Senushkin et al. (2023, Aligned-MTL); Sener and Koltun (2018, MGDA); Liu et al. (2021, IMTL-G).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ple_model.config import WeightingConfig

Method = Callable[[Tensor], Tensor]

#: Newton steps and decrement (squared) at which the bargaining solution counts as found.
NEWTON_STEPS, NEWTON_TOLERANCE = 100, 1e-20


class ConflictWeights(nn.Module):
    """Weights [T] of tasks' gradients, 1 until they are measured; a buffer, so they survive a checkpoint.

    `measure` wants gradients of the losses before these weights, multiplied by the strategy of `weighting.py`: a task
    scaled to 0 would look as if it had no gradient, and never come back.
    """

    weights: Tensor

    def __init__(self, config: WeightingConfig, tasks: int) -> None:
        super().__init__()
        if config.conflict is None:
            raise ValueError("weighting.conflict names no method; leave ConflictWeights out")
        self.method = _method(config)
        self.register_buffer("weights", torch.ones(tasks))

    @torch.no_grad()
    def measure(self, gram: Tensor, labelled: Tensor) -> None:
        """Takes new weights from a Gram matrix [T, T] of gradients and the tasks with labels in the batch [T] bool.

        A task without labels or without any gradient keeps its weight. A Gram matrix that is not finite gives weights
        that are not finite, so that the step is skipped and counted as any other that is not.
        """
        rows = (labelled & (gram.diagonal() != 0)).nonzero().squeeze(1)
        part = gram.index_select(0, rows).index_select(1, rows).double().cpu()
        if not bool(part.isfinite().all()):
            found = torch.full((len(rows),), torch.nan)
        elif len(rows) < 2:
            found = torch.ones(len(rows))
        else:
            part = (part + part.T) / (2 * part.diagonal().mean())  # every method gets the same scale
            found = self.method(part)
        self.weights.index_copy_(0, rows, found.to(self.weights))

    def forward(self, losses: Tensor) -> Tensor:
        """The same values [T]; their gradients are multiplied by the weights.

        Comes before the strategy of `weighting.py`, whose learnt parts thus see the plain losses: a strategy that saw
        smaller losses would make up for them and undo the weights.
        """
        return torch.lerp(losses.detach(), losses, self.weights)


def nash_weights(gram: Tensor) -> Tensor:
    """α > 0 with Gα = 1/α elementwise, [T] float64. Source: Navon et al. (2022), claim 3.1.

    Damped Newton on the self-concordant ½αᵀGα − Σ log α, for gradients of length 1: α/‖g‖ is the solution for g. A
    ridge of 1e-9 bounds α where gradients cancel and the equation has no solution.
    """
    lengths = gram.diagonal().double().sqrt()
    cosines = gram.double() / lengths.outer(lengths) + 1e-9 * torch.eye(len(gram), dtype=torch.float64)
    alpha = torch.ones_like(lengths)
    for _ in range(NEWTON_STEPS):
        slope = cosines @ alpha - 1.0 / alpha
        step = torch.linalg.solve(cosines + torch.diag(alpha**-2), slope)
        decrement = slope @ step
        if decrement < NEWTON_TOLERANCE:
            break
        alpha = alpha - step / (1.0 + decrement.sqrt())
    return alpha / lengths


def _method(config: WeightingConfig) -> Method:
    """Gram matrix [T, T] float64 → weights [T]. torchjd is imported here: it takes seconds, and only these need it."""
    if config.conflict == "nash_mtl":
        return _mean_of_one(nash_weights)
    from torchjd import aggregation as jd

    if config.conflict == "upgrad":
        return _times_tasks(jd.UPGradWeighting())
    if config.conflict == "pcgrad":
        return jd.PCGradWeighting()
    if config.conflict == "cagrad":
        return _times_tasks(jd.CAGradWeighting(c=config.cagrad_radius))
    if config.conflict == "aligned_mtl":
        return _mean_of_one(jd.AlignedMTLWeighting())
    if config.conflict == "mgda":
        return _times_tasks(jd.MGDAWeighting())
    return _times_tasks(jd.IMTLGWeighting())


def _times_tasks(method: Method) -> Method:
    """Of a method that starts from the mean of gradients: T times as much is the sum."""
    return lambda gram: len(gram) * method(gram)


def _mean_of_one(method: Method) -> Method:
    """Of a method whose weights are positive in the mean and known up to a factor."""

    def scaled(gram: Tensor) -> Tensor:
        weights = method(gram)
        return weights / weights.mean()

    return scaled
