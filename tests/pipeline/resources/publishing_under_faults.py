"""Run with `faults.c` preloaded: publishes over and over while the n-th call fails, for n = FIRST, FIRST + STEP, …

    python publishing_under_faults.py FOLDER FIRST STEP LAST

After each fault the published tables are read as they stand, and the same publication is run again without one.
Prints the values of n whose call failed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
from pathlib import Path

import polars as pl

from pipeline.resources.digests import broken, seal
from pipeline.resources.files import discard, empty_beside, publish_folder, publish_json, strays
from pipeline.resources.publication import Published, altered

DAY = "2018-01-01"
TABLES = ("scores", *(f"features/g{i}" for i in range(8)))
ROWS = 5_000
ERRORS = (errno.ENOSPC, errno.EIO)


def frame(night: int) -> pl.DataFrame:
    """Scores of a night; all values of one night are equal."""
    return pl.DataFrame({"customer_id": [f"c{i}" for i in range(ROWS)], "night": [night] * ROWS})


def publish(lake: Path, night: int) -> None:
    """What a night publishes: a sealed folder, tables, a document."""
    place = lake / "deliveries" / "d"
    beside = empty_beside(place)
    frame(night).write_parquet(beside / "customers.parquet")
    seal(beside)
    publish_folder(beside, place)
    for table in TABLES:
        Published(lake, table).publish(frame(night), DAY)
    publish_json({"night": night}, lake / "tables" / "delivery.json")


def nights(lake: Path) -> list[int]:
    """The night of each thing that is published, each of them whole."""
    folder = lake / "deliveries" / "d"
    assert broken(folder) == ""
    found = [pl.read_parquet(folder / "customers.parquet")["night"][0]]
    for table in TABLES:
        rows = Published(lake, table).read(DAY)["night"]
        assert (rows.n_unique(), len(rows)) == (1, ROWS)
        files = list((lake / table / f"as_of={DAY}").glob("*.parquet"))
        assert len(files) == 1, files
        assert not altered(files[0])
        found.append(rows[0])
    return [*found, json.loads((lake / "tables" / "delivery.json").read_text())["night"]]


def main(folder: Path, first: int, step: int, last: int) -> None:
    """For each n: publish night n under the fault, look, publish it again, look."""
    arm = ctypes.CDLL(None).faults_arm
    arm.restype, arm.argtypes = ctypes.c_long, (ctypes.c_char_p, ctypes.c_long, ctypes.c_int)
    lake, hit = folder / "lake", []
    publish(lake, 0)
    before = nights(lake)
    for n in range(first, last + 1, step):
        arm(str(folder).encode(), n, ERRORS[n % 2])
        try:
            publish(lake, n)
        except (OSError, pl.exceptions.PolarsError) as error:
            said = str(error)
        else:
            said = ""
        if arm(str(folder).encode(), 0, 0) == 0:
            assert said, f"the {n}th call failed, and nobody noticed"
            hit.append(n)
        for now, then in zip(nights(lake), before, strict=True):
            assert now in (then, n), f"{n}: {now} is published, before it was {then}; {said}"
        publish(lake, n)
        before = nights(lake)
        assert set(before) == {n}, f"after {n}: {before}"
    for stray in list(strays(lake)):
        discard(stray) if stray.is_dir() else stray.unlink()
    assert {path.name for path in lake.iterdir()} == {"deliveries", "features", "published", "scores", "tables"}
    assert [path.name for path in (lake / "scores").iterdir()] == [f"as_of={DAY}"]
    shutil.rmtree(lake)
    print(json.dumps(hit))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5]))
