"""Every figure that the README quotes, made again: what that takes is said before it starts.

    python -m benchmarks.figures [--list] [--only NAME …] [--folder F] [--studies F]

Studies are drawn from the predictions that are kept in their folder (`ple study NAME` computes them); all others are
measured on this machine. One part failing stops no other; the exit status says whether one did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.studies import catalogue
from benchmarks.studies.store import Store
from pipeline.settings import REPOSITORY

BENCHMARKS = Path("benchmarks")


@dataclass(frozen=True)
class Part:
    """Some figures and the command that makes them.

    Attributes:
        name: short, for `--only`.
        title: what the README quotes of it.
        command: arguments, `sys.executable` first where it is a script.
        minutes: that it took on two cores without other work.
    """

    name: str
    title: str
    command: tuple[str, ...]
    minutes: float


def measured(folder: Path) -> tuple[Part, ...]:
    """The figures that are measured. folder: for what large nights leave between runs."""

    def script(name: str, *arguments: str) -> tuple[str, ...]:
        return sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments

    return (
        Part("night", "time and memory of a first night and of one that only scores", script("night"), 15),
        Part("features", "CPU time of the feature groups, kernels beside the plain libraries", script("features"), 12),
        Part("model", "speed of the network beside its peers", script("model"), 10),
        Part("simulation", "a million simulated customers written", script("simulation", "--customers", "1000000"), 7),
        Part("large", "nights of many customers", script("large", "--folder", str(folder / "large")), 85),
        Part("tests", "time of the tests", ("make", "test"), 12),
    )


def kept(studies: Path) -> Iterator[Part]:
    """The studies of which cells are finished in a folder."""
    for name, study in sorted(catalogue.STUDIES.items()):
        if any(Store(studies).origin(study, origin).prepared for origin in study.origins):
            command = (sys.executable, "-m", "benchmarks.studies", name, "--report", "--any-code")
            yield Part(name, study.title, (*command, "--folder", str(studies)), 0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what it takes, make them; 1 if one failed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--list", action="store_true", help="only say what there is and what it takes")
    options.add_argument("--only", nargs="+", metavar="NAME", default=(), help="these parts")
    options.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="for what large nights leave")
    options.add_argument("--studies", type=Path, default=REPOSITORY / ".studies", help="folder of the studies' results")
    given = options.parse_args(arguments)
    parts = [*kept(given.studies.resolve()), *measured(given.folder.resolve())]
    if unknown := set(given.only) - {part.name for part in parts}:
        options.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in parts)}")
    parts = [part for part in parts if not given.only or part.name in given.only]
    for part in parts:
        say(f"{part.name:<18}{part.minutes:>6.1f} min  {part.title}")
    if missing := sorted({*catalogue.STUDIES} - {part.name for part in parts}) if not given.only else []:
        say(f"not drawn, for no predictions are kept in {given.studies}: {', '.join(missing)}")
    say(f"{'in all':<18}{sum(part.minutes for part in parts):>6.1f} min on two cores without other work")
    return 0 if given.list else run(parts)


def run(parts: Sequence[Part]) -> int:
    """Make the figures one after the other; 1 if one failed."""
    failed = []
    for number, part in enumerate(parts, start=1):
        say(f"[{number}/{len(parts)}] {part.name}: {' '.join(part.command)}")
        started = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        if subprocess.run(part.command, cwd=REPOSITORY, env=environment, check=False).returncode:
            failed.append(part.name)
        say(f"[{number}/{len(parts)}] {part.name}: {(time.monotonic() - started) / 60:.1f} min")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def say(line: str) -> None:
    """A line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
