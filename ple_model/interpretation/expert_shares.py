"""Shares of the experts: the mean gate of each task over all rows, and over the rows of each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

ALL = "all"

RowGroups = Mapping[str, tuple[NDArray[np.str_], Sequence[str]]]
"""What rows are grouped by → name of the group of each row [R], and the groups in their order."""


def expert_shares(
    gates: NDArray[np.float32], tasks: Sequence[str], experts: Sequence[str], groups: RowGroups
) -> pl.DataFrame:
    """One row a task and group: task, by (`ALL` for all rows together), group, rows, and the mean gate of each expert.

    Groups without a row are left out. The shares of a row of the table sum to 1, but for rows that have no expert.

    Args:
        gates: [R, T, N], of each row (`Predicted.row_gates`).
        tasks: T names.
        experts: N names.
        groups: of the R rows.
    """
    every = np.full(len(gates), ALL)
    found = []
    for by, (names, order) in {ALL: (every, (ALL,)), **groups}.items():
        for group in order:
            own = names == group
            if not own.any():
                continue
            means = gates[own].mean(axis=0, dtype=np.float64)
            found += [
                {"task": task, "by": by, "group": group, "rows": int(own.sum()), **dict(zip(experts, row, strict=True))}
                for task, row in zip(tasks, means.tolist(), strict=True)
            ]
    schema = {"task": pl.String, "by": pl.String, "group": pl.String, "rows": pl.Int64}
    return pl.DataFrame(found, schema={**schema, **dict.fromkeys(experts, pl.Float64)})
