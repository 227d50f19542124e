"""Do the uplift tasks learn? A power calculation, and the network beside a constant, boosted trees and the oracle.

    python benchmarks/uplift.py [--customers N] [--seed S] [--effect-days D] [--folder DIR] [--epochs E] [--workers W]

Rows are the customers who are assigned to a campaign or to its control group (10 %). The first eight as-of dates, four
weeks apart, train the network and the trees (a fifth of the customers validates); the last seven are the test. Every
label window of a training date ends before the first test date.

**Power.** A score is judged by Qini, AUUC above that of a constant, which is the mean of z · (F − ½): z the transformed
outcome, F the share of rows with a lower score. For a two-sided test at level α to find a gain δ with power 1 − β,

    n = (Φ⁻¹(1 − α/2) + Φ⁻¹(1 − β))² · Var[z · (F − ½)] / δ²

rows are needed, and for the average effect τ, with Var[z] / τ² in place of the last factor. Var[z] is about
Var[y − b] / (p (1 − p)): a control group of 10 % makes it eleven times the variance of the outcome. δ is taken from the
oracle on a pilot of 8,000 customers, times the share of the oracle's gain that a model is expected to reach.

By default the effect of a campaign lasts 28 days (`uplift_days` of the simulation, 14 in its default process): with 14
days the same calculation asks for about four times as many customers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from feature_assets import normalise, registry
from feature_assets.data.dataset import load_dataset
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import LabelState, get_task
from feature_assets.labels.context import Snapshot
from feature_assets.simulation import simulate
from feature_assets.simulation.config import CATEGORIES, SimulationConfig
from feature_assets.simulation.oracle import write_uplift
from feature_assets.simulation.oracle.uplift import FOLDER
from feature_assets.sources import load_tables

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("uplift", "category_uplift")
COLUMNS = [column.name for column in registry.registry()["base"].columns][:34]  # recency, frequency, money
FIRST, STEP, TRAIN, GAP, TEST = 64, 28, 8, 1, 7  # days and numbers of as-of dates
LEVEL, POWER, REACHED = 0.05, 0.80, 0.5
PILOT = 8_000
RESAMPLES = 400
VALIDATION = 5  # one customer in five


def main() -> int:
    """Print the power calculation, train, judge; 1 unless both tasks beat the constant beyond the interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, help="default: the number that the power calculation asks for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--effect-days", type=int, default=28)
    parser.add_argument("--folder", type=Path, help="keep simulations, oracles and rows here")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    config = SimulationConfig(uplift_days=args.effect_days)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        pilot = Bench(folder / "pilot", PILOT, args.seed, config, args.workers)
        asked = power(pilot)
        customers = args.customers or asked
        bench = Bench(folder / f"{customers}", customers, args.seed, config, args.workers)
        return judge(bench, args.epochs)


