"""DeepFM: a factorisation machine and a deep tower over the same embeddings of the normalised columns.

Source: Guo et al., "DeepFM" (2017); MODEL §3. Departures from the paper: a field is a number, embedded by its
piecewise-linear encoding (Gorishniy et al. 2022) instead of a look-up; the second order is kept as a vector (one
value for each embedding dimension) instead of its sum; first order, second order and tower are fused by a linear layer
instead of a sum, because the expert returns a block of h_shared and not a logit.
A missing value has its own learnt vector. Columns that the data set lacks are not fields.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import DeepFMConfig, InputConfig
from ple_model.experts.base import Expert, ExpertOutput, mlp, spread_rows
from ple_model.experts.numeric import PiecewiseLinearEncoding, quantile_edges
from ple_model.inputs import Inputs


def second_order(vectors: Tensor) -> Tensor:
    """Σ_{i<j} v_i ∘ v_j in O(nk): ½((Σv)² − Σv²). [F, B, k] → [B, k]. Source: Rendle (2010), lemma 3.1."""
    return 0.5 * (vectors.sum(0).square() - vectors.square().sum(0))


class DeepFM(Expert):
    name = "deepfm"
    reads = "features"
    columns: Tensor

    def __init__(self, config: DeepFMConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.register_buffer("columns", torch.tensor(inputs.present_normalised), persistent=False)
        fields, k = len(inputs.present_normalised), config.embedding
        self.encoding = PiecewiseLinearEncoding(fields, config.bins)
        self.weight = nn.Parameter(torch.empty(fields, config.bins, k + 1))  # k: the vector; 1: the first-order term
        self.bias = nn.Parameter(torch.empty(fields, 1, k + 1))
        self.missing = nn.Parameter(torch.empty(fields, 1, k + 1))
        self.tower = mlp(fields * k, config.hidden, config.dropout)
        self.norm = nn.LayerNorm(k)
        deep = config.hidden[-1] if config.hidden else fields * k
        self.fuse = nn.Sequential(nn.Linear(deep + k + 1, config.width), nn.LayerNorm(config.width))
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
        """[F, B, k + 1]: each field's vector and first-order term."""
        x = inputs.features.index_select(1, self.columns).T  # [F, B]
        mask = inputs.features_mask.index_select(1, self.columns).T
        channels = self.encoding(torch.where(mask, x, 0.0).float())
        return torch.where(mask.unsqueeze(-1), torch.baddbmm(self.bias, channels, self.weight), self.missing)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        embedded = self.embed(inputs)
        fields, batch, _ = embedded.shape
        vectors, first = embedded[..., :-1], embedded[..., -1].sum(0).unsqueeze(-1) * fields**-0.5
        deep = self.tower(vectors.permute(1, 0, 2).reshape(batch, -1))
        second = self.norm(second_order(vectors))
        output = self.fuse(torch.cat([deep, second, first], dim=1))
        if not interpret:
            return ExpertOutput(output)
        others = vectors.detach().sum(0) - vectors.detach()
        strength = (vectors.detach() * others).sum(-1).abs().T  # [B, F]
        return ExpertOutput(output, {"field_interaction": strength})
