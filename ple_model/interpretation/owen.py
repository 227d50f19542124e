"""Owen values by sampling: what each source adds to a function of one row, against background rows.

A background row turns into the explained row source by source, in a random order that keeps the sources of a family
together; each source is credited with the change at its turn. In every order the credits add up to the difference of
the function between the two rows, so their means add up to the difference from its mean over the background rows.
Nothing is differentiated, so missing values, masks, sequences and steps of a function are treated as they are; every
mixed row is made of values that occur. Each background row is used with an order and with its reverse.
Source: Owen, "Values of games with a priori unions" (1977); Štrumbelj and Kononenko, "Explaining prediction models and
individual predictions with feature contributions" (2014), sampling; Mitchell et al., "Sampling permutations for Shapley
value estimation" (2022), reversed orders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ple_model.inputs import Inputs
from ple_model.interpretation.sources import Sources

Function = Callable[[Inputs], NDArray[np.float64]]
"""Rows [n] → V numbers of each, [n, V]."""


@dataclass(frozen=True)
class OwenValues:
    """base [V]: mean of the function over the background rows. values [S, V]; `base + values.sum(0)` is the function of
    the row. errors [S, V]: standard errors of the values, over background rows."""

    base: NDArray[np.float64]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]


def owen_values(
    function: Function, row: Inputs, background: Inputs, sources: Sources, rng: np.random.Generator
) -> OwenValues:
    """Owen values of one row, from two orders for each of the n background rows.

    Args:
        function: called once, with all mixed rows.
        row: the row, alone.
        background: n rows to compare with.
        sources: of both.
        rng: draws the orders.

    Raises:
        ValueError: more or fewer than one row, or no background row.
    """
    if len(row) != 1 or not len(background):
        raise ValueError(f"{len(row)} rows and {len(background)} background rows; 1 and at least 1 were expected")
    parts, orders = [], []
    for b in range(len(background)):
        other = background.index(torch.tensor([b]))
        differs = sources.differ(row, other)
        forward = _order(sources, rng)
        for order in (forward, forward[::-1]):
            moved = order[differs[order]]
            parts.append(sources.mixed(row, other, _steps(moved, len(sources))))
            orders.append(moved)
    found = function(_joined(parts))
    ends = np.cumsum([len(moved) + 1 for moved in orders])
    credits = np.zeros((len(orders), len(sources), found.shape[1]))
    starts = np.zeros((len(orders), found.shape[1]))
    for i, (moved, end) in enumerate(zip(orders, ends, strict=True)):
        path = found[end - len(moved) - 1 : end]
        credits[i, moved] = np.diff(path, axis=0)
        starts[i] = path[0]
    pairs = credits.reshape(len(background), 2, *credits.shape[1:]).mean(axis=1)
    spread = pairs.std(axis=0, ddof=1) if len(pairs) > 1 else np.full(pairs.shape[1:], np.nan)
    return OwenValues(starts.mean(axis=0), pairs.mean(axis=0), spread / np.sqrt(len(pairs)))


def _order(sources: Sources, rng: np.random.Generator) -> NDArray[np.int64]:
    """All sources, families in random order, and random within each."""
    families = sources.members
    return np.concatenate([rng.permutation(families[i]) for i in rng.permutation(len(families))])


def _steps(moved: NDArray[np.int64], count: int) -> torch.Tensor:
    """[len(moved) + 1, count] bool: at step s the first s of the moved sources are taken from the explained row."""
    taken = torch.zeros((len(moved) + 1, count), dtype=torch.bool)
    taken[:, torch.from_numpy(moved.copy())] = torch.ones(len(moved) + 1, len(moved), dtype=torch.bool).tril(-1)
    return taken


def _joined(parts: list[Inputs]) -> Inputs:
    tensors = [part.tensors() for part in parts]
    return Inputs.of_tensors({name: torch.cat([one[name] for one in tensors]) for name in tensors[0]})
