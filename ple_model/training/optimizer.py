"""AdamW over named parameters, and its state as tensors by parameter name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ple_model.closed import nearest
from ple_model.config.pool import expert_names
from ple_model.training.config import TrainingConfig


def build_optimizer(modules: nn.Module, config: TrainingConfig, experts: Sequence[str]) -> torch.optim.AdamW:
    """AdamW over the parameters that train now.

    Each group has its `multiple` of the learning rate (`config.expert_rates`; the expert's parameters are named
    `model.experts.<name>.…`). Vectors and scalars (biases, norms, the losses' log variances) do not decay: decay would
    pull a log variance away from the minimiser of MODEL §9.

    A rate for an expert of the pool that the model does not build waits for it.

    Raises:
        ValueError: a rate for an expert that nobody knows.
    """
    known = (*experts, *expert_names())
    for name in config.expert_rates:
        if name not in known:
            raise ValueError(f"training.expert_rates names unknown expert {name!r}; {nearest(name, known)}")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in modules.named_parameters():
        if parameter.requires_grad:
            multiple = 1.0
            if name.startswith("model.experts."):
                multiple = config.expert_rates.get(name.split(".")[2], 1.0)
            groups.setdefault((multiple, parameter.ndim > 1), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {"params": parameters, "multiple": multiple, "weight_decay": config.weight_decay if decays else 0.0}
        for (multiple, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=config.learning_rate, fused=True)


def optimizer_tensors(modules: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """(`parameter:key`, tensor) of everything the optimizer remembers."""
    for name, parameter in modules.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"{name}:{key}", value


def load_optimizer_tensors(modules: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The state that `optimizer_tensors` gave, copied into aligned tensors of this process."""
    parameters = dict(modules.named_parameters())
    for full_name, value in tensors.items():
        name, key = full_name.rsplit(":", 1)
        parameter = parameters[name]
        optimizer.state[parameter][key] = value.to(parameter.device, copy=True)
