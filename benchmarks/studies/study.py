"""What a study is: data. A variant is a named change of settings, so that an ablation is a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from feature_assets.closed import nearest
from pipeline.presets import PRESETS
from pipeline.settings import Settings

Role = Literal["validation", "test", "later"]
Run = Literal["network", "trees", "refit", "peer"]
Stopping = Literal["holdout", "training dates"]
OF_PRESETS = {name for preset in PRESETS.values() for name in preset}
DATA_SEED = 7
"""Seed of simulations, of the fitted feature state and of the choice of columns: one of each an origin, whatever the
seed of a cell."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: in tables and files.
        changes: path of a setting → its value, as `changed` reads them.
        run: what is trained: a version as a night makes it, the boosted trees alone, a version and after it its
            network again on every label that had matured by the origin, or another model.
        stopping: rows that choose the epoch: those of the holdout's validation customers, or the same customers' rows
            at the latest training dates, which then train nothing. Calibration reads the holdout's in any case.
        peer: with run "peer", a library or a published network (`benchmarks.studies.peers`).
        why: what the variant asks, for the report.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    run: Run = "network"
    stopping: Stopping = "holdout"
    peer: str = ""
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """A subject beside others; a model is `<variant>/<source>`, a source one of the predictions that a cell writes."""

    subject: str
    others: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class Study:
    """Origins × seeds × variants of a data set, and what is compared.

    Attributes:
        name: of the study and of its report.
        title, question: for people.
        dataset: name of its description.
        dataset_file: the description, where it is one of somebody's own.
        origins: training dates; no label that matures later trains anything.
        seeds: of initial weights and shuffling.
        variants: what is trained at each origin with each seed.
        comparisons: tables of the report.
        role: the rows that are judged. `later`: snapshots from the origin on, which a registered version would score.
        later_weeks: such snapshots, a week apart.
        settings: changes that all variants share.
        customers: of a simulated data set.
        oracle: whether to measure the distance to the simulation's oracle.
    """

    name: str
    title: str
    question: str
    dataset: str
    origins: tuple[date, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]
    role: Role = "test"
    later_weeks: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    customers: int = 20_000
    oracle: bool = False
    dataset_file: Path | None = None

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name}: two variants have one name: {names}")
        for comparison in self.comparisons:
            for model in (comparison.subject, *comparison.others):
                if variant_of(model) not in names:
                    hint = nearest(variant_of(model), names)
                    raise ValueError(f"study {self.name}: {model!r} is of no variant; {hint}")
        if (self.role == "later") != (self.later_weeks > 0):
            raise ValueError(f"study {self.name}: role {self.role!r} with {self.later_weeks} later snapshots")

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises ValueError that names the nearest one."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ValueError(f"no variant {name!r}; {nearest(name, [v.name for v in self.variants])}")

    def origin_settings(self, home: Path) -> Settings:
        """Settings of an origin's material: the study's, without those of a variant.

        Raises:
            ValueError: an unknown setting or a wrong value.
        """
        of_data = {"dataset": self.dataset, "dataset_file": self.dataset_file, "customers": self.customers}
        return changed(Settings(home=home, seed=DATA_SEED, **of_data), self.settings)

    def settings_of(self, variant: Variant, seed: int, home: Path) -> Settings:
        """Settings of a cell. Raises as `origin_settings`."""
        return changed(self.origin_settings(home), {**variant.changes, "seed": seed})


def variant_of(model: str) -> str:
    """The variant of a model `<variant>/<source>`."""
    return model.split("/", 1)[0]


def source_of(model: str) -> str:
    """The source of a model `<variant>/<source>`."""
    return model.split("/", 1)[1]


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some of them changed. Another preset replaces all settings that presets set.

    Args:
        settings: to start from.
        changes: dotted path → value. A part of the path that names an item of a list of named settings
            (`network.experts.deepfm`) goes into that item; None as its value leaves the item out.

    Raises:
        ValueError: there is no such setting (the message names the nearest one), or the value does not fit.
    """
    values = settings.model_dump(mode="json")
    if "preset" in changes:
        kept = {name: value for name, value in values.items() if name not in OF_PRESETS}
        values = Settings.model_validate({**kept, "preset": changes["preset"]}).model_dump(mode="json")
    for path, value in changes.items():
        _set(values, path.split("."), value, path)
    return Settings.model_validate(values)


def _set(values: Any, parts: Sequence[str], value: Any, path: str) -> None:
    first, rest = parts[0], parts[1:]
    if isinstance(values, list):
        names = [item.get("name") for item in values]
        if first not in names:
            raise ValueError(f"{path}: there is no {first!r}; {nearest(first, [str(name) for name in names])}")
        at = names.index(first)
        if rest:
            _set(values[at], rest, value, path)
        elif value is None:
            del values[at]
        else:
            values[at] = deepcopy(value)
        return
    if not isinstance(values, dict) or first not in values:
        known = values if isinstance(values, dict) else ()
        raise ValueError(f"{path}: there is no setting {first!r}; {nearest(first, known)}")
    if rest:
        _set(values[first], rest, value, path)
    else:
        values[first] = deepcopy(value)
