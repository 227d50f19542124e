"""CPU time, memory and growth of every feature group on simulated customers, and the same work by the plain libraries.

    python benchmarks/features.py [--sizes 10000 30000 100000] [--shard 10000] [--no-ratios]

One as-of date, fitted state, one core: the customers come in shards, each read, computed and dropped, as a pool of
workers would do it. Fits run once on a bounded sample and are reported apart, and so are reading and validation. Every
size runs in its own process, so that its peak memory is its own.

Budget (PERFORMANCE §1): all groups together at most 2.7 ms of one core a customer at 100,000 customers, exponent of
growth at most 1.05, memory bounded by the shard.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = (10_000, 30_000, 100_000)
FIT_CUSTOMERS = 5_000
ONE_CORE = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
SHARED = "joins and order shared by the groups"
ASSEMBLE = "feature matrix (scaling, side inputs)"
DATE = "2025-06-24"


def shard_folders(simulation: Path, customers: int, shard: int, beside: Path) -> Iterator[tuple[Path, int]]:
    """Folders of at most `shard` customers each (links to the simulation's blocks), and how many each has."""
    described = json.loads((simulation / "simulation.json").read_text())
    block = described["parameters"]["block"]
    tables = simulation / "tables"
    per = max(1, shard // block)
    blocks = -(-customers // block)
    for first in range(0, blocks, per):
        chosen = range(first, min(first + per, blocks))
        folder = beside / f"shard-{first:05d}"
        for table in sorted(tables.iterdir()):
            (folder / "tables" / table.name).mkdir(parents=True)
            parts = sorted(table.glob("part-*.parquet"))
            for part in parts if len(parts) == 1 else [parts[i] for i in chosen]:
                (folder / "tables" / table.name / part.name).symlink_to(part.resolve())
        yield folder, min(customers, chosen.stop * block) - chosen.start * block


def read(folder: Path) -> Any:
    """Validated tables of a folder."""
    from feature_assets.data.dataset import load_dataset
    from feature_assets.sources import load_tables

    return load_tables(load_dataset("bank_simulation", Path(__file__).parents[1] / "data"), folder)


def fit(simulation: Path, state: Path) -> dict[str, Any]:
    """Fit on two training dates of a bounded sample; CPU seconds by group (its share of scaling included)."""
    from datetime import date

    from feature_assets.build import fit_state

    with tempfile.TemporaryDirectory() as beside:
        folder, customers = next(shard_folders(simulation, FIT_CUSTOMERS, FIT_CUSTOMERS, Path(beside)))
        tables = read(folder)
    spent: dict[str, float] = {}
    running = [SHARED, time.process_time()]

    def on_group(name: str) -> None:
        now = time.process_time()
        spent[running[0]] = spent.get(running[0], 0.0) + now - running[1]
        running[:] = [name, now]

    fitted = fit_state(tables, [date(2024, 12, 24), date(2025, 3, 4)], seed=0, progress=on_group)
    on_group("")
    fitted.save(state)
    return {"customers": customers, "cpu": spent, "present": len(fitted.present)}


def measure(simulation: Path, state_folder: Path, customers: int, shard: int) -> dict[str, Any]:
    """CPU seconds by group over all shards, and the peak memory of this process."""
    from datetime import date

    from feature_assets import build
    from feature_assets.data.tables import Tables
    from feature_assets.events.view import View
    from feature_assets.state import FeatureState

    state = FeatureState.load(state_folder)
    spent: dict[str, float] = {}
    reading, done = 0.0, 0
    with tempfile.TemporaryDirectory() as beside:
        for folder, count in shard_folders(simulation, customers, shard, Path(beside)):
            started = time.process_time()
            tables = read(folder)
            reading += time.process_time() - started
            if not done:  # kernels are loaded from their cache once a process, not once a shard
                few = View(Tables(tables.dataset, tables.frames, presorted=True), date.fromisoformat(DATE), (0, 100))
                build.assemble(few, build.compute_all(few, state), state)
                del few  # and with it what was derived from the whole shard
            view = View(tables, date.fromisoformat(DATE))
            started = time.process_time()
            view.purchases.codes("merchant_id"), view.flows, view.purchase_days
            spent[SHARED] = spent.get(SHARED, 0.0) + time.process_time() - started
            outputs: dict[str, Any] = {}
            for name in build.groups_of(state):
                started = time.process_time()
                outputs[name] = build.compute_group(name, view, state, outputs)
                spent[name] = spent.get(name, 0.0) + time.process_time() - started
            started = time.process_time()
            matrix = build.assemble(view, outputs, state)
            spent[ASSEMBLE] = spent.get(ASSEMBLE, 0.0) + time.process_time() - started
            done += count
            print(f"    {done:,} of {customers:,} customers", file=sys.stderr)
            del tables, view, outputs, matrix
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"customers": done, "cpu": spent, "reading": reading, "peak GiB": peak}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log customers, by least squares."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-9)), 1)[0])


def report(fitted: dict[str, Any], measured: list[dict[str, Any]]) -> None:
    """The table: CPU seconds and milliseconds a customer by group, growth, memory."""
    sizes = [m["customers"] for m in measured]
    largest = measured[-1]
    print(f"\nCPU seconds on one core, one as-of date ({DATE}), fitted state; simulated customers")
    print(f"{'group':<42}" + "".join(f"{size:>11,}" for size in sizes) + f"{'ms each':>10}{'exponent':>10}{'fit s':>8}")
    names = sorted(largest["cpu"], key=lambda name: -largest["cpu"][name])
    for name in names:
        seconds = [m["cpu"][name] for m in measured]
        growth = f"{exponent(sizes, seconds):>10.2f}" if len(sizes) > 1 else f"{'':>10}"
        fit_seconds = fitted["cpu"].get(name)
        print(
            f"{name:<42}"
            + "".join(f"{s:>11.2f}" for s in seconds)
            + f"{1e3 * seconds[-1] / sizes[-1]:>10.3f}{growth}"
            + (f"{fit_seconds:>8.1f}" if fit_seconds is not None else "")
        )
    totals = [sum(m["cpu"].values()) for m in measured]
    growth = f"{exponent(sizes, totals):>10.2f}" if len(sizes) > 1 else ""
    print(
        f"{'all groups':<42}"
        + "".join(f"{t:>11.2f}" for t in totals)
        + f"{1e3 * totals[-1] / sizes[-1]:>10.3f}{growth}{sum(fitted['cpu'].values()):>8.1f}"
    )
    print(f"{'peak memory of the process, GiB':<42}" + "".join(f"{m['peak GiB']:>11.2f}" for m in measured))
    print(f"{'apart: reading and validation, CPU s':<42}" + "".join(f"{m['reading']:>11.1f}" for m in measured))
    print(
        f"fits: once, on {fitted['customers']:,} customers and two training dates; {fitted['present']} columns present"
    )


def in_process(step: str, **arguments: Any) -> dict[str, Any]:
    """Run one step of this file in a process of its own, on one core."""
    command = [sys.executable, __file__, "--step", step, "--arguments", json.dumps(arguments)]
    done = subprocess.run(command, env=os.environ | ONE_CORE, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Simulate, fit, measure each size, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of customers")
    parser.add_argument("--shard", type=int, default=10_000, help="customers a shard")
    parser.add_argument("--no-ratios", action="store_true", help="leave out the plain libraries")
    parser.add_argument("--simulation", type=Path, help="use this simulation, or make it here and keep it")
    parser.add_argument("--step", choices=["fit", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from feature_assets.kernels.compiled import use_cache

    use_cache(Path(__file__).parent / "__pycache__" / "kernels")  # the measured processes inherit it
    if given.step:
        values = json.loads(given.arguments)
        paths = {name: Path(value) if isinstance(value, str) else value for name, value in values.items()}
        print(json.dumps({"fit": fit, "measure": measure}[given.step](**paths)))
        return
    with tempfile.TemporaryDirectory() as folder:
        simulation = given.simulation or Path(folder) / "simulation"
        if not simulation.exists():
            from feature_assets.simulation import simulate

            started = time.perf_counter()
            simulate(simulation, max(given.sizes), seed=0, workers=os.cpu_count() or 1)
            print(f"{max(given.sizes):,} customers simulated in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        state = Path(folder) / "state"
        fitted = in_process("fit", simulation=str(simulation), state=str(state))
        measured = [
            in_process(
                "measure", simulation=str(simulation), state_folder=str(state), customers=size, shard=given.shard
            )
            for size in sorted(given.sizes)
        ]
        report(fitted, measured)
        if not given.no_ratios:
            from libraries import ratios

            with tempfile.TemporaryDirectory() as beside:
                sample, _ = next(shard_folders(simulation, FIT_CUSTOMERS, FIT_CUSTOMERS, Path(beside)))
                ratios(read(sample), state, DATE)


if __name__ == "__main__":
    main()
