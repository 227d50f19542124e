"""Wall time and peak memory of a first night (with training) and of a night that only scores, in an empty home.

    python benchmarks/night.py [--as-of YYYY-MM-DD]

Budget of a first night on two cores: 10 minutes and 6 GiB; of a night that only scores: 2 minutes. Installation is not
counted. The second night's scores must be the same bytes as the first one's.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(home: Path, as_of: str | None) -> tuple[float, float]:
    """(seconds, peak resident GiB of the process) of one night."""
    command = [sys.executable, "-m", "pipeline.cli", "nightly", *(["--as-of", as_of] if as_of else [])]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"PLE_HOME": str(home)}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the night failed with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 2**20


def digest(home: Path) -> str:
    """Of all published score files."""
    sha = hashlib.sha256()
    for file in sorted((home / "lake" / "scores").glob("as_of=*/*.parquet")):
        sha.update(file.read_bytes())
    return sha.hexdigest()


def main() -> None:
    """Run both nights and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--as-of")
    as_of = parser.parse_args().as_of
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        rows = []
        digests = []
        for name in ("first night, with training", "again, scores only"):
            seconds, memory = run(home, as_of)
            rows.append((name, seconds, memory))
            digests.append(digest(home))
    print(f"{'night':<30}{'seconds':>10}{'peak GiB':>10}")
    for name, seconds, memory in rows:
        print(f"{name:<30}{seconds:>10.0f}{memory:>10.2f}")
    print(f"ratio of the two: {rows[0][1] / rows[1][1]:.1f}; same bytes of scores: {digests[0] == digests[1]}")


if __name__ == "__main__":
    main()
