"""An exponential moving average of a network's weights: what is validated and kept, while the weights themselves train.

Averaging over the last steps does what a falling learning rate does, at every epoch. With decay d step t counts
(1 − d)·d^(n − t) of n; the decay rises over the first steps, so that the start is forgotten.
Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging" (1992); the rise of the decay as in
`torch_ema` and TensorFlow's `ExponentialMovingAverage`: min(d, (1 + t) / (10 + t)).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The moving average of the parameters of a module; of decay 0 the parameters themselves.

    Args:
        module: whose parameters are averaged; buffers stay what they are.
        decay: d in [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.parameters = dict(module.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()} if decay else {}

    def restart(self) -> None:
        """Begin anew at the parameters as they are."""
        self.steps = 0
        for name, value in self.average.items():
            value.copy_(self.parameters[name].detach())

    @torch.no_grad()
    def step(self) -> None:
        """Take in the parameters after an optimizer step."""
        if not self.decay:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged parameters for the block."""
        if not self.decay:
            yield
            return
        kept = {name: self.parameters[name].detach().clone() for name in self.average}
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(kept)

    def load(self, average: Mapping[str, Tensor], steps: int) -> None:
        """The state of a checkpoint: `average` and `steps`."""
        self.steps = steps
        for name, value in average.items():
            self.average[name].copy_(value)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)
