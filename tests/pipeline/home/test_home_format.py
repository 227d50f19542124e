"""The format of a home and of a bundle: a newer one is refused, an older one upgraded or told what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from pipeline.cli import main
from pipeline.home import home_format
from pipeline.home.folder import DAGSTER_YAML, Home, HomeError
from pipeline.home.home_format import FILE, FORMAT
from pipeline.resources.publication import Published
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.upkeep import upgrade
from pipeline.upkeep.upgrade import STEPS, Step
from ple_model.serving import format as bundle_format
from ple_model.serving.bundle import load_bundle
from ple_model.serving.format import BundleError

DAY = "2018-01-01"
SCORES = pl.DataFrame({"customer_id": ["a", "b"], "as_of": [date(2018, 1, 1)] * 2, "churn": [0.25, 0.75]})
OF_2512DBE = """\
# Written once by `ple`; edit it as you like (docs/operating.md). To use PostgreSQL add a `storage:` section.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
concurrency:
  runs:
    max_concurrent_runs: 1
  pools:
    default_limit: 1
    granularity: op
"""
"""`dagster.yaml` as commit 2512dbe wrote it."""


@pytest.fixture
def old(tmp_path: Path, make_home: Callable[[Path], Path]) -> Home:
    """A home as commit 2512dbe left it, as far as its form differs: no format, its `dagster.yaml`, plain folders."""
    home = Home(make_home(tmp_path / "home"))
    (home.root / FILE).unlink()
    (home.dagster / "dagster.yaml").write_text(OF_2512DBE)
    for table in ("scores", "features/base", "quarantine/transactions"):
        folder = home.lake / table / f"as_of={DAY}"
        folder.mkdir(parents=True)
        SCORES.write_parquet(folder / "part-0.parquet", compression="zstd", statistics=True)
    return home


def prepare(home: Home) -> None:
    """What every command does first."""
    home.prepare()
    upgrade.upgrade(home)


def test_a_new_home_has_the_format_of_today(prepared: Path) -> None:
    assert home_format.read(prepared) == FORMAT
    assert not list(prepared.glob(".*")), "nothing is left beside it"


def test_every_older_format_leads_to_that_of_today() -> None:
    assert sorted(STEPS) == list(range(1, FORMAT))
    names = [step.what for steps in STEPS.values() for step in steps]
    assert len(names) == len(set(names))


def test_a_home_of_2512dbe_is_upgraded_and_says_so(old: Home, caplog: pytest.LogCaptureFixture) -> None:
    prepare(old)
    for steps in STEPS.values():
        for step in steps:
            assert step.what in caplog.text
    assert (old.dagster / "dagster.yaml").read_text() == DAGSTER_YAML
    for table in ("scores", "features/base", "quarantine/transactions"):
        published = Published(old.lake, table)
        assert published.pointer(DAY).is_symlink()
        assert_frame_equal(published.read(DAY), SCORES)
    assert pd.read_parquet(old.lake / "scores")["customer_id"].tolist() == ["a", "b"], "as_of is in the path alone"
    assert not list(old.lake.rglob(".*")), "nothing of the old form is left"
    caplog.clear()
    prepare(old)
    assert not caplog.text, "an upgraded home is not upgraded again"


def test_what_somebody_edited_stays(old: Home) -> None:
    (old.dagster / "dagster.yaml").write_text(OF_2512DBE + "# mine\n")
    prepare(old)
    assert (old.dagster / "dagster.yaml").read_text().endswith("# mine\n")


def test_scores_of_an_older_home_that_cannot_be_read_stay_and_are_named(
    old: Home, caplog: pytest.LogCaptureFixture
) -> None:
    file = old.lake / "scores" / f"as_of={DAY}" / "part-0.parquet"
    file.write_bytes(b"no table")
    prepare(old)
    assert file.read_bytes() == b"no table"
    assert f"run the night of {DAY} again" in caplog.text
    assert home_format.read(old.root) == FORMAT


def test_an_upgrade_that_was_cut_short_is_taken_up(old: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: Home) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upgrade, "STEPS", {1: (STEPS[1][0], Step("cut", cut))})
        with pytest.raises(KeyboardInterrupt):
            prepare(old)
    assert home_format.read(old.root) == 1
    prepare(old)
    assert Published(old.lake, "scores").pointer(DAY).is_symlink()


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (json.dumps({"format": FORMAT + 1}), f"a newer release made it (format {FORMAT + 1}"),
        ("{", "is damaged"),
        ('{"format": "2"}', "is damaged"),
        ("[]", "is damaged"),
    ],
)
@pytest.mark.parametrize("command", [["doctor"], ["scores", "--path"], ["nightly"]])
def test_a_home_of_a_newer_release_is_refused_in_one_sentence_and_left_alone(
    command: list[str], note: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / FILE).write_text(note)
    monkeypatch.setenv("PLE_HOME", str(home))
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert [path.name for path in home.iterdir()] == [FILE]
    with pytest.raises(HomeError):
        Home(home).prepare()


def champion_of(found: object, monkeypatch: pytest.MonkeyPatch) -> RegisteredVersion | None:
    """The champion of a registry whose champion has a bundle of this format."""
    version = RegisteredVersion("7", "r", date(2018, 1, 1), "s", "toy", Path("bundle"), bundle_format=found)
    monkeypatch.setattr(Tracking, "_by_alias", lambda *_: SimpleNamespace())
    monkeypatch.setattr(Tracking, "_describe", lambda *_: version)
    return Tracking(uri="sqlite:///none.db", artifacts="/none", dataset="toy").champion()


def test_a_champion_of_a_format_that_is_no_longer_read_makes_a_training_due(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert champion_of(bundle_format.FORMAT, monkeypatch) is not None
    assert champion_of(bundle_format.FORMAT - 1, monkeypatch) is None
    assert "version 7, the champion: an earlier release wrote it" in caplog.text
    assert "train a new version" in caplog.text


def test_a_champion_of_a_newer_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.Failure, match=r"version 7, the champion: a newer release wrote it .* use that release"):
        champion_of(bundle_format.FORMAT + 1, monkeypatch)


@pytest.mark.parametrize(("found", "words"), [(1, "an earlier release"), (99, "a newer release"), (None, "earlier")])
def test_a_bundle_of_another_format_says_what_to_do(found: int | None, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"format": found}))
    with pytest.raises(BundleError, match=words):
        load_bundle(tmp_path)


def test_a_copied_home_keeps_its_format(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "copy")
    Home(tmp_path / "copy").prepare()
    assert home_format.read(tmp_path / "copy") == FORMAT
