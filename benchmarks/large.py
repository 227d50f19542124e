"""A night of many customers: time, memory by step and growth of ingestion, features and scoring; how well foretold.

    python benchmarks/large.py --folder F [--sizes 100000 1000000] [--learnt-from 2000]

Simulates the bank for each size, trains a champion on a small bank, and runs `ple nightly` with it for each delivery.
What lies in the folder already is taken up. Budget: 8 GiB, growth at most 1.05, the estimate within a factor of 1.5.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

AS_OF = "2025-06-24"
EVERY = 0.25
"""Seconds between two looks at the memory of a night."""
STEP = re.compile(r"✓ (\S+)\s+([\d,.]+) s")
BEGUN = re.compile(r"▸ (\S+)")
ESTIMATE = re.compile(r"about (\d+) min and ([\d.]+) GiB")
PARTS = {"ingest": "ingestion", "features/": "features", "scores": "scoring"}


class Memory(threading.Thread):
    """Largest memory of a process and its children in GiB, looked at again and again: all that is resident, and
    without the pages of files, which the system takes back whenever it needs them."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.resident = self.own = 0.0
        self.step = "start"
        self.by_step: dict[str, float] = {}

    def run(self) -> None:
        """Look until the process is gone."""
        try:
            while True:
                found = [one.memory_info() for one in (self.process, *self.process.children(recursive=True))]
                now = sum(one.rss for one in found) / 2**30
                self.resident = max(self.resident, now)
                self.by_step[self.step] = max(self.by_step.get(self.step, 0.0), now)
                self.own = max(self.own, sum(one.rss - one.shared for one in found) / 2**30)
                time.sleep(EVERY)
        except psutil.Error:
            return


def night(home: Path, delivery: Path, log: Path) -> dict[str, Any]:
    """Run `ple nightly` on a delivery: seconds by step, peak memory, what was foretold."""
    own = {"PLE_HOME": str(home), "DATASET": "bank_simulation", "DATA_DIR": str(delivery), "AS_OF": AS_OF}
    command = [sys.executable, "-m", "pipeline.cli", "nightly"]
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        memory = Memory(process.pid)
        memory.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=stream, flush=True)
            if begun := BEGUN.match(line):
                memory.step = begun.group(1)
        status = process.wait()
    seconds = time.perf_counter() - started
    memory.join()
    printed = log.read_text(encoding="utf-8")
    if status:
        raise SystemExit(f"the night failed, see {log}:\n{printed[-3000:]}")
    steps: dict[str, float] = dict.fromkeys([*PARTS.values(), "other"], 0.0)
    for name, took in STEP.findall(printed):
        part = next((part for start, part in PARTS.items() if name.startswith(start)), "other")
        steps[part] += float(took.replace(",", ""))
    told = ESTIMATE.search(printed)
    foretold = (float(told.group(1)), float(told.group(2))) if told else None
    return {
        "seconds": seconds,
        "steps": steps,
        "resident": memory.resident,
        "own": memory.own,
        "by step": memory.by_step,
        "foretold": foretold,
    }


def main() -> None:
    """Run the nights that are not there yet, and print the table."""
    from feature_assets.simulation import simulate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="simulations, home and results")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--learnt-from", type=int, default=2_000, help="customers of the bank that the champion learns")
    args = parser.parse_args()
    home, workers = args.folder / "home", os.cpu_count() or 1
    for size in (args.learnt_from, *args.sizes):
        if not (args.folder / f"bank-{size}").exists():
            simulate(args.folder / f"bank-{size}", size, seed=1, workers=workers, progress=print)
    if not (home / "lake" / "scores").exists():
        found = night(home, args.folder / f"bank-{args.learnt_from}", args.folder / "first.log")
        print(f"champion of {args.learnt_from:,} customers: {found['seconds']:.0f} s", flush=True)
    rows: dict[int, dict[str, Any]] = {}
    for size in args.sizes:
        file = args.folder / f"night-{size}.json"
        if not file.exists():
            file.write_text(json.dumps(night(home, args.folder / f"bank-{size}", file.with_suffix(".log")), indent=1))
        rows[size] = json.loads(file.read_text())
    parts = list(next(iter(rows.values()))["steps"])
    print(f"{'customers':>12}" + "".join(f"{name + ', s':>16}" for name in (*parts, "night")) + f"{'GiB':>8}{'own':>8}")
    for size, row in rows.items():
        seconds = [*row["steps"].values(), row["seconds"]]
        print(f"{size:>12,}" + "".join(f"{s:>16,.0f}" for s in seconds) + f"{row['resident']:>8.2f}{row['own']:>8.2f}")
    for size, row in rows.items():
        most = sorted(row.get("by step", {}).items(), key=lambda step: -step[1])[:5]
        print(f"{size:>12,} most memory: " + ", ".join(f"{step} {gib:.2f} GiB" for step, gib in most))
        if row["foretold"]:
            minutes, gib = row["foretold"]
            print(
                f"{size:>12,} foretold {minutes:.0f} min (ratio {row['seconds'] / 60 / minutes:.2f}), {gib:.1f} GiB "
                f"(ratio {row['resident'] / gib:.2f})"
            )
    first, last = min(rows), max(rows)
    if first < last:
        times = [sum(rows[size]["steps"][part] for part in ("features", "scoring")) for size in (first, last)]
        print(f"growth of features and scoring: exponent {math.log(times[1] / times[0]) / math.log(last / first):.3f}")


if __name__ == "__main__":
    main()
