"""Settings of the shared experts (MODEL §3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel
from ple_model.config._types import Dropout, Width
from ple_model.config.pool import ExpertConfig, add_to_pool


class UnifiedHGCNConfig(ExpertConfig):
    """Hyperbolic network on the Poincaré ball: a branch for the hierarchy and one for merchants and co-visits, fused.

    balls: dimensions of the unit balls that `hierarchy` is made of (merchant category, product, region). covisit:
    columns beside group `merchant` that say how the customer's merchants tie them to other customers; those that the
    data set has are read. fit_rows: training rows that the balls' midpoints are taken from. hidden: widths of the
    hyperbolic layers of each branch. curvature: of each branch's ball at the start; it is learnt within a factor
    `curvature_span`. max_norm: how far from the origin points are kept, half their hyperbolic distance.
    """

    name: Literal["unified_hgcn"] = "unified_hgcn"
    width: Width = 128
    balls: tuple[Width, ...] = Field(default=(8, 8, 4), min_length=1)
    covisit: tuple[str, ...] = ("epidemic__contact_rate", "epidemic__adoption_rate", "epidemic__time_to_peak")
    fit_rows: int = Field(default=20_000, ge=1)
    hidden: tuple[Width, ...] = Field(default=(208, 208), min_length=1)
    curvature: float = Field(default=1.0, gt=0)
    curvature_span: float = Field(default=20.0, gt=1)
    max_norm: float = Field(default=3.0, gt=0, le=4)
    dropout: Dropout = 0.1


class PersLayConfig(ExpertConfig):
    """PersLay over raw persistence diagrams, one block for each (window, homology dimension).

    points: learnt reference points (features) of each block. spread: standard deviation of their Gaussians at the
    start, in that of the diagrams' points. weight_power: w(persistence) = |death − birth|^p with p learnt from this
    value. fit_rows: training rows that scales are taken from. hidden: the network over blocks, statistics and phase
    transition.
    """

    name: Literal["perslay"] = "perslay"
    width: Width = 64
    points: Width = 32
    spread: float = Field(default=0.5, gt=0)
    weight_power: float = Field(default=1.0, gt=0)
    fit_rows: int = Field(default=4_000, ge=1)
    hidden: tuple[Width, ...] = Field(default=(128,), min_length=1)
    dropout: Dropout = 0.1


class DeepFMConfig(ExpertConfig):
    """Factorisation machine and deep tower over piecewise-linear embeddings of the normalised columns (MODEL §3).

    bins: of each column's encoding. embedding: width of a field's vector. fit_rows: training rows that the quantile
    edges are taken from. hidden: the deep tower.
    """

    name: Literal["deepfm"] = "deepfm"
    width: Width = 64
    bins: int = Field(default=16, ge=1)
    fit_rows: int = Field(default=20_000, ge=1)
    embedding: Width = 4
    hidden: tuple[Width, ...] = (48, 64)
    dropout: Dropout = 0.1


class TransformerBranchConfig(ClosedModel):
    """A Transformer encoder over patches of `patch_days` days of the sequence."""

    kind: Literal["transformer"] = "transformer"
    patch_days: int = Field(default=14, ge=1)
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


class MambaBranchConfig(ClosedModel):
    """A selective state-space encoder over patches of `patch_days` days (1 = daily steps).

    heads: of expand·model_width values, each with its rate of forgetting. state: N of the scan. taps: steps that a step
    is projected from. chunk: steps that the chunked form computes at once. kernel: `auto` takes mamba-ssm where it
    imports and the tensors are on a GPU, the chunked form in torch elsewhere.
    """

    kind: Literal["mamba"] = "mamba"
    patch_days: int = Field(default=7, ge=1)
    model_width: Width = 32
    layers: int = Field(default=1, ge=1)
    state: Width = 16
    expand: int = Field(default=1, ge=1)
    heads: int = Field(default=2, ge=1)
    taps: int = Field(default=2, ge=1)
    chunk: int = Field(default=32, ge=1)
    kernel: Literal["auto", "torch"] = "auto"
    dropout: Dropout = 0.1

    @model_validator(mode="after")
    def _check(self) -> MambaBranchConfig:
        if self.expand * self.model_width % self.heads:
            raise ValueError(f"expand × model_width {self.expand * self.model_width} is not a multiple of heads")
        return self


class LiquidBranchConfig(ClosedModel):
    """A liquid network in its closed form over patches of `patch_days` days; time between patches is an input.

    backbone: width of the hidden layer that a unit's time constant and level are read from.
    """

    kind: Literal["liquid"] = "liquid"
    patch_days: int = Field(default=14, ge=1)
    model_width: Width = 64
    backbone: Width = 64
    dropout: Dropout = 0.1


BranchConfig = Annotated[TransformerBranchConfig | MambaBranchConfig | LiquidBranchConfig, Field(discriminator="kind")]


class TemporalConfig(ExpertConfig):
    """Branches over the daily sequences of purchases and of digital activity, fused (MODEL §3).

    fit_rows: training rows that the channels' scales are taken from. hidden: the network over the branches' summaries.
    """

    name: Literal["temporal"] = "temporal"
    width: Width = 64
    fit_rows: int = Field(default=4_000, ge=1)
    branches: tuple[BranchConfig, ...] = Field(
        default=(MambaBranchConfig(), LiquidBranchConfig(), TransformerBranchConfig()), min_length=1
    )
    hidden: tuple[Width, ...] = (512, 384)
    dropout: Dropout = 0.1


class LightGCNConfig(ExpertConfig):
    """Projection of the customer's pre-computed LightGCN embedding (MODEL §3).

    fit_rows: training rows that the coordinates' scales are taken from.
    """

    name: Literal["lightgcn"] = "lightgcn"
    width: Width = 64
    fit_rows: int = Field(default=20_000, ge=1)
    hidden: tuple[Width, ...] = (128,)
    dropout: Dropout = 0.1


class CausalConfig(ExpertConfig):
    """Normalised columns compressed to `variables`, a learnt DAG over them, and an encoder of each from its parents.

    encoding: width of a variable's encoder. acyclicity, sparsity, reconstruction: weights of the three terms of MODEL
    §3. dual_rate: a step's rise of the multiplier of the acyclicity h, as a share of h. fit_rows and factors: training
    rows that the columns' covariance is taken from, and its principal directions that are kept. edge: |weight| from
    which an edge is reported.
    """

    name: Literal["causal"] = "causal"
    width: Width = 64
    variables: int = Field(default=32, ge=2)
    encoding: Width = 12
    acyclicity: float = Field(default=0.1, ge=0)
    dual_rate: float = Field(default=5.0, ge=0)
    sparsity: float = Field(default=0.01, ge=0)
    reconstruction: float = Field(default=0.1, ge=0)
    fit_rows: int = Field(default=8_000, ge=2)
    factors: Width = 64
    edge: float = Field(default=0.1, gt=0)
    dropout: Dropout = 0.1


class OptimalTransportConfig(ExpertConfig):
    """The row as a distribution over `support` learnt points, and its Sinkhorn distances to `prototypes` learnt ones.

    dimension: of the points. spread: standard deviation of the weights' logits at the start. epsilon: entropic
    regularisation as a share of the largest cost. iterations: of Sinkhorn; with these settings four
    leave an error of 1e-3 of the mean divergence, and of about 1 % of the gradient.
    """

    name: Literal["optimal_transport"] = "optimal_transport"
    width: Width = 64
    support: Width = 64
    prototypes: Width = 16
    dimension: Width = 8
    spread: float = Field(default=2.0, gt=0)
    epsilon: float = Field(default=0.2, gt=0)
    iterations: int = Field(default=4, ge=1)
    hidden: tuple[Width, ...] = (64,)
    dropout: Dropout = 0.1


class RawScaleConfig(ExpertConfig):
    """log1p, LayerNorm and an MLP over the raw columns (MODEL §3)."""

    name: Literal["raw_scale"] = "raw_scale"
    width: Width = 64
    hidden: tuple[Width, ...] = (64,)
    dropout: Dropout = 0.1


class WideConfig(ExpertConfig):
    """An MLP over all flat columns as normal quantiles, with missing flags; members begin here (MODEL §16).

    quantiles: steps between the knots of a column. flags: patterns of missing columns that are flagged, at most.
    fit_rows: training rows that both are taken from. hidden: widths before the last layer.
    """

    name: Literal["wide"] = "wide"
    width: Width = 192
    quantiles: int = Field(default=200, ge=2)
    flags: int = Field(default=128, ge=1)
    fit_rows: int = Field(default=20_000, ge=1)
    hidden: tuple[Width, ...] = (256,)
    dropout: Dropout = 0.1


add_to_pool(
    UnifiedHGCNConfig,
    PersLayConfig,
    DeepFMConfig,
    TemporalConfig,
    LightGCNConfig,
    CausalConfig,
    OptimalTransportConfig,
    RawScaleConfig,
    WideConfig,
)

DEFAULT_EXPERTS: tuple[ExpertConfig, ...] = (
    UnifiedHGCNConfig(),
    PersLayConfig(),
    DeepFMConfig(),
    TemporalConfig(),
    LightGCNConfig(),
    CausalConfig(),
    OptimalTransportConfig(),
)
"""The seven that are on by default; `RawScaleConfig()` is the eighth, `WideConfig()` the ninth."""
