"""Settings of the published baselines (MODEL §14). Inputs, tasks, towers and the weighting of losses are configured as
for the model itself.

`hidden` are the widths of every bottom or expert, a ReLU behind each.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel
from ple_model.config._types import Dropout, Width
from ple_model.config.inputs import InputConfig
from ple_model.config.network import AdaTTConfig, RepeatConfig, TowerConfig, WeightingConfig
from ple_model.config.pool import check_preferences
from ple_model.tasks.config import Relation, TaskConfig, named_once, task_of
from ple_model.tasks.relations import active_relations

Hidden = Annotated[tuple[Width, ...], Field(min_length=1)]


class InputEncoderConfig(ClosedModel):
    """The inputs as one vector of `width`, the same for every baseline.

    bins: of a column's piecewise-linear encoding. embedding: width of a column's vector. patch: neighbouring places of
    a masked side input (days, points) that are averaged to one. fit_rows: training rows that bin edges and scales are
    taken from.
    """

    bins: int = Field(default=16, ge=1)
    embedding: Width = 4
    patch: int = Field(default=10, ge=1)
    fit_rows: int = Field(default=20_000, ge=1)
    width: Width = 256


class SingleTaskConfig(ClosedModel):
    """A network for each task, its encoder included: nothing is shared."""

    name: Literal["single_task"] = "single_task"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1


class SharedBottomConfig(ClosedModel):
    """One bottom for all tasks (Caruana 1997)."""

    name: Literal["shared_bottom"] = "shared_bottom"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1


class AsymmetricConfig(ClosedModel):
    """A bottom for each task; a target's tower reads the mean of its own and of its sources' (Tang et al. 2020).
    relations: source → target; those of a task that is off do not count."""

    name: Literal["asymmetric"] = "asymmetric"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1
    relations: tuple[Relation, ...] = ()


class CustomizedConfig(ClosedModel):
    """A bottom for each task beside a shared one, concatenated (Tang et al. 2020)."""

    name: Literal["customized"] = "customized"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1


class CrossStitchConfig(ClosedModel):
    """A bottom for each task, mixed after each layer (Misra et al. 2016). own: a task's share of itself at the
    start; the others have the rest in equal parts."""

    name: Literal["cross_stitch"] = "cross_stitch"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1
    own: float = Field(default=0.9, gt=0, le=1)


class SluiceConfig(ClosedModel):
    """Cross-stitch over subspaces of each layer, and a mixture of layers (Ruder et al. 2019). own: as in cross-stitch,
    of a subspace. orthogonality: weight of the penalty that keeps the subspaces of a layer apart."""

    name: Literal["sluice"] = "sluice"
    width: Width = 96
    layers: int = Field(default=2, ge=1)
    subspaces: int = Field(default=2, ge=2)
    own: float = Field(default=0.9, gt=0, le=1)
    orthogonality: float = Field(default=0.01, ge=0)
    dropout: Dropout = 0.1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % self.subspaces:
            raise ValueError(f"sluice: width {self.width} is no multiple of {self.subspaces} subspaces")
        return self


class MMoEConfig(ClosedModel):
    """Experts that all tasks share, a gate for each task (Ma et al. 2018)."""

    name: Literal["mmoe"] = "mmoe"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1
    experts: int = Field(default=8, ge=1)


class MLMMoEConfig(ClosedModel):
    """MMoE with `levels` of `experts`; an expert above the first level has a gate of its own over the level below."""

    name: Literal["ml_mmoe"] = "ml_mmoe"
    hidden: Hidden = (96,)
    dropout: Dropout = 0.1
    experts: int = Field(default=8, ge=1)
    levels: int = Field(default=2, ge=2)


class CGCConfig(ClosedModel):
    """Customized gate control: `specific` experts for each task beside `shared` ones (Tang et al. 2020)."""

    name: Literal["cgc"] = "cgc"
    hidden: Hidden = (128, 64)
    dropout: Dropout = 0.1
    specific: int = Field(default=1, ge=1)
    shared: int = Field(default=4, ge=1)


class PLEConfig(ClosedModel):
    """Progressive layered extraction: `levels` extraction layers, with the shared gate in all but the last (Tang et al.
    2020). hidden: of the experts of each level."""

    name: Literal["ple"] = "ple"
    hidden: Hidden = (96,)
    dropout: Dropout = 0.1
    specific: int = Field(default=1, ge=1)
    shared: int = Field(default=4, ge=1)
    levels: int = Field(default=2, ge=1)


ArchitectureConfig = Annotated[
    SingleTaskConfig
    | SharedBottomConfig
    | AsymmetricConfig
    | CustomizedConfig
    | CrossStitchConfig
    | SluiceConfig
    | MMoEConfig
    | MLMMoEConfig
    | CGCConfig
    | PLEConfig,
    Field(discriminator="name"),
]


class BaselineConfig(ClosedModel):
    """One baseline for the inputs and tasks of a data set. Its losses are those of the model; adaTT is off."""

    architecture: ArchitectureConfig
    inputs: InputConfig
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    encoder: InputEncoderConfig = InputEncoderConfig()
    tower: TowerConfig = TowerConfig()
    repeat: RepeatConfig = RepeatConfig(enabled=True)
    weighting: WeightingConfig = WeightingConfig()
    adatt: AdaTTConfig = AdaTTConfig(enabled=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        named_once((task.name for task in self.tasks), "tasks")
        check_preferences(self.tasks)
        if isinstance(self.architecture, AsymmetricConfig):
            active_relations(self.architecture.relations, self.tasks)
        return self

    def task(self, name: str) -> TaskConfig:
        """The task of that name. Raises KeyError that names the nearest one."""
        return task_of(self.tasks, name, "baseline")
