"""Where a night's delivery comes from when the data set is generated: made once under the home, read like any other.

The generator itself belongs to `feature_assets.simulation`.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pipeline.home import Home
from pipeline.settings import Settings

GENERATED = "bank_simulation"


def data_folder(settings: Settings, log: Callable[[str], None]) -> Path | None:
    """The folder to read: the operator's, or the simulation of `settings.customers` customers, made if it is not there.

    None: the data set brings its own files.
    """
    if settings.data_dir is not None or settings.dataset != GENERATED:
        return settings.data_dir
    folder = Home(settings.home).simulation(settings.customers, settings.seed)
    if not folder.exists():
        from feature_assets.simulation import simulate

        log(f"simulating {settings.customers:,} customers into {folder}")
        simulate(folder, settings.customers, seed=settings.seed, workers=os.cpu_count() or 1, progress=log)
    return folder
