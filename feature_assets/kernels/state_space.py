"""The two-block selective state-space encoder, one customer at a time: its last state, projected.

The same numbers as `groups.mamba.encoder` gives (its oracle), but only what the last state needs, and what depends on
one day alone only once for all days without events of a weekday. Arrays are [channel, day] and the loops run over days
inside, so that they are vectorised without reordering a sum; the numbers of days are rounded up to whole blocks, of
which the rest is never read. Works in the precision of its weights. Source: PERFORMANCE §1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.kernels.elementary import exp, softplus

_BLOCK = 32  # days: what a vectorised loop does at a time
_WEEK = 7
_APART = 64  # numbers between rows of a state: where it is constant, the scan is vectorised


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
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

    `weekday` is that of the day before t; `values` are scaled; `rate` is < 0; `project` [state · width, 50]. Of width,
    state (multiples of 8, width at most 64) and 4 taps.
    """
    customers = start.size - 1
    width, mixed_1, mixed_2 = embed.shape[1], taps_bias_1.size, taps_bias_2.size
    state, heads, kind = mixed_2 - width, rate_1.size, embed.dtype
    head, gates, before = width // heads, mixed_1 + heads, taps_1.shape[0] - 1
    result = np.empty((customers, offset.size), kind)
    longest = _WEEK
    for i in range(customers):
        longest = max(longest, length[i])
    room = _blocks(longest + _WEEK)
    # of each different day: seven without events, then those with them
    which = np.zeros(room, np.uint32)
    day, projected_1 = np.zeros((width, room), kind), np.zeros((inward_1.shape[1], room), kind)
    day_step, day_decay = np.zeros((heads, room), kind), np.zeros((heads, room), kind)
    # of all days in order
    scale, normed, u = np.zeros(room, kind), np.zeros((width, room), kind), np.zeros((width, room), kind)
    past_1, mixed = np.zeros((mixed_1, before + room), kind), np.zeros((mixed_1, room), kind)
    past_2, projected_2 = np.zeros((mixed_2, before + room), kind), np.zeros((inward_2.shape[1], room), kind)
    step, decay, y = np.zeros((heads, room), kind), np.zeros((heads, room), kind), np.zeros((width, room), kind)
    x_days, falls, y_days = np.zeros((room, width), kind), np.zeros((room, width), kind), np.zeros((room, width), kind)
    read_write = np.zeros((room, 2 * state), kind)
    h_1, h_2 = np.zeros((state // 4, 4 * _APART), kind), np.zeros((state, width), kind)
    for i in range(customers):
        n = length[i]
        different = _WEEK + _embedded(i, n, start, days_ago, values, weekday, embed, weekdays, which, day)
        some, all_days = _blocks(different), _blocks(n)

        _normed(day, norm_1, some, scale, normed)
        _clear(projected_1, some)
        _add_product(normed, inward_1, some, projected_1)
        _steps(projected_1[mixed_1:gates], step_bias_1, rate_1, some, day_step, day_decay)
        _silu(projected_1[gates:], some)
        _spread(projected_1[:mixed_1], which, n, before, past_1)
        _convolve(past_1, taps_1, taps_bias_1, all_days, mixed)
        for t in range(n):
            d = which[t]
            for k in range(heads):
                fall, size = day_decay[k, d], day_step[k, d]
                for j in range(k * head, (k + 1) * head):
                    falls[t, j] = fall
                    x_days[t, j] = mixed[j, t] * size
            for j in range(2 * state):
                read_write[t, j] = mixed[width + j, t]
        _scan(x_days, falls, read_write, n, h_1, y_days)
        for j in range(width):
            skip = skip_1[j // head]
            for t in range(n):
                y[j, t] = (y_days[t, j] + skip * mixed[j, t]) * projected_1[gates + j, which[t]]
        _normed(y, gate_norm_1, all_days, scale, normed)
        _spread(day, which, n, 0, u)
        _add_product(normed, outward_1, all_days, u)

        _normed(u, norm_2, all_days, scale, normed)
        _clear(projected_2, all_days)
        _add_product(normed, inward_2, all_days, projected_2)
        _steps(projected_2[mixed_2:], step_bias_2, rate_2, all_days, step, decay)
        _shift(projected_2, all_days, before, past_2)
        _convolve(past_2, taps_2, taps_bias_2, all_days, mixed)
        _weigh(step, decay, n, all_days, mixed[:width])
        _products(mixed[width:], mixed[:width], all_days, h_2)
        _read(h_2, project, offset, result[i])
    return result


@njit(cache=True)
def _blocks(n: int) -> int:
    return -(-n // _BLOCK) * _BLOCK


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _embedded(
    i: int,
    n: int,
    start: np.ndarray,
    days_ago: np.ndarray,
    values: np.ndarray,
    weekday: int,
    embed: np.ndarray,
    weekdays: np.ndarray,
    which: np.ndarray,
    day: np.ndarray,
) -> int:
    """Fill `day` [width, …] with the seven days without events and those of customer i with them, of which the number
    is returned, and `which` [n] with the place in it of each of the last n days."""
    found = 0
    for t in range(n):
        which[t] = (weekday - (n - t - 1)) % _WEEK
    for d in range(_WEEK):
        for j in range(day.shape[0]):
            day[j, d] = weekdays[d, j]
    for event in range(start[i], start[i + 1]):
        t = n - days_ago[event]
        if t >= 0:
            for j in range(day.shape[0]):
                v = weekdays[which[t], j]
                for c in range(embed.shape[0]):
                    v += values[event, c] * embed[c, j]
                day[j, _WEEK + found] = v
            which[t] = _WEEK + found
            found += 1
    return found


@njit(cache=True)
def _spread(source: np.ndarray, which: np.ndarray, n: int, before: int, target: np.ndarray) -> None:
    """Each day's column of `source`, behind the first `before` of `target`."""
    for j in range(source.shape[0]):
        for t in range(n):
            target[j, before + t] = source[j, which[t]]


@njit(cache=True)
def _shift(source: np.ndarray, n: int, before: int, target: np.ndarray) -> None:
    """The first n columns and the first rows of `source`, behind the first `before` columns of `target`."""
    for j in range(target.shape[0]):
        for t in range(n):
            target[j, before + t] = source[j, t]


@njit(cache=True)
def _clear(x: np.ndarray, n: int) -> None:
    for j in range(x.shape[0]):
        for t in range(n):
            x[j, t] = 0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _normed(x: np.ndarray, weight: np.ndarray, n: int, scale: np.ndarray, out: np.ndarray) -> None:
    """out = x / √(mean x² + 1e-5) · weight, the mean of a day over its channels."""
    one, size, epsilon = np.array([1, weight.size, 1e-5]).astype(x.dtype)
    for t in range(n):
        scale[t] = 0
    for k in range(0, weight.size, 4):
        for t in range(n):
            scale[t] += x[k, t] * x[k, t] + x[k + 1, t] * x[k + 1, t]
            scale[t] += x[k + 2, t] * x[k + 2, t] + x[k + 3, t] * x[k + 3, t]
    for t in range(n):
        scale[t] = one / np.sqrt(scale[t] / size + epsilon)
    for k in range(weight.size):
        for t in range(n):
            out[k, t] = x[k, t] * scale[t] * weight[k]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add_product(x: np.ndarray, matrix: np.ndarray, n: int, out: np.ndarray) -> None:
    """out += matrixᵀ x, eight terms at a time."""
    for j in range(matrix.shape[1]):
        for k in range(0, matrix.shape[0], 8):
            a, b, c, d = matrix[k, j], matrix[k + 1, j], matrix[k + 2, j], matrix[k + 3, j]
            e, f, g, h = matrix[k + 4, j], matrix[k + 5, j], matrix[k + 6, j], matrix[k + 7, j]
            for t in range(n):
                v = out[j, t] + a * x[k, t] + b * x[k + 1, t] + c * x[k + 2, t] + d * x[k + 3, t]
                out[j, t] = v + e * x[k + 4, t] + f * x[k + 5, t] + g * x[k + 6, t] + h * x[k + 7, t]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _silu(x: np.ndarray, n: int) -> None:
    one = np.ones(1, x.dtype)[0]
    for j in range(x.shape[0]):
        for t in range(n):
            x[j, t] = x[j, t] / (one + exp(-x[j, t]))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _convolve(past: np.ndarray, taps: np.ndarray, bias: np.ndarray, n: int, out: np.ndarray) -> None:
    """silu of the causal convolution with four taps; `past` begins three days, all 0, before the first."""
    one = np.ones(1, past.dtype)[0]
    for j in range(bias.size):
        level, a, b, c, d = bias[j], taps[0, j], taps[1, j], taps[2, j], taps[3, j]
        for t in range(n):
            v = level + a * past[j, t] + b * past[j, t + 1] + c * past[j, t + 2] + d * past[j, t + 3]
            out[j, t] = v / (one + exp(-v))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _steps(x: np.ndarray, bias: np.ndarray, rate: np.ndarray, n: int, step: np.ndarray, decay: np.ndarray) -> None:
    """Step size softplus(·) and decay exp(step · rate) of each head."""
    for k in range(bias.size):
        for t in range(n):
            v = softplus(x[k, t] + bias[k])
            step[k, t] = v
            decay[k, t] = exp(v * rate[k])


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _scan(x: np.ndarray, falls: np.ndarray, read_write: np.ndarray, n: int, h: np.ndarray, y: np.ndarray) -> None:
    """h ← decay h + b xᵀ, y = cᵀ h over n days; x, falls, y [days, width], b and c side by side [days, 2 · state], h
    [state / 4, 4 · 64]: four rows of the state lie one after the other."""
    width, state = x.shape[1], read_write.shape[1] // 2
    _clear(h, h.shape[1])
    for t in range(n):
        for j in range(width):
            y[t, j] = 0
        for k in range(state // 4):
            s = 4 * k
            b_0, b_1, b_2, b_3 = read_write[t, s], read_write[t, s + 1], read_write[t, s + 2], read_write[t, s + 3]
            s += state
            c_0, c_1, c_2, c_3 = read_write[t, s], read_write[t, s + 1], read_write[t, s + 2], read_write[t, s + 3]
            for j in range(width):
                fall, v = falls[t, j], x[t, j]
                p = fall * h[k, j] + v * b_0
                q = fall * h[k, _APART + j] + v * b_1
                r = fall * h[k, 2 * _APART + j] + v * b_2
                w = fall * h[k, 3 * _APART + j] + v * b_3
                h[k, j], h[k, _APART + j], h[k, 2 * _APART + j], h[k, 3 * _APART + j] = p, q, r, w
                y[t, j] += c_0 * p + c_1 * q + c_2 * r + c_3 * w


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _weigh(step: np.ndarray, decay: np.ndarray, n: int, until: int, x: np.ndarray) -> None:
    """x of each day times its step and all later decays: its share of the last state; 0 from day n on."""
    head = x.shape[0] // step.shape[0]
    for k in range(step.shape[0]):
        left = np.ones(1, x.dtype)[0]
        for t in range(n - 1, -1, -1):
            step[k, t] *= left
            left *= decay[k, t]
        for t in range(n, until):
            step[k, t] = 0
        for j in range(k * head, (k + 1) * head):
            for t in range(until):
                x[j, t] *= step[k, t]


@njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _products(b: np.ndarray, x: np.ndarray, n: int, out: np.ndarray) -> None:
    """out = b xᵀ, summed over n days: a multiple of `_BLOCK`, so that the order is the same for everyone."""
    for s in range(0, out.shape[0], 4):
        for j in range(out.shape[1]):
            p = np.zeros(1, x.dtype)[0]
            q, r, w = p, p, p
            for t in range(n):
                p += b[s, t] * x[j, t]
                q += b[s + 1, t] * x[j, t]
                r += b[s + 2, t] * x[j, t]
                w += b[s + 3, t] * x[j, t]
            out[s, j], out[s + 1, j], out[s + 2, j], out[s + 3, j] = p, q, r, w


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _read(h: np.ndarray, project: np.ndarray, offset: np.ndarray, out: np.ndarray) -> None:
    """out = offset + flattened h @ project."""
    width = h.shape[1]
    for j in range(out.size):
        out[j] = offset[j]
    for s in range(h.shape[0]):
        for k in range(0, width, 4):
            row = s * width + k
            a, b, c, d = h[s, k], h[s, k + 1], h[s, k + 2], h[s, k + 3]
            for j in range(out.size):
                out[j] += (
                    a * project[row, j] + b * project[row + 1, j] + c * project[row + 2, j] + d * project[row + 3, j]
                )
