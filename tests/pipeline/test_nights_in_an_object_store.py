"""Whole nights whose tables lie in an S3-compatible object store: cut connections, a listing that lags, readers."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from pipeline.resources.publication import Published, tables
from tests.pipeline import stores
from tests.pipeline.conftest import SETTINGS
from tests.pipeline.object_server import WAYS, Readers, Server
from tests.pipeline.running import EARLIER, LAST, PLE, MakeHome, night, start

pytestmark = pytest.mark.trial

SMALL = {"preset": "trunk", "network": {"members": 2}}
CUTS, REQUESTS, IN_A_ROW = 10, 300, 3
"""Random moments at which connections are cut, among so many first requests of a night; each so many requests long."""


def ple(home: Path, delivery: Path, *arguments: str) -> str:
    """What a command prints."""
    environment = os.environ | {"PLE_HOME": str(home), "DATA_DIR": str(delivery), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*PLE, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def frames(home: Path) -> dict[str, pl.DataFrame]:
    """Table → what is published of the last date, without the run."""
    lake = home / "lake"
    return {
        name: Published(lake, name).read(LAST).drop("run_id", strict=False)
        for name in tables(lake)
        if Published(lake, name).has(LAST)
    }


def small(home: Path) -> Path:
    stores.write_settings(home, SETTINGS | SMALL)
    return home


def test_nights_in_an_object_store_are_those_of_a_disk(
    small_delivery: Path,
    make_home: MakeHome,
    object_store: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local, home = small(make_home(tmp_path / "local")), small(make_home(tmp_path / "home"))
    night(local, small_delivery, LAST)

    url = f"{object_store.bucket('nights')}/lake"
    monkeypatch.setenv("PLE_LAKE", url)
    chance = random.Random(7)
    cut = {begin + k: chance.choice(WAYS) for begin in chance.sample(range(1, REQUESTS), CUTS) for k in range(IN_A_ROW)}
    object_store.faults.begin(cut)
    object_store.faults.listing = []  # it shows nothing for as long as the test lasts
    with Readers(url, LAST, "run_id", tmp_path) as readers:
        printed = night(home, small_delivery, LAST)
        requests = len(object_store.faults.requests)
        readers.a_round()
    assert requests > max(cut)
    assert f"report: {home / 'reports' / f'as_of={LAST}' / 'report.html'}" in printed
    found, expected = frames(home), frames(local)
    assert {"scores", "features/matrix", "quarantine/transactions", "drift"} <= set(expected)
    assert sorted(found) == sorted(expected)
    for table, frame in expected.items():
        assert_frame_equal(found[table], frame, check_exact=True)
    for library, told in readers.told.items():
        assert told["wrong"] == [], library
        assert len(told["seen"]) == len(told["rows"]) == 1, library
        assert told["rows"] == [expected["scores"].height]
    assert not [path for path in (home / "lake").iterdir() if (path / f"as_of={LAST}").is_symlink()]

    # The same command again writes no table, and says where a version lies; a machine that knows the URL only finds it.
    object_store.faults.begin()
    night(home, small_delivery, LAST)
    written = [request for request in object_store.faults.requests if request.startswith("PUT")]
    assert not [request for request in written if request.endswith(".parquet")], written
    path = ple(home, small_delivery, "scores", "--path").strip()
    assert path == ple(tmp_path / "fresh", small_delivery, "scores", "--path").strip()
    assert path.startswith(f"{url}/published/scores/{LAST}/")
    assert pl.read_parquet(path).height == expected["scores"].height
    assert json.loads(ple(home, small_delivery, "status", "--json"))["home"]["lake"] == url
    assert f"{url} answers" in ple(home, small_delivery, "doctor")

    # The store goes away during a night: it fails in words, what was published is there, and the next one ends.
    object_store.faults.begin(away=25)
    process = start(home, small_delivery, EARLIER)
    output = process.communicate(timeout=3_000)[0]
    assert process.returncode == 1, output
    assert "the server does not answer" in output
    object_store.faults.begin()
    assert Published(home / "lake", "scores").dates() == [LAST]
    night(home, small_delivery, EARLIER)
    assert Published(home / "lake", "scores").dates() == [EARLIER, LAST]
    object_store.faults.listing = None

    # Without its URL a home is refused rather than begun anew on the disk.
    monkeypatch.delenv("PLE_LAKE")
    refused = start(home, small_delivery, LAST)
    assert f"its published tables lie under {url}: set PLE_LAKE={url}" in refused.communicate(timeout=300)[0]
    assert refused.returncode != 0
    assert yaml.safe_load((home / "lake" / "elsewhere.json").read_text()) == {"url": url}
