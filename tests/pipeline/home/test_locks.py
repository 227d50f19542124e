"""Locks die with their process, and say who holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.home.locks import Lock, holder, is_held

HOLD = """
import sys, time
from pathlib import Path
from pipeline.home.locks import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire("a long night", "1234567890")
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def held_elsewhere(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock, killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_second_one_learns_who_holds_it_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "night"
    with held_elsewhere(file) as process:
        with Lock(file) as lock:
            assert not lock.acquire("mine")
            there = lock.holder()
        assert there is not None
        assert (there.pid, there.what, there.run_id) == (process.pid, "a long night", "1234567890")
        assert f"a long night (run 12345678, process {process.pid}, since 20" in there.words()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder(file) is None, "the note of a dead process locks nothing"
        with Lock(file) as lock:
            assert lock.acquire("mine")
            now = holder(file)
            assert now is not None
            assert (now.pid, now.what, now.run_id) == (os.getpid(), "mine", "")
    assert not is_held(file)


def test_a_child_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "night"
    code = HOLD.replace(
        "time.sleep(600)", "import os\nif os.fork() == 0:\n    time.sleep(600)\nos.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        process.wait(timeout=60)
        deadline = time.monotonic() + 30  # the child may not have come to itself yet
        while is_held(file) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_held(file)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_looking_at_a_lock_does_not_keep_others_from_it(tmp_path: Path) -> None:
    file = tmp_path / "night"
    assert not is_held(file)
    with Lock(file) as lock:
        assert lock.acquire("mine")
        assert is_held(file)
    look = os.open(file, os.O_RDONLY)
    os.close(look)
    with Lock(file) as lock:
        assert lock.acquire("mine")