@dataclass(frozen=True)
class Bench:
    """A simulation with its rows and its oracle, each made once and kept in the folder."""

    folder: Path
    customers: int
    seed: int
    config: SimulationConfig
    workers: int

    @property
    def days(self) -> list[date]:
        """All as-of dates, oldest first."""
        return [self.config.first_day + timedelta(days=FIRST + STEP * k) for k in range(TRAIN + GAP + TEST)]

    def tables(self) -> Tables:
        """The validated tables, with both tasks on."""
        simulation, kept = self.folder / "simulation", self.folder / "tables"
        if not simulation.exists():
            tell(f"simulating {self.customers:,} customers")
            self.folder.mkdir(parents=True, exist_ok=True)
            simulate(simulation, self.customers, seed=self.seed, workers=self.workers, config=self.config)
        if not kept.exists():
            tell("reading")
            dataset = load_dataset("bank_simulation", ROOT / "data")
            dataset = dataset.model_copy(update={"tasks_on": TASKS})
            load_tables(dataset, simulation).save(kept)
        return Tables.load(kept)

    def rows(self, days: list[date], features: bool = True) -> pl.DataFrame:
        """customer_id, as_of, both labels and (if asked for) the features of all assigned customers."""
        wanted = [self.folder / ("rows" if features else "labels") / f"{day}.parquet" for day in days]
        if not all(file.exists() for file in wanted):
            tables = self.tables()
            state = LabelState(fitted_until=days[0], classes={"category_uplift": list(CATEGORIES)})
            group = registry.registry()["base"]
            views = [View(tables, day, (0, 8)) for day in self.days[1:TRAIN:3]] if features else []
            fitted = group.fit(views, [{} for _ in views], self.seed) if features else None
            for day, file in zip(days, wanted, strict=True):
                tell(f"labels{' and features' if features else ''} of {day}")
                snapshot = Snapshot(tables, day, state)
                columns = [get_task(name).column(snapshot) for name in TASKS]
                frame = snapshot.known.select("customer_id", pl.lit(day).alias("as_of"), *columns)
                frame = frame.filter(pl.col("uplift").is_not_null())
                if features:
                    view = View(only(tables, frame["customer_id"]), day)
                    frame = frame.join(group.compute(view, fitted, {}).select("customer_id", *COLUMNS), "customer_id")
                file.parent.mkdir(parents=True, exist_ok=True)
                frame.sort("customer_id").write_parquet(file)
        return pl.concat(pl.read_parquet(file) for file in wanted)

    def oracle(self, days: list[date]) -> pl.DataFrame:
        """customer_id, as_of and the expected effects as `expected` and `expected_by_category`."""
        folder = self.folder / "simulation" / FOLDER
        if not all((folder / f"as_of={day}").exists() for day in days):
            tell("oracle")
            write_uplift(self.folder / "simulation", days, self.workers)
        frames = [pl.read_parquet(folder / f"as_of={d}" / "*.parquet").with_columns(as_of=pl.lit(d)) for d in days]
        return pl.concat(frames).rename({"uplift": "expected", "category_uplift": "expected_by_category"})


def only(tables: Tables, ids: pl.Series) -> Tables:
    """The tables of some customers."""
    some = pl.DataFrame({"customer_id": ids})
    kept = {
        name: frame.join(some, on="customer_id", how="semi", maintain_order="left")
        if "customer_id" in frame.columns
        else frame
        for name, frame in tables.frames.items()
    }
    return Tables(tables.dataset, kept, presorted=True)


def contributions(score: NDArray, z: NDArray) -> NDArray:
    """Each row's part of Qini [n]: z · (F − ½)."""
    return z * ((rankdata(score) - 0.5) / len(score) - 0.5)


def power(pilot: Bench) -> int:
    """Print the power calculation; the number of customers that it asks for."""
    test = pilot.days[-TEST:]
    rows = pilot.rows(test, features=False).join(pilot.oracle(test), on=["customer_id", "as_of"])
    z, expected = rows["uplift"].to_numpy(), rows["expected"].to_numpy()
    gain = contributions(expected, expected).mean()
    factor = (norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) ** 2
    spread = contributions(expected, z).std()
    share = rows.height / pilot.customers
    print(f"pilot of {pilot.customers:,} customers, {rows.height:,} rows at {TEST} test dates ({share:.2f} a customer)")
    print(f"average effect {expected.mean():.1f}, standard deviation of z {z.std():,.0f}")
    print(f"gain of the oracle's order {gain:.1f}, standard deviation of z (F − ½) {spread:,.0f}")
    asked = {
        "the average effect": factor * z.var() / expected.mean() ** 2,
        "the order of the oracle": factor * spread**2 / gain**2,
        f"an order with {REACHED:.0%} of its gain": factor * spread**2 / (REACHED * gain) ** 2,
    }
    for name, needed in asked.items():
        print(f"  {name}: {needed:,.0f} rows, {needed / share:,.0f} customers")
    return int(np.ceil(needed / share / 1_000) * 1_000)


def judge(bench: Bench, epochs: int) -> int:
    """Train both models on both tasks, and print their AUUC beside the constant's and the oracle's."""
    from uplift_models import boosted, trained

    from ple_model.evaluation.bootstrap import resample
    from ple_model.tasks import kind_of

    train, test = bench.rows(bench.days[:TRAIN]), bench.rows(bench.days[-TEST:])
    test = test.join(bench.oracle(bench.days[-TEST:]), on=["customer_id", "as_of"])
    valid = (stable_shard("uplift:" + train["customer_id"], VALIDATION) == 0).to_numpy()
    scaler = normalise.fit(COLUMNS, train.filter(pl.Series(~valid)).select(COLUMNS).cast(pl.Float64).to_numpy())
    tell(f"{(~valid).sum():,} training, {valid.sum():,} validation, {test.height:,} test rows")
    parts = [train.filter(pl.Series(~valid)), train.filter(pl.Series(valid)), test]
    features = [normalise.apply(scaler, part.select("customer_id", *COLUMNS)).select(COLUMNS) for part in parts]
    predictions: dict[str, Mapping[str, NDArray]] = {
        "network": trained(features, parts[0], parts[1], TASKS, bench.seed, epochs, tell),
        "LightGBM": boosted(features, parts[0], parts[1], TASKS, bench.seed, bench.workers),
    }
    customers, beaten = test["customer_id"].to_numpy(), 0
    for task, oracle in zip(TASKS, ("expected", "expected_by_category"), strict=True):
        labels, best = as_array(test[task]), as_array(test[oracle])
        models = {"constant": np.zeros_like(labels)} | {name: found[task] for name, found in predictions.items()}
        models["oracle"] = best
        kind = kind_of("uplift")
        table = resample(
            kind, models, labels, None, customers, subject="network", metrics=("auuc", "qini"), resamples=RESAMPLES
        )
        print(f"\n{task}, total: {test.height:,} rows, average effect {total(labels).mean():.1f}")
        for name, found in models.items():
            auuc, qini = table.metrics[name]["auuc"], table.metrics[name]["qini"]
            exact = contributions(total(found), total(best)).mean()
            print(f"  {name:<10} AUUC {auuc.estimate:6.1f} [{auuc.low:6.1f}, {auuc.high:6.1f}]", end="")
            print(f"   Qini {qini.estimate:6.1f} [{qini.low:6.1f}, {qini.high:6.1f}]   expected Qini {exact:6.1f}")
        difference = table.differences["constant"]["auuc"]
        beats = difference.beyond_zero and (difference.estimate or 0.0) > 0
        beaten += beats
        verdict = "beyond the interval" if beats else "NOT beyond the interval"
        interval = f"[{difference.low:+.1f}, {difference.high:+.1f}]"
        print(f"  network − constant {difference.estimate:+.1f} {interval}, {verdict}")
        if labels.ndim == 2:
            by_category(models, labels, best)
    return 0 if beaten == len(TASKS) else 1


def by_category(models: Mapping[str, NDArray], z: NDArray, best: NDArray) -> None:
    """Print Qini of each category with its standard error, and of all categories together."""
    names = [name for name in models if name != "constant"]
    print("\ncategory_uplift, by category: Qini ± standard error")
    print(f"  {'':<14}{'effect':>8}" + "".join(f"{name:>18}" for name in names) + f"{'oracle, expected':>18}")
    sums = {name: np.zeros(len(z)) for name in names}
    for k, category in enumerate(CATEGORIES):
        cells = []
        for name in names:
            parts = contributions(models[name][:, k], z[:, k])
            sums[name] += parts
            cells.append(f"{parts.mean():8.2f} ± {parts.std() / np.sqrt(len(z)):5.2f}")
        expected = contributions(best[:, k], best[:, k]).mean()
        print(f"  {category:<14}{z[:, k].mean():>8.2f}" + "".join(f"{c:>18}" for c in cells) + f"{expected:>18.2f}")
    cells = [f"{sums[name].mean():8.2f} ± {sums[name].std() / np.sqrt(len(z)):5.2f}" for name in names]
    print(f"  {'together':<14}{z.sum(1).mean():>8.2f}" + "".join(f"{c:>18}" for c in cells))


def total(values: NDArray) -> NDArray:
    """The sum over categories, or the values themselves."""
    return values if values.ndim == 1 else values.sum(axis=1)


def as_array(column: pl.Series) -> NDArray:
    """A column of numbers [n] or of lists [n, K]."""
    return np.array(column.to_list(), dtype=np.float64)


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
