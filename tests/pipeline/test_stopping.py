"""A command or a run that is stopped from outside says so in one sentence, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import click
import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus

from pipeline.commands.errors import Verbs
from pipeline.home.folder import Home
from pipeline.home.locks import is_held
from pipeline.resources.publication import Published
from pipeline.runs.in_process import night_lock, one_at_a_time, run_job
from pipeline.stopping import BY_SIGTERM, CTRL_C, IN_THE_UI, STATUS, Stopped
from tests.pipeline import toy_nights

DAY = toy_nights.FIRST + timedelta(days=3)
CODE = """
import sys
from datetime import date
from pathlib import Path
import click
from pipeline.commands.errors import Verbs
from tests.pipeline import toy_nights

@click.group(cls=Verbs)
def main(): ...

@main.command()
@click.argument("home")
@click.argument("day")
def night(home, day):
    sys.exit(toy_nights.main(Path(home), date.fromisoformat(day)))

main()
"""


def started(home: Path) -> subprocess.Popen[str]:
    """A command that makes a night of toys, which goes on as long as there is a gate."""
    words = [sys.executable, "-c", CODE, "night", str(home), DAY.isoformat()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_the_step(home: Path, process: subprocess.Popen[str], begun: int = 1) -> None:
    while len(toy_nights.ran(home)) < begun:
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, CTRL_C), (signal.SIGTERM, BY_SIGTERM)])
def test_a_night_that_a_signal_stops_says_so_and_goes_on(
    number: signal.Signals, by: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """In its training: the night that would follow is not begun."""
    (tmp_path / "gate").touch()
    process = started(tmp_path)
    try:
        wait_for_the_step(tmp_path, process)
        process.send_signal(number)
        printed, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == STATUS[by] == 128 + number
    sentence = (
        f"training of {DAY} was stopped by {by}; no scores of {DAY} are published. The same command goes on where"
    )
    assert sentence in said
    for word in ("Traceback", "DagsterExecutionInterruptedError", "Aborted"):
        assert word not in said.splitlines()[-1]
    assert "goes on scoring" not in printed + said
    assert toy_nights.ran(tmp_path) == [f"begins training {DAY}"]
    [run] = instance.get_runs()
    assert run.status is DagsterRunStatus.CANCELED
    assert not is_held(night_lock(Home(tmp_path)).file)
    if number is signal.SIGTERM:
        (tmp_path / "gate").unlink()
        process = started(tmp_path)
        process.communicate(timeout=300)
        assert process.returncode == 0
        assert toy_nights.ran(tmp_path)[1:] == [
            f"{word} {job} {DAY}" for job in ("training", "nightly") for word in ("begins", "ends")
        ]


def test_a_run_of_a_command_that_is_terminated_in_the_ui_ends_at_its_next_step(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    Published(Home(tmp_path).lake, "scores").publish(pl.DataFrame({"run_id": ["0123"]}), DAY.isoformat())
    ran = []

    @dg.asset
    def first(context: dg.AssetExecutionContext) -> None:
        instance.report_run_canceled(context.run)  # as the UI does where nobody answers for the run

    @dg.asset(deps=[first])
    def second() -> None:
        ran.append("second")

    definitions = guarded_job(first, second)
    with one_at_a_time(Home(tmp_path)) as held, pytest.raises(Stopped) as raised:
        run_job(held, definitions, instance, "nightly", None)
    assert raised.value.by == IN_THE_UI
    assert "nightly was stopped by a person in the UI; nothing published is lost. The same command" in str(raised.value)
    assert ran == []
    [run] = instance.get_runs()
    assert run.status is DagsterRunStatus.CANCELED


def guarded_job(*assets: dg.AssetsDefinition) -> dg.Definitions:
    from pipeline.steps import guard

    for asset in assets:
        guard(asset.op)
    return dg.Definitions(assets=[*assets], jobs=[dg.define_asset_job("nightly", selection=[*assets])])


def test_the_sentence_says_what_is_published(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    Published(Home(tmp_path).lake, "scores").publish(pl.DataFrame({"run_id": ["0123"]}), DAY.isoformat())

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([DAY.isoformat()]))
    def stopped() -> None:
        raise KeyboardInterrupt

    with (
        one_at_a_time(Home(tmp_path)) as held,
        pytest.raises(Stopped, match=f"the scores of {DAY} are published, by run 0123"),
    ):
        run_job(held, guarded_job(stopped), instance, "nightly", DAY)


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, CTRL_C), (signal.SIGTERM, BY_SIGTERM)])
def test_a_command_that_is_stopped_anywhere_else_says_so_too(number: signal.Signals, by: str) -> None:
    @click.group(cls=Verbs)
    def main() -> None:
        pass

    @main.command()
    def waits() -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(main, ["waits"])
    assert result.exit_code == STATUS[by]
    assert (
        result.output == f"Stopped by {by}; nothing published is lost. The same command goes on where it was stopped.\n"
    )
    assert signal.getsignal(signal.SIGTERM) == before
