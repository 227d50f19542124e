"""Search the settings of the boosted trees of a data set; keep them in `trees/<data set>.yaml` beside its description.

Usage: python benchmarks/search_trees.py 2018-01-01 --folder F [--dataset D | --dataset-file FILE] [--trials 30]
       [--minutes 60]

A random search on the training and validation rows of that training date; no test row is made. The first trials of
every task are those whose results a search has to match, so that what it finds is never worse on validation rows. The
folder keeps the training set, the file every trial with its validation loss: the same command goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from feature_assets.kernels.compiled import use_cache
from feature_assets.sources import load_tables
from pipeline.intake.deliveries import data_folder
from pipeline.resources.files import publish_bytes
from pipeline.settings import Settings, load_settings
from pipeline.training import columns, fitting, material, training_set
from pipeline.training.trees import searched_file
from pipeline.training.workspace import Workspace
from ple_model.boosting import search
from ple_model.boosting.fit import BoostingTask
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.boosting.tuned import Trial, Tuned


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("as_of", type=date.fromisoformat)
    parser.add_argument("--folder", type=Path, required=True, help="keeps the training set between two runs")
    parser.add_argument("--dataset")
    parser.add_argument("--dataset-file", type=Path)
    parser.add_argument("--customers", type=int, help="of a simulated data set")
    parser.add_argument("--trials", type=int, default=30, help="of each task, with the fixed ones")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no trial begins")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: trees/<data set>.yaml beside the description")
    args = parser.parse_args()
    of_data = {"dataset": args.dataset, "dataset_file": args.dataset_file, "customers": args.customers}
    settings = load_settings(home=args.folder / "home", **of_data)
    use_cache(args.folder / "kernels")
    rows, tasks, found = prepare(args.folder / "training", settings, args.as_of)
    out = args.out or searched_file(settings)
    found = resumed(out, found)

    def keep(tuned: Tuned, task: str, trial: Trial) -> None:
        publish_bytes(tuned.text().encode(), out)
        best = tuned.best(task)
        tell(f"{task} {trial.number}: {trial.loss:.5f} on {trial.columns} columns, best {best.loss if best else 0:.5f}")

    found = search.search(found, rows, tasks, args.trials, args.minutes, args.workers, keep)
    print(found.text(), end="")
    return 0


def prepare(folder: Path, settings: Settings, as_of: date) -> tuple[search.Material, dict[str, BoostingTask], Tuned]:
    """Rows and tasks of a search, and its file without any trial."""
    dataset = settings.load_dataset()
    tables = load_tables(dataset, data_folder(settings, tell))
    work, plan = Workspace(folder), material.training_plan(settings, tables.dataset, as_of)
    work.take_up(material.material_digest(settings, "search", as_of))
    fitting.fit(work, tables, plan, settings.seed, tell)
    training_set.build(work, tables, plan, settings.max_training_rows, tell)
    plan = plan.without(work.label_state().off)
    chosen = columns.choose(work, plan, settings.model_copy(update={"columns": "chosen"}), tell)
    present = work.state().present
    both = [columns.rows_of_role(work, role, present) for role in ("train", "validation")]
    features, labels = [part for part, _ in both], [known for _, known in both]
    is_train = np.arange(sum(map(len, features))) < len(features[0])
    every = np.concatenate(features)
    some = every[:, [present.index(name) for name in chosen.read]]
    tasks = columns.tasks_of(pl.concat(labels), plan, work)
    kept = {
        name: task
        for name, task in tasks.items()
        if task.kind.blended and task.mask[is_train].any() and task.mask[~is_train].any()
    }
    rows = search.Material(
        {"all": every, "chosen": some},
        {"all": BinnedMatrix(every, is_train, ~is_train), "chosen": BinnedMatrix(some, is_train, ~is_train)},
    )
    found = Tuned(
        dataset=dataset.name,
        as_of=as_of.isoformat(),
        seed=settings.seed,
        train_rows=len(features[0]),
        validation_rows=len(features[1]),
        columns={"all": len(present), "chosen": len(chosen.read)},
    )
    return rows, kept, found


def resumed(file: Path, empty: Tuned) -> Tuned:
    """The trials in the file where they are of the same rows and columns, else none."""
    if not file.is_file():
        return empty
    known = Tuned.from_dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    same = known.model_copy(update={"tasks": {}}) == empty
    if not same:
        tell(f"{file} is a search on other rows or columns: it is begun anew")
    return known if same else empty


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":  # a simulation starts processes
    sys.exit(main())
