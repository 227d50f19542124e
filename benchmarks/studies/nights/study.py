"""Studies of nights: an origin is a training date of a data set, a cell what a night of that date would register."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.studies.changes import changed
from benchmarks.studies.nights import cell as training
from benchmarks.studies.nights import origin as material
from benchmarks.studies.nights.content import DATA_SEED, MODEL_SETTINGS, content, data_digest, material_code, model_code
from benchmarks.studies.store import Cell, Store
from benchmarks.studies.study import Log, Study, Trained, Variant
from pipeline.settings import Settings
from pipeline.training import trees


@dataclass(frozen=True)
class NightStudy(Study):
    """A study of nights; an origin is a training date: no label that matures later trains anything.

    Attributes:
        dataset: name of its description.
        dataset_file: the description, where it is one of somebody's own.
        later_weeks: snapshots from the origin on, a week apart, which a registered version would score: the rows of the
            role `later`.
        settings: changes that all variants share.
        customers: of a simulated data set.
    """

    dataset: str = ""
    dataset_file: Path | None = None
    later_weeks: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    customers: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.role == "later") != (self.later_weeks > 0):
            raise ValueError(f"study {self.name}: role {self.role!r} with {self.later_weeks} later snapshots")

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

    @property
    def data(self) -> str:
        return self.origin_settings(Path("/")).dataset_name

    @property
    def arguments(self) -> str:
        return f"own --dataset-file {self.dataset_file.name}" if self.dataset_file else self.name

    def check(self, root: Path) -> None:
        for variant in self.variants:
            self.settings_of(variant, 0, root)

    def origin_content(self, root: Path) -> Mapping[str, Any]:
        return {
            "settings": content(self.origin_settings(root), *MODEL_SETTINGS),
            "later weeks": self.later_weeks,
            "oracle": self.oracle,
            "code": material_code(),
            **({"data": data_digest(self.dataset_file)} if self.dataset_file else {}),
        }

    def cell_content(self, variant: Variant, seed: int, root: Path) -> Mapping[str, Any]:
        settings = self.settings_of(variant, seed, root)
        return {
            "settings": content(settings),
            "run": variant.run,
            "stopping": variant.stopping,
            **({"peer": variant.peer} if variant.peer else {}),
            **({"searched": trees.budget_of(settings).to_dict()} if self.dataset_file else {}),
        }

    @property
    def shared(self) -> Collection[str]:
        return training.SHARED

    def code(self) -> str:
        return model_code()

    def prepare(self, origin: str, store: Store, log: Log) -> None:
        material.prepare(self, date.fromisoformat(origin), store, log)

    def share(self, cell: Cell, log: Log) -> None:
        training.choose_columns(self, cell, log)

    def compute(self, cell: Cell, log: Log) -> Trained:
        return training.Job(self, cell, log).compute()

    def facts(self, about: Mapping[str, Any]) -> str:
        dates = about["training dates"]
        return (
            f"{about['rows']['train']:,} training rows of {len(dates)} dates ({dates[0]} to {dates[-1]}), "
            f"{about['rows'][self.role]:,} rows to judge, {about['columns']} columns"
        )
