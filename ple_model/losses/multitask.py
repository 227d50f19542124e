"""Losses of tasks and their weighted total. A masked label contributes nothing, to no value and to no gradient.

All are computed in float32. The order is that of MODEL §9: fixed weight and weighting, evidential loss, adaTT, then the
regularisers. Source: MODEL §9, §11, §12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ple_model.config import ModelConfig, TaskConfig
from ple_model.config.baselines import BaselineConfig
from ple_model.inputs import Targets
from ple_model.layers.members import by_member, repeated
from ple_model.losses.adatt import AdaTT
from ple_model.losses.conflict import ConflictWeights
from ple_model.losses.weighting import build_weighting
from ple_model.multitask import MultiTaskNetwork, Outputs
from ple_model.tasks import kind_of


@dataclass
class LossResult:
    """total: scalar to differentiate (weighted tasks + regularisation). per_task: mean unweighted loss of each task,
    0 without labels. counts: labels of each task in the batch. regularisation: its terms by name."""

    total: Tensor
    per_task: dict[str, Tensor]
    counts: dict[str, Tensor]
    regularisation: dict[str, Tensor]


#: Takes plain losses [T] with their graph and which tasks have labels [T].
Observe = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Part:
    """The share of a step's batch that one call sees, where the batch is computed in parts or by several processes.

    rows: of the batch's rows. labels [T]: of each task's labels, over all processes. whole: sums a tensor over
    processes, outside of the graph.
    """

    rows: float
    labels: Tensor
    whole: Callable[[Tensor], Tensor] | None = None


class MultiTaskLoss(nn.Module):
    """The total loss of a step, with the parameters that are learnt beside the model (weights of tasks, adaTT): they
    belong to the optimizer and to the checkpoint."""

    def __init__(self, config: ModelConfig | BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.weighting = build_weighting(config.weighting, config.tasks)
        conflict = config.weighting.conflict is not None
        self.conflict = ConflictWeights(config.weighting, len(config.tasks)) if conflict else None
        self.adatt = AdaTT(config.adatt, config.tasks) if config.adatt.enabled else None

    def forward(
        self,
        outputs: Outputs,
        targets: Targets,
        model: MultiTaskNetwork,
        part: Part | None = None,
        observe: Observe | None = None,
    ) -> LossResult:
        """`observe` is called with the plain losses and which tasks have labels, before these are added up: its
        measurements (affinities, norms, conflicts) count in this very step."""
        whole = None if part is None else part.whole
        losses, counts, everywhere = self.plain(outputs, targets, model, whole)
        labelled = everywhere > 0
        if observe is not None:
            observe(losses, labelled)
        weighted = losses if self.conflict is None else self.conflict(losses)
        contributions = self.weighting(weighted, labelled)
        if model.evidential is not None and model.training:
            own = model.evidential.loss(outputs.evidence, targets, lambda task, y: model.scale(task).standardise(y))
            contributions = contributions + _over_processes(own * counts / everywhere.clamp(min=1), whole)
        if self.adatt is not None and model.training:
            contributions = self.adatt.transfer(contributions, labelled)
        regularisation = model.regularisation(outputs)
        added = sum(regularisation.values(), start=losses.new_zeros(()))
        total = contributions.sum() + added if part is None else (contributions * part.labels).sum() + part.rows * added
        names = [task.name for task in self.config.tasks]
        return LossResult(
            total=total,
            per_task=dict(zip(names, losses.detach().unbind(), strict=True)),
            counts=dict(zip(names, everywhere.unbind(), strict=True)),
            regularisation={name: term.detach() for name, term in regularisation.items()},
        )

    def plain(
        self,
        outputs: Outputs,
        targets: Targets,
        model: MultiTaskNetwork,
        whole: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean unweighted loss of each task [T], its labels here [T] and in all processes [T]. The mean is over all
        processes, its gradient that of the rows here, so that the processes' gradients add up to the whole."""
        rows, mask = self.rows(outputs, targets, model)
        here = mask.sum(1)
        everywhere = here if whole is None else whole(here)
        return _over_processes(rows.sum(1) / everywhere.clamp(min=1), whole), here, everywhere

    def rows(self, outputs: Outputs, targets: Targets, model: MultiTaskNetwork) -> tuple[Tensor, Tensor]:
        """Unweighted loss of each task and row [T, B], 0 where not labelled, and the mask of labels [T, B]."""
        by_task = [self._rows(task, outputs, targets, model) for task in self.config.tasks]
        losses = [torch.where(mask, rows, 0.0) for rows, mask in by_task]
        return torch.stack(losses), torch.stack([mask for _, mask in by_task])

    def _rows(
        self, task: TaskConfig, outputs: Outputs, targets: Targets, model: MultiTaskNetwork
    ) -> tuple[Tensor, Tensor]:
        """Loss of each row [B], mean over members, and the mask of labelled rows [B]. Masked labels are never read."""
        raw, members = outputs.predictions[task.name], outputs.members
        if task.name not in targets.values:
            none = torch.zeros(len(raw) // members, dtype=torch.bool, device=raw.device)
            return by_member(raw.float().sum(1) * 0.0, members).mean(0), none
        kind, label, mask = kind_of(task), targets.values[task.name], targets.mask[task.name]
        if not kind.retrieves:
            label, mask = repeated(label, members), repeated(mask, members)
        losses, mask = kind.row_losses(task, raw, label, mask, model, model.training, outputs.beside.get(task.name))
        return by_member(losses, members).mean(0), mask[: len(raw) // members]


def _over_processes(share: Tensor, whole: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The sum of every process's share, with the gradient of this process's own."""
    return share if whole is None else share + (whole(share.detach()) - share.detach())
