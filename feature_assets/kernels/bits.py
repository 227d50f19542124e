"""Sets of small numbers as 64-bit words: index of the lowest member, number of members (one instruction each)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.extending import intrinsic


def _lowest(typing_context: Any, word: Any) -> Any:  # noqa: ARG001 — numba's signature
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.int64(types.uint64), generate


def _members(typing_context: Any, word: Any) -> Any:  # noqa: ARG001 — numba's signature
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


lowest = cast(Callable[[Any], int], intrinsic(_lowest))
"""Index of the lowest set bit of a uint64, 64 where there is none; inside of numba functions only."""
members = cast(Callable[[Any], int], intrinsic(_members))
"""Number of set bits of a uint64; inside of numba functions only."""
