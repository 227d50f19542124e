"""The full model on random rows of every input, and what stands behind its experts as loops over tasks: its oracle."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import random_rows
import torch
from torch import Tensor, nn

from feature_assets import registry
from feature_assets.labels import every_task, relations
from pipeline.settings import Settings
from pipeline.training.model import network_for
from ple_model.config import AdaTTConfig, InputConfig, ModelConfig, TransferConfig
from ple_model.layers.basket import MODES, GroupTaskExpertBasket
from ple_model.layers.towers import StackedLayerNorm, StackedLinear, TowerLevel
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from ple_model.tasks import Relation, TaskConfig
from ple_model.training.affinity import AffinityMeter
from ple_model.training.data import TensorTable
from ple_model.training.distributed import World
from ple_model.training.initial import build


def model_config(adatt: bool = True) -> ModelConfig:
    """Every column, every side input, 16 tasks, seven experts; adaTT dynamic from its first epoch."""
    names = registry.names()
    inputs = InputConfig(columns=names, present=tuple(range(len(names))), normalised=registry.normalised())
    on = [task for task in every_task() if task.default]
    return ModelConfig(
        inputs=inputs,
        tasks=tuple(TaskConfig.from_dict(task.for_model()) for task in on),
        transfer=TransferConfig(relations=tuple(map(Relation.from_dict, relations(task.name for task in on)))),
        adatt=AdaTTConfig(enabled=adatt, warmup_epochs=0),
    )


def preset_config(preset: str) -> ModelConfig:
    """Every column, every side input and the 16 tasks with the network of a preset."""
    given = model_config()
    settings = Settings.model_validate({"home": Path("/"), "preset": preset})
    return ModelConfig.from_dict(
        {"inputs": given.inputs, **network_for(settings, [task.name for task in given.tasks], {})}
    )


def network(config: ModelConfig, data: TensorTable) -> PLEClusterAdaTT:
    """The network, without a word about inputs that nothing reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build(config, data, seed=0)


def table(config: ModelConfig, rows: int) -> TensorTable:
    """Rows with every input, a tenth of the values missing, a tenth of the labels masked."""
    return TensorTable.of(random_rows.inputs(config.inputs, rows, 0.1), random_rows.targets(config.tasks, rows, 0.9))


