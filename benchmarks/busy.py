"""Training steps on two threads, on an idle and on a busy machine, with OpenMP's own spinning and with the pipeline's.

    python benchmarks/busy.py [--seconds 5] [--rounds 3]

Busy: a process a core that only counts. Prints steps a second of each, alternating, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pipeline  # sets the variable that is measured

SPINS = {"OpenMP's own": None, "the pipeline's": os.environ["GOMP_SPINCOUNT"]}
STEPS = """
import sys, time, torch
torch.manual_seed(0)
torch.set_num_threads(2)
linear, relu = torch.nn.Linear, torch.nn.ReLU
model = torch.nn.Sequential(linear(320, 192), relu(), linear(192, 192), relu(), linear(192, 16))
optimiser = torch.optim.AdamW(model.parameters(), foreach=True)
rows, labels = torch.randn(2048, 320), torch.randn(2048, 16)
started, steps = time.monotonic(), 0
while time.monotonic() - started < float(sys.argv[1]):
    optimiser.zero_grad()
    ((model(rows) - labels) ** 2).mean().backward()
    optimiser.step()
    steps += 1
print(steps / (time.monotonic() - started))
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that take a core each."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def steps(spins: str | None, seconds: float) -> float:
    """Training steps a second in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    environment = kept | ({} if spins is None else {"GOMP_SPINCOUNT": spins})
    command = [sys.executable, "-c", STEPS, str(seconds)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    given = parser.parse_args()
    print(f"pipeline {pipeline.__version__}, GOMP_SPINCOUNT {os.environ['GOMP_SPINCOUNT']}")
    for machine, processes in (("idle", 0), ("busy", os.cpu_count() or 1)):
        found: dict[str, list[float]] = {name: [] for name in SPINS}
        with busy(processes):
            for _ in range(given.rounds):
                for name, spins in SPINS.items():
                    found[name].append(steps(spins, given.seconds))
        own, ours = (statistics.median(values) for values in found.values())
        told = ", ".join(f"{name} {statistics.median(values):.1f}" for name, values in found.items())
        print(f"{machine}: steps/s with {told}; ratio {ours / own:.2f}", flush=True)


if __name__ == "__main__":
    main()
