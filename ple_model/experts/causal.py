"""Causal expert: normalised columns compressed to a few variables, a DAG over them, each encoded from its parents.

- Nothing reaches the output but through an edge: a variable's encoder reads W_ij·z_i of its parents and not itself, so
  W cannot be bypassed, and zW has to reproduce z, so W cannot shrink to 0 while the encoders make up for it.
- Variables have variance 1 over the training rows whatever the compression learns: their standard deviations follow
  from the columns' covariance (a buffer), without statistics of a batch. So W cannot shrink by z growing either, rows
  do not depend on their batch, and several processes compute the same.
- The reconstruction teaches W alone. If it shaped the variables too, they would become copies of each other.

The DAG is structure for prediction. Its directions are not evidence of causes: over standardised variables, linear
equations with Gaussian noise do not identify them. Source: MODEL §3; Zheng et al. (2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import CausalConfig, InputConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.experts.dag import DAG
from ple_model.inputs import Inputs
from ple_model.layers.dropout import Dropout

#: Smallest variance of a variable: a compression that looks at columns which never vary divides by its root.
LEAST_VARIANCE = 1e-6


class Compression(nn.Module):
    """Values and whether they are given → variables of mean 0 and variance 1 over training rows.

    A linear map of 2F channels. Their covariance is kept as principal directions and what these leave of each channel's
    variance: Σ ≈ VVᵀ + diag(u), exact on the diagonal. Unfitted, channels count as independent with mean 0, variance 1.

    Args:
        fields: F columns.
        variables: d.
        factors: principal directions that are kept.

    Shape:
        values [B, F] and given [B, F] as 0/1 → [B, d].

    Example:
        >>> compress = Compression(fields=6, variables=3, factors=4)
        >>> compress(torch.randn(5, 6), torch.ones(5, 6)).shape
        torch.Size([5, 3])
    """

    mean: Tensor
    directions: Tensor
    unique: Tensor

    def __init__(self, fields: int, variables: int, factors: int) -> None:
        super().__init__()
        channels = 2 * fields
        self.weight = nn.Parameter(torch.empty(variables, channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("directions", torch.zeros(channels, min(factors, channels)))
        self.register_buffer("unique", torch.ones(channels))
        nn.init.normal_(self.weight, std=channels**-0.5)

    @torch.no_grad()
    def fit(self, values: Tensor, given: Tensor) -> None:
        """Mean and covariance of rows."""
        channels = torch.cat([values, given], dim=1).double()
        mean = channels.mean(0)
        channels -= mean
        covariance = channels.T @ channels / len(channels)
        kept = self.directions.shape[1]
        strength, directions = torch.linalg.eigh(covariance)
        directions = directions[:, -kept:] * strength[-kept:].clamp(min=0.0).sqrt()
        self.mean.copy_(mean)
        self.directions.copy_(directions)
        self.unique.copy_((covariance.diagonal() - directions.square().sum(1)).clamp(min=0.0))

    def loadings(self) -> Tensor:
        """[d, 2F]: share of a unit of each channel in a variable."""
        variance = (self.weight @ self.directions).square().sum(1) + self.weight.square() @ self.unique
        return self.weight * (variance + LEAST_VARIANCE).rsqrt().unsqueeze(1)

    def forward(self, values: Tensor, given: Tensor) -> Tensor:
        loadings = self.loadings()
        of_values, of_presence = loadings.chunk(2, dim=1)
        return torch.addmm(F.linear(values, of_values, -(loadings @ self.mean)), given, of_presence.T)


class Causal(Expert):
    """Columns compressed to a few variables, a learnt DAG over them, and each variable encoded from its parents.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; Zheng et al. (2018).

    Example:
        >>> expert = Causal(CausalConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "causal"
    reads = "normalised features"
    columns: Tensor

    def __init__(self, config: CausalConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        columns = inputs.present_normalised
        adjacent = columns == tuple(range(columns[0], columns[0] + len(columns)))
        self.run = slice(columns[0], columns[0] + len(columns)) if adjacent else None  # a view costs no copy
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.compress = Compression(len(columns), config.variables, config.factors)
        self.dag = DAG(config.variables, config.dual_rate)
        self.encoders = nn.Parameter(torch.empty(config.variables, config.encoding, config.variables))
        self.bias = nn.Parameter(torch.zeros(config.variables, config.encoding))
        self.fuse = nn.Sequential(
            Dropout(config.dropout),
            nn.Linear(config.variables * config.encoding, config.width),
            nn.LayerNorm(config.width),
        )
        nn.init.normal_(self.encoders)

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present_normalised)

    def present(self, inputs: Inputs) -> Tensor:
        return self._select(inputs.features_mask).any(1)

    def fit(self, inputs: Inputs) -> None:
        """Takes the mean and the covariance of the channels from training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device)
        self.compress.fit(*self._channels(inputs.index(rows)))

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        with torch.autocast(inputs.features.device.type, enabled=False):
            values, given = self._channels(inputs)
            variables = self.compress(values, given)  # [B, d]
            edges = self.dag.edges()
            first = self.encoders * edges.T.unsqueeze(1)  # [d, k, d]: encoder j reads W_ij z_i
            hidden = F.silu(F.linear(variables, first.flatten(0, 1), self.bias.flatten()))  # [B, d·k]
            output = self.fuse(hidden)
            losses = self._losses(variables.detach(), given) if self.training else {}
        return ExpertOutput(output, self._interpretation(variables, edges) if interpret else {}, losses)

    def _select(self, columns: Tensor) -> Tensor:
        return columns[:, self.run] if self.run else columns.index_select(1, self.columns)

    def _channels(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """[B, F] twice: each present column with 0 where it is missing, and 1 where it is given."""
        mask = self._select(inputs.features_mask)
        return torch.where(mask, self._select(inputs.features).float(), 0.0), mask.float()

    def _losses(self, variables: Tensor, given: Tensor) -> dict[str, Tensor]:
        """The three terms, weighted. The reconstruction is ½‖z − zW‖² summed over variables, mean over rows; it counts
        rows without any column as 0."""
        config = self.config
        left = (variables - self.dag.reconstruct(variables)).square().sum(1) * given.any(1)
        return {
            "causal_acyclicity": self.dag.acyclicity(config.acyclicity),
            "causal_sparsity": config.sparsity * self.dag.sparsity(),
            "causal_reconstruction": config.reconstruction * 0.5 * left.mean(),
        }

    @torch.no_grad()
    def _interpretation(self, variables: Tensor, edges: Tensor) -> dict[str, Tensor]:
        """variables [B, d]; adjacency [d, d], W where |W| reaches `edge` and 0 elsewhere; loadings [d, F], the
        share of a unit of each column in a variable."""
        return {
            "variables": variables.detach(),
            "adjacency": torch.where(edges.abs() >= self.config.edge, edges, 0.0).detach(),
            "loadings": self.compress.loadings()[:, : len(self.columns)],
        }
