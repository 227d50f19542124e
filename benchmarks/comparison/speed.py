"""The benchmarks of two checkouts by turns, and the ratios of their totals."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from comparison.checkouts import Checkout

ALLOWED = 1.05
ROUNDS = 2
FEATURES = ("--sizes", "20000", "--no-ratios")
NUMBER = r"([\d,.]+)"


@dataclass(frozen=True)
class Total:
    """One total that a benchmark prints.

    Attributes:
        name: of the total.
        script: file in `benchmarks/`.
        arguments: of the script.
        pattern: a regular expression whose group is the number.
        rate: whether more is better.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    pattern: str
    rate: bool = False


TOTALS = (
    Total("all groups, CPU s", "features.py", FEATURES, rf"^all groups\s+{NUMBER}"),
    Total("behind the experts, ms", "model.py", ("--only", "behind"), rf"behind the experts, .*?: {NUMBER} ms"),
    Total(
        "a step of the full model, ms", "model.py", ("--only", "adatt"), rf"a step of the full model, .*?: {NUMBER} ms"
    ),
    Total("training, rows/s", "model.py", ("--only", "scoring"), rf"rows/s: training {NUMBER}", rate=True),
    Total("scoring, rows/s", "model.py", ("--only", "scoring"), rf"rows/s: .*scoring {NUMBER}", rate=True),
)


def compare(old: Checkout, new: Checkout) -> bool:
    """Run every benchmark of both by turns and print the best of each. Returns whether each is at most 5 % worse."""
    simulation = old.work / "simulation-for-speed"
    calls = list(dict.fromkeys((total.script, total.arguments) for total in TOTALS))
    printed: dict[tuple[str, tuple[str, ...], Path], list[str]] = {}
    for turn in range(ROUNDS):
        for script, arguments in calls:
            for side in (old, new) if turn % 2 == 0 else (new, old):
                more = ("--simulation", str(simulation)) if script == "features.py" else ()
                text = _run(side, script, (*arguments, *more))
                printed.setdefault((script, arguments, side.root), []).append(text)
    good = True
    print(f"{'total':<34}{'old':>12}{'new':>12}{'new / old':>11}")
    for total in TOTALS:
        one, other = (_best(total, printed[total.script, total.arguments, side.root]) for side in (old, new))
        worse = one / other if total.rate else other / one
        good &= worse <= ALLOWED
        verdict = "" if worse <= ALLOWED else f"  SLOWER, {ALLOWED:.0%} allowed"
        print(f"{total.name:<34}{one:>12,.2f}{other:>12,.2f}{other / one:>11.3f}{verdict}")
    return good


def _run(side: Checkout, script: str, arguments: tuple[str, ...]) -> str:
    """The output of a benchmark."""
    print(f"{side.root} ({side.commit}): {script} {' '.join(arguments)}", file=sys.stderr, flush=True)
    command = [sys.executable, str(side.root / "benchmarks" / script), *arguments]
    return subprocess.run(command, env=side.environment(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _best(total: Total, texts: list[str]) -> float:
    """The best value of a total over the turns."""
    values = []
    for text in texts:
        match = re.search(total.pattern, text, re.MULTILINE)
        if match is None:
            raise SystemExit(f"{total.script} did not print {total.name} (pattern {total.pattern!r}):\n{text}")
        values.append(float(match.group(1).replace(",", "")))
    return max(values) if total.rate else min(values)
