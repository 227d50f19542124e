"""A night of many customers: time, processor time, memory by step, disk and growth; how well foretold.

    python benchmarks/large.py --folder F [--sizes 100000 1000000] [--learnt-from 2000] [--events 1.0]

Simulates the bank for each size, trains a champion on a small bank, and runs `ple nightly` with it for each delivery.
What lies in the folder already is taken up. Budget: 8 GiB, growth at most 1.05, the estimate within a factor of 1.5.
Processor seconds count all processes of a night; beside other work they are the fairer measure.
"""

import argparse
import contextlib
import json
import math
import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil

AS_OF = "2025-06-24"
EVERY = 0.25
"""Seconds between two looks at the memory of a night."""
STEP = re.compile(r"✓ (\S+)\s+([\d,.]+) s")
BEGUN = re.compile(r"▸ (\S+)")
ESTIMATE = re.compile(r"about (\d+) min and ([\d.]+) GiB")
PARTS = {"ingest": "ingestion", "features/": "features", "scores": "scoring"}


class Watch(threading.Thread):
    """Processor seconds, and largest memory in GiB, of a process and its children: all that is resident, and without
    the pages of files, which the system takes back whenever it needs them."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.resident = self.own = 0.0
        self.step = "start"
        self.used = 0.0
        self.by_step: dict[str, float] = {}

    def processor_seconds(self) -> float:
        """Of the process, of what it started, and of what those waited for; the last known where one just ended."""
        with contextlib.suppress(psutil.Error):
            self.used = sum(sum(one.cpu_times()[:4]) for one in self.processes())
        return self.used

    def processes(self) -> list[psutil.Process]:
        """The process and what it started."""
        return [self.process, *self.process.children(recursive=True)]

    def run(self) -> None:
        """Look until the process is gone."""
        try:
            while True:
                found = [one.memory_info() for one in self.processes()]
                now = sum(one.rss for one in found) / 2**30
                self.resident = max(self.resident, now)
                self.by_step[self.step] = max(self.by_step.get(self.step, 0.0), now)
                self.own = max(self.own, sum(one.rss - one.shared for one in found) / 2**30)
                time.sleep(EVERY)
        except psutil.Error:
            return


def used_by_children() -> float:
    """Processor seconds of all processes that this one waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def disk(home: Path) -> dict[str, int]:
    """Bytes of what the night published: scores, features (the matrix among them), the newest validated delivery."""
    lake = home / "lake"
    newest = max((lake / "deliveries").iterdir(), key=lambda folder: folder.stat().st_mtime)
    folders = {
        "scores": [lake / "scores" / f"as_of={AS_OF}"],
        "features": list((lake / "features").glob(f"*/as_of={AS_OF}")),
        "delivery": [newest],
    }
    return {
        name: sum(file.stat().st_size for folder in found for file in folder.resolve().rglob("*") if file.is_file())
        for name, found in folders.items()
    }


def transactions(delivery: Path) -> int:
    """Rows of the table that the events of a customer are counted by."""
    rows = pl.scan_parquet(delivery / "tables" / "transactions" / "*.parquet").select(pl.len()).collect()
    return int(rows.item())


def night(home: Path, delivery: Path, log: Path) -> dict[str, Any]:
    """Run `ple nightly` on a delivery: seconds by step, peak memory, bytes on disk, what was foretold."""
    own = {"PLE_HOME": str(home), "DATASET": "bank_simulation", "DATA_DIR": str(delivery), "AS_OF": AS_OF}
    command = [sys.executable, "-m", "pipeline.cli", "nightly"]
    started, used = time.perf_counter(), used_by_children()
    steps: dict[str, float] = dict.fromkeys([*PARTS.values(), "other"], 0.0)
    processor = dict.fromkeys(steps, 0.0)
    begun_at = 0.0
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        watch = Watch(process.pid)
        watch.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=stream, flush=True)
            if begun := BEGUN.match(line):
                watch.step = begun.group(1)
                begun_at = watch.processor_seconds()
            if ended := STEP.match(line):
                part = part_of(ended.group(1))
                steps[part] += float(ended.group(2).replace(",", ""))
                processor[part] += watch.processor_seconds() - begun_at
        status = process.wait()
    seconds = time.perf_counter() - started
    watch.join()
    printed = log.read_text(encoding="utf-8")
    if status:
        raise SystemExit(f"the night failed, see {log}:\n{printed[-3000:]}")
    told = ESTIMATE.search(printed)
    foretold = (float(told.group(1)), float(told.group(2))) if told else None
    return {
        "seconds": seconds,
        "steps": steps,
        "processor seconds": used_by_children() - used,
        "processor": processor,
        "resident": watch.resident,
        "own": watch.own,
        "by step": watch.by_step,
        "disk": disk(home),
        "events": transactions(delivery),
        "foretold": foretold,
    }


def part_of(step: str) -> str:
    """The part of a night that a step belongs to."""
    return next((part for start, part in PARTS.items() if step.startswith(start)), "other")


def main() -> None:
    """Run the nights that are not there yet, and print the table."""
    from feature_assets.simulation import simulate
    from feature_assets.simulation.config import SimulationConfig

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="simulations, home and results")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--learnt-from", type=int, default=2_000, help="customers of the bank that the champion learns")
    parser.add_argument("--events", type=float, default=1.0, help="factor of the purchases of the customers measured")
    args = parser.parse_args()
    home, workers = args.folder / "home", os.cpu_count() or 1
    usual = SimulationConfig()
    config = SimulationConfig(purchase_rate=usual.purchase_rate * args.events)
    names = {size: f"{size}" if args.events == 1 else f"{size}-{args.events:g}" for size in args.sizes}
    banks = {f"{args.learnt_from}": (args.learnt_from, usual)} | {names[size]: (size, config) for size in args.sizes}
    for name, (size, bank) in banks.items():
        if not (args.folder / f"bank-{name}").exists():
            simulate(args.folder / f"bank-{name}", size, seed=1, workers=workers, progress=print, config=bank)
    if not (home / "lake" / "scores").exists():
        found = night(home, args.folder / f"bank-{args.learnt_from}", args.folder / "first.log")
        print(f"champion of {args.learnt_from:,} customers: {found['seconds']:.0f} s", flush=True)
    rows: dict[int, dict[str, Any]] = {}
    for size, name in names.items():
        file = args.folder / f"night-{name}.json"
        if not file.exists():
            file.write_text(json.dumps(night(home, args.folder / f"bank-{name}", file.with_suffix(".log")), indent=1))
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
