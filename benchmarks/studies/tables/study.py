"""Studies of tables: an origin is a table with rows to train, to validate and to judge."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.studies.changes import changed
from benchmarks.studies.nights import content
from benchmarks.studies.store import Cell, Store
from benchmarks.studies.study import Log, Study, Trained, Variant
from benchmarks.studies.tables import cell as training
from benchmarks.studies.tables import searching
from benchmarks.studies.tables.sources import SOURCES
from pipeline.resources.digests import code_digest
from pipeline.settings import Settings

HERE = Path(__file__).parent


@dataclass(frozen=True)
class TableStudy(Study):
    """A study of tables.

    Attributes:
        source: of `sources.SOURCES`.
        settings: changes of the settings of network and training that all variants share.
    """

    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def settings_of(self, variant: Variant, seed: int) -> Settings:
        """Settings of a cell.

        Raises:
            ValueError: an unknown setting or a wrong value.
        """
        return changed(Settings(home=Path("/"), seed=seed), {**self.settings, **variant.changes})

    @property
    def tasks(self) -> list[str]:
        """Of all origins."""
        return [task for origin in self.origins for task in SOURCES[self.source].tasks[origin]]

    @property
    def data(self) -> str:
        return self.source

    def check(self, root: Path) -> None:  # noqa: ARG002
        for variant in self.variants:
            self.settings_of(variant, 0)

    def origin_content(self, root: Path) -> Mapping[str, Any]:  # noqa: ARG002
        return {"code": code_digest([SOURCES[self.source].code, HERE / "table.py"])[:16]}

    def cell_content(self, variant: Variant, seed: int, root: Path) -> Mapping[str, Any]:  # noqa: ARG002
        settings = self.settings_of(variant, seed)
        read = settings.model_dump(mode="json", include={"losses", "network", "training", "seed"})
        library = {"network": "lightgbm", "trees": variant.peer}.get(variant.run)
        trees = {name: searching.best(self.source, library, name) for name in self.tasks} if library else {}
        return {"settings": read, "run": variant.run, "peer": variant.peer, "trees": trees}

    @property
    def shared(self) -> Collection[str]:
        return (training.TREES["lightgbm"],)

    def code(self) -> str:
        own = [HERE / f"{name}.py" for name in ("boosted", "cell", "third_party")]
        return code_digest([*own, *content.model_files()])[:16]

    def prepare(self, origin: str, store: Store, log: Log) -> None:
        files, started = store.origin(self, origin), time.monotonic()
        table = SOURCES[self.source].load(origin)
        files.folder.mkdir(parents=True, exist_ok=True)
        table.save(files.folder / "table.npz")
        for role in training.ROLES:
            table.judged(role).save(files.judged(role))
        rows = {role: len(table.rows(role)) for role in ("train", *training.ROLES)}
        log(f"{origin}: {rows}")
        about = {"tasks": table.kinds, "rows": rows, "columns": len(table.number_names) + len(table.category_names)}
        files.finish({**about, "network columns": len(table.names), "seconds": time.monotonic() - started})

    def share(self, cell: Cell, log: Log) -> None:
        """Nothing: trees that cells share are grown by the first that needs them."""

    def compute(self, cell: Cell, log: Log) -> Trained:
        return training.Job(self, cell, log).compute()

    def facts(self, about: Mapping[str, Any]) -> str:
        rows = about["rows"]
        return (
            f"{rows['train']:,} training, {rows['validation']:,} validation and {rows['test']:,} test rows, "
            f"{about['columns']} columns ({about['network columns']} with a column a category)"
        )
