"""DeepFM: a factorisation machine and a deep tower over the same embeddings of the normalised columns.

Source: Guo et al., "DeepFM" (2017); MODEL §3. Departures from the paper: a field is a number, embedded by its
piecewise-linear encoding (Gorishniy et al. 2022) instead of a look-up; the first order is the sum of the fields'
vectors, and the second order too is kept as a vector (one value for each embedding dimension) instead of its sum; the
three parts are fused by a linear layer instead of a sum, because the expert returns a block of h_shared, not a logit.
A missing value has its own learnt vector. Columns that the data set lacks are not fields.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import DeepFMConfig, InputConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.experts.numeric import PiecewiseLinearEncoding, quantile_edges
from ple_model.inputs import Inputs
from ple_model.layers.mlp import mlp


def second_order(vectors: Tensor) -> Tensor:
    """Σ_{i<j} v_i ∘ v_j in O(nk): ½((Σv)² − Σv²). [F, k, B] → [k, B]. Source: Rendle (2010), lemma 3.1."""
    return 0.5 * (vectors.sum(0).square() - vectors.square().sum(0))


class DeepFM(Expert):
    """Factorisation machine and deep tower over piecewise-linear embeddings of the normalised columns.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; Guo et al. (2017).

    Example:
        >>> expert = DeepFM(DeepFMConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "deepfm"
    reads = "features"
    columns: Tensor

    def __init__(self, config: DeepFMConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.register_buffer("columns", torch.tensor(inputs.present_normalised), persistent=False)
        fields, k = len(inputs.present_normalised), config.embedding
        self.encoding = PiecewiseLinearEncoding(fields, config.bins)
        self.weight = nn.Parameter(torch.empty(fields, k, config.bins))
        self.bias = nn.Parameter(torch.empty(fields, k, 1))
        self.missing = nn.Parameter(torch.empty(fields, k, 1))
        self.tower = mlp(fields * k, config.hidden, config.dropout)
        self.norm1, self.norm2 = nn.LayerNorm(k), nn.LayerNorm(k)
        deep = config.hidden[-1] if config.hidden else fields * k
        self.fuse = nn.Sequential(nn.Linear(deep + 2 * k, config.width), nn.LayerNorm(config.width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within ±1/√bins, as a linear layer over each field's channels."""
        bound = self.config.bins**-0.5
        for parameter in (self.weight, self.bias, self.missing):
            nn.init.uniform_(parameter, -bound, bound)

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present_normalised)

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.features_mask.index_select(1, self.columns).any(1)

    def fit(self, inputs: Inputs) -> None:
        """Quantile bin edges from training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device)
        x = inputs.features.index_select(0, rows).index_select(1, self.columns)
        mask = inputs.features_mask.index_select(0, rows).index_select(1, self.columns)
        self.encoding.set_edges(quantile_edges(x, mask, self.config.bins))

    def embed(self, inputs: Inputs) -> Tensor:
        """[F, k, B]: each field's vector. Field-major, as the products over fields want it."""
        x = inputs.features.index_select(1, self.columns).T  # [F, B]
        mask = inputs.features_mask.index_select(1, self.columns).T.contiguous()
        channels = self.encoding(torch.where(mask, x, 0.0).float())
        return torch.where(mask.unsqueeze(1), torch.baddbmm(self.bias, self.weight, channels), self.missing)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        vectors = self.embed(inputs)
        deep = self.tower(vectors.flatten(0, 1).T)
        first, second = self.norm1(vectors.sum(0).T), self.norm2(second_order(vectors).T)  # [B, k]
        output = self.fuse(torch.cat([deep, first, second], dim=1))
        if not interpret:
            return ExpertOutput(output)
        fixed = vectors.detach()
        strength = (fixed * (fixed.sum(0) - fixed)).sum(1).abs().T  # [B, F]: each field's part in the second order
        return ExpertOutput(output, {"field_interaction": strength})
