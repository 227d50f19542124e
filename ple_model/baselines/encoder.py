"""All inputs of a row as one vector, the same for every baseline: piecewise-linear embeddings of the columns, and the
side inputs flattened.

PERFORMANCE §4: the encoding of numbers moved the score more than any architecture did, so the baselines have it too.
Source: Gorishniy, Rubachev, Babenko (2022); MODEL §14 (the same inputs as the model).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import HISTORIES, InputConfig, SideConfig
from ple_model.config.baselines import InputEncoderConfig
from ple_model.experts.base import spread_rows
from ple_model.experts.numeric import PiecewiseLinearEncoding, quantile_edges
from ple_model.inputs import Inputs
from ple_model.layers.channels import Channels
from ple_model.layers.towers import StackedLayerNorm

_LARGEST = 10.0  # a standardised value of a side input beyond it counts as it


class FlatSide(nn.Module):
    """One side input of B rows as values [B, C] and where they are given [B, C].

    Values are sign·log(1 + |x|); those of a masked side input are means over the valid places among `patch` neighbours.
    """

    def __init__(self, side: SideConfig, patch: int) -> None:
        super().__init__()
        self.side, self.patch = side, patch
        self.channels = Channels(side)
        places = -(-side.shape[0] // patch) if side.masked else 1
        inner = 1
        for size in side.shape[1 if side.masked else 0 : -1]:
            inner *= size
        self.width = places * inner * self.channels.width

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        values, given = inputs.read(self.side)
        values = self.channels(values)
        values = values.sign() * values.abs().log1p()
        if self.side.masked:
            lack = -values.shape[1] % self.patch
            flat = values.flatten(2)
            sums = F.pad(flat, (0, 0, 0, lack)).unflatten(1, (-1, self.patch)).sum(2)
            counts = F.pad(given.to(flat.dtype), (0, lack)).unflatten(1, (-1, self.patch)).sum(2).unsqueeze(-1)
            values = sums / counts.clamp(min=1)
            return values.flatten(1), (counts > 0).expand_as(values).flatten(1)
        return values.flatten(1), given.unsqueeze(1).expand(-1, self.width)


class InputEncoder(nn.Module):
    """`Inputs` of B rows → [B, stack·width]: `stack` independent encodings, layer-normed, beside each other.

    A column's value has a learnt vector in place of its encoding where it is missing; a side input's is 0,
    beside a flag of absence for the whole input.
    """

    columns: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: InputEncoderConfig, inputs: InputConfig, stack: int) -> None:
        super().__init__()
        self.config, self.stack = config, stack
        fields, k, width = len(inputs.present), config.embedding, config.width
        self.register_buffer("columns", torch.tensor(inputs.present), persistent=False)
        self.encoding = PiecewiseLinearEncoding(fields, config.bins)
        self.weight = nn.Parameter(torch.empty(fields, stack * k, config.bins))
        self.bias = nn.Parameter(torch.empty(fields, stack * k, 1))
        self.missing = nn.Parameter(torch.empty(fields, stack * k, 1))
        self.sides = nn.ModuleList(FlatSide(side, config.patch) for side in inputs.sides if side.name not in HISTORIES)
        flat = sum(side.width for side in self._sides())
        self.register_buffer("mean", torch.zeros(flat))
        self.register_buffer("std", torch.ones(flat))
        beside = flat + len(self.sides) + inputs.clusters
        self.of_fields = nn.Parameter(torch.empty(stack, fields * k, width))
        self.of_sides = nn.Linear(beside, stack * width)
        self.norm = StackedLayerNorm(stack, width)
        for parameter in (self.weight, self.bias, self.missing):
            nn.init.uniform_(parameter, -(config.bins**-0.5), config.bins**-0.5)
        bound = (fields * k + beside) ** -0.5
        nn.init.uniform_(self.of_fields, -bound, bound)
        nn.init.uniform_(self.of_sides.weight, -bound, bound)
        nn.init.zeros_(self.of_sides.bias)

    def _sides(self) -> list[FlatSide]:
        return [side for side in self.sides if isinstance(side, FlatSide)]

    def forward(self, inputs: Inputs) -> Tensor:
        x = inputs.features.index_select(1, self.columns).T  # [F, B]
        mask = inputs.features_mask.index_select(1, self.columns).T.contiguous()
        channels = self.encoding(torch.where(mask, x, 0.0).float())
        vectors = torch.where(mask.unsqueeze(1), torch.baddbmm(self.bias, self.weight, channels), self.missing)
        rows = len(inputs)
        by_stack = vectors.unflatten(1, (self.stack, -1)).transpose(0, 1).reshape(self.stack, -1, rows)
        encoded = torch.bmm(by_stack.transpose(1, 2), self.of_fields)  # [stack, B, width]
        beside = self.of_sides(self.beside(inputs)).unflatten(1, (self.stack, -1)).transpose(0, 1)
        normed: Tensor = self.norm(encoded + beside)
        return normed.transpose(0, 1).flatten(1)

    def beside(self, inputs: Inputs) -> Tensor:
        """Side inputs standardised, flags of absence, cluster posterior: [B, width]."""
        values, given = self._flat(inputs)
        standardised = ((values - self.mean) / self.std).clamp(-_LARGEST, _LARGEST)
        absent = [~inputs.present_rows(side.side.name).unsqueeze(1) for side in self._sides()]
        flags = torch.cat(absent, dim=1).float() if absent else values.new_zeros(len(inputs), 0)
        return torch.cat([torch.where(given, standardised, 0.0), flags, inputs.cluster_probs.float()], dim=1)

    def _flat(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        pairs = [side(inputs) for side in self._sides()]
        if not pairs:
            nothing = inputs.cluster_probs.new_zeros(len(inputs), 0)
            return nothing.float(), nothing.bool()
        return torch.cat([values for values, _ in pairs], dim=1), torch.cat([given for _, given in pairs], dim=1)

    @torch.no_grad()
    def fit(self, inputs: Inputs) -> None:
        """Bin edges of the columns and scales of the side inputs from training rows. A value that never varies, or is
        never given, keeps the scale 1."""
        some = inputs.index(spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device))
        x, mask = some.features.index_select(1, self.columns), some.features_mask.index_select(1, self.columns)
        self.encoding.set_edges(quantile_edges(x, mask, self.config.bins))
        values, given = self._flat(some)
        count = given.sum(0).clamp(min=1)
        mean = torch.where(given, values, 0.0).double().sum(0) / count
        variance = torch.where(given, values - mean, 0.0).square().sum(0) / count
        self.mean.copy_(mean)
        self.std.copy_(torch.where(variance > 1e-12, variance, 1.0).sqrt())