class Learner:
    """The full model with its loss and optimizer: one training step, as the trainer takes it."""

    def __init__(self, config: ModelConfig, data: TensorTable, rows: int, device: str = "cpu") -> None:
        self.model = network(config, data).to(device)
        self.loss = MultiTaskLoss(config).to(device)
        self.meter = AffinityMeter(self.model, self.loss, World.current())
        self.parameters = [*self.model.parameters(), *self.loss.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        self.inputs, self.targets = data.batch(torch.arange(rows), torch.device(device))
        self.steps, self.precision = 0, torch.float32
        if self.loss.adatt is not None:
            self.loss.adatt.begin_epoch(2)

    def total(self) -> Tensor:
        """The loss of a step, with what it measures."""
        self.model.train()
        enabled = self.precision != torch.float32
        with torch.autocast(self.inputs.features.device.type, self.precision, enabled=enabled):
            outputs = self.model(self.inputs)
            observe = self.meter.observer(self.steps, self.inputs, self.targets, outputs)
            return self.loss(outputs, self.targets, self.model, None, observe).total

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.total().backward()
        nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        self.steps += 1

    def compare(self) -> None:
        """What adaTT does once an epoch."""
        self.meter.compare(self.inputs, self.targets)


class Behind(nn.Module):
    """Gates, basket, transfer and towers of a model: blocks → raw outputs by task."""

    def __init__(self, model: PLEClusterAdaTT) -> None:
        super().__init__()
        self.gate, self.basket, self.transfer = model.gate, model.basket, model.transfer
        self.towers, self.names = model.towers, model.task_names

    def forward(self, blocks: Sequence[Tensor], present: Tensor, modes: Tensor, clusters: Tensor) -> dict[str, Tensor]:
        gates = self.gate(torch.cat(list(blocks), dim=1), present)
        vectors = self.basket(blocks, gates * self.gate.scales, modes, clusters).vectors
        by_name = dict(zip(self.names, vectors.unbind(1), strict=True))
        found: dict[str, Tensor] = {}
        for level, tower in zip(self.transfer.levels, self.towers, strict=True):
            found.update(tower(self.transfer.level_inputs(level, [by_name[name] for name in level], found)))
        return found


class BehindInLoops(nn.Module):
    """The same, task by task: a gate, the blocks scaled and joined, the group's encoder, and a tower of its own."""

    def __init__(self, model: PLEClusterAdaTT) -> None:
        super().__init__()
        basket = model.basket
        assert isinstance(basket, GroupTaskExpertBasket)
        self.tasks, self.scales = model.config.tasks, model.gate.scales
        experts = len(model.expert_names)
        self.gates = nn.ModuleList(
            _linear(
                model.gate.linear.weight[t * experts : (t + 1) * experts].T, model.gate.linear.bias.view(-1, experts)[t]
            )
            for t in range(len(self.tasks))
        )
        self.groups = basket.groups
        firsts = zip(basket.first.weight.split(basket.hidden), basket.first.bias.split(basket.hidden), strict=True)
        self.encoders = nn.ModuleList(
            nn.Sequential(_linear(weight.T, bias), copy.deepcopy(encoder))
            for (weight, bias), encoder in zip(firsts, basket.encoders, strict=True)
        )
        self.embedding = nn.Parameter(basket.cluster_embedding.detach().clone())
        self.transfer = copy.deepcopy(model.transfer)
        self.towers = nn.ModuleDict()
        for level, tower in zip(model.transfer.levels, model.towers, strict=True):
            assert isinstance(tower, TowerLevel)
            self.towers.update({name: _tower(tower, i, name) for i, name in enumerate(level)})

    def forward(self, blocks: Sequence[Tensor], present: Tensor, modes: Tensor, clusters: Tensor) -> dict[str, Tensor]:
        shared, vectors, found = torch.cat(list(blocks), dim=1), {}, {}
        for t, task in enumerate(self.tasks):
            weights = self.gates[t](shared).masked_fill(~present, -torch.inf).softmax(-1) * self.scales
            scaled = [h * weights[:, i : i + 1] for i, h in enumerate(blocks)]
            read = torch.cat([*scaled, modes[:, MODES.index(task.hmm)], clusters @ self.embedding], dim=1)
            vectors[task.name] = self.encoders[self.groups.index(task.group)](read)
        for level in self.transfer.levels:
            for name in level:
                found[name] = self.towers[name](self.transfer(name, vectors[name], found))
        return found


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer with the values of a weight [in, out] and a bias [out]."""
    layer = nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)
    return layer


def _tower(level: TowerLevel, place: int, name: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in level.hidden:
        if isinstance(layer, StackedLinear):
            layers.append(_linear(layer.weight[place], layer.bias[place, 0]))
        elif isinstance(layer, StackedLayerNorm):
            norm = nn.LayerNorm(layer.weight.shape[-1])
            with torch.no_grad():
                norm.weight.copy_(layer.weight[place, 0])
                norm.bias.copy_(layer.bias[place, 0])
            layers.append(norm)
        else:
            layers.append(layer)
    return nn.Sequential(*layers, copy.deepcopy(level.output[name]))


def behind_inputs(model: PLEClusterAdaTT, rows: int) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Random blocks (with gradients, as the experts want them), all present, modes and cluster posteriors."""
    widths = model.basket.widths[: len(model.expert_names)]
    blocks = [torch.randn(rows, width, requires_grad=True) for width in widths]
    modes = torch.randn(rows, len(MODES), model.config.routing.width)
    clusters = torch.randn(rows, model.config.inputs.clusters).softmax(-1)
    return blocks, torch.ones(rows, len(widths), dtype=torch.bool), modes, clusters
