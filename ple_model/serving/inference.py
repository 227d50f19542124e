"""The model's raw outputs, in blocks of one fixed shape.

A matrix product may round its last bits differently at another number of rows. So every pass has exactly `BLOCK` rows,
the last one filled up with copies of its last row: a row's outputs do not depend on how many rows came with it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ple_model.epochs import Network
from ple_model.inputs import Inputs
from ple_model.layers.members import by_member
from ple_model.multitask import evaluating
from ple_model.tasks import kind_of

BLOCK = 512
EVIDENCE = "evidence"
"""The signal of the evidential heads: their u in [0, 1]."""
SPREAD = "spread"
"""The signal of the members: how far their predictions lie apart (`Kind.spread`)."""


@dataclass(frozen=True)
class RawOutputs:
    """Outputs that calibration reads, of R rows.

    Attributes:
        outputs: task → binary [R] logit; multiclass [R, K] logits; regression [R] or [R, O] in the label's unit;
            contrastive [R, M] scores over the table.
        gates: [R, T, N] in the order of the model's tasks and experts.
        signals: task → name → [R], what may say how uncertain a row is: `EVIDENCE` of a model with evidential heads,
            `SPREAD` of one with members.
    """

    outputs: dict[str, NDArray[np.float32]]
    gates: NDArray[np.float32]
    signals: dict[str, dict[str, NDArray[np.float32]]]


@torch.inference_mode()
def raw_outputs(model: Network, inputs: Inputs) -> RawOutputs:
    """Raw outputs of R rows, without dropout, on the model's device."""
    rows, device = len(inputs), next(model.parameters()).device
    with evaluating(model):
        blocks = [_block(model, inputs, start, device) for start in range(0, rows, BLOCK)]
    names = model.task_names
    if not blocks:
        shapes = {task.name: np.zeros((0, *kind_of(task).shape(task)), np.float32) for task in model.config.tasks}
        gates = np.zeros((0, len(names), len(model.expert_names)), np.float32)
        given = {EVIDENCE: model.config.evidential.enabled, SPREAD: model.members > 1}
        none = {kind: np.zeros(0, np.float32) for kind, is_given in given.items() if is_given}
        return RawOutputs(shapes, gates, {name: dict(none) for name in names})
    joined = {key: torch.cat([block[key] for block in blocks])[:rows].numpy() for key in blocks[0]}
    kinds = [key.removeprefix("signal/") for key in joined if key.startswith("signal/")]
    return RawOutputs(
        outputs={name: joined[f"task/{name}"] for name in names},
        gates=joined["gates"],
        signals={
            name: {kind: np.ascontiguousarray(joined[f"signal/{kind}"][:, i]) for kind in kinds}
            for i, name in enumerate(names)
        },
    )


def _block(model: Network, inputs: Inputs, start: int, device: torch.device) -> dict[str, Tensor]:
    part = inputs.index(torch.arange(start, start + BLOCK).clamp(max=len(inputs) - 1)).to(device)
    outputs = model(part)
    mean = model.averaged(outputs)
    found = {
        f"task/{task.name}": kind_of(task)
        .uncalibrated(task, mean.predictions[task.name], model, mean.beside.get(task.name))
        .cpu()
        for task in model.config.tasks
    }
    found["gates"] = mean.gates.float().cpu()
    if outputs.members > 1:
        apart = [
            kind_of(task).spread(by_member(outputs.predictions[task.name], outputs.members))
            for task in model.config.tasks
        ]
        found[f"signal/{SPREAD}"] = torch.stack(apart, dim=1).cpu()
    if outputs.u is not None:
        found[f"signal/{EVIDENCE}"] = outputs.u.float().cpu()
    return found
