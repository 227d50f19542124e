"""Rate, memory and size of the bank simulation at any number of customers, and what a million would take.

    python benchmarks/simulation.py [--customers 20000] [--workers 2] [--seed 1] [--folder DIR]

Budget: a million customers in 30 minutes and 4 GiB on two cores, so 3.6 ms of a core each. Processor time counts all
processes. The oracle is measured apart: it simulates every block again, and takes a bounded number of customers.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from feature_assets.simulation import simulate
from feature_assets.simulation.oracle import OracleConfig, write

MILLION, BUDGET_MS, BUDGET_MINUTES = 1_000_000, 3.6, 30.0


def cpu_seconds() -> float:
    """Of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Peak(threading.Thread):
    """Largest resident memory of all processes together, in GiB, looked at twice a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gib = 0.0
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        me = psutil.Process(os.getpid())
        while not self._stop_now.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.gib = max(self.gib, total / 2**30)

    def stop(self) -> None:
        """Stop looking."""
        self._stop_now.set()
        self.join()


def measure(work: Callable[[], None]) -> tuple[float, ...]:
    """(processor seconds, wall seconds, peak GiB)."""
    peak = Peak()
    peak.start()
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    peak.stop()
    return cpu, wall, peak.gib


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the simulation here (default: a temporary folder)")
    args = parser.parse_args()
    config = OracleConfig()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "bank"
        cpu, wall, gib = measure(lambda: simulate(folder, args.customers, seed=args.seed, workers=args.workers))
        print(f"tables, {args.customers:,} customers, {args.workers} processes")
        each = 1e3 * cpu / args.customers
        print(f"{'processor time':<32}{cpu:>10.1f} s   {each:.2f} ms a customer (≤ {BUDGET_MS})")
        print(f"{'wall time':<32}{wall:>10.1f} s   {args.customers / wall:,.0f} customers a second")
        print(f"{'peak memory, all processes':<32}{gib:>10.2f} GiB")
        for table in sorted((folder / "tables").iterdir()):
            size = sum(p.stat().st_size for p in table.iterdir())
            print(f"  {table.name:<30}{size / 2**20:>10.1f} MiB {size / args.customers:>8.0f} bytes a customer")
        oracle, _, _ = measure(lambda: write(folder, config, workers=args.workers))
        sampled = min(config.customers, args.customers)
        each = 1e3 * max(oracle - cpu, 0.0) / sampled
        print(f"{'oracle, processor time':<32}{oracle:>10.1f} s   {each:.1f} ms for each of {sampled:,} customers")
        seconds = MILLION * cpu / args.customers
        minutes = seconds / 60 / max(args.workers, 1)
        print(f"a million customers on {args.workers} free cores: {minutes:.1f} minutes (≤ {BUDGET_MINUTES:.0f})")


if __name__ == "__main__":
    main()
