"""Features and scoring of the same customers by a local pool and by Ray: seconds, their ratio, memory, the same bytes.

    python benchmarks/shards.py --folder F [--customers 20000] [--at-a-time 2500] [--workers 2] [--rounds 2]

Simulates the bank, trains a champion on a small one, and runs `ple nightly` with it by both runners in turn, first one
way round and then the other. The seconds are those of the steps that work shard by shard. What lies in the folder
already is taken up. Budget: Ray takes at most 1.1 times as long; the same scores.
"""

import argparse
import json
import os
import re
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from large import AS_OF, night

RUNNERS = ("local", "ray")
SHARDED = re.compile(r"✓ (features/\S+|scores)\s+([\d,.]+) s")


def sharded_seconds(log: Path) -> float:
    """Seconds of the steps of a night that are features or scoring, by its log."""
    return sum(float(took.replace(",", "")) for _, took in SHARDED.findall(log.read_text(encoding="utf-8")))


def measured(home: Path, delivery: Path, log: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A night by some settings: seconds, largest memory in GiB, the version of the scores."""
    (home / "settings.yaml").write_text(yaml.safe_dump(settings))
    found = night(home, delivery, log)
    scores = os.readlink(home / "lake" / "scores" / f"as_of={AS_OF}")
    return {"seconds": sharded_seconds(log), "gib": found["resident"], "scores": scores}


def main() -> None:
    """Run the nights that are not there yet, and print the table."""
    from feature_assets.simulation import simulate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="simulations, home and results")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--at-a-time", type=int, default=2_500, help="customers of a shard")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="nights of each runner")
    parser.add_argument("--learnt-from", type=int, default=2_000, help="customers of the bank that the champion learns")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    home = args.folder / "home"
    banks = {size: args.folder / f"bank-{size}" for size in (args.learnt_from, args.customers)}
    for size, bank in banks.items():
        if not bank.exists():
            simulate(bank, size, seed=1, workers=os.cpu_count() or 1, progress=print)
    if not (home / "lake" / "scores").exists():
        night(home, banks[args.learnt_from], args.folder / "first.log")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNNERS}
    for number in range(args.rounds):
        for name in RUNNERS if number % 2 == 0 else RUNNERS[::-1]:
            file = args.folder / f"{name}-{number}.json"
            if not file.exists():
                settings = {"customers_at_a_time": args.at_a_time, "workers": args.workers, "runner": name}
                night_of = measured(home, banks[args.customers], file.with_suffix(".log"), settings)
                file.write_text(json.dumps(night_of, indent=1))
            found[name].append(json.loads(file.read_text()))
            print(f"{name:>8} {found[name][-1]['seconds']:8.1f} s {found[name][-1]['gib']:6.2f} GiB", flush=True)
    local, ray = (median(one["seconds"] for one in found[name]) for name in RUNNERS)
    versions = {one["scores"] for rounds in found.values() for one in rounds}
    shards = f"{args.customers:,} customers, {args.at_a_time:,} at a time"
    print(f"{shards}, {args.workers} workers: median of {args.rounds}")
    print(f"local {local:.1f} s, Ray {ray:.1f} s, ratio {ray / local:.3f} (budget 1.1)")
    print("the same bytes" if len(versions) == 1 else f"DIFFERENT SCORES: {sorted(versions)}")


if __name__ == "__main__":
    main()
