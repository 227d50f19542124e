"""Optimal transport: the row as a distribution over learnt support points, read by its distances to prototypes.

Source: MODEL §3. The normalised columns give the row's weights over the support (softmax of a linear map with missing
indicators), the prototypes are learnt weights over the same points, the cost is the squared distance of points over its
largest value, and the distance is the square root of the debiased Sinkhorn divergence (`sinkhorn.py`): a row that is a
prototype has distance 0 to it, whatever the points have become.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig, OptimalTransportConfig
from ple_model.experts.base import Expert, ExpertOutput
from ple_model.experts.sinkhorn import sinkhorn_divergence
from ple_model.inputs import Inputs
from ple_model.layers.mlp import mlp

#: Under the root, whose slope at 0 has no bound: a distance of 0 reads 0.01 of the support's diameter.
_UNDER_ROOT = 1e-4


class OptimalTransport(Expert):
    """The row as a distribution over learnt points, read by its Sinkhorn distances to learnt prototypes.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; Cuturi (2013).

    Example:
        >>> expert = OptimalTransport(OptimalTransportConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "optimal_transport"
    reads = "features"
    columns: Tensor

    def __init__(self, config: OptimalTransportConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.register_buffer("columns", torch.tensor(inputs.present_normalised), persistent=False)
        count = len(inputs.present_normalised)
        self.weigh = nn.Linear(2 * count, config.support)
        self.points = nn.Parameter(torch.empty(config.support, config.dimension))
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.support))
        self.network = mlp(config.prototypes, config.hidden, config.dropout)
        last = config.hidden[-1] if config.hidden else config.prototypes
        self.project = nn.Sequential(nn.Linear(last, config.width), nn.LayerNorm(config.width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Logits of rows and prototypes with a standard deviation of `spread`; no say for missing indicators yet."""
        count = len(self.columns)
        nn.init.normal_(self.points)
        nn.init.normal_(self.prototypes, std=self.config.spread)
        with torch.no_grad():
            self.weigh.weight[:, :count].normal_(std=self.config.spread / max(count, 1) ** 0.5)
            self.weigh.weight[:, count:].zero_()
            self.weigh.bias.zero_()

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present_normalised)

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.features_mask.index_select(1, self.columns).any(1)

    def cost(self) -> Tensor:
        """Squared distances of the support points over the largest, [S, S]: symmetric, zero diagonal, within [0, 1]."""
        squared = (self.points.unsqueeze(0) - self.points.unsqueeze(1)).square().sum(2)
        return squared / squared.amax().clamp_min(torch.finfo(squared.dtype).tiny)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        mask = inputs.features_mask.index_select(1, self.columns)
        x = torch.where(mask, inputs.features.index_select(1, self.columns), 0.0).float()
        logits = self.weigh(torch.cat([x, (~mask).float()], dim=1))
        with torch.autocast(x.device.type, enabled=False):
            weights = logits.float().softmax(1)  # [B, S]
            divergence = sinkhorn_divergence(
                weights, self.prototypes.softmax(1), self.cost(), self.config.epsilon, self.config.iterations
            )
            distances = (divergence.clamp_min(0.0) + _UNDER_ROOT).sqrt()  # [B, K]
        output = self.project(self.network(distances))
        if not interpret:
            return ExpertOutput(output)
        seen = {"prototype_distance": distances, "support_weight": weights, "prototype": self.prototypes.softmax(1)}
        return ExpertOutput(output, {name: tensor.detach() for name, tensor in seen.items()})
