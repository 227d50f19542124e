"""Losses of tasks over many batches, and one pass over the validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ple_model.layers.gates import entropy
from ple_model.losses.multitask import LossResult, MultiTaskLoss
from ple_model.multitask import MultiTaskNetwork
from ple_model.training.data import Rows
from ple_model.training.distributed import World


class LossMeans:
    """Mean loss of each task over the labelled rows of all batches added; summed in float64 on the device."""

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.tasks = tuple(tasks)
        self.sums = torch.zeros(len(self.tasks), dtype=torch.float64, device=device)
        self.counts = torch.zeros_like(self.sums)

    def add(self, result: LossResult) -> None:
        count = torch.stack([result.counts[task] for task in self.tasks]).double()
        self.sums += torch.stack([result.per_task[task] for task in self.tasks]).double() * count
        self.counts += count

    def over(self, world: World) -> "LossMeans":
        """The same over the rows of all processes."""
        self.sums, self.counts = world.sum(self.sums), world.sum(self.counts)
        return self

    def losses(self) -> dict[str, float]:
        """Tasks without a label in any batch are left out."""
        means = (self.sums / self.counts).tolist()
        return {task: mean for task, mean, n in zip(self.tasks, means, self.counts.tolist(), strict=True) if n}


@dataclass(frozen=True)
class GateMeans:
    """by_task: task → expert → mean weight; entropy: mean of the rows' gates; entropy_of_mean: of the mean gates, mean
    over tasks (MODEL §4.3: rows can look spread while all use one expert, and the other way round). In nats."""

    by_task: dict[str, dict[str, float]]
    entropy: float
    entropy_of_mean: float


@torch.no_grad()
def validate(
    model: MultiTaskNetwork,
    loss: MultiTaskLoss,
    table: Rows,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype,
) -> tuple[dict[str, float], GateMeans]:
    """Task → unweighted loss over labelled rows, and the gates, without dropout. Each process takes its share of the
    rows, and all get the same result."""
    model.eval()
    world = World.current()
    own = table.share(torch.arange(len(table)), world)
    means = LossMeans(model.task_names, device)
    gate_sum = torch.zeros(len(model.task_names), len(model.expert_names), dtype=torch.float64, device=device)
    entropy_sum = torch.zeros((), dtype=torch.float64, device=device)
    for rows in own.split(batch_size) if len(own) else ():
        inputs, targets = table.batch(rows, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            outputs = model.averaged(model(inputs))
            means.add(loss(outputs, targets, model))
        gate_sum += outputs.gates.double().sum(0)
        entropy_sum += entropy(outputs.gates).double().mean(1).sum()
    gates, entropies = world.sum(gate_sum), world.sum(entropy_sum)
    return means.over(world).losses(), _gate_means(gates / len(table), entropies / len(table), model)


def _gate_means(mean: Tensor, row_entropy: Tensor, model: MultiTaskNetwork) -> GateMeans:
    by_task = {
        task: dict(zip(model.expert_names, weights, strict=True))
        for task, weights in zip(model.task_names, mean.tolist(), strict=True)
    }
    return GateMeans(by_task, row_entropy.item(), entropy(mean).mean().item())


def task_weights(loss: MultiTaskLoss) -> dict[str, float]:
    """Task → current factor of its loss: the fixed weight, times the factor of the strategy."""
    weights = loss.weighting.multipliers().detach()
    if loss.conflict is not None:
        weights = weights * loss.conflict.weights
    return {task.name: weight for task, weight in zip(loss.config.tasks, weights.tolist(), strict=True)}
