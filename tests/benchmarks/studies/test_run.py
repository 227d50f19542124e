"""Cells run in processes of their own, which do not outlive the study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SCRIPT = """
import sys, time
from pathlib import Path
from benchmarks.studies.run import in_a_process

def work(file):
    import os
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    in_a_process(work, sys.argv[1])
"""


def test_a_cell_ends_with_a_study_that_is_killed(tmp_path: Path) -> None:
    script, told = tmp_path / "study.py", tmp_path / "pid"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path)])}
    study = subprocess.Popen([sys.executable, str(script), str(told)], env=environment)
    for _ in range(600):
        if told.exists() and told.read_text():
            break
        time.sleep(0.1)
    cell = int(told.read_text())
    study.send_signal(signal.SIGKILL)
    study.wait()
    for _ in range(200):
        if not psutil.pid_exists(cell):
            return
        time.sleep(0.1)
    raise AssertionError("the cell goes on")
