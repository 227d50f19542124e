"""Computes features and labels with the code of the checkout that PYTHONPATH names. Run by `checkouts.py`, not by hand.

    python probe.py ROOT OUT DATASET CUSTOMERS

Writes Parquet files under OUT: `tables/<table>`, `labels/<date>`, `features/<date>/<group>` in natural units and
`features/<date>/matrix`. Each file is published whole, so that a run that was killed goes on where it stopped.

The only places where layouts of different commits may differ are the imports below; the newest one comes first.
"""

import os
import sys
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from feature_assets.build import assemble, compute_all, fit_state
from feature_assets.labels import compute_labels, fit_labels, windows
from feature_assets.snapshots import plan
from feature_assets.sources import load_tables
from feature_assets.state import FeatureState

try:
    from feature_assets.data.dataset import load_dataset
except ImportError:
    from feature_assets.dataset import load_dataset

try:
    from feature_assets.simulation import simulate
except ImportError:
    from feature_assets.sources.bank_simulation import simulate

try:
    from feature_assets.events.view import View
except ImportError:
    from feature_assets.tables import View

DATES: Mapping[str, Mapping[str, tuple[date, ...]]] = {
    "completejourney": {
        "fit": (date(2017, 4, 1), date(2017, 6, 15), date(2017, 8, 15)),
        "features": (date(2017, 10, 1), date(2018, 1, 1)),
        "labels": (date(2017, 7, 4), date(2017, 10, 1)),
    },
    "bank_simulation": {
        "fit": (date(2024, 10, 1), date(2024, 12, 24), date(2025, 3, 4)),
        "features": (date(2025, 4, 22), date(2025, 6, 24)),
        "labels": (date(2024, 11, 26), date(2025, 3, 25)),
    },
}
"""Data set → training dates of the state, as-of dates of the features, as-of dates of the labels."""


def main() -> None:
    """Compute every file that is missing."""
    root, out, name, customers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    _only_from(root)
    folder = None
    if name == "bank_simulation":
        folder = out / "simulation"
        if not folder.exists():
            simulate(folder, customers, seed=7, workers=1)
    tables = load_tables(load_dataset(name, root / "data"), folder)
    for table, frame in tables.frames.items():
        _publish(out / "tables" / f"{table}.parquet", frame.clone)
    _labels(tables, out / "labels", DATES[name]["labels"])
    _features(tables, out, DATES[name]["fit"], DATES[name]["features"])
    _only_from(root)


def _only_from(root: Path) -> None:
    """Stop if a module comes from another checkout: an editable installation offers the modules that this one lacks."""
    files = {n: str(m.__file__) for n, m in sys.modules.items() if n.split(".")[0] == "feature_assets"}
    strangers = {n: f for n, f in files.items() if not Path(f).resolve().is_relative_to(root.resolve())}
    if strangers:
        raise SystemExit(f"modules from outside of {root}: {strangers}")


def _labels(tables: Any, out: Path, days: tuple[date, ...]) -> None:
    if all((out / f"{day}.parquet").exists() for day in days):
        return
    dataset = tables.dataset
    state = fit_labels(tables, plan(dataset.covers_until, dataset.covers_from, windows(dataset)))
    for day in days:
        make = partial(compute_labels, tables, day, state, known_until=dataset.covers_until)
        _publish(out / f"{day}.parquet", make)


def _features(tables: Any, out: Path, fit: tuple[date, ...], days: tuple[date, ...]) -> None:
    folder = out / "state"
    if folder.exists():
        state = FeatureState.load(folder)
    else:
        state = fit_state(tables, fit, seed=7, progress=lambda group: _say(f"fitting {group}"))
        beside = out / ".state"
        state.save(beside)
        beside.rename(folder)
    for day in days:
        if (out / "features" / str(day) / "matrix.parquet").exists():
            continue
        _say(f"computing {day}")
        view = View(tables, day)
        outputs = compute_all(view, state)
        for group, frame in outputs.items():
            _publish(out / "features" / str(day) / f"{group}.parquet", frame.clone)
        _publish(out / "features" / str(day) / "matrix.parquet", partial(assemble, view, outputs, state))


def _publish(file: Path, make: Callable[[], Any]) -> None:
    """Write a frame beside and rename it, unless the file exists."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    make().write_parquet(beside)
    os.replace(beside, file)


def _say(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
