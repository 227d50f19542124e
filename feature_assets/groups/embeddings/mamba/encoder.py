"""The selective state-space encoder and its forecast in torch, for training. Imported by the fit only.

Two Mamba-2 blocks of width 32 with 4 heads of 8 and a state of 16. The first is complete: gate, short convolution,
selective step size, state, read-out, gated norm, residual. The second ends in its state: 16 · 32 numbers, projected to
50, from which the next days are forecast. Before a customer's first day the step size and the inputs of the
convolutions are 0, so that the sequence begins there.

Departures from the papers: the inner width is 32 (no expansion), and a weekday table is added to the embedded day.
Source: FEATURES §3.6; Gu & Dao (2023), Mamba, arXiv 2312.00752; Dao & Gu (2024), Transformers are SSMs, arXiv
2405.21060 (scalar decay a head, B and C through the convolution, gated norm).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from feature_assets.events.daily import CHANNELS
from feature_assets.kernels.scan import convolve_backward, convolve_forward, scan_backward, scan_forward

WIDTH, HEADS, STATE, TAPS = 32, 4, 16, 4
HEAD = WIDTH // HEADS
OUT = 50
STEP_SIZES = (0.01, 0.6)  # first step sizes of the slowest and the fastest head: half-lives of 69 and 1.2 days
EPSILON = 1e-5


class Scan(Function):
    """h_t = decay_t h_{t−1} + x_t b_tᵀ, y_t = c_tᵀ h_t, with the kernels of `kernels/scan.py`.

    `Scan.apply(x [S, L, W], decay [S, L, H], b [S, L, N], c [S, L, N], every)` → y [S, L, W] and the states after every
    `every` steps [S, L // every, N, W].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor, b: Tensor, c: Tensor, every: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, decay, b, c)
        ctx.every = every
        y, ends = scan_forward(_array(x), _array(decay), _array(b), _array(c), every)
        return torch.from_numpy(y), torch.from_numpy(ends)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_ends: Tensor) -> tuple[Tensor | None, ...]:
        x, decay, b, c = (_array(tensor) for tensor in ctx.saved_tensors)
        gradients = scan_backward(x, decay, b, c, ctx.every, _array(grad_y), _array(grad_ends))
        return (*(torch.from_numpy(gradient) for gradient in gradients), None)


class Convolution(Function):
    """Causal convolution of each channel: `Convolution.apply(x [S, L, M], taps [K, M], bias [M])` → [S, L, M]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, taps)
        return torch.from_numpy(convolve_forward(_array(x), _array(taps), _array(bias)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, taps = ctx.saved_tensors
        return tuple(torch.from_numpy(g) for g in convolve_backward(_array(x), _array(taps), _array(grad)))


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * weight


class Block(nn.Module):
    """One Mamba-2 block; `whole` = with gate, read-out and residual, else only its state."""

    def __init__(self, rng: np.random.Generator, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.mixed = WIDTH + STATE * (2 if whole else 1)  # x, B and C go through the convolution
        self.norm = nn.Parameter(torch.ones(WIDTH))
        self.inward = _parameter(rng, WIDTH, self.mixed + HEADS + (WIDTH if whole else 0))
        self.taps = _parameter(rng, TAPS, self.mixed)
        self.taps_bias = nn.Parameter(torch.zeros(self.mixed))
        sizes = np.geomspace(*STEP_SIZES, HEADS)
        self.step_bias = nn.Parameter(torch.tensor(np.log(np.expm1(sizes)), dtype=torch.float32))
        self.log_rate = nn.Parameter(torch.zeros(HEADS))
        if whole:
            self.skip = nn.Parameter(torch.ones(HEADS))
            self.gate_norm = nn.Parameter(torch.ones(WIDTH))
            self.outward = _parameter(rng, WIDTH, WIDTH)

    def forward(self, u: Tensor, known: Tensor, every: int) -> tuple[Tensor, Tensor]:
        """u [S, L, 32], known [S, L, 1] (1 or 0) → output [S, L, 32] and the states after every `every` steps
        [S, L // every, 16, 32]."""
        s, length, _ = u.shape
        projected = rms_norm(u, self.norm) @ self.inward
        mixed, steps, gate = projected.split([self.mixed, HEADS, projected.shape[-1] - self.mixed - HEADS], dim=-1)
        mixed = functional.silu(Convolution.apply(mixed * known, self.taps, self.taps_bias))
        dt = functional.softplus(steps + self.step_bias) * known
        decay = torch.exp(-dt * torch.exp(self.log_rate))
        x, b = mixed[..., :WIDTH], mixed[..., WIDTH : WIDTH + STATE]
        c = mixed[..., WIDTH + STATE :] if self.whole else torch.zeros_like(b)
        headed = x.reshape(s, length, HEADS, HEAD)
        y, states = Scan.apply((headed * dt[..., None]).reshape(s, length, WIDTH), decay, b, c, every)
        if not self.whole:
            return u, states
        y = y + (headed * self.skip[:, None]).reshape(s, length, WIDTH)
        return u + rms_norm(y * functional.silu(gate), self.gate_norm) @ self.outward, states


class Encoder(nn.Module):
    """Days → 50 numbers after every `every` days → forecast of the next `horizon` days."""

    def __init__(self, horizon: int, every: int, rng: np.random.Generator) -> None:
        super().__init__()
        channels = len(CHANNELS)
        self.horizon, self.every = horizon, every
        self.embed = _parameter(rng, channels, WIDTH)
        self.weekday = nn.Parameter(torch.tensor(rng.normal(0.0, 0.3, (7, WIDTH)), dtype=torch.float32))
        self.first = Block(rng, whole=True)
        self.second = Block(rng, whole=False)
        self.project = _parameter(rng, WIDTH * STATE, OUT)
        self.head = nn.Parameter(torch.zeros(OUT, horizon * channels))
        self.head_bias = nn.Parameter(torch.zeros(horizon * channels))

    def encode(self, values: Tensor, known: Tensor, weekday: Tensor) -> Tensor:
        """values [S, L, 8] scaled, known [S, L] bool, weekday [S, L] int64 → [S, L // every, 50]."""
        mask = known[..., None].to(values.dtype)
        u = values @ self.embed + self.weekday[weekday]
        u, _ = self.first(u, mask, self.every)
        _, states = self.second(u, mask, self.every)
        return states.reshape(*states.shape[:2], -1) @ self.project

    def forecast(self, encoded: Tensor) -> Tensor:
        """[…, 50] → the next days […, horizon, 8], scaled: linear, so that what the days hold lies open in the 50."""
        flat = encoded @ self.head + self.head_bias
        return flat.reshape(*encoded.shape[:-1], self.horizon, len(CHANNELS))


def _parameter(rng: np.random.Generator, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.tensor(rng.normal(0.0, rows**-0.5, (rows, columns)), dtype=torch.float32))
