"""Settings of the network behind the experts: gates, routing, baskets, transfer, towers, heads (MODEL §4–§8, §10–§12,
§15)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel
from ple_model.config._types import Dropout, Width
from ple_model.tasks.config import Relation


class GateConfig(ClosedModel):
    """CGC attention (MODEL §4). prior_bias: + for preferred experts, − for the others. preferred: experts that every
    task prefers beside its own. entropy_weight: λ of §4.3. dropout: probability with which all gates close to an expert
    for a row while training; the first expert stays open."""

    preferred: tuple[str, ...] = ()
    prior_bias: float = Field(default=1.0, ge=0)
    dim_normalize: bool = True
    entropy_weight: float = Field(default=0.01, ge=0)
    dropout: Dropout = 0.0


class RoutingConfig(ClosedModel):
    """HMM triple-mode routing (MODEL §5). width: of each mode's projection. enabled: off leaves the modes out."""

    enabled: bool = True
    width: Width = 32


class BasketConfig(ClosedModel):
    """Encoders of the gated experts, the HMM mode and the cluster (MODEL §6).

    kind: `group`, tasks of a group share an encoder; `cluster`, the legacy form, an independent MLP for each task and
    cluster. routing: `soft` mixes clusters by the posterior, `hard` takes its argmax. cluster_hidden: hidden widths of
    the legacy form. norm: whether the first layer is followed by LayerNorm and SiLU, else by ReLU.
    """

    kind: Literal["group", "cluster"] = "group"
    hidden: tuple[Width, ...] = (128, 64)
    width: Width = 32
    cluster_width: Width = 32
    cluster_hidden: tuple[Width, ...] = Field(default=(16,), min_length=1)
    routing: Literal["soft", "hard"] = "soft"
    norm: bool = True
    dropout: Dropout = 0.0


class TransferConfig(ClosedModel):
    """Logit transfer (MODEL §7). strength: α. relations: pairs of tasks, declared with the tasks."""

    strength: float = Field(default=0.5, ge=0)
    relations: tuple[Relation, ...] = ()


class TowerConfig(ClosedModel):
    """Task towers (MODEL §8). Without hidden layers a task's vector goes straight to its output."""

    hidden: tuple[Width, ...] = (64, 32)
    dropout: Dropout = 0.2


class EvidentialConfig(ClosedModel):
    """Evidential heads beside the towers (MODEL §11). weight: of their loss in the total; kl_weight and kl_epochs: the
    KL term rises to kl_weight over so many epochs. buckets: classes over which a contrastive task collects evidence."""

    enabled: bool = True
    weight: float = Field(default=0.1, ge=0)
    kl_weight: float = Field(default=0.01, ge=0)
    kl_epochs: int = Field(default=10, ge=1)
    buckets: int = Field(default=32, ge=2)


class AutoencoderConfig(ClosedModel):
    """Sparse autoencoder of h_shared (MODEL §10). active: latents of a row that are kept, the largest ones; None keeps
    every positive one, and `sparsity` (of L1, read there only) holds them down. expansion: its width over that of
    h_shared. share: of a batch's rows that it learns from; a row costs it as much as the rest of the model behind the
    experts. auxiliary: weight of the loss that revives latents which no row uses; read with `active` only."""

    enabled: bool = True
    active: int | None = Field(default=None, ge=1)
    expansion: int = Field(default=4, ge=1)
    sparsity: float = Field(default=0.001, ge=0)
    auxiliary: float = Field(default=1 / 32, ge=0)
    weight: float = Field(default=0.01, ge=0)
    share: float = Field(default=0.125, gt=0, le=1)


class AuxiliaryConfig(ClosedModel):
    """The path of anonymous and cold-start customers (MODEL §15). hidden: of each projector."""

    enabled: bool = True
    hidden: tuple[Width, ...] = (32,)


class RepeatConfig(ClosedModel):
    """The repeat term of candidate tables: scores by what a customer bought before (`ple_model.layers.repeat`), which
    MODEL does not have. It is built where the data set has the history of a task's candidates. hidden: of its network;
    none = a linear one."""

    enabled: bool = False
    hidden: tuple[Width, ...] = (32, 16)


