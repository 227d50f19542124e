"""Sets of at most 128 small numbers as two machine words: index of the lowest member, number of members."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


@intrinsic
def lowest(typing_context: Any, word: Any) -> Any:  # noqa: ARG001 — numba's signature
    """Index of the lowest set bit of a uint64; 64 where there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.int64(types.uint64), generate


@intrinsic
def members(typing_context: Any, word: Any) -> Any:  # noqa: ARG001 — numba's signature
    """Number of set bits of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate
