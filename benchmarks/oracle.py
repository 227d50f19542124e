"""Does any trained model beat the simulation's oracle? Gradient boosting beside it, task by task, on the same rows.

    python benchmarks/oracle.py [--customers N] [--seed S] [--folder DIR] [--dates K] [--workers W]

Simulates N customers (or reads the simulation in DIR), fits features on K training snapshots, boosts every task on
them, and scores the oracle's dates: half of the customers there stop the boosting early, the other half are the test.
The oracle knows the latent state; a model that is better beyond the interval of the paired difference (99 %, by
resampling customers) would say that it is not the upper bound that it claims to be: the exit status is then 1.

`z` is the calibration of the oracle: label less expectation, summed, in standard errors (of several classes the largest
one). A few of them above 2.6 are chance; one above 5 is a wrong oracle or a wrong label.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.build import assemble, compute_all, fit_state
from feature_assets.data.dataset import load_dataset
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.kernels.compiled import use_cache
from feature_assets.labels import LabelState, compute_labels, fit_labels, get_task, windows
from feature_assets.labels.constants import NONE
from feature_assets.simulation import simulate
from feature_assets.simulation.oracle import write
from feature_assets.snapshots import SnapshotPlan, plan
from feature_assets.sources import load_tables
from ple_model.boosting.budget import BoostingBudget
from ple_model.boosting.fit import BoostingTask, fit_all
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.evaluation.bootstrap import Interval, resample
from ple_model.evaluation.constant import repeat
from ple_model.tasks import kind_of

ROOT = Path(__file__).resolve().parents[1]
LEVEL, RESAMPLES = 0.99, 400
ORACLE, BOOSTING, CONSTANT = "oracle", "LightGBM", "constant"
ALSO = {"binary": ("log_loss",)}  # beside the headline: a score that the probabilities themselves must win
LOWER_IS_BETTER = ("log_loss",)
T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """Features [n, C] (NaN = missing), labels and keys of some snapshots."""

    features: NDArray[np.float32]
    labels: pl.DataFrame

    @property
    def customers(self) -> NDArray:
        """Customer ids [n]."""
        return self.labels["customer_id"].to_numpy()


@dataclass(frozen=True)
class Bound:
    """One score of one task: the models' intervals, boosting less oracle, and the oracle's calibration."""

    task: str
    metric: str
    rows: int
    scores: Mapping[str, Interval]
    difference: Interval
    z: float | None

    @property
    def holds(self) -> bool:
        """Whether boosting is not better beyond the interval."""
        better = -1 if self.metric in LOWER_IS_BETTER else 1
        return not (self.difference.beyond_zero and (self.difference.estimate or 0.0) * better > 0)

    @property
    def line(self) -> str:
        """The row of the table."""
        cells = [_with_interval(self.scores[name]) for name in (CONSTANT, BOOSTING, ORACLE)]
        cells.append(_with_interval(self.difference, "+"))
        verdict = f"{'–' if self.z is None else f'{self.z:+.1f}':>5}  {'holds' if self.holds else 'BROKEN'}"
        return f"{self.task:<19}{self.metric:<13}{self.rows:>7,}  {'  '.join(cells)}  {verdict}"


def main() -> int:
    """Simulate, fit, score, print the table; 1 if some bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="read (or keep) the simulation here")
    parser.add_argument("--dates", type=int, default=8, help="training snapshots")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    use_cache(Path(__file__).parent / "__pycache__" / "kernels")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "simulation"
        if not folder.exists():
            _tell("simulating", lambda: simulate(folder, args.customers, seed=args.seed, workers=args.workers))
        if not (folder / "oracle").exists():
            _tell("writing the oracle", lambda: write(folder, workers=args.workers))
        bounds = measure(folder, args.dates, args.seed, args.workers)
    names = [f"{name} [{LEVEL:.0%}]" for name in (CONSTANT, BOOSTING, ORACLE, "LightGBM − oracle")]
    print(f"{'task':<19}{'score':<13}{'rows':>7}  {'  '.join(f'{name:<24}' for name in names)}  {'z':>5}  bound")
    print("\n".join(bound.line for bound in bounds))
    broken = [bound for bound in bounds if not bound.holds]
    print(f"\nthe oracle is an upper bound in {len(bounds) - len(broken)} of {len(bounds)} scores")
    return 1 if broken else 0


def measure(folder: Path, dates: int, seed: int, workers: int) -> list[Bound]:
    """Every task's scores on the oracle's dates."""
    described = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    dataset = load_dataset("bank_simulation", ROOT / "data")
    dataset = dataset.model_copy(update={"covers_until": date.fromisoformat(described["until"])})
    tables = _tell("reading", lambda: load_tables(dataset, folder))
    made = plan(dataset.covers_until, tables.dataset.covers_from, windows(tables.dataset))
    train = _spread(made.train, dates)
    classes = json.loads((folder / "oracle" / "classes.json").read_text(encoding="utf-8"))
    tested = [date.fromisoformat(day) for day in classes["dates"]]
    labels = _tell("labels' state", lambda: fit_labels(tables, made))
    state = _tell("fitting features", lambda: fit_state(tables, train, seed))

    def rows(days: list[date]) -> Rows:
        frames = [View(tables, day) for day in days]
        matrices = [assemble(view, compute_all(view, state), state).select(state.present) for view in frames]
        features = np.concatenate([_matrix(matrix) for matrix in matrices])
        return Rows(features, pl.concat(_usable(tables, day, labels, made) for day in days))

    training = _tell(f"features of {len(train)} training snapshots", lambda: rows(train))
    scored = _tell(f"features of {len(tested)} snapshots of the oracle", lambda: rows(tested))
    print(f"{len(state.present)} columns, {len(training.labels):,} training rows", file=sys.stderr)
    role = pl.concat(made.role(part["customer_id"], part["as_of"][0]) for part in scored.labels.partition_by("as_of"))
    known = pl.concat(oracle_frame(folder, day) for day in tested)
    aligned = scored.labels.select("customer_id", "as_of").join(
        known, on=["customer_id", "as_of"], how="left", maintain_order="left"
    )
    has_oracle = aligned["churn"].is_not_null().to_numpy()
    test = (role == "test").to_numpy() & has_oracle
    predicted = _tell(
        "boosting", lambda: _boosted(training, scored, (role == "validation").to_numpy(), test, labels, seed, workers)
    )
    bounds: list[Bound] = []
    for task, models in predicted.items():
        told = oracle_scores(task, aligned.filter(pl.Series(test)), classes["classes"], labels)
        bounds += _compare(task, models, told, scored.labels.filter(pl.Series(test)), seed)
    return bounds


def _spread(days: tuple[date, ...], n: int) -> list[date]:
    picks = np.unique(np.linspace(0, len(days) - 1, min(n, len(days))).round().astype(int))
    return [days[i] for i in picks.tolist()]


def _matrix(frame: pl.DataFrame) -> NDArray[np.float32]:
    return frame.select(pl.all().cast(pl.Float32).fill_null(np.nan)).to_numpy()


def _usable(tables: Tables, day: date, state: LabelState, made: SnapshotPlan) -> pl.DataFrame:
    """Labels of a snapshot, masked where the plan does not let its role use them."""
    labels = compute_labels(tables, day, state, made.as_of)
    off = [task for task in windows(tables.dataset) if not made.usable(task, day)]
    return labels.with_columns(pl.lit(None, labels.schema[task]).alias(task) for task in off)


def oracle_frame(folder: Path, day: date) -> pl.DataFrame:
    """The oracle's rows of a date."""
    frame = pl.read_parquet(folder / "oracle" / f"as_of={day}" / "*.parquet")
    return frame.with_columns(as_of=pl.lit(day))


def _boosted(
    training: Rows,
    scored: Rows,
    validation: NDArray,
    test: NDArray,
    state: LabelState,
    seed: int,
    workers: int,
) -> dict[str, dict[str, NDArray]]:
    """Task → constant and boosting → predictions of the test rows."""
    both = np.concatenate([training.features, scored.features[validation]])
    is_train = np.arange(len(both)) < len(training.features)
    budget = BoostingBudget(workers=workers)
    matrix = BinnedMatrix(both, is_train, ~is_train, budget.max_bin)
    labels = pl.concat([training.labels, scored.labels.filter(pl.Series(validation))])
    tasks = {}
    for task in labels.columns[2:]:
        values, mask = _targets(task, labels[task])
        tasks[task] = BoostingTask(kind_of(get_task(task).kind.name), values, mask, len(state.classes.get(task, "1")))
    fitted = fit_all(matrix, tasks, budget, seed)
    tested = scored.features[test]
    return {
        task: {CONSTANT: repeat(model.constant, len(tested)), BOOSTING: model.predict(tested)}
        for task, model in fitted.items()
    }


def _targets(task: str, label: pl.Series) -> tuple[NDArray, NDArray]:
    """Labels [n] (lists: [n, P] padded with −1) and where they are known."""
    known = label.is_not_null().to_numpy()
    if get_task(task).kind.name == "contrastive":
        width = int(label.list.len().max() or 1)  # type: ignore[arg-type]
        padded = label.fill_null([]).list.concat(pl.Series([[-1] * width], dtype=label.dtype)).list.head(width)
        return np.array(padded.to_list(), dtype=np.int64).reshape(len(label), width), known
    return label.fill_null(0).cast(pl.Float64).to_numpy(), known


def oracle_scores(task: str, known: pl.DataFrame, classes: Mapping[str, list[str]], state: LabelState) -> NDArray:
    """The oracle's prediction in final form, in the classes and brands of the labels' state."""
    kind = get_task(task).kind.name
    if kind == "contrastive":
        brands = {brand: i for i, brand in enumerate(state.classes[task])}
        scores = np.zeros((known.height, len(brands)))
        for row, top in enumerate(known[f"{task}__top"].to_list()):
            for rank, brand in enumerate(top):
                if brand in brands:
                    scores[row, brands[brand]] = len(top) - rank
        return scores
    if kind != "multiclass":
        return known[task].fill_null(np.nan).to_numpy()
    told, names = np.array(known[task].to_list(), dtype=np.float64), state.classes[task]
    out = np.zeros((known.height, len(names)))
    for column, name in enumerate(classes[task]):
        place = name if name in names else NONE
        if place in names:  # a rare kind of product is none of the eleven
            out[:, names.index(place)] += told[:, column]
    return out / out.sum(axis=1, keepdims=True)


def _compare(task: str, models: dict[str, NDArray], oracle: NDArray, labels: pl.DataFrame, seed: int) -> list[Bound]:
    """The scores of a task on its eligible rows of which the oracle says something (a row that was set aside as dirty
    can take the exposure or the favourite merchant of a label with it)."""
    kind = get_task(task).kind.name
    values, mask = _targets(task, labels[task])
    silent = mask & ~np.isfinite(oracle.reshape(len(oracle), -1)).all(axis=1)
    if silent.any():
        print(f"{task}: the oracle has nothing to say of {silent.sum()} of {mask.sum()} rows", file=sys.stderr)
    mask = mask & ~silent
    oracle = np.nan_to_num(oracle)
    found = resample(
        kind_of(kind),
        models | {ORACLE: oracle},
        values,
        mask,
        labels["customer_id"].to_numpy(),
        subject=BOOSTING,
        metrics=(kind_of(kind).headline.metric, *ALSO.get(kind, ())),
        resamples=RESAMPLES,
        level=LEVEL,
        seed=seed,
    )
    return [
        Bound(
            task,
            metric,
            found.rows,
            {model: measured[metric] for model, measured in found.metrics.items()},
            found.differences[ORACLE][metric],
            _calibration(kind, oracle[mask], values[mask]),
        )
        for metric in found.differences[ORACLE]
    ]


def _calibration(kind: str, told: NDArray, values: NDArray) -> float | None:
    """Standard errors between labels and expectation (largest of the classes); None where none is claimed."""
    if kind == "contrastive" or not len(values):
        return None
    if kind == "regression":
        error = values - told
        return float(error.sum() / max(np.sqrt((error**2).sum()), 1e-12))
    chance = told if kind == "multiclass" else np.stack([1 - told, told], axis=1)
    error = (np.eye(chance.shape[1])[values.astype(np.int64)] - chance).sum(axis=0)
    z = error / np.sqrt((chance * (1 - chance)).sum(axis=0) + 1e-9)
    return float(z[1] if kind == "binary" else z[np.abs(z).argmax()])


def _with_interval(interval: Interval, sign: str = "") -> str:
    if interval.estimate is None or interval.low is None:
        return f"{'–':<24}"
    return f"{interval.estimate:{sign}.4f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]".ljust(24)


def _tell(what: str, do: Callable[[], T]) -> T:
    """Do it, and say how long it took."""
    started, used = time.perf_counter(), time.process_time()
    result = do()
    taken = f"{time.perf_counter() - started:.0f} s, {time.process_time() - used:.0f} s CPU"
    print(f"{what}: {taken}", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
