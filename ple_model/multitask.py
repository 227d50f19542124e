"""The base of every multi-task network, as losses and trainer see it: the model of MODEL §1–§8 and the baselines
of MODEL §14 alike.

It holds the way from raw outputs to the units of labels: scales of regressions (buffers) and candidate tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from ple_model.closed import nearest
from ple_model.config import HISTORIES
from ple_model.inputs import Inputs
from ple_model.layers.contrastive import CandidateTable
from ple_model.layers.evidential import EvidentialHeads
from ple_model.layers.members import by_member
from ple_model.layers.repeat import RepeatTerm
from ple_model.tasks import kind_of

if TYPE_CHECKING:
    from ple_model.config import ModelConfig
    from ple_model.config.baselines import BaselineConfig
    from ple_model.tasks.config import TaskConfig


@dataclass
class Outputs:
    """predictions: task → raw output [M·B, out] (logits, standardised value, or query) of M `members`, member after
    member; gates [M·B, T, N] in the order of the configuration's tasks and of `expert_names`; shared [M·B, D], h_shared
    before the gates; mixed [M·B, T_group, H] of each group, the output of the first layer behind the gates
    (`BasketOutput.mixed`); evidence: as of `EvidentialHeads`, of B rows; u [B, T]: their uncertainty, outside of
    training; losses: terms of the experts by name, in training; interpretation: expert → name → tensor, when asked
    for; beside: task → [B, candidates] that is added to its scores, the same for all members
    (`CandidateTable.repeat`)."""

    predictions: dict[str, Tensor]
    gates: Tensor
    shared: Tensor
    mixed: tuple[Tensor, ...] | None = None
    evidence: dict[str, Tensor] = field(default_factory=dict)
    u: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    interpretation: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    beside: dict[str, Tensor] = field(default_factory=dict)
    members: int = 1

    @property
    def row_gates(self) -> Tensor:
        """[B, T, N]: each row's gates, mean over members."""
        return by_member(self.gates, self.members).mean(0)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network without dropout for the block, then every module in its mode of before, also after an error: in
    phase 2 of training the experts evaluate while the rest trains."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class TargetScale(nn.Module):
    """Mean and standard deviation of one regression task's label, [out] each; 0 and 1 until they are set."""

    mean: Tensor
    std: Tensor

    def __init__(self, out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(out))
        self.register_buffer("std", torch.ones(out))

    def standardise(self, label: Tensor) -> Tensor:
        """Label unit → prediction of a tower. [B] or [B, out] → [B, out]."""
        return (label.reshape(-1, self.mean.shape[0]).float() - self.mean) / self.std

    def restore(self, value: Tensor) -> Tensor:
        """Prediction of a tower → label unit, [B, out]."""
        return value.float() * self.std + self.mean


