"""PersLay over raw persistence diagrams, with the pre-computed topology columns where a row has none.

Source: Carrière et al., "PersLay" (AISTATS 2020), §3: Σ w(p)·φ(p) over a diagram's points p, here with their Gaussian
point transformation φ_i(p) = exp(−(birth − b_i)²/2σ_i² − (death − d_i)²/2τ_i²) and w(p) = (death − birth)^power;
MODEL §3. One block for each (window, homology dimension), then log(1 + Σ): sums over four and over ninety points meet
in one linear layer. Departure: widths and power are learnt beside the reference points, all in the scale of the
training diagrams.

log(w·φ) is a quadratic of (birth, death) plus a multiple of log persistence: one GEMM of six numbers a point gives it
for all reference points, and only real points of a block are gathered, since most places of a diagram are padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig, PersLayConfig, SideConfig
from ple_model.config.inputs import SideName
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.inputs import Inputs
from ple_model.layers.dropout import Dropout
from ple_model.layers.mlp import mlp

#: Homology dimensions of each diagram: a block each.
DIMENSIONS: dict[SideName, tuple[int, ...]] = {"tda_short": (0, 1), "tda_long": (0, 1, 2)}
#: Feature group that goes with the diagrams, and all groups that replace them.
PHASE = "phase_transition"
FALLBACK = ("tda_short", "tda_long", PHASE)
#: Least standard deviation of a Gaussian in that of the points: narrower ones lose float32 digits far from 0.
_NARROWEST = 0.05
#: Persistence below this share of the block's mean counts as it: its logarithm is needed.
_LEAST_PERSISTENCE = 1e-6


class PersLayBlocks(nn.Module):
    """Σ w·φ for several sets of reference points. Parameters are in the fitted scale of each block.

    Args:
        blocks: sets, one for each window and homology dimension.
        points: reference points of each.
        spread: standard deviation of the Gaussians at the start.
        power: of the persistence in the weight, at the start.

    Shape:
        pairs [P, 2] of one block and their rows [P] → sums [count, points].

    Source: Carrière et al. (2020), §3.

    Example:
        >>> blocks = PersLayBlocks(blocks=5, points=8, spread=0.5, power=1.0)
        >>> blocks(0, torch.tensor([[0.0, 1.0], [0.5, 2.0]]), torch.tensor([0, 2]), count=3).shape
        torch.Size([3, 8])
    """

    centre: Tensor
    scale: Tensor
    level: Tensor

    def __init__(self, blocks: int, points: int, spread: float, power: float) -> None:
        super().__init__()
        self.reference = nn.Parameter(torch.randn(blocks, 2, points))
        self.log_spread = nn.Parameter(torch.full((blocks, 2, points), spread).log())
        self.log_power = nn.Parameter(torch.full((blocks,), power).log())
        self.register_buffer("centre", torch.zeros(blocks, 2))
        self.register_buffer("scale", torch.ones(blocks, 2))
        self.register_buffer("level", torch.ones(blocks))

    def fit(self, block: int, pairs: Tensor) -> None:
        """Takes mean and standard deviation of birth and death, and mean persistence, from pairs [P, 2]."""
        if len(pairs):
            deviation, mean = torch.std_mean(pairs, dim=0, correction=0)
            self.centre[block] = mean
            self.scale[block] = torch.where(deviation > 0, deviation, 1.0)
            level = (pairs[:, 1] - pairs[:, 0]).mean()
            self.level[block] = torch.where(level > 0, level, 1.0)

    def forward(self, block: int, pairs: Tensor, rows: Tensor, count: int) -> Tensor:
        """Sums over the pairs [P, 2] of each row, [count, points]; rows [P] says which row a pair is of."""
        birth, death = ((pairs - self.centre[block]) / self.scale[block]).unbind(1)
        persistence = ((pairs[:, 1] - pairs[:, 0]) / self.level[block]).clamp_min(_LEAST_PERSISTENCE)
        terms = torch.stack([birth.square(), death.square(), birth, death, persistence.log()], dim=1)
        half = 0.5 / ((2 * self.log_spread[block]).exp() + _NARROWEST**2)  # [2, points]
        reference = self.reference[block]
        power = self.log_power[block].exp().expand(1, half.shape[1])
        constant = -(half * reference.square()).sum(0)
        values = torch.addmm(constant, terms, torch.cat([-half, 2 * half * reference, power])).exp()  # [P, points]
        return values.new_zeros(count, values.shape[1]).index_add(0, rows, values)


class PersLay(Expert):
    """Learnt sums over the points of persistence diagrams; topology columns where a row has no diagram.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; Carrière et al. (2020).

    Example:
        >>> expert = PersLay(PersLayConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "perslay"
    reads = "persistence diagrams and topology columns"
    columns: Tensor
    phase: Tensor
    statistics_centre: Tensor
    statistics_scale: Tensor

    def __init__(self, config: PersLayConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.diagrams = tuple(_diagram(inputs.side(name)) for name in DIMENSIONS if inputs.has(name))
        blocks = sum(len(DIMENSIONS[side.name]) for side in self.diagrams)
        self.blocks = PersLayBlocks(blocks, config.points, config.spread, config.weight_power)
        self.statistics = inputs.side("tda_global") if self.diagrams and inputs.has("tda_global") else None
        statistics = len(self.statistics.present_channels) if self.statistics else 0
        self.register_buffer("statistics_centre", torch.zeros(statistics))
        self.register_buffer("statistics_scale", torch.ones(statistics))
        columns, phase = inputs.present_of(*FALLBACK), inputs.present_of(PHASE)
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        places = torch.tensor([columns.index(column) for column in phase], dtype=torch.int64)
        self.register_buffer("phase", places, persistent=False)
        self.missing = nn.Parameter(torch.zeros(len(columns)))
        first, *others = config.hidden
        raw = blocks * (config.points + 1) + statistics + bool(self.statistics) + len(phase)
        self.from_diagrams = nn.Linear(raw, first) if self.diagrams else None
        self.from_columns = nn.Linear(len(columns), first) if columns else None
        self.network = nn.Sequential(
            nn.LayerNorm(first),
            nn.SiLU(),
            Dropout(config.dropout),
            mlp(first, tuple(others), config.dropout),
            nn.Linear(config.hidden[-1], config.width),
            nn.LayerNorm(config.width),
        )

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return any(inputs.has(name) for name in DIMENSIONS) or bool(inputs.present_of(*FALLBACK))

    def present(self, inputs: Inputs) -> Tensor:
        return self.has_diagram(inputs) | inputs.features_mask.index_select(1, self.columns).any(1)

    def has_diagram(self, inputs: Inputs) -> Tensor:
        """[B] bool: rows with a real point in either diagram. The others are read by their columns."""
        given = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.features.device)
        for side in self.diagrams:
            given = given | inputs.read(side)[1].any(1)
        return given

    def fit(self, inputs: Inputs) -> None:
        """Scales of the diagrams' points and of the statistics from training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.columns.device)
        inputs = inputs.index(rows)
        for block, (pairs, _) in enumerate(self._pairs(inputs)):
            self.blocks.fit(block, pairs)
        if self.statistics is not None:
            values, given = self._statistics(inputs, self.statistics)
            if given.any():
                deviation, mean = torch.std_mean(values[given], dim=0, correction=0)
                self.statistics_centre.copy_(mean)
                self.statistics_scale.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        columns = torch.where(
            inputs.features_mask.index_select(1, self.columns),
            inputs.features.index_select(1, self.columns).float(),
            self.missing,
        )
        seen: dict[str, Tensor] = {}
        if self.from_diagrams is None:
            assert self.from_columns is not None  # as `available`
            hidden = self.from_columns(columns)
        else:
            sums, counts = self.sums(inputs)  # [B, blocks, points], [B, blocks]
            parts = [sums.log1p().flatten(1), (counts > 0).float(), columns.index_select(1, self.phase)]
            if self.statistics is not None:
                values, given = self._statistics(inputs, self.statistics)
                values = (values - self.statistics_centre) / self.statistics_scale * given.unsqueeze(1)
                parts += [values, given.unsqueeze(1).float()]
            hidden = self.from_diagrams(torch.cat(parts, dim=1))
            has_diagram = counts.sum(1) > 0
            if self.from_columns is not None:
                hidden = torch.where(has_diagram.unsqueeze(1), hidden, self.from_columns(columns))
            seen = {"block_sums": sums, "block_pairs": counts, "weight_power": self.blocks.log_power.exp()}
        output = self.network(hidden)
        return ExpertOutput(output, {name: tensor.detach() for name, tensor in seen.items()} if interpret else {})

    def sums(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Σ w·φ by block, [B, blocks, points] float32, and the pairs that went into them, [B, blocks]."""
        sums, counts = [], []
        with torch.autocast(inputs.features.device.type, enabled=False):
            for block, (pairs, rows) in enumerate(self._pairs(inputs)):
                sums.append(self.blocks(block, pairs, rows, len(inputs)))
                counts.append(torch.bincount(rows, minlength=len(inputs)))
        return torch.stack(sums, dim=1), torch.stack(counts, dim=1)

    def _pairs(self, inputs: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
        """For each block: (birth, death) of its real points, [P, 2] float32, and the row of each, [P]."""
        for side in self.diagrams:
            values, valid = inputs.read(side)
            dimension = values[:, :, 2].round()
            for which in DIMENSIONS[side.name]:
                rows, places = (valid & (dimension == which)).nonzero(as_tuple=True)
                yield values[rows, places, :2], rows

    @staticmethod
    def _statistics(inputs: Inputs, side: SideConfig) -> tuple[Tensor, Tensor]:
        values, given = inputs.read(side)
        return values[:, list(side.present_channels)], given


def _diagram(side: SideConfig) -> SideConfig:
    """Raises ValueError unless it is masked points of (birth, death, dimension)."""
    if not side.masked or len(side.shape) != 2 or side.present_channels != (0, 1, 2):
        raise ValueError(f"side input {side.name} is no diagram: it must be masked, of shape [points, 3], all present")
    return side
