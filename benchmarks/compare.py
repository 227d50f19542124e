"""Compares two checkouts of this repository on this machine: are the numbers still the same, and is it as fast?

    python benchmarks/compare.py OLD NEW [--work FOLDER] [--customers N] [--datasets NAME …] [--nights] [--speed]

Each checkout computes with its own code, in a process with its root in PYTHONPATH and this interpreter: for the
embedded data set and for a bank simulation of N customers the validated tables, the labels of two dates, and the
features of two dates (every group in natural units and the assembled matrix) with a state fitted on the same training
dates. All of it must be equal: values, nulls, types, order. `--nights` runs a whole night each and compares losses by
epoch and scores within 1e-6 of max(1, |value|). `--speed` runs `features.py` and `model.py` of both by turns; a total
may be 5 % worse.

Results are kept in the work folder under a digest of the code that computed them: a killed comparison goes on where it
stopped, and a checkout that did not change is not computed again. Exits 1 on a difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from comparison import nights, speed
from comparison.checkouts import Checkout
from comparison.frames import Compared, folders

DATASETS = ("completejourney", "bank_simulation")
CUSTOMERS = 2_000
SHOWN = 20


def features(old: Checkout, new: Checkout, dataset: str, customers: int) -> list[Compared]:
    """Tables, labels and features of one data set."""
    one, other = (side.features(dataset, customers) for side in (old, new))
    results = [folders(f"{dataset}: {part}", one / part, other / part) for part in ("tables", "labels")]
    return results + [
        folders(f"{dataset}: features of {day.name}", day, other / "features" / day.name)
        for day in sorted((one / "features").iterdir())
    ]


def report(results: list[Compared]) -> bool:
    """Print the table and the differences. Returns whether there is none."""
    print(f"{'compared':<46}{'columns':>9}{'rows':>11}{'different':>11}{'largest difference':>20}")
    for result in results:
        counts = f"{result.columns:>9,}{result.rows:>11,}{len(result.differences):>11,}{result.largest:>20.3g}"
        print(f"{result.what:<46}{counts}")
    for result in results:
        for difference in result.differences[:SHOWN]:
            print(f"≠ {result.what}: {difference.where}: {difference.reason}")
        if len(result.differences) > SHOWN:
            print(f"≠ {result.what}: {len(result.differences) - SHOWN} more columns differ")
    equal = not any(result.differences for result in results)
    print("equal" if equal else "NOT equal")
    return equal


def main() -> int:
    """Compare, print the result, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".ple/compare"), help="folder that keeps results")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="customers of the simulation")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--nights", action="store_true", help="a whole night each as well")
    parser.add_argument("--speed", action="store_true", help="the benchmarks of both instead, by turns")
    given = parser.parse_args()
    old, new = (Checkout(root.resolve(), given.work.resolve()) for root in (given.old, given.new))
    print(f"old: {old.root} ({old.commit})\nnew: {new.root} ({new.commit})")
    if given.speed:
        return 0 if speed.compare(old, new) else 1
    results: list[Compared] = []
    for dataset in given.datasets:
        results += features(old, new, dataset, given.customers)
        if given.nights:
            results += nights.compare(old, new, dataset, given.customers)
    return 0 if report(results) else 1


if __name__ == "__main__":
    sys.exit(main())