class MultiTaskNetwork(nn.Module):
    """A subclass sets the attributes below, calls `add_units`, and implements the methods that raise.

    experts: the part that phase 2 freezes and by whose gradients tasks are compared. expert_names: the last axis of
    the gates. evidential: heads beside the towers, or None. shared_frozen: buffer, whether phase 2 has frozen
    `experts`. members: M, networks that share matrices (`layers.members`).
    """

    config: ModelConfig | BaselineConfig
    task_names: tuple[str, ...]
    expert_names: tuple[str, ...]
    experts: nn.Module
    evidential: EvidentialHeads | None
    shared_frozen: Tensor
    members: int = 1

    def __init__(self, config: ModelConfig | BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.task_names = tuple(task.name for task in config.tasks)

    def add_units(self) -> None:
        """Build scales and candidate tables, and the flag of phase 2."""
        tasks = self.config.tasks
        self.scales = nn.ModuleDict({t.name: TargetScale(t.out) for t in tasks if kind_of(t).standardised})
        self.tables = nn.ModuleDict(
            {
                t.name: CandidateTable(kind_of(t).width(t), t.out, t.temperature or 1.0, self._repeat(t))
                for t in tasks
                if kind_of(t).retrieves
            }
        )
        self.register_buffer("shared_frozen", torch.tensor(False))
        self.register_load_state_dict_post_hook(_apply_frozen_flags)

    def _repeat(self, task: TaskConfig) -> RepeatTerm | None:
        """The repeat term of a task whose candidates the data set's history knows."""
        settings, inputs = self.config.repeat, self.config.inputs
        if not (settings.enabled and task.history and inputs.has(*HISTORIES)):
            return None
        return RepeatTerm(settings, inputs.side("brand_history"), task.history, kind_of(task).width(task))

    def beside(self, inputs: Inputs) -> dict[str, Tensor]:
        """Task → [B, M] to add to its scores, of the tasks that have a repeat term: `Outputs.beside`."""
        tables = {name: table for name, table in self.tables.items() if isinstance(table, CandidateTable)}
        return {name: table.repeat(inputs) for name, table in tables.items() if table.repeat is not None}

    def forward(self, inputs: Inputs, interpret: bool = False) -> Outputs:
        raise NotImplementedError

    def regularisation(self, outputs: Outputs) -> dict[str, Tensor]:
        """Terms to add to the loss, by name; none outside of training."""
        raise NotImplementedError

    def fit_inputs(self, inputs: Inputs) -> None:
        """Takes bin edges and scales of inputs (buffers) from training rows. Call it once before training."""
        raise NotImplementedError

    def freeze_shared(self, frozen: bool = True) -> None:
        """Stops (or resumes) the training of all that phase 2 freezes; the flag is kept in a checkpoint."""
        raise NotImplementedError

    def freeze_gates(self) -> None:
        """Stops the training of the gates alone, for good; kept in a checkpoint (MODEL §4.4)."""
        raise NotImplementedError

    def apply_frozen(self) -> None:
        """Lets parameters train, or not, by the flags."""
        raise NotImplementedError

    def scale(self, task: str) -> TargetScale:
        """The label scale of a regression task. Raises ValueError for another task."""
        return _held(self.scales, task, "regression", TargetScale)

    def table(self, task: str) -> CandidateTable:
        """The candidate table of a contrastive task. Raises ValueError for another task."""
        return _held(self.tables, task, "contrastive", CandidateTable)

    @torch.no_grad()
    def predict(self, inputs: Inputs) -> dict[str, Tensor]:
        """Predictions in final units before calibration, without dropout.

        binary [B] probability; multiclass [B, classes] probabilities; regression [B] or [B, out] in the label's unit;
        contrastive [B, candidates] logits over the table.
        """
        with evaluating(self):
            outputs = self(inputs)
        mean = self.averaged(outputs)
        return {name: self.to_units(name, raw, mean.beside.get(name)) for name, raw in mean.predictions.items()}

    def averaged(self, outputs: Outputs) -> Outputs:
        """The outputs with the members' predictions averaged in the final unit of each task, [B, out]; of one member,
        the outputs as they are."""
        if outputs.members == 1:
            return outputs
        predictions = {}
        for task in self.config.tasks:
            raw = by_member(outputs.predictions[task.name], outputs.members)
            predictions[task.name] = kind_of(task).average(raw)
        # The table takes a mean query for a direction, so its cosines are the members' mean over the length of that.
        lengths = {name: predictions[name].norm(dim=-1, keepdim=True).clamp(min=1e-6) for name in outputs.beside}
        beside = {name: term / lengths[name] for name, term in outputs.beside.items()}
        return replace(outputs, predictions=predictions, gates=outputs.row_gates, members=1, beside=beside)

    def to_units(self, task: str, raw: Tensor, beside: Tensor | None = None) -> Tensor:
        """A raw output [B, out] of `forward`, and what it has beside it, in the final unit of its task: see
        `predict`."""
        settings = self.config.task(task)
        return kind_of(settings).to_units(settings, raw, self, beside)

    @torch.no_grad()
    def set_target_scale(self, task: str, mean: float | Tensor, std: float | Tensor) -> None:
        """Mean and standard deviation of a regression task's training labels. Raises ValueError unless std > 0."""
        scale = self.scale(task)
        if not bool((torch.as_tensor(std) > 0).all()):
            raise ValueError(f"task {task!r}: standard deviation {std} is not positive")
        scale.mean.copy_(torch.as_tensor(mean).expand_as(scale.mean))
        scale.std.copy_(torch.as_tensor(std).expand_as(scale.std))


Held = TypeVar("Held", bound=nn.Module)


def _held(modules: nn.ModuleDict, task: str, kind: str, of: type[Held]) -> Held:
    module = dict(modules.items()).get(task)
    if not isinstance(module, of):
        raise ValueError(f"task {task!r} is not a {kind} task of this model; {nearest(task, modules)}")
    return module


def _apply_frozen_flags(model: nn.Module, _: object) -> None:
    if isinstance(model, MultiTaskNetwork):
        model.apply_frozen()
