"""Every step of a run: tried again where what stopped it can pass, and only there."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipeline import faults, steps
from pipeline.commands.errors import message
from pipeline.definitions import build_definitions
from pipeline.home.folder import Home
from pipeline.resources.lake import ParquetIOManager
from pipeline.resources.publication import Published
from pipeline.runs.in_process import failure_message, one_at_a_time, run_job
from pipeline.settings import load_settings


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "WAITS", (0.0, 0.0))


def tries_of(
    folder: Path, instance: dg.DagsterInstance, errors: list[Exception], function: Callable[..., object] | None = None
) -> tuple[bool, int, str]:
    """Run a step that fails with these errors, one an attempt: whether it succeeded, attempts, why not."""
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(len(attempts))
        if len(attempts) <= len(errors):
            raise errors[len(attempts) - 1]

    @dg.asset
    def step(context: dg.AssetExecutionContext) -> None:
        assert context.retry_number == len(attempts)
        fail()

    @dg.multi_asset(name="step", specs=[dg.AssetSpec("step")])
    def by_parts() -> Iterator[dg.MaterializeResult]:
        fail()
        yield dg.MaterializeResult(asset_key="step")

    made = by_parts if function else step
    steps.guard(made.op)
    steps.guard(made.op)
    definitions = dg.Definitions(assets=[made], jobs=[dg.define_asset_job("nightly", selection=[made])])
    with one_at_a_time(Home(folder)) as held:
        result = run_job(held, definitions, instance, "nightly", None)
    return result.success, len(attempts), "" if result.success else failure_message(instance, result.run_id)


PASSING = OSError(errno.EIO, "Input/output error", "/srv/ple/x")


@pytest.mark.parametrize("yields", [False, True])
def test_what_can_pass_is_tried_again(yields: bool, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    errors: list[Exception] = [PASSING, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")]
    assert tries_of(tmp_path, instance, errors, print if yields else None) == (True, 3, "")


def test_what_does_not_pass_ends_in_its_words_after_few_tries(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    success, tries, why = tries_of(tmp_path, instance, [PASSING] * 9)
    assert (success, tries) == (False, 1 + steps.TRIES_AGAIN)
    assert why == f"step: {faults.INPUT_OUTPUT.words('/srv/ple/x')}"


NEVER = {
    "a full disk": OSError(errno.ENOSPC, "No space left on device", "/srv/ple/x"),
    "a read-only home": OSError(errno.EROFS, "Read-only file system", "/srv/ple/x"),
    "no rights": PermissionError(errno.EACCES, "Permission denied", "/srv/ple/x"),
    "a quota": OSError(errno.EDQUOT, "Disk quota exceeded", "/srv/ple/x"),
    "a fault of the program": ZeroDivisionError("of the program"),
    "a bad delivery": dg.Failure("transactions: missing column amount"),
}


@pytest.mark.parametrize("kind", NEVER)
def test_what_cannot_pass_is_tried_once_and_told_in_a_line(
    kind: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    success, tries, why = tries_of(tmp_path, instance, [NEVER[kind]] * 9)
    assert (success, tries) == (False, 1)
    assert len(why.splitlines()) == 1
    assert "Traceback" not in why
    if isinstance(NEVER[kind], OSError):
        assert why == f"step: {message(NEVER[kind])}", "a step and a command say the same"
        assert "/srv/ple/x" in why
        assert faults.AGAIN in why
    else:
        assert why == f"step: {NEVER[kind]}"


def test_what_is_published_at_the_end_of_a_step_is_tried_again_too(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, attempts = Published.publish, []

    def fails_once(self: Published, frame: pl.DataFrame, as_of: str) -> Path:
        attempts.append(as_of)
        if len(attempts) == 1:
            raise PASSING
        return publish(self, frame, as_of)

    monkeypatch.setattr(Published, "publish", fails_once)

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["2018-01-01"]))
    def numbers() -> pl.DataFrame:
        return pl.DataFrame({"x": [1]})

    made = dg.materialize(
        [numbers], instance=instance, partition_key="2018-01-01",
        resources={"io_manager": ParquetIOManager(root=str(tmp_path / "lake"))}, raise_on_error=False,
    )  # fmt: skip
    assert made.success
    assert len(attempts) == 2


def test_every_step_of_the_product_is_guarded(tmp_path: Path) -> None:
    definitions = build_definitions(load_settings(home=tmp_path))
    bare = [
        node.name
        for job in ("nightly", "training", "promote", "rollback")
        for node in definitions.resolve_job_def(job).all_node_defs
        if isinstance(node, dg.OpDefinition) and not hasattr(node.compute_fn.decorated_fn, "guards")  # type: ignore[union-attr]
    ]
    assert bare == []
