"""Where a night's delivery comes from when the data set has a generator: simulated once under the home, then read like
any other.

The generators themselves belong to `feature_assets`.
"""

import os
from collections.abc import Callable
from pathlib import Path

from feature_assets.closed import nearest
from feature_assets.data.dataset import DatasetConfig
from pipeline.home import Home
from pipeline.settings import Settings

Log = Callable[[str], None]


def data_folder(settings: Settings, dataset: DatasetConfig, log: Log) -> Path | None:
    """The folder to read: the operator's, or a simulation of `settings.customers` customers, written if it is missing.

    None: the data set brings its own files.

    Raises:
        ValueError: the data set names a generator that does not exist.
    """
    if settings.data_dir is not None or dataset.generator is None:
        return settings.data_dir
    if dataset.generator not in GENERATORS:
        hint = nearest(dataset.generator, GENERATORS)
        raise ValueError(f"{dataset.name}.yaml: generator: there is no generator {dataset.generator!r}; {hint}")
    folder = Home(settings.home).simulation(settings.customers, settings.seed)
    if not folder.exists():
        log(f"simulating {settings.customers:,} customers into {folder}")
        GENERATORS[dataset.generator](folder, settings, log)
    return folder


def _bank(folder: Path, settings: Settings, log: Log) -> None:
    from feature_assets.simulation import simulate

    simulate(folder, settings.customers, seed=settings.seed, workers=os.cpu_count() or 1, progress=log)


GENERATORS: dict[str, Callable[[Path, Settings, Log], None]] = {"bank_simulation": _bank}
"""`generator` of a data set → writes a delivery of it."""
