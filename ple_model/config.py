"""Settings of the network. Every number of MODEL is a default here (tasks: `tasks.py`) and nowhere else.

Settings of training belong to `ple_model.training.config`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel, nearest
from ple_model.tasks import (
    DEFAULT_RELATIONS,
    Relation,
    TaskConfig,
    active_relations,
    default_tasks,
    topological_levels,
)

__all__ = [
    "BasketConfig",
    "ClosedModel",
    "DeepFMConfig",
    "ExpertConfig",
    "GateConfig",
    "InputConfig",
    "ModelConfig",
    "RawScaleConfig",
    "Relation",
    "TaskConfig",
    "TemporalConfig",
    "TowerConfig",
    "TransferConfig",
    "TransformerBranchConfig",
    "WeightingConfig",
]

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class InputConfig(ClosedModel):
    """What a data set delivers for the inputs of MODEL §1.

    columns: names of all feature columns, the first `normalised` of them scaled, the rest raw (the layout has 734 and
    644). present: indices of the columns that the data set has, ascending; the others are absent and never read.
    clusters: components of the mixture model. seq_channels: channels of `txn_seq` that the data set has, None = all.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    present: tuple[int, ...] = Field(min_length=1)
    normalised: int = Field(default=644, ge=0)
    clusters: int = Field(default=20, ge=1)
    has_txn_seq: bool = True
    seq_steps: int = Field(default=180, ge=1)
    seq_width: int = Field(default=16, ge=1)
    seq_channels: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("inputs.columns holds a name twice")
        if self.normalised > len(self.columns):
            raise ValueError(f"inputs.normalised = {self.normalised} exceeds the {len(self.columns)} columns")
        _check_indices("inputs.present", self.present, len(self.columns))
        _check_indices("inputs.seq_channels", self.channels, self.seq_width)
        if self.has_txn_seq and not self.channels:
            raise ValueError("inputs.seq_channels is empty; a data set without any has has_txn_seq = false")
        return self

    @property
    def present_normalised(self) -> tuple[int, ...]:
        """Indices of the normalised columns that the data set has."""
        return tuple(i for i in self.present if i < self.normalised)

    @property
    def present_raw(self) -> tuple[int, ...]:
        """Indices of the raw power-law columns that the data set has."""
        return tuple(i for i in self.present if i >= self.normalised)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of `txn_seq` that the data set has."""
        return tuple(range(self.seq_width)) if self.seq_channels is None else self.seq_channels


def _check_indices(name: str, indices: tuple[int, ...], end: int) -> None:
    if list(indices) != sorted(set(indices)) or (indices and not 0 <= indices[0] <= indices[-1] < end):
        raise ValueError(f"{name} must be ascending indices in [0, {end}), each once")


class DeepFMConfig(ClosedModel):
    """Factorisation machine and deep tower over piecewise-linear embeddings of the normalised columns (MODEL §3).

    bins: of each column's encoding. embedding: width of a field's vector. fit_rows: training rows that the quantile
    edges are taken from. hidden: the deep tower.
    """

    name: Literal["deepfm"] = "deepfm"
    width: Width = 64
    bins: int = Field(default=16, ge=1)
    fit_rows: int = Field(default=20_000, ge=1)
    embedding: Width = 8
    hidden: tuple[Width, ...] = (64, 64)
    dropout: Dropout = 0.1


class TransformerBranchConfig(ClosedModel):
    """A Transformer encoder over patches of `patch_days` days of the sequence."""

    kind: Literal["transformer"] = "transformer"
    patch_days: int = Field(default=7, ge=1)
    model_width: Width = 32
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feedforward: Width = 64
    dropout: Dropout = 0.1

    @model_validator(mode="after")
    def _check(self) -> TransformerBranchConfig:
        if self.model_width % self.heads:
            raise ValueError(f"model_width {self.model_width} is not a multiple of heads {self.heads}")
        return self


class TemporalConfig(ClosedModel):
    """Branches over the daily sequence, fused (MODEL §3).

    fit_rows: training rows that the channels' scales are taken from.
    """

    name: Literal["temporal"] = "temporal"
    width: Width = 64
    fit_rows: int = Field(default=4_000, ge=1)
    branches: tuple[TransformerBranchConfig, ...] = Field(default=(TransformerBranchConfig(),), min_length=1)


class RawScaleConfig(ClosedModel):
    """log1p, LayerNorm and an MLP over the raw power-law columns (MODEL §3)."""

    name: Literal["raw_scale"] = "raw_scale"
    width: Width = 64
    hidden: tuple[Width, ...] = (64,)
    dropout: Dropout = 0.1


ExpertConfig = Annotated[DeepFMConfig | TemporalConfig | RawScaleConfig, Field(discriminator="name")]


class GateConfig(ClosedModel):
    """CGC attention (MODEL §4). prior_bias: + for preferred experts, − for the others. entropy_weight: λ of §4.3."""

    prior_bias: float = Field(default=1.0, ge=0)
    dim_normalize: bool = True
    entropy_weight: float = Field(default=0.01, ge=0)


class BasketConfig(ClosedModel):
    """Group encoders (MODEL §6). routing: `soft` mixes cluster embeddings by the posterior, `hard` takes its argmax."""

    hidden: tuple[Width, ...] = Field(default=(128, 64), min_length=1)
    width: Width = 32
    cluster_width: Width = 32
    routing: Literal["soft", "hard"] = "soft"
    dropout: Dropout = 0.0


class TransferConfig(ClosedModel):
    """Logit transfer (MODEL §7). strength: α."""

    strength: float = Field(default=0.5, ge=0)
    relations: tuple[Relation, ...] = DEFAULT_RELATIONS


class TowerConfig(ClosedModel):
    """Task towers (MODEL §8)."""

    hidden: tuple[Width, ...] = Field(default=(64, 32), min_length=1)
    dropout: Dropout = 0.2


class WeightingConfig(ClosedModel):
    """How task losses add up (MODEL §9). The bounds are read by `uncertainty`."""

    strategy: Literal["uncertainty", "fixed"] = "uncertainty"
    log_variance: tuple[float, float] = (-4.0, 4.0)
    precision: tuple[float, float] = (1e-3, 100.0)

    @model_validator(mode="after")
    def _check(self) -> WeightingConfig:
        for name, (low, high) in (("log_variance", self.log_variance), ("precision", self.precision)):
            if low >= high:
                raise ValueError(f"weighting.{name}: lower bound {low} is not below upper bound {high}")
        return self


class ModelConfig(ClosedModel):
    """The whole network. `experts` are the blocks of h_shared in order; leave one out to switch it off."""

    inputs: InputConfig
    tasks: tuple[TaskConfig, ...] = Field(default_factory=default_tasks, min_length=1)
    experts: tuple[ExpertConfig, ...] = Field(
        default=(DeepFMConfig(), TemporalConfig(), RawScaleConfig()), min_length=1
    )
    gate: GateConfig = GateConfig()
    basket: BasketConfig = BasketConfig()
    transfer: TransferConfig = TransferConfig()
    tower: TowerConfig = TowerConfig()
    weighting: WeightingConfig = WeightingConfig()

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        named = {"tasks": [t.name for t in self.tasks], "experts": [str(e.name) for e in self.experts]}
        for what, names in named.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        kept, _ = active_relations(self.transfer.relations, self.tasks)
        topological_levels([task.name for task in self.tasks], kept)
        return self

    def task(self, name: str) -> TaskConfig:
        """The task of that name. Raises KeyError that names the nearest one."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(f"no task {name!r} in this model; {nearest(name, [t.name for t in self.tasks])}")
