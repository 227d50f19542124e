"""Search the settings of the boosted trees of a table; keep them in `tuned/<source>.yaml`.

Usage: python -m benchmarks.studies.tables.searching census [--trials 12] [--only lightgbm catboost] [--threads 2]

Optuna's TPE sampler on the validation loss, the same number of trials for each library and task. The first trial of
each are settings that a result has to match (`FIRST`), so that what is found is never worse on validation rows. The
file keeps every trial: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.studies.libraries import library_of
from benchmarks.studies.tables import boosted
from benchmarks.studies.tables.sources import SOURCES, trees_of
from pipeline.resources.files import publish_bytes

if TYPE_CHECKING:
    from optuna.trial import Trial

FOLDER = Path(__file__).parent / "tuned"
SEED = 7
FIRST: Mapping[str, dict[str, float | int]] = {
    "lightgbm": {
        "learning_rate": 0.03,
        "num_leaves": 31,
        "min_data_in_leaf": 20,
        "feature_fraction": 1.0,
        "lambda_l2": 0.001,
    }
    | {"cat_smooth": 10.0},
    "xgboost": {"eta": 0.05, "max_depth": 6, "min_child_weight": 5.0, "colsample_bytree": 0.6, "subsample": 0.9}
    | {"reg_lambda": 1.0},
    "catboost": {"learning_rate": 0.06, "depth": 6, "l2_leaf_reg": 3.0},
}


@dataclass(frozen=True)
class Tried:
    """One trial: settings, validation loss, rounds that early stopping kept."""

    settings: dict[str, float | int]
    loss: float
    rounds: int
    seconds: float


def drawn(library: str, trial: Trial) -> dict[str, float | int]:
    """Settings that a sampler draws for a library."""
    number, whole = trial.suggest_float, trial.suggest_int
    if library == "lightgbm":
        return {
            "learning_rate": number("learning_rate", 0.02, 0.1, log=True),
            "num_leaves": whole("num_leaves", 8, 127, log=True),
            "min_data_in_leaf": whole("min_data_in_leaf", 5, 200, log=True),
            "feature_fraction": number("feature_fraction", 0.2, 1.0),
            "lambda_l2": number("lambda_l2", 1e-3, 100.0, log=True),
            "cat_smooth": number("cat_smooth", 1.0, 200.0, log=True),
        }
    if library == "xgboost":
        return {
            "eta": number("eta", 0.02, 0.1, log=True),
            "max_depth": whole("max_depth", 3, 10),
            "min_child_weight": number("min_child_weight", 1.0, 50.0, log=True),
            "colsample_bytree": number("colsample_bytree", 0.2, 1.0),
            "subsample": number("subsample", 0.6, 1.0),
            "reg_lambda": number("reg_lambda", 0.1, 30.0, log=True),
        }
    return {
        "learning_rate": number("learning_rate", 0.03, 0.15, log=True),
        "depth": whole("depth", 4, 9),
        "l2_leaf_reg": number("l2_leaf_reg", 1.0, 20.0, log=True),
    }


def file_of(source: str) -> Path:
    """Where the trials of a source are kept."""
    return FOLDER / f"{source}.yaml"


def trials_of(source: str) -> dict[str, dict[str, list[Tried]]]:
    """Library → task → its trials."""
    file = file_of(source)
    known = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {
        library: {task: [Tried(**trial) for trial in trials] for task, trials in tasks.items()}
        for library, tasks in known.items()
    }


def best(source: str, library: str, task: str) -> dict[str, float | int]:
    """The settings of the lowest validation loss; those of `FIRST` where nothing was searched."""
    tried = trials_of(source).get(library, {}).get(trees_of(source, task), [])
    return min(tried, key=lambda trial: trial.loss).settings if tried else dict(FIRST[library])


def search(
    source: str, libraries: list[str], trials: int, threads: int, log: Callable[[str], None]
) -> dict[str, dict[str, list[Tried]]]:
    """Run the trials that are missing, and write the file after each."""
    optuna = library_of("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = trials_of(source)
    for origin in SOURCES[source].tasks:
        table = SOURCES[source].load(origin)
        for task in table.labels:
            name = trees_of(source, task)
            for library in libraries:
                tried = known.setdefault(library, {}).setdefault(name, [])
                study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=4))
                study.enqueue_trial(FIRST[library])
                for number in range(trials):
                    trial = study.ask()
                    settings = drawn(library, trial)
                    if number == len(tried):
                        started = time.monotonic()
                        fit = boosted.LIBRARIES[library](table, task, settings, SEED, threads)
                        tried.append(Tried(settings, fit.loss, fit.rounds, round(time.monotonic() - started, 1)))
                        publish_bytes(_text(known).encode(), file_of(source))
                        lowest = min(one.loss for one in tried)
                        log(f"{library} {name} {number}: {fit.loss:.6f}, {fit.rounds} rounds, best {lowest:.6f}")
                    study.tell(trial, tried[number].loss)
    return known


def _text(known: Mapping[str, Mapping[str, list[Tried]]]) -> str:
    plain: Any = {
        library: {task: [asdict(trial) for trial in trials] for task, trials in tasks.items()}
        for library, tasks in known.items()
    }
    return yaml.safe_dump(plain, sort_keys=False, width=120, default_flow_style=None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=sorted(SOURCES))
    parser.add_argument("--trials", type=int, default=12, help="of each library and task, with the first")
    parser.add_argument("--only", nargs="+", choices=sorted(FIRST), default=sorted(FIRST), metavar="LIBRARY")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    search(given.source, given.only, given.trials, given.threads, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
