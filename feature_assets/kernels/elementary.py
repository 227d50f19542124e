"""exp and softplus without branches in float32, so that loops over them are vectorised; those of libm in float64.

For use inside of numba functions only; a loop over them is vectorised where its function has `error_model="numpy"`,
under which a division cannot raise. exp is within 2 units in the last place from −87 to 88 and constant beyond,
softplus within 4 of them from −87 on. Source: Cephes, `expf` (Moshier 1992); log(1 + e) = 2 artanh(e / (2 + e)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic, overload, register_jitable

_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(1.5 * 2**23)  # added and taken off again, it leaves the nearest whole number
_E = tuple(
    np.float32(v)
    for v in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
_A = tuple(np.float32(2 / (2 * k + 1)) for k in range(8))
_HALF, _ONE, _TWO, _ZERO = np.float32(0.5), np.float32(1), np.float32(2), np.float32(0)


def _two_to_the(typing_context: Any, n: Any) -> Any:  # noqa: ARG001 — numba's signature
    """2ⁿ of a whole float32 n from −126 to 127, by its bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        whole = builder.fptosi(arguments[0], context.get_value_type(types.int32))
        exponent = builder.add(whole, context.get_constant(types.int32, 127))
        bits = builder.shl(exponent, context.get_constant(types.int32, 23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.float32), generate


_power_of_two = cast(Callable[[Any], Any], intrinsic(_two_to_the))


@register_jitable(fastmath={"contract"}, error_model="numpy")
def _exp(x: Any) -> Any:
    x = x if x > _LEAST else _LEAST
    x = x if x < _MOST else _MOST
    n = (x * _LOG2_E + _ROUND) - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_E[0] * r + _E[1]) * r + _E[2]) * r + _E[3]) * r + _E[4]) * r + _E[5]
    return (p * (r * r) + r + _ONE) * _power_of_two(n)


@register_jitable(fastmath={"contract"}, error_model="numpy")
def _softplus(x: Any) -> Any:
    size = x if x > _ZERO else -x
    e = _exp(-size)
    s = e / (_TWO + e)
    q = s * s
    p = ((((((_A[7] * q + _A[6]) * q + _A[5]) * q + _A[4]) * q + _A[3]) * q + _A[2]) * q + _A[1]) * q + _A[0]
    return (x + size) * _HALF + p * s


def exp(x: float) -> float:
    """eˣ."""
    raise NotImplementedError


def softplus(x: float) -> float:
    """log(1 + eˣ)."""
    raise NotImplementedError


@overload(exp, strict=False)
def _exp_of(x: Any) -> Any:
    return (lambda x: _exp(x)) if x == types.float32 else (lambda x: np.exp(x))


@overload(softplus, strict=False)
def _softplus_of(x: Any) -> Any:
    if x == types.float32:
        return lambda x: _softplus(x)
    return lambda x: max(x, 0.0) + np.log1p(np.exp(-abs(x)))
