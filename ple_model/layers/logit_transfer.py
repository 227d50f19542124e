"""Logit transfer: a task's tower also reads the predictions of the tasks that it depends on.

tower_in_t = expert_t + α·Σ_s SiLU(LayerNorm(Linear(pred_s))). Source: MODEL §7.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import TaskConfig, TransferConfig
from ple_model.tasks import Relation
from ple_model.tasks.relations import active_relations, topological_levels


def transferred(prediction: Tensor, kind: str) -> Tensor:
    """A source's raw output in the form that its target reads: see `Relation`."""
    if kind == "sequential":
        return F.logsigmoid(prediction.float()).to(prediction.dtype)
    return -prediction if kind == "inverse" else prediction


class LogitTransfer(nn.Module):
    """Adds to a task's vector what its sources predict. A relation without both of its tasks is dropped with a warning.

    Args:
        config: strength and relations.
        tasks: of the model; `levels` is the order in which their towers run.
        width: of a task's vector.

    Shape:
        vector [B, width] of a task, predictions [B, out] of its sources → [B, width].

    Source: MODEL §7.

    Example:
        >>> relation = Relation(source="churn", target="ltv", kind="inverse")
        >>> LogitTransfer(TransferConfig(relations=(relation,)), tasks, width=8).levels[-1]
        ('ltv',)
    """

    def __init__(self, config: TransferConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.strength = config.strength
        kept, dropped = active_relations(config.relations, tasks)
        for relation in dropped:
            warnings.warn(
                f"relation {relation.source} → {relation.target} dropped: one of the two tasks is not configured",
                stacklevel=2,
            )
        self.levels = topological_levels([task.name for task in tasks], kept)
        self.sources: dict[str, list[Relation]] = {
            task.name: [relation for relation in kept if relation.target == task.name] for task in tasks
        }
        out = {task.name: task.out for task in tasks}
        self.project = nn.ModuleDict(
            {
                f"{r.source}__{r.target}": nn.Sequential(
                    nn.Linear(out[r.source], width), nn.LayerNorm(width), nn.SiLU()
                )
                for r in kept
            }
        )

    def forward(self, task: str, vector: Tensor, predictions: Mapping[str, Tensor]) -> Tensor:
        """vector [B, width] of the task plus the projected predictions of its sources, all of them in `predictions`."""
        for relation in self.sources[task]:
            handed = transferred(predictions[relation.source], relation.kind)
            vector = vector + self.strength * self.project[f"{relation.source}__{task}"](handed)
        return vector

    def level_inputs(
        self, level: Sequence[str], vectors: Sequence[Tensor], predictions: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Tower inputs of one level, [B, width] of each task."""
        return [self(task, vector, predictions) for task, vector in zip(level, vectors, strict=True)]
