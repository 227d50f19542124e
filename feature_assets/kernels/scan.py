"""The selective scan and the causal convolution with their gradients, for training a state-space encoder.

Per sequence, in float32 or float64, on one thread. Training only: sums over channels may be reassociated, so that they
are vectorised; a machine does so the same way every time. Oracles: the recurrence and the convolution in torch's own
operations. Source: PERFORMANCE §1 ("a numba scan in an autograd.Function"); Gu & Dao (2023), algorithm 2.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _forward_step(
    h: np.ndarray, falls: np.ndarray, x: np.ndarray, b: np.ndarray, c: np.ndarray, after: np.ndarray, y: np.ndarray
) -> None:
    """after = falls h + x bᵀ [N, W], y [W] += cᵀ after."""
    for k in range(b.size):
        b_k, c_k, h_k, after_k = b[k], c[k], h[k], after[k]
        for j in range(x.size):
            v = falls[j] * h_k[j] + x[j] * b_k
            after_k[j] = v
            y[j] += c_k * v


@njit(cache=True, fastmath={"reassoc"})
def _backward_step(
    g: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    falls: np.ndarray,
    x: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    grad_y: np.ndarray,
    grad_x: np.ndarray,
    grad_falls: np.ndarray,
    grad_b: np.ndarray,
    grad_c: np.ndarray,
) -> None:
    """`g` [N, W], the gradient of the state after the step, becomes that of the state before it."""
    for k in range(b.size):
        b_k, c_k, g_k, before_k, after_k = b[k], c[k], g[k], before[k], after[k]
        sum_b, sum_c = x[0] - x[0], x[0] - x[0]
        for j in range(x.size):
            v = g_k[j] + c_k * grad_y[j]
            grad_x[j] += v * b_k
            grad_falls[j] += v * before_k[j]
            sum_b += v * x[j]
            sum_c += grad_y[j] * after_k[j]
            g_k[j] = v * falls[j]
        grad_b[k] = sum_b
        grad_c[k] = sum_c


@njit(cache=True)
def scan_forward(
    x: np.ndarray, decay: np.ndarray, b: np.ndarray, c: np.ndarray, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """h ← decay h + x bᵀ, y = cᵀ h. x [S, L, W], decay [S, L, H] (W / H channels each), b, c [S, L, N].

    Returns y [S, L, W] and the states after every `every` steps [S, L // every, N, W].
    """
    s, length, width = x.shape
    n, head = b.shape[2], width // decay.shape[2]
    y = np.zeros_like(x)
    ends = np.zeros((s, length // every, n, width), x.dtype)
    h = np.zeros((n, width), x.dtype)
    falls = np.zeros(width, x.dtype)
    for i in range(s):
        h[:] = 0
        for t in range(length):
            for j in range(width):
                falls[j] = decay[i, t, j // head]
            _forward_step(h, falls, x[i, t], b[i, t], c[i, t], h, y[i, t])
            if (t + 1) % every == 0:
                ends[i, t // every] = h
    return y, ends


@njit(cache=True)
def scan_backward(
    x: np.ndarray,
    decay: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    every: int,
    grad_y: np.ndarray,
    grad_ends: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of x, decay, b, c from those of `scan_forward`'s results; the states are computed again."""
    s, length, width = x.shape
    n, heads = b.shape[2], decay.shape[2]
    head = width // heads
    grad_x, grad_decay = np.zeros_like(x), np.zeros_like(decay)
    grad_b, grad_c = np.zeros_like(b), np.zeros_like(c)
    states = np.zeros((length + 1, n, width), x.dtype)
    g = np.zeros((n, width), x.dtype)
    falls, grad_falls, unused = np.zeros(width, x.dtype), np.zeros(width, x.dtype), np.zeros(width, x.dtype)
    for i in range(s):
        for t in range(length):
            for j in range(width):
                falls[j] = decay[i, t, j // head]
            _forward_step(states[t], falls, x[i, t], b[i, t], c[i, t], states[t + 1], unused)
        g[:] = 0
        for t in range(length - 1, -1, -1):
            if (t + 1) % every == 0:
                for k in range(n):
                    for j in range(width):
                        g[k, j] += grad_ends[i, t // every, k, j]
            for j in range(width):
                falls[j] = decay[i, t, j // head]
                grad_falls[j] = 0
            _backward_step(
                g,
                states[t],
                states[t + 1],
                falls,
                x[i, t],
                b[i, t],
                c[i, t],
                grad_y[i, t],
                grad_x[i, t],
                grad_falls,
                grad_b[i, t],
                grad_c[i, t],
            )
            for j in range(width):
                grad_decay[i, t, j // head] += grad_falls[j]
    return grad_x, grad_decay, grad_b, grad_c


@njit(cache=True)
def convolve_forward(x: np.ndarray, taps: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Causal convolution of each channel: out_t = bias + Σ_i x_{t−(K−1)+i} taps_i.

    x [S, L, M], taps [K, M], bias [M].
    """
    s, length, width = x.shape
    n = taps.shape[0]
    out = np.empty_like(x)
    for i in range(s):
        for t in range(length):
            for j in range(width):
                out[i, t, j] = bias[j]
            for k in range(max(n - 1 - t, 0), n):
                for j in range(width):
                    out[i, t, j] += x[i, t - (n - 1) + k, j] * taps[k, j]
    return out


@njit(cache=True)
def convolve_backward(x: np.ndarray, taps: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of x, taps and bias from that of the result."""
    s, length, width = x.shape
    n = taps.shape[0]
    grad_x, grad_taps, grad_bias = np.zeros_like(x), np.zeros_like(taps), np.zeros(width, x.dtype)
    for i in range(s):
        for t in range(length):
            for j in range(width):
                grad_bias[j] += grad[i, t, j]
            for k in range(max(n - 1 - t, 0), n):
                at = t - (n - 1) + k
                for j in range(width):
                    grad_taps[k, j] += grad[i, t, j] * x[i, at, j]
                    grad_x[i, at, j] += grad[i, t, j] * taps[k, j]
    return grad_x, grad_taps, grad_bias
