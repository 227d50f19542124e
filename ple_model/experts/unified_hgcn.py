"""Unified HGCN: a hyperbolic network over a customer's places in trees, and over the merchants that they choose.

Two branches, each on its own ball with a learnt curvature. `hierarchy`: the points of MODEL §1 in the trees of merchant
categories, products and regions, moved to their midpoint and mapped by the logarithm. `merchant`: 21 columns of the
group `merchant` and 6 of co-visits and distances. Three of them say how the customer's merchants tie them to others
(contact rate at shared merchants, rate of adoption from a contact, time to the peak of what spreads at their
merchants); of the group `epidemic` the rate of giving up does not come from co-visits and R is a product of the rest,
and the groups `interference` and `routine_activity` are about time and the customer's own places. The other three are
the hyperbolic distances of the customer's points from the midpoints of the training rows, which no other column holds.

The branches' layers run side by side as batched products; `hyperbolic.py` has the operations. A row without a branch
gets that branch's learnt vector. Source: MODEL §3; Chami et al., "Hyperbolic Graph Convolutional Neural Networks"
(2019); Ganea, Bécigneul, Hofmann, "Hyperbolic Neural Networks" (2018).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import InputConfig, UnifiedHGCNConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.experts.hyperbolic import Balls, Curvature, MobiusBias
from ple_model.inputs import Inputs
from ple_model.layers.dropout import fast_dropout


class UnifiedHGCN(Expert):
    """Hyperbolic network of two branches: places in hierarchies, and merchants with their co-visits.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; Chami et al. (2019).

    Example:
        >>> expert = UnifiedHGCN(UnifiedHGCNConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 128])
    """

    name = "unified_hgcn"
    reads = "hierarchy or merchant columns"
    columns: Tensor

    def __init__(self, config: UnifiedHGCNConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.side = inputs.side("hierarchy") if inputs.has("hierarchy") else None
        self.balls = Balls(config.balls, self.side.shape[0], self.side.present_channels) if self.side else None
        merchant = inputs.present_of("merchant")
        if merchant:
            covisit = [i for i in inputs.present_normalised if inputs.columns[i] in config.covisit]
            merchant = tuple(sorted({*merchant, *covisit}))
        self.register_buffer("columns", torch.tensor(merchant, dtype=torch.int64), persistent=False)

        first, out = {}, config.hidden[0]
        if self.balls:
            first["hierarchy"] = nn.Linear(self.balls.width, out, bias=False)
        if merchant:
            count = len(merchant) + (self.balls.count if self.balls else 0)
            first["merchant"] = nn.Linear(count, out, bias=False)
            self.missing = nn.Parameter(torch.zeros(count))
        self.first = nn.ModuleDict(first)
        branches = len(first)
        self.curvature = Curvature(branches, config.curvature, config.curvature_span)
        self.biases = nn.ModuleList(MobiusBias(branches, width, config.max_norm) for width in config.hidden)
        self.weights = nn.ParameterList(
            torch.empty(branches, *pair) for pair in pairwise((*config.hidden, config.width))
        )
        self.absent = nn.Parameter(torch.zeros(branches, 1, config.width))
        self.norm = nn.LayerNorm(config.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrices that keep the size of coordinates, which the curvature is relative to."""
        for weight in self.first.parameters():
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        for weight in self.weights:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return inputs.has("hierarchy") or bool(inputs.present_of("merchant"))

    def present(self, inputs: Inputs) -> Tensor:
        return self._present(inputs).any(0)

    def fit(self, inputs: Inputs) -> None:
        """Midpoint and scale of each ball from training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device)
        rows = rows[inputs.present_rows("hierarchy").index_select(0, rows)]
        if self.balls and len(rows):
            self.balls.fit(inputs.sides["hierarchy"].index_select(0, rows))

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        given = self._present(inputs)  # [G, B]
        read, distance = self._read(inputs)
        lifted = [layer(x) for layer, x in zip(self.first.values(), read, strict=True)]
        u, c = torch.stack(lifted), self.curvature()  # tangent vectors [G, B, hidden]
        for bias, weight in zip(self.biases, self.weights, strict=True):
            points = bias(u, c)
            u = torch.bmm(fast_dropout(F.silu(points), self.config.dropout, self.training), weight)
        parts = torch.where(given.unsqueeze(-1), u, self.absent)  # [G, B, width]
        output = self.norm(parts.sum(0))
        if not interpret:
            return ExpertOutput(output)
        return ExpertOutput(output, self._interpret(parts, points, distance))

    def _present(self, inputs: Inputs) -> Tensor:
        """[G, B] bool: rows that have the branch's input."""
        rows = []
        if self.side:
            rows.append(inputs.present_rows("hierarchy"))
        if len(self.columns):
            rows.append(inputs.features_mask.index_select(1, self.columns).any(1))
        return torch.stack(rows)

    def _read(self, inputs: Inputs) -> tuple[list[Tensor], Tensor | None]:
        """The input of each branch [B, ·], and the distances from the balls' midpoints [B, balls]."""
        read, distance, values, masks = [], None, [], []
        if self.balls and self.side:
            points, given = inputs.read(self.side)
            tangent, distance = self.balls(points)
            read.append(tangent)
        if len(self.columns):
            values.append(inputs.features.index_select(1, self.columns).float())
            masks.append(inputs.features_mask.index_select(1, self.columns))
            if distance is not None:
                values.append(distance - 1.0)  # the root mean square of the training rows counts as 0
                masks.append(given.unsqueeze(1).expand_as(distance))
            read.append(torch.where(torch.cat(masks, 1), torch.cat(values, 1), self.missing))
        return read, distance

    @torch.no_grad()
    def _interpret(self, parts: Tensor, points: Tensor, distance: Tensor | None) -> dict[str, Tensor]:
        """curvature [G]; depth [B, G], hyperbolic distance of a branch's last point from the origin in radii of
        curvature; branch_share [B, G] of the fused vector; hierarchy_distance [B, balls] from the balls' midpoints."""
        c, size = self.curvature(), parts.norm(dim=-1)
        found = {
            "curvature": c.flatten(),
            "depth": (2.0 * c.sqrt() * points.square().mean(-1, keepdim=True).sqrt()).squeeze(-1).T,
            "branch_share": (size / size.sum(0).clamp_min(torch.finfo(size.dtype).tiny)).T,
        }
        return found if distance is None else found | {"hierarchy_distance": distance}
