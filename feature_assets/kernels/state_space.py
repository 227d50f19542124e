"""The two-block selective state-space encoder, one customer at a time: its last state, projected.

The same numbers as `groups.mamba.encoder` gives (its oracle), but only what the last state needs, and the projection of
a day without events, of which there are seven kinds, only once. Loops run over the outputs of a product inside, so
that they are vectorised without reordering a sum. Works in the precision of its weights. Source: PERFORMANCE §1.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _normed(u: np.ndarray, weight: np.ndarray, out: np.ndarray, one: float, epsilon: float) -> None:
    """out = u / √(mean u² + ε) · weight; `one` is 1 in the precision of the arrays, and keeps the sums in it."""
    total, size = one - one, one - one
    for j in range(u.size):
        total += u[j] * u[j]
        size += one
    scale = one / np.sqrt(total / size + epsilon)
    for j in range(u.size):
        out[j] = u[j] * scale * weight[j]


@njit(cache=True)
def last_states(
    start: np.ndarray,
    days_ago: np.ndarray,
    values: np.ndarray,
    length: np.ndarray,
    weekday: int,
    embed: np.ndarray,
    weekdays: np.ndarray,
    norm_1: np.ndarray,
    inward_1: np.ndarray,
    taps_1: np.ndarray,
    taps_bias_1: np.ndarray,
    step_bias_1: np.ndarray,
    rate_1: np.ndarray,
    skip_1: np.ndarray,
    gate_norm_1: np.ndarray,
    outward_1: np.ndarray,
    norm_2: np.ndarray,
    inward_2: np.ndarray,
    taps_2: np.ndarray,
    taps_bias_2: np.ndarray,
    step_bias_2: np.ndarray,
    rate_2: np.ndarray,
    project: np.ndarray,
    offset: np.ndarray,
) -> np.ndarray:
    """[customers, 50]: the projected state after the day before t, of days as in `groups._days.Days`.

    `weekday` is that of the day before t; `values` are scaled; `rate` is < 0; `project` [state · width, 50].
    """
    customers = start.size - 1
    width, mixed_1, mixed_2 = embed.shape[1], taps_bias_1.size, taps_bias_2.size
    state, heads, out = mixed_2 - width, rate_1.size, project.shape[1]
    head = width // heads
    n_taps = taps_1.shape[0]
    kind = embed.dtype
    one = np.ones(1, kind)[0]
    zero = one - one
    epsilon = np.full(1, 1e-5, kind)[0]
    result = np.zeros((customers, out), kind)

    u, y, normed = np.zeros(width, kind), np.zeros(width, kind), np.zeros(width, kind)
    empty_u, empty_1 = np.zeros((7, width), kind), np.zeros((7, inward_1.shape[1]), kind)
    projected_1, projected_2 = np.zeros(inward_1.shape[1], kind), np.zeros(inward_2.shape[1], kind)
    gate, step = np.zeros(width, kind), np.zeros(width, kind)
    empty_gate = np.zeros((7, width), kind)
    empty_step, empty_decay = np.zeros((7, width), kind), np.zeros((7, width), kind)
    decay = np.zeros(width, kind)
    recent_1, recent_2 = np.zeros((n_taps, mixed_1), kind), np.zeros((n_taps, mixed_2), kind)
    conv_1, conv_2 = np.zeros(mixed_1, kind), np.zeros(mixed_2, kind)
    h_1, h_2 = np.zeros((state, width), kind), np.zeros((state, width), kind)

    for d in range(7):
        for j in range(width):
            empty_u[d, j] = weekdays[d, j]
        _project(empty_u[d], norm_1, inward_1, normed, empty_1[d], one, epsilon)
        _gate_and_steps(
            empty_1[d], mixed_1, step_bias_1, rate_1, head, empty_gate[d], empty_step[d], empty_decay[d], one
        )

    for i in range(customers):
        recent_1[:] = zero
        recent_2[:] = zero
        h_1[:] = zero
        h_2[:] = zero
        event = start[i]
        steps = length[i]
        for t in range(steps):
            ago = steps - t
            while event < start[i + 1] and days_ago[event] > ago:
                event += 1
            d = (weekday - (ago - 1)) % 7
            slot = t % n_taps
            if event < start[i + 1] and days_ago[event] == ago:
                for j in range(width):
                    u[j] = zero
                for c in range(embed.shape[0]):
                    v = values[event, c]
                    if v != zero:
                        for j in range(width):
                            u[j] += v * embed[c, j]
                for j in range(width):
                    u[j] += weekdays[d, j]
                _project(u, norm_1, inward_1, normed, projected_1, one, epsilon)
                _gate_and_steps(projected_1, mixed_1, step_bias_1, rate_1, head, gate, step, decay, one)
                for j in range(mixed_1):
                    recent_1[slot, j] = projected_1[j]
            else:
                for j in range(width):
                    u[j] = empty_u[d, j]
                    gate[j] = empty_gate[d, j]
                    step[j] = empty_step[d, j]
                    decay[j] = empty_decay[d, j]
                for j in range(mixed_1):
                    recent_1[slot, j] = empty_1[d, j]
            _convolve(recent_1, t, taps_1, taps_bias_1, conv_1, one)
            for j in range(width):
                step[j] *= conv_1[j]
                y[j] = zero
            for n in range(state):
                b, c_n = conv_1[width + n], conv_1[width + state + n]
                for j in range(width):
                    h = decay[j] * h_1[n, j] + step[j] * b
                    h_1[n, j] = h
                    y[j] += c_n * h
            for j in range(width):
                y[j] = (y[j] + skip_1[j // head] * conv_1[j]) * gate[j]
            _normed(y, gate_norm_1, normed, one, epsilon)
            for k in range(width):
                v = normed[k]
                for j in range(width):
                    u[j] += v * outward_1[k, j]
            _project(u, norm_2, inward_2, normed, projected_2, one, epsilon)
            for j in range(mixed_2):
                recent_2[slot, j] = projected_2[j]
            _steps(projected_2, mixed_2, step_bias_2, rate_2, head, step, decay, one)
            _convolve(recent_2, t, taps_2, taps_bias_2, conv_2, one)
            for j in range(width):
                step[j] *= conv_2[j]
            for n in range(state):
                b = conv_2[width + n]
                for j in range(width):
                    h_2[n, j] = decay[j] * h_2[n, j] + step[j] * b
        for j in range(out):
            result[i, j] = offset[j]
        for n in range(state):
            for k in range(width):
                v = h_2[n, k]
                for j in range(out):
                    result[i, j] += v * project[n * width + k, j]
    return result


@njit(cache=True)
def _project(
    u: np.ndarray,
    norm: np.ndarray,
    inward: np.ndarray,
    normed: np.ndarray,
    projected: np.ndarray,
    one: float,
    epsilon: float,
) -> None:
    """projected = rms_norm(u) @ inward."""
    _normed(u, norm, normed, one, epsilon)
    for j in range(projected.size):
        projected[j] = one - one
    for k in range(normed.size):
        v = normed[k]
        for j in range(projected.size):
            projected[j] += v * inward[k, j]


@njit(cache=True)
def _steps(
    projected: np.ndarray,
    mixed: int,
    bias: np.ndarray,
    rate: np.ndarray,
    head: int,
    step: np.ndarray,
    decay: np.ndarray,
    one: float,
) -> None:
    """Step size softplus(·) and decay exp(step · rate) of each head, repeated over its channels."""
    for k in range(bias.size):
        v = projected[mixed + k] + bias[k]
        dt = max(v, one - one) + np.log1p(np.exp(-abs(v)))
        fall = np.exp(dt * rate[k])
        for j in range(k * head, (k + 1) * head):
            step[j] = dt
            decay[j] = fall


@njit(cache=True)
def _gate_and_steps(
    projected: np.ndarray,
    mixed: int,
    bias: np.ndarray,
    rate: np.ndarray,
    head: int,
    gate: np.ndarray,
    step: np.ndarray,
    decay: np.ndarray,
    one: float,
) -> None:
    """silu of the gate, and `_steps`."""
    _steps(projected, mixed, bias, rate, head, step, decay, one)
    for j in range(gate.size):
        v = projected[mixed + bias.size + j]
        gate[j] = v / (one + np.exp(-v))


@njit(cache=True)
def _convolve(recent: np.ndarray, t: int, taps: np.ndarray, bias: np.ndarray, out: np.ndarray, one: float) -> None:
    """silu of the causal convolution; `recent` is a ring of the last days' inputs, day t at t % taps."""
    n = taps.shape[0]
    for j in range(out.size):
        out[j] = bias[j]
    for i in range(n):
        row = (t + 1 + i) % n  # the oldest first
        for j in range(out.size):
            out[j] += recent[row, j] * taps[i, j]
    for j in range(out.size):
        v = out[j]
        out[j] = v / (one + np.exp(-v))
