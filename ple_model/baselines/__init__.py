"""The published baselines, by name. Source: MODEL §14.

Architectures that share encoder, towers, losses and trainer with the model. Boosted trees and constants, which do not,
belong to `ple_model.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ple_model.baselines.base import Baseline
from ple_model.baselines.bottoms import Asymmetric, Customized, SharedBottom, SingleTask
from ple_model.baselines.cgc_layer import CGCLayer
from ple_model.baselines.mixtures import PLE, MLMMoE, MMoE
from ple_model.baselines.stacked import Trunk
from ple_model.baselines.stitched import CrossStitch, Sluice
from ple_model.config.baselines import BaselineConfig

__all__ = ["BASELINES", "Baseline", "BaselineConfig", "CGCLayer", "build_baseline"]

#: Name of an architecture → its network. `cgc` is PLE with one extraction layer.
BASELINES: Mapping[str, Callable[[Any, Any, int], Trunk]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "asymmetric": Asymmetric,
    "customized": Customized,
    "cross_stitch": CrossStitch,
    "sluice": Sluice,
    "mmoe": MMoE,
    "ml_mmoe": MLMMoE,
    "cgc": PLE,
    "ple": PLE,
}


def build_baseline(config: BaselineConfig) -> Baseline:
    """A baseline with fresh weights."""
    network = BASELINES[config.architecture.name](config.architecture, config.tasks, config.encoder.width)
    return Baseline(config, network)
