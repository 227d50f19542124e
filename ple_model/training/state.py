"""The state of a run that a checkpoint keeps beside the tensors."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class RunState:
    """The state of a run between epochs, beside its tensors."""

    phase: int = 1
    epoch: int = 0  # epochs done in this phase
    best_score: float | None = None
    best: tuple[int, int] = (1, 0)
    by_task: dict[str, list[float]] = field(default_factory=dict)  # task → least validation loss, its phase and epoch
    waited: int = 0
    averaged: int = 0  # steps in the moving average of the weights
    micro_batches: int = 1
    skipped_steps: int = 0
    culprits: dict[str, int] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
