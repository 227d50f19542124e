"""A learnt directed acyclic graph over d variables: weights W, W_ij the edge i → j, pushed to be acyclic.

Source: Zheng et al., "DAGs with NO TEARS" (2018); MODEL §3. h(W) = tr(exp(W∘W)) − d is 0 exactly where W has no cycle.
Everything is float32 or wider: the exponential overflows and loses h in half precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Acyclicity(torch.autograd.Function):
    """h(W) = tr(exp(W∘W)) − d with ∇h = exp(W∘W)ᵀ ∘ 2W, so the backward needs no second exponential."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        exponential = torch.matrix_exp(weight.square())
        ctx.save_for_backward(weight, exponential)
        return exponential.diagonal().sum() - weight.shape[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        weight, exponential = ctx.saved_tensors
        return gradient * exponential.T * (2.0 * weight)


class DAG(nn.Module):
    """Linear structural equations z_j = Σ_i z_i W_ij + noise, with no variable its own parent.

    `multiplier` is that of the augmented Lagrangian: it rises by `dual_rate`·h with every training step, so that a
    cycle which the tasks would like to keep costs more and more. It is a buffer and survives a checkpoint.

    Args:
        variables: d.
        dual_rate: rise of the multiplier in one step, as a share of h.

    Shape:
        `reconstruct`: variables [B, d] → [B, d]. `edges`: → W [d, d].

    Source: Zheng et al. (2018).

    Example:
        >>> dag = DAG(variables=4, dual_rate=1.0)
        >>> dag.reconstruct(torch.randn(5, 4)).shape
        torch.Size([5, 4])
    """

    off_diagonal: Tensor
    multiplier: Tensor

    def __init__(self, variables: int, dual_rate: float) -> None:
        super().__init__()
        self.dual_rate = dual_rate
        self.weight = nn.Parameter(torch.empty(variables, variables))
        self.register_buffer("off_diagonal", 1.0 - torch.eye(variables), persistent=False)
        self.register_buffer("multiplier", torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small weights, so that h ≈ 0 and every variable passes to every other."""
        nn.init.normal_(self.weight, std=0.5 * self.weight.shape[0] ** -0.5)

    def edges(self) -> Tensor:
        """W [d, d] float32 with its diagonal 0."""
        return self.weight.float() * self.off_diagonal

    def acyclicity(self, penalty: float) -> Tensor:
        """penalty·(h + h²/2 + multiplier·h), a scalar ≥ 0 that is 0 for a DAG. The multiplier rises after it.

        The first term, linear in h, removes the last, weak cycles, where h² alone has no slope.
        """
        h = acyclicity(self.edges())
        term = penalty * (h + 0.5 * h.square() + self.multiplier.clone() * h)
        with torch.no_grad():
            self.multiplier.add_(self.dual_rate * h)
        return term

    def sparsity(self) -> Tensor:
        """Σ|W|."""
        return self.edges().abs().sum()

    def reconstruct(self, variables: Tensor) -> Tensor:
        """Each variable from its parents: zW, [B, d]."""
        return variables @ self.edges()


def acyclicity(weight: Tensor) -> Tensor:
    """h(W) = tr(exp(W∘W)) − d of a square matrix: a scalar ≥ 0, 0 exactly for a DAG."""
    return _Acyclicity.apply(weight)
