"""Trials, the tests that take longer than `make test` should: a pytest plug-in that leaves them out or resumes them.

A test is a trial if it is marked `@pytest.mark.trial`, wherever it stands. `make trials` runs them one after the other
with `--trials FOLDER`: each that passes is noted under a digest of the code and left out the next time, so that a
killed run goes on where it stopped. `--minutes K` starts no trial after K minutes and begins with another file every
day: the sample that CI runs. Without `--trials` they are deselected, unless `-m` asks for them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("feature_assets", "ple_model", "pipeline", "tests", "benchmarks")
FILES = ("constraints.txt", "pyproject.toml", *(f"data/{file.name}" for file in sorted((ROOT / "data").glob("*.yaml"))))


def code_digest() -> str:
    """12 hex digits of everything that decides what a trial sees."""
    sha = hashlib.sha256()
    for file in [*(f for folder in CODE for f in sorted((ROOT / folder).rglob("*.py"))), *(ROOT / f for f in FILES)]:
        sha.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()[:12]


class Trials:
    """The trials of one run, and what is kept of them.

    Attributes:
        folder: results and homes of the present code.
        minutes: no trial starts later than this; None: all of them.
    """

    def __init__(self, work: Path, minutes: float | None) -> None:
        self.folder = work.resolve() / code_digest()
        self.minutes = minutes
        self.started = time.monotonic()
        self.failed: set[str] = set()
        self.passed_before = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.parent.iterdir():
            if old != self.folder and old.is_dir():
                shutil.rmtree(old)

    def result(self, test: str) -> Path:
        """The file that records that a test has passed."""
        return self.folder / "passed" / f"{hashlib.sha256(test.encode()).hexdigest()[:16]}.json"

    def choose(self, trials: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Those that have not passed with the present code; a sample begins with another file every day."""
        if self.minutes is not None:
            files = sorted({item.path for item in trials})
            first = datetime.now(UTC).toordinal()
            trials = sorted(trials, key=lambda item: (files.index(item.path) - first) % len(files))
        chosen = [item for item in trials if not self.result(item.nodeid).exists()]
        self.passed_before = len(trials) - len(chosen)
        return chosen

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a trial that would start too late."""
        if self.minutes is not None and time.monotonic() - self.started > 60 * self.minutes:
            pytest.skip(f"the {self.minutes:g} minutes of the sample are over before {item.name}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a trial that passed, with its teardown."""
        if report.outcome != "passed":
            self.failed.add(report.nodeid)
        if report.when == "teardown" and report.nodeid not in self.failed:
            file = self.result(report.nodeid)
            file.parent.mkdir(exist_ok=True)
            beside = file.with_suffix(".part")
            beside.write_text(json.dumps({"test": report.nodeid, "at": datetime.now(UTC).isoformat()}))
            beside.rename(file)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Nothing left to do is a success."""
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.passed_before:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_report_collectionfinish(self) -> str:
        """How many are left."""
        return f"trials in {self.folder}: {self.passed_before} passed before with this code"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options of trials."""
    group = parser.getgroup("trials")
    group.addoption("--trials", type=Path, metavar="FOLDER", help="run the trials and keep their results in FOLDER")
    group.addoption("--minutes", type=float, metavar="K", help="start no trial after K minutes")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark; take part only where trials are asked for."""
    config.addinivalue_line("markers", "trial: takes longer than `make test` should; `make trials` runs it")
    if config.option.trials is not None:
        config.pluginmanager.register(Trials(config.option.trials, config.option.minutes), "trials")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep trials only, or none of them."""
    if config.option.trials is None and config.option.markexpr:
        return
    trials = [item for item in items if item.get_closest_marker("trial")]
    plugin = config.pluginmanager.get_plugin("trials")
    kept = plugin.choose(trials) if plugin is not None else [item for item in items if item not in trials]
    if dropped := [item for item in items if item not in kept]:
        config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.fixture(scope="session")
def trial_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that outlives a killed run of the same code, where `--trials` names one."""
    plugin = request.config.pluginmanager.get_plugin("trials")
    return plugin.folder if plugin is not None else tmp_path_factory.mktemp("trials")
