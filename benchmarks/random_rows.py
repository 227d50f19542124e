"""Random rows of every input of the network and of every kind of label, for benchmarks and tests of `ple_model`.

It lies with the benchmarks, which run where no test tool is installed; tests read it by pytest's `pythonpath`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Generator, Tensor

from ple_model.config import HISTORIES, InputConfig, SideConfig, TaskConfig
from ple_model.inputs import Inputs, Targets

BRANDS = 4  # of a row of a contrastive label, at most, and in the vocabulary of a history


def inputs(config: InputConfig, rows: int, missing: float = 0.2, seed: int = 1) -> Inputs:
    """Inputs of `rows` customers.

    A share `missing` of the present columns is missing, never the first and the last one. Columns behind the normalised
    ones are log-normal; of a masked side input the last places are valid, at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(rows, len(config.columns), dtype=torch.bool)
    mask[:, list(config.present)] = torch.rand(rows, len(config.present), generator=generator) > missing
    mask[:, config.present[0]] = True
    mask[:, config.present[-1]] = True
    features = torch.randn(mask.shape, generator=generator)
    features[:, config.normalised :] = features[:, config.normalised :].mul(2).exp()
    sides = {side.name: _side(side, rows, generator) for side in config.sides}
    masks = {}
    for side in config.sides:
        if side.masked:
            first = torch.randint(0, side.shape[0], (rows, 1), generator=generator)
            masks[side.name] = torch.arange(side.shape[0]) >= first
    return Inputs(
        features=torch.where(mask, features, 0.0),
        features_mask=mask,
        cluster_probs=torch.rand(rows, config.clusters, generator=generator).softmax(-1),
        sides=sides,
        masks=masks,
    )


def _side(side: SideConfig, rows: int, generator: Generator) -> Tensor:
    """[rows, *shape] of values that the side input can have."""
    values = torch.randn(rows, *side.shape, generator=generator)
    if side.name == "hierarchy":  # inside of the ball
        return 0.3 * values.tanh()
    if side.name == "segment":
        return torch.randint(0, 3, (rows, 1), generator=generator).float()
    if side.name in ("tda_short", "tda_long"):
        birth = values[..., 0].abs()
        dimensions = 3 if side.name == "tda_long" else 2
        dimension = torch.randint(0, dimensions, birth.shape, generator=generator)
        return torch.stack([birth, birth + values[..., 1].abs(), dimension.float()], dim=-1)
    if side.name in HISTORIES:
        values = values.abs()
        values[..., 0] = torch.arange(side.shape[0]).remainder(BRANDS)
    return values


def targets(tasks: Iterable[TaskConfig], rows: int, labelled: float = 0.7, seed: int = 2) -> Targets:
    """Labels of every task; a share `labelled` of them is known."""
    generator = torch.Generator().manual_seed(seed)
    values = {task.name: LABELS[task.kind](task, rows, generator) for task in tasks}
    mask = {name: torch.rand(rows, generator=generator) < labelled for name in values}
    return Targets(values, mask)


def _binary(task: TaskConfig, rows: int, generator: Generator) -> Tensor:
    del task
    return torch.randint(0, 2, (rows,), generator=generator).float()


def _multiclass(task: TaskConfig, rows: int, generator: Generator) -> Tensor:
    return torch.randint(0, task.out, (rows,), generator=generator)


def _regression(task: TaskConfig, rows: int, generator: Generator) -> Tensor:
    del task
    return torch.randn(rows, generator=generator)


def _contrastive(task: TaskConfig, rows: int, generator: Generator) -> Tensor:
    """Different brands, −1 behind the last one."""
    order = torch.rand(rows, task.candidates or 0, generator=generator).argsort(1)[:, :BRANDS]
    return torch.where(torch.arange(BRANDS) < 1 + order[:, :1] % BRANDS, order, -1)


LABELS: Mapping[str, Callable[[TaskConfig, int, Generator], Tensor]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
    "contrastive": _contrastive,
}
"""Kind → random labels of a task."""
