"""Whether every part of a trained model takes part: experts that learn, gates that moved, inputs that may be absent.

A part that exists but gets no input looks finished. One batch shows it: the gradient of each expert, how far each gate
is from its initial prior, and whether outputs stay finite when one input is absent in all rows or in every other.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ple_model.inputs import Inputs, Targets
from ple_model.interpretation.permutation import InputSet, input_sets
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT


@dataclass(frozen=True)
class Parts:
    """gradients: expert → norm of the gradient of all tasks' losses. moved: task → largest distance of a parameter of
    its gate from where it started. not_finite: inputs whose absence makes an output NaN or infinite."""

    gradients: dict[str, float]
    moved: dict[str, float]
    not_finite: tuple[str, ...]

    @property
    def idle(self) -> tuple[str, ...]:
        """Experts and gates that take no part."""
        experts = [f"expert {name}" for name, norm in self.gradients.items() if not norm > 0]
        return (*experts, *(f"gate of {task}" for task, distance in self.moved.items() if not distance > 0))


def absent(inputs: Inputs, chosen: InputSet, rows: Tensor) -> Inputs:
    """The inputs of a set `chosen` (by `permutation.input_sets`) absent in these rows, [B] bool."""
    gone = rows.unsqueeze(1) & chosen.columns.to(rows.device)
    present = {name: given & ~rows if name in chosen.sides else given for name, given in inputs.present.items()}
    without = rows.unsqueeze(1) if chosen.clusters else torch.zeros_like(rows).unsqueeze(1)
    return replace(
        inputs,
        features=inputs.features.masked_fill(gone, 0.0),
        features_mask=inputs.features_mask & ~gone,
        cluster_probs=inputs.cluster_probs.masked_fill(without, 0.0),
        present=present,
    )


def examine(model: PLEClusterAdaTT, inputs: Inputs, targets: Targets) -> Parts:
    """Look at a copy of the model, thawed and without dropout, on one batch of its device."""
    model = copy.deepcopy(model).eval()
    model.freeze_shared(False)
    losses, _, _ = MultiTaskLoss(model.config).to(inputs.features.device).plain(model(inputs), targets, model)
    losses.sum().backward()
    gradients = {
        name: sum(float(p.grad.square().sum()) for p in expert.parameters() if p.grad is not None) ** 0.5
        for name, expert in model.experts.items()
    }
    weight = model.gate.linear.weight.detach().unflatten(0, model.gate.prior.shape).abs().amax((1, 2))
    bias = (model.gate.linear.bias.detach().view_as(model.gate.prior) - model.gate.prior).abs().amax(1)
    moved = dict(zip(model.task_names, torch.maximum(weight, bias).tolist(), strict=True))
    every = torch.ones(len(inputs), dtype=torch.bool, device=inputs.features.device)
    half = torch.arange(len(inputs), device=inputs.features.device) % 2 == 0
    with torch.inference_mode():
        broken = [
            name
            for name, chosen in input_sets(model.config.inputs).items()
            if not all(_finite(model, absent(inputs, chosen, rows)) for rows in (every, half))
        ]
    return Parts(gradients, moved, tuple(broken))


def _finite(model: PLEClusterAdaTT, inputs: Inputs) -> bool:
    return all(bool(raw.isfinite().all()) for raw in model(inputs).predictions.values())
