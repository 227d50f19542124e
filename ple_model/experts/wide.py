"""Wide expert: all flat columns, raw ones too, mapped to normal quantiles, with flags of what is missing, in one MLP.

Members (`layers.members`) begin at its inputs, so each has a network of its own here at the price of a few vectors.
Source: MODEL §16; Gorishniy et al., "TabM" (2024).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import InputConfig, WideConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.inputs import Inputs
from ple_model.layers.dropout import Dropout
from ple_model.layers.members import MemberLinear

#: Share of a column's training rows without a value from which (and up to 1 − which) its absence is flagged.
FLAGGED = 1e-3


class NormalQuantiles(nn.Module):
    """Each column's values as standard normal quantiles of their ranks among training rows.

    A value between two knots is interpolated; one that equals several knots takes their middle rank. Beyond the knots a
    value counts as the outermost one.

    Args:
        fields: F columns.
        steps: q; the knots are the 0, 1/q, …, 1 quantiles.

    Shape:
        [F, B] values → [F, B], within ± the normal quantile of 1 − 1/(2q).

    Source: as `sklearn.preprocessing.QuantileTransformer(output_distribution="normal")`.

    Example:
        >>> NormalQuantiles(fields=3, steps=10)(torch.zeros(3, 5)).abs().max().item()
        0.0
    """

    knots: Tensor
    middle: Tensor

    def __init__(self, fields: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("knots", torch.linspace(-1.0, 1.0, steps + 1).repeat(fields, 1))
        self.register_buffer("middle", torch.arange(steps + 1.0).repeat(fields, 1))  # rank of what equals a knot

    def fit(self, x: Tensor, mask: Tensor) -> None:
        """Knots from present values. x [R, F], mask [R, F] bool; a column without values keeps its knots."""
        at = torch.linspace(0.0, 1.0, self.steps + 1, dtype=torch.float64)
        for i, (column, given) in enumerate(zip(x.T, mask.T, strict=True)):
            if bool(given.any()):
                self.knots[i] = torch.quantile(column[given].double(), at.to(x.device)).to(self.knots)
        first, last = (torch.searchsorted(self.knots, self.knots, right=right) for right in (False, True))
        self.middle.copy_((first + last - 1) * 0.5)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        below = torch.searchsorted(self.knots, x).clamp_(max=self.steps)  # knots < x
        at = self.knots.gather(1, below)
        low = self.knots.gather(1, (below - 1).clamp_(min=0))
        between = below - ((at - x) / (at - low).clamp_(min=torch.finfo(x.dtype).tiny)).clamp_(0.0, 1.0)
        rank = torch.where(at == x, self.middle.gather(1, below), between) / self.steps
        edge = 0.5 / self.steps
        return torch.special.ndtri(rank.clamp(edge, 1.0 - edge))


class Wide(Expert):
    """An MLP over all flat columns, with members.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.
        members: M, networks that share its matrices.

    Shape:
        inputs of B rows → `ExpertOutput`, output [M·B, config.width].

    Source: MODEL §16.

    Example:
        >>> expert = Wide(WideConfig(), columns, members=2)
        >>> expert(batch).output.shape
        torch.Size([8, 192])
    """

    name = "wide"
    reads = "features"
    has_members = True
    columns: Tensor
    flags: Tensor

    def __init__(self, config: WideConfig, inputs: InputConfig, members: int = 1) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        count = len(inputs.present)
        self.register_buffer("columns", torch.tensor(inputs.present), persistent=False)
        self.quantiles = NormalQuantiles(count, config.quantiles)
        self.register_buffer("flags", torch.full((min(config.flags, count),), -1))
        self.missing = nn.Parameter(torch.zeros(count))
        widths = (count + len(self.flags), *config.hidden, config.width)
        self.layers = nn.ModuleList(
            MemberLinear(members, a, b, first=i == 0) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.dropout = Dropout(config.dropout)

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present)

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.features_mask.index_select(1, self.columns).any(1)

    def fit(self, inputs: Inputs) -> None:
        """Knots and the columns whose absence is flagged, one for each pattern of absence, the commonest first."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device)
        mask = inputs.features_mask.index_select(0, rows).index_select(1, self.columns)
        self.quantiles.fit(inputs.features.index_select(0, rows).index_select(1, self.columns), mask)
        patterns, which = torch.unique(mask.T, dim=0, return_inverse=True)
        share = 1.0 - patterns.float().mean(1)
        open_ = ((share > FLAGGED) & (share < 1.0 - FLAGGED)).nonzero().squeeze(1)
        columns = which.bincount(minlength=len(patterns))[open_]
        chosen = open_[columns.argsort(descending=True, stable=True)][: len(self.flags)]
        self.flags.fill_(-1)
        for place, pattern in enumerate(chosen.tolist()):
            self.flags[place] = int((which == pattern).nonzero()[0])

    def encode(self, inputs: Inputs) -> Tensor:
        """[B, F + flags]: normal quantiles, a learnt level where a value is missing, and flags of absence, 0 or 1."""
        x = inputs.features.index_select(1, self.columns).float()
        mask = inputs.features_mask.index_select(1, self.columns)
        z = torch.where(mask, self.quantiles(torch.where(mask, x, 0.0).T).T, self.missing)  # [B, F]
        absent = ~mask.index_select(1, self.flags.clamp(min=0)) & (self.flags >= 0)
        return torch.cat([z, absent.to(z.dtype)], dim=1)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        encoded = hidden = self.encode(inputs)
        for layer in self.layers:
            hidden = self.dropout(F.relu(layer(hidden)))
        explained = {"column_quantile": encoded[:, : len(self.columns)].detach()} if interpret else {}
        return ExpertOutput(hidden.flatten(0, 1), explained, encoded=encoded)
