"""The inputs of MODEL §1 that a data set delivers: the feature columns, and the side inputs beside them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel, nearest

SideName = Literal[
    "hierarchy",
    "tda_short",
    "tda_long",
    "tda_global",
    "hmm_journey",
    "hmm_lifecycle",
    "hmm_behavior",
    "txn_seq",
    "session_seq",
    "collaborative",
    "segment",
    "coldstart",
    "anonymous",
    "brand_history",
]


def _check_indices(name: str, indices: tuple[int, ...], end: int) -> None:
    """Raises ValueError unless `indices` are ascending, each once, in [0, end)."""
    if list(indices) != sorted(set(indices)) or (indices and not 0 <= indices[0] <= indices[-1] < end):
        raise ValueError(f"{name} must be ascending indices in [0, {end}), each once")


class SideConfig(ClosedModel):
    """One side input: `shape` of a row; `masked`, whether its first axis has a validity mask; `channels` of its last
    axis that the data set has (None = all): the others are never read."""

    name: SideName
    shape: tuple[int, ...] = Field(min_length=1)
    masked: bool = False
    channels: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> SideConfig:
        if min(self.shape) < 1:
            raise ValueError(f"side input {self.name}: shape {self.shape} has an axis without places")
        if self.channels is not None and not self.channels:
            raise ValueError(f"side input {self.name}: channels is empty; leave the input out instead")
        _check_indices(f"side input {self.name}: channels", self.present_channels, self.shape[-1])
        return self

    @property
    def present_channels(self) -> tuple[int, ...]:
        """Channels of the last axis that the data set has, ascending."""
        return tuple(range(self.shape[-1])) if self.channels is None else self.channels


DEFAULT_SIDES: tuple[SideConfig, ...] = (
    SideConfig(name="hierarchy", shape=(20,)),
    SideConfig(name="tda_short", shape=(200, 3), masked=True),
    SideConfig(name="tda_long", shape=(150, 3), masked=True),
    SideConfig(name="tda_global", shape=(30,)),
    SideConfig(name="hmm_journey", shape=(16,)),
    SideConfig(name="hmm_lifecycle", shape=(16,)),
    SideConfig(name="hmm_behavior", shape=(16,)),
    SideConfig(name="txn_seq", shape=(180, 16), masked=True),
    SideConfig(name="session_seq", shape=(90, 8), masked=True),
    SideConfig(name="collaborative", shape=(64,)),
    SideConfig(name="segment", shape=(1,)),
    SideConfig(name="coldstart", shape=(40,)),
    SideConfig(name="anonymous", shape=(15,)),
    SideConfig(name="brand_history", shape=(64, 13), masked=True),
)
"""All side inputs of MODEL §1 in the shapes that it gives, and the history of own brands."""
HISTORIES: tuple[SideName, ...] = ("brand_history",)
"""Side inputs whose channel 0 is a number of a vocabulary: they are read by the repeat term alone."""


class InputConfig(ClosedModel):
    """The inputs of MODEL §1 that a data set delivers.

    columns: names of all feature columns (`group__measure`), the first `normalised` of them scaled, the rest raw (of
    the 734 reference columns of MODEL the first 644 are scaled). present: indices of the columns that the data set has,
    ascending; the others are absent and never read. bounds: lowest and highest value that each present column is read
    as, values beyond it are moved to it; empty bounds none. clusters: components of the mixture model. sides: the side
    inputs that it has.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    present: tuple[int, ...] = Field(min_length=1)
    bounds: tuple[tuple[float, float], ...] = ()
    normalised: int = Field(default=644, ge=0)
    clusters: int = Field(default=20, ge=1)
    sides: tuple[SideConfig, ...] = DEFAULT_SIDES

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("inputs.columns holds a name twice")
        if self.normalised > len(self.columns):
            raise ValueError(f"inputs.normalised = {self.normalised} exceeds the {len(self.columns)} columns")
        _check_indices("inputs.present", self.present, len(self.columns))
        if len(self.bounds) not in (0, len(self.present)):
            raise ValueError(f"inputs.bounds has {len(self.bounds)} entries for {len(self.present)} present columns")
        if any(low > high for low, high in self.bounds):
            raise ValueError("inputs.bounds has a lowest value above the highest")
        names = [side.name for side in self.sides]
        if len(set(names)) != len(names):
            raise ValueError("inputs.sides holds a name twice")
        return self

    @property
    def present_normalised(self) -> tuple[int, ...]:
        """Indices of the normalised columns that the data set has."""
        return tuple(i for i in self.present if i < self.normalised)

    @property
    def present_raw(self) -> tuple[int, ...]:
        """Indices of the raw columns that the data set has."""
        return tuple(i for i in self.present if i >= self.normalised)

    def present_of(self, *groups: str) -> tuple[int, ...]:
        """Indices of the normalised columns of feature groups (`group__…`) that the data set has, ascending."""
        return tuple(i for i in self.present_normalised if self.columns[i].split("__")[0] in groups)

    def has(self, *names: SideName) -> bool:
        """Whether the data set has all of these side inputs."""
        return set(names) <= {side.name for side in self.sides}

    def side(self, name: SideName) -> SideConfig:
        """The side input of that name. Raises KeyError if the data set has none."""
        for side in self.sides:
            if side.name == name:
                return side
        raise KeyError(f"the data set has no side input {name!r}; {nearest(name, [s.name for s in self.sides])}")
