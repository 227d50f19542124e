"""Sinkhorn divergences between many pairs of distributions over one support, with the envelope gradient.

OT_ε(a, b) = min ⟨P, C⟩ + ε Σ P (log P − 1) over plans P with marginals a and b, and its debiased form
S_ε(a, b) = OT_ε(a, b) − ½ OT_ε(a, a) − ½ OT_ε(b, b), which is 0 for a = b, symmetric, and tends to the exact transport
cost as ε falls. Source: Cuturi (2013); Feydy et al., "Interpolating between Optimal Transport and MMD using Sinkhorn
Divergences" (AISTATS 2019), §3: averaged iterations for the self terms, gradients from the potentials. Own addition:
the iteration of (a, b) starts from b's self potential, which is its solution where a = b and saves an iteration.
PERFORMANCE §1: the Gibbs kernel as a GEMM where ε allows it, logarithms below.

The gradient is exact where the iteration has converged: by the envelope theorem the potentials are the derivatives by
a and b, and the plan the derivative by C; nothing is differentiated through the iterations.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

#: Smallest ε, as a share of the largest cost, for products with the kernel. Scalings span exp(±1/ε) at most, in
#: practice half of it; at 0.02 that is within float32, at PERFORMANCE's 0.01 it is not for two far point masses.
KERNEL_FROM = 0.02
#: Weights below it count as it: an underflowing softmax has log 0 = −inf.
FLOOR = 1e-12
_CACHED = 32_768  # numbers of one tensor that a CPU core keeps near itself while it iterates
_LOGARITHMS = 4_194_304  # numbers of the widest temporary of the log form


def sinkhorn_divergence(a: Tensor, b: Tensor, cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    """S_ε of every pair, [B, K] ≥ 0 up to convergence, in the unit of the cost.

    a [B, S] and b [K, S]: positive weights, rows sum to 1. cost [S, S]: symmetric, zero diagonal, largest entry 1.
    epsilon: in the unit of the cost; form by `KERNEL_FROM`. Differentiable by a, b and cost.
    """
    return cast(Tensor, _Divergence.apply(a, b, cost, epsilon, iterations))


def solve(
    a: Tensor, b: Tensor, cost: Tensor, epsilon: float, iterations: int, kernel: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Potentials over ε: f, g [B, K, S] of every pair, so that P_ij = exp(f_i + g_j − C_ij/ε), and self potentials of
    a [B, S] and b [K, S]. By the kernel or on logarithms; both give the same."""
    a, b = a.clamp_min(FLOOR), b.clamp_min(FLOOR)
    if not kernel:
        return _solve_log(a, b, cost, epsilon, iterations)
    gibbs = torch.exp(cost / -epsilon)
    own_a, own_b = _self_scaling(a, gibbs, iterations), _self_scaling(b, gibbs, iterations)
    u = a.new_empty(len(a), *b.shape)
    v = torch.empty_like(u)
    first = own_b @ gibbs
    step = max(1, _CACHED // b.numel()) if a.device.type == "cpu" else len(a)
    for start in range(0, len(a), step):
        rows, left, right = a[start : start + step].unsqueeze(1), u[start : start + step], v[start : start + step]
        torch.div(rows, first, out=left)
        _half_step(b, left, right, gibbs)
        for _ in range(iterations - 1):
            _half_step(rows, right, left, gibbs)
            _half_step(b, left, right, gibbs)
        left.log_()
        right.log_()
    return u, v, own_a.log_(), own_b.log_()


def _half_step(weights: Tensor, known: Tensor, scaling: Tensor, gibbs: Tensor) -> None:
    """scaling ← weights / (known @ K), in place. The kernel is symmetric."""
    width = gibbs.shape[0]
    torch.mm(known.view(-1, width), gibbs, out=scaling.view(-1, width))
    torch.div(weights, scaling, out=scaling)


def _self_scaling(weights: Tensor, gibbs: Tensor, iterations: int) -> Tensor:
    """Scaling of OT(w, w), whose two potentials are the same, by averaged iterations. [R, S]"""
    scaling = torch.ones_like(weights)
    for _ in range(2 * iterations):
        scaling = (scaling * weights / (scaling @ gibbs)).sqrt_()
    return scaling


def _solve_log(
    a: Tensor, b: Tensor, cost: Tensor, epsilon: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    log_a, log_b, exponent = a.log(), b.log(), cost / -epsilon

    def half_step(log_weights: Tensor, known: Tensor) -> Tensor:
        step = max(1, _LOGARITHMS // (known[0].numel() * cost.shape[0]))
        parts = [torch.logsumexp(part.unsqueeze(-2) + exponent, dim=-1) for part in known.split(step)]
        return log_weights - torch.cat(parts)

    def own(log_weights: Tensor) -> Tensor:
        log_scaling = torch.zeros_like(log_weights)
        for _ in range(2 * iterations):
            log_scaling = 0.5 * (log_scaling + half_step(log_weights, log_scaling))
        return log_scaling

    own_a, own_b = own(log_a), own(log_b)
    rows = log_a.unsqueeze(1)
    f = half_step(rows, own_b.unsqueeze(0))
    g = half_step(log_b, f)
    for _ in range(iterations - 1):
        f = half_step(rows, g)
        g = half_step(log_b, f)
    return f, g, own_a, own_b


def _plan(weight: Tensor, f: Tensor, g: Tensor, cost: Tensor, epsilon: float, kernel: bool) -> Tensor:
    """Σ_n weight_n · P_n, [S, S]; weight [N], f and g [N, S] over ε."""
    if kernel:
        left = f.exp().mul_(weight.unsqueeze(1))
        return (left.T @ g.exp()) * torch.exp(cost / -epsilon)
    total = torch.zeros_like(cost)
    step = max(1, _LOGARITHMS // cost.numel())
    for w, left, right in zip(weight.split(step), f.split(step), g.split(step), strict=True):
        total += torch.einsum("n,nij->ij", w, (left.unsqueeze(2) + right.unsqueeze(1) - cost / epsilon).exp_())
    return total


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, cost: Tensor, epsilon: float, iterations: int) -> Tensor:
        kernel = epsilon >= KERNEL_FROM
        f, g, own_a, own_b = solve(a, b, cost, epsilon, iterations, kernel)
        ctx.save_for_backward(f, g, own_a, own_b, cost)
        ctx.epsilon, ctx.kernel = epsilon, kernel
        pairs = (f * a.unsqueeze(1)).sum(2) + (g * b).sum(2)
        return epsilon * (pairs - (own_a * a).sum(1, keepdim=True) - (own_b * b).sum(1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        f, g, own_a, own_b, cost = ctx.saved_tensors
        over_b, over_a = grad.sum(1), grad.sum(0)
        to_a = to_b = to_cost = None
        if ctx.needs_input_grad[0]:
            to_a = ctx.epsilon * ((grad.unsqueeze(2) * f).sum(1) - over_b.unsqueeze(1) * own_a)
        if ctx.needs_input_grad[1]:
            to_b = ctx.epsilon * ((grad.unsqueeze(2) * g).sum(0) - over_a.unsqueeze(1) * own_b)
        if ctx.needs_input_grad[2]:

            def plan(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
                return _plan(weight, left, right, cost, ctx.epsilon, ctx.kernel)

            pairs = plan(grad.reshape(-1), f.flatten(0, 1), g.flatten(0, 1))
            to_cost = pairs - 0.5 * (plan(over_b, own_a, own_a) + plan(over_a, own_b, own_b))
        return to_a, to_b, to_cost, None, None