class LinearTermConfig(ClosedModel):
    """The linear term beside the towers (`ple_model.layers.linear_term`), which MODEL does not have. It is built
    where the expert `wide` is, whose encoded columns it reads. rate: part of the learning rate."""

    enabled: bool = False
    rate: float = Field(default=0.5, gt=0, le=1)


class ClassTermConfig(ClosedModel):
    """Scores of classes by what columns say of each (`ple_model.layers.class_term`), which MODEL does not have. It is
    built where the expert `wide` is, for tasks whose classes have columns (`TaskConfig.by_class`). context: numbers
    that it reads of the whole row. embedding: numbers of a class's own. hidden: of its network. rate: part of the
    learning rate."""

    enabled: bool = False
    context: Width = 16
    embedding: Width = 4
    hidden: tuple[Width, ...] = Field(default=(32,), min_length=1)
    rate: float = Field(default=0.5, gt=0, le=1)


class TaskExpertsConfig(ClosedModel):
    """Experts of single tasks (`ple_model.layers.task_experts`). They are built where the expert `wide` is, for tasks
    with columns of their own (`TaskConfig.columns`). hidden: width of each member's. closed: probability with which
    either side, the expert and the shared path, is closed to a row while training."""

    enabled: bool = False
    hidden: Width = 128
    closed: float = Field(default=0.5, ge=0, le=0.5)
    dropout: Dropout = 0.1


class WeightingConfig(ClosedModel):
    """Weights of task losses (MODEL §9). The bounds are read by `uncertainty`, `restoring` (α of GradNorm) and `rate`
    (of its steps) by `gradnorm`, `temperature` by `dwa` (dynamic weight averaging). conflict: a gradient-conflict
    method that weighs tasks by the Gram matrix of their gradients, or None; cagrad_radius: c of `cagrad`."""

    strategy: Literal["uncertainty", "fixed", "gradnorm", "dwa"] = "uncertainty"
    log_variance: tuple[float, float] = (-4.0, 4.0)
    precision: tuple[float, float] = (1e-3, 100.0)
    restoring: float = Field(default=1.5, ge=0)
    rate: float = Field(default=0.025, gt=0)
    temperature: float = Field(default=2.0, gt=0)
    conflict: Literal["upgrad", "pcgrad", "cagrad", "nash_mtl", "aligned_mtl", "mgda", "imtl_g"] | None = None
    cagrad_radius: float = Field(default=0.4, ge=0)

    @model_validator(mode="after")
    def _check(self) -> WeightingConfig:
        for name, (low, high) in (("log_variance", self.log_variance), ("precision", self.precision)):
            if low >= high:
                raise ValueError(f"weighting.{name}: lower bound {low} is not below upper bound {high}")
        return self


class AdaTTConfig(ClosedModel):
    """Adaptive task transfer (MODEL §12).

    affinity: gradients with respect to the shared `representation` (no extra backward) or to the shared `parameters`.
    every: steps between two measurements. sub_batch: rows of one. momentum: of the moving average. conflict: pairs of
    affinity below it are blocked. prior: share r of the group prior, from the end of warm-up to the freeze. strength
    and limit: λ of §12.3 and the largest share of a task's own loss. intra, inter: strengths of the group prior.
    """

    enabled: bool = True
    affinity: Literal["representation", "parameters"] = "representation"
    every: int = Field(default=10, ge=1)
    sub_batch: int = Field(default=256, ge=2)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    conflict: float = Field(default=-0.1, ge=-1, le=1)
    prior: tuple[float, float] = (0.5, 0.1)
    temperature: float = Field(default=1.0, gt=0)
    strength: float = Field(default=0.1, ge=0)
    limit: float = Field(default=0.5, ge=0)
    warmup_epochs: int = Field(default=10, ge=0)
    freeze_epoch: int = Field(default=28, ge=1)
    intra: dict[str, float] = Field(default={"engagement": 0.8, "lifecycle": 0.7, "value": 0.6, "consumption": 0.7})
    inter: float = Field(default=0.3, ge=0)

    @model_validator(mode="after")
    def _check(self) -> AdaTTConfig:
        if self.freeze_epoch <= self.warmup_epochs:
            raise ValueError(
                f"adatt.freeze_epoch {self.freeze_epoch} is not behind adatt.warmup_epochs {self.warmup_epochs}"
            )
        return self
