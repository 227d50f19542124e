"""What is known of a training of our network, for a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks.studies.study import Arrays, Trained

if TYPE_CHECKING:
    from torch import nn

    from ple_model.training.trainer import FitResult


def trained_as(predictions: Mapping[str, Arrays], result: FitResult, network: nn.Module) -> Trained:
    """Predictions with the epochs that tasks chose, rows a second, and the network's parameters."""
    chosen = sorted(set(result.epochs.values()))
    return Trained(
        dict(predictions),
        ", ".join(f"{phase}.{epoch}" for phase, epoch in chosen),
        max(report.rows_per_second for report in result.history),
        parameters_of(network),
    )


def parameters_of(network: nn.Module) -> int:
    """Numbers that a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
