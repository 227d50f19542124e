"""The selective state-space scan of Mamba-2 in its chunked (state-space-dual) form, and the only way to its kernels.

    h_t = exp(dt_t a) h_{t−1} + dt_t x_t b_tᵀ,   y_t = h_t c_t

Within a chunk the recurrence is a masked matrix product, like attention without a softmax; between chunks only the
state is carried. A step with dt = 0 leaves the state as it is.
Source: Dao and Gu, "Transformers are SSMs" (2024), §6; MODEL §3.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Literal["auto", "torch"]


def selective_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int, kernel: Kernel = "auto"
) -> Tensor:
    """y [B, S, H, P] of x [B, S, H, P], step sizes dt ≥ 0 [B, S, H], rates a < 0 [H], b and c [B, S, N].

    chunk: steps that are computed at once. kernel: `auto` takes mamba-ssm where it imports and x is on a GPU, the form
    in torch elsewhere; `torch` takes that one always. Computes in float32 (float64 if x is) under autocast too.
    """
    fused = fused_scan() if kernel == "auto" and on_gpu(x) else None
    with torch.autocast(x.device.type, enabled=False):
        kept = x.dtype if x.dtype == torch.float64 else torch.float32
        x, dt, a, b, c = (t.to(kept) for t in (x, dt, a, b, c))
        if fused is None:
            return chunked_scan(x, dt, a, b, c, chunk)
        power = max(16, 1 << (chunk - 1).bit_length())  # its matrix products want powers of two of at least 16
        return fused(x, dt, a, b.unsqueeze(2), c.unsqueeze(2), chunk_size=power)


def on_gpu(x: Tensor) -> bool:
    """Whether a GPU kernel can read it."""
    return x.is_cuda


@cache
def fused_scan() -> Callable[..., Tensor] | None:
    """mamba-ssm's chunked scan, or None where it is not installed. Warns if it is installed and does not import."""
    try:
        return importlib.import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "mamba_ssm"):
            warnings.warn(f"mamba-ssm is installed but does not import, torch scans instead: {error}", stacklevel=2)
        return None


def chunked_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
    """`selective_scan` in torch. Costs O(S·chunk) instead of the S dependent steps of the recurrence."""
    batch, steps, heads, width = x.shape
    chunks = -(-steps // chunk)
    chunk = -(-steps // chunks)  # chunks of equal length need the least filling
    before = chunks * chunk - steps  # empty steps in front: dt = 0
    if before:
        x, dt = F.pad(x, (0, 0, 0, 0, before, 0)), F.pad(dt, (0, 0, before, 0))
        b, c = F.pad(b, (0, 0, before, 0)), F.pad(c, (0, 0, before, 0))
    rows = batch * chunks
    b, c = b.reshape(rows, chunk, -1), c.reshape(rows, chunk, -1)
    dt = dt.reshape(rows, chunk, heads)
    push = dt.unsqueeze(-1) * x.reshape(rows, chunk, heads, width)  # [R, L, H, P]
    decay = (dt * a).cumsum(1)  # [R, L, H]: log of what is left at each step of the state before the chunk
    y = torch.matmul(_weights(decay, b, c), push.transpose(1, 2)).transpose(1, 2)
    if chunks == 1:
        return y[:, before:]
    # what each chunk adds to the state, [R, N, H·P]; then the state before each chunk
    left = (decay[:, -1:] - decay).exp().unsqueeze(-1)
    added = torch.bmm(b.mT, (left * push).flatten(2)).view(batch, chunks, -1, heads, width)
    through = decay[:, -1].exp().view(batch, chunks, 1, heads, 1)
    state = added[:, 0]
    entering = [torch.zeros_like(state), state]
    for k in range(1, chunks - 1):
        state = through[:, k] * state + added[:, k]
        entering.append(state)
    carried = torch.bmm(c, torch.stack(entering, 1).view(rows, -1, heads * width)).view_as(y)
    y = y + decay.exp().unsqueeze(-1) * carried
    return y.reshape(batch, chunks * chunk, heads, width)[:, before:]


def _weights(decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """[R, H, L, L]: how much of step s reaches step l ≥ s of the same chunk."""
    steps, by_head = decay.shape[1], decay.mT  # [R, H, L]
    causal = decay.new_full((steps, steps), -torch.inf).triu(1)
    left = (by_head.unsqueeze(3) - (by_head.unsqueeze(2) - causal)).exp()
    return torch.bmm(c, b.mT).unsqueeze(1) * left
