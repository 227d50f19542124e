"""The benchmarks run, on few customers and in one round, and print the totals that a comparison reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comparison.speed import TOTALS

pytestmark = pytest.mark.trial

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CALLS = {
    "features.py": ["--sizes", "500", "1000"],
    "simulation.py": ["--customers", "500"],
    "model.py --only behind": ["--rounds", "1"],
    "model.py --only adatt": ["--rounds", "1"],
    "model.py --only scoring": ["--rounds", "1"],
}


@pytest.mark.parametrize("call", CALLS)
def test_a_benchmark_prints_its_totals(call: str) -> None:
    script, *arguments = [*call.split(), *CALLS[call]]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for total in TOTALS:
        if total.script == script and (script == "features.py" or " ".join(total.arguments) in call):
            assert re.search(total.pattern, done.stdout, re.MULTILINE), done.stdout
