"""Training: what it learns, what it freezes, when it stops, and that a killed run ends where an unbroken one does."""

import logging
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from ple_model.inputs import Targets
from ple_model.losses.multitask import LossResult, MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from ple_model.training.data import digest_of_tensors
from ple_model.training.report import EpochReport
from ple_model.training.skill import constant_losses, score, skills
from ple_model.training.step import NonFiniteLoss
from ple_model.training.trainer import FitResult, fit
from ple_model.training.validate import validate
from tests.ple_model import samples

ROOT = Path(__file__).parents[3]

Fitted = tuple[PLEClusterAdaTT, FitResult]


def run(directory: Path | None = None, rows: int = 512, **settings: object) -> Fitted:
    model, train, valid = samples.ready(rows)
    return model, fit(model, train, valid, samples.training(**settings), directory, progress=False)


def weights(model: PLEClusterAdaTT) -> str:
    return digest_of_tensors(model.state_dict())


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """An unbroken run without a checkpoint."""
    return run()


def test_it_learns_and_says_which_epoch_was_best() -> None:
    _, result = run(rows=1024, phase1_epochs=8, learning_rate=0.01, batch_size_cpu=32)
    assert result.score > 0.1
    best = max(result.history, key=lambda report: report.score)
    assert result.best == (best.phase, best.epoch)
    assert result.score == best.score
    assert {report.phase: report.best for report in result.history if report.epoch == 1}[1]


def test_phases_count_their_own_epochs_and_both_run(fitted: Fitted) -> None:
    _, result = fitted
    assert [(report.phase, report.epoch) for report in result.history] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert result.stopped_by == {1: "epochs", 2: "epochs"}


def test_the_model_has_the_weights_of_the_best_epoch_and_nothing_is_frozen(fitted: Fitted) -> None:
    model, result = fitted
    valid = samples.table(200, 1)
    losses, gates = validate(model, MultiTaskLoss(model.config), valid, 64, torch.device("cpu"), torch.float32)
    assert score(skills(losses, constant_losses(model, valid.targets))) == pytest.approx(result.score, abs=1e-6)
    best = next(report for report in result.history if (report.phase, report.epoch) == result.best)
    assert gates.by_task["churn"] == pytest.approx(best.gates["churn"], abs=1e-6)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_phase_2_changes_baskets_and_towers_but_no_expert_and_no_gate() -> None:
    before, _ = run(phase2_epochs=0)
    after, result = run(phase2_epochs=2, phase2_warmup_epochs=0)
    assert result.best[0] == 2
    changed = {
        name.split(".")[0]
        for name, value in after.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert not changed & {"experts", "gate", "scales"}
    assert {"basket", "towers"} <= changed


def test_a_report_names_every_task_and_its_gates_add_up(fitted: Fitted) -> None:
    _, result = fitted
    report = result.history[-1]
    for found in (report.train_loss, report.valid_loss, report.skill, report.weights, report.gates):
        assert set(found) == set(samples.TASKS)
    for weights_of_task in report.gates.values():
        assert 0.8 < sum(weights_of_task.values()) <= 1 + 1e-6
    assert 0 < report.gate_entropy <= report.mean_gate_entropy + 1e-6 <= math.log(3) + 1e-5
    assert EpochReport.from_dict(report.to_dict()) == report


def test_the_same_run_gives_the_same_bits_and_leaves_the_callers_generator_alone(fitted: Fitted) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model, _ = run()
    assert weights(model) == weights(fitted[0])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 4e-3},
        {"weight_decay": 0.2},
        {"clip_norm": 0.1},
        {"expert_rates": {"deepfm": 0.1}},
        {"warmup_epochs": 2},
        {"warmup_start": 0.5},
        {"restart_epochs": 2},
        {"batch_size_cpu": 32},
        {"min_steps": 16},
        {"precision": "bf16"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_switch_changes_what_is_learnt(change: dict[str, object]) -> None:
    short = {"phase1_epochs": 2, "phase2_epochs": 0}
    _, plain = run(rows=128, **short)
    _, changed = run(rows=128, **(short | change))
    assert plain.history[-1].valid_loss != changed.history[-1].valid_loss


def test_an_experts_rate_slows_that_expert_only() -> None:
    initial = samples.ready(128)[0].state_dict()
    short = {"phase1_epochs": 1, "phase2_epochs": 0, "warmup_epochs": 0}

    def moved(model: PLEClusterAdaTT, part: str) -> float:
        moves = [(v - initial[k]).abs().float().mean() for k, v in model.state_dict().items() if k.startswith(part)]
        return torch.stack(moves).mean().item()

    plain, slow = run(rows=128, **short)[0], run(rows=128, expert_rates={"deepfm": 0.01}, **short)[0]
    assert moved(slow, "experts.deepfm") < 0.1 * moved(plain, "experts.deepfm")
    assert moved(slow, "experts.temporal") > 0.5 * moved(plain, "experts.temporal")
    with pytest.raises(ValueError, match="unknown expert 'deepfn'; did you mean 'deepfm'"):
        run(rows=128, expert_rates={"deepfn": 0.5})


def test_epochs_without_a_better_score_end_a_phase() -> None:
    _, result = run(rows=128, phase1_epochs=20, patience=2, learning_rate=0.5)
    assert result.stopped_by[1] == "patience"
    first = [report for report in result.history if report.phase == 1]
    assert len(first) < 20
    assert [report.best for report in first[-2:]] == [False, False]


def test_tasks_without_validation_labels_are_left_out_of_the_score() -> None:
    model, train, valid = samples.ready(128)
    valid.targets.mask["ltv"][:] = False
    settings = samples.training(phase1_epochs=1, phase2_epochs=0)
    report = fit(model, train, valid, settings, None, progress=False).history[0]
    assert "ltv" not in report.skill
    assert "ltv" not in report.valid_loss
    assert math.isfinite(report.score)
    for mask in valid.targets.mask.values():
        mask[:] = False
    with pytest.raises(ValueError, match="validation"):
        fit(model, train, valid, settings, None, progress=False)


def test_skills_are_comparable_and_never_infinite() -> None:
    found = skills({"a": 0.5, "b": 30.0, "c": math.nan, "d": math.inf, "e": 1.0}, dict.fromkeys("abcdf", 1.0))
    assert found == {"a": 0.5, "b": -1.0, "c": -1.0, "d": -1.0, "f": -1.0}


def test_the_constant_loss_is_the_least_that_a_constant_prediction_reaches() -> None:
    """Oracle: constants tried through the model's own loss; none does better, one comes close."""
    model, _, valid = samples.ready(128)
    found, loss = constant_losses(model, valid.targets), MultiTaskLoss(model.config)
    rows = len(valid)
    tried: dict[str, list[float]] = {task: [] for task in samples.TASKS}
    stage = valid.targets.values["life_stage"][valid.targets.mask["life_stage"]]
    shares = torch.bincount(stage, minlength=6).float() / len(stage)
    with torch.no_grad():
        outputs = model(valid.batch(torch.arange(rows), torch.device("cpu"))[0])
    for point in torch.linspace(-3, 3, 121):
        for task in samples.TASKS:
            outputs.predictions[task] = torch.full_like(outputs.predictions[task], point.item())
        outputs.predictions["life_stage"] = (shares + 1e-9).log().expand(rows, -1) + point
        result = loss(outputs, valid.targets, model)
        for task in samples.TASKS:
            tried[task].append(result.per_task[task].item())
    for task in ("churn", "retention", "engagement", "ltv", "life_stage"):
        assert min(tried[task]) == pytest.approx(found[task], rel=2e-3)
        assert min(tried[task]) > found[task] - 1e-5
    assert 0 < found["brand_prediction"] < math.log(15)


# --- steps that are not finite, and memory ------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_skipped_and_counted_by_task(caplog: pytest.LogCaptureFixture) -> None:
    model, train, valid = samples.ready(256)
    labelled = train.targets.mask["ltv"].nonzero()[0]
    train.targets.values["ltv"][labelled] = math.inf
    settings = samples.training(phase1_epochs=2, phase2_epochs=0, max_nonfinite_steps=2)
    with caplog.at_level(logging.WARNING):
        result = fit(model, train, valid, settings, None, progress=False)
    assert result.skipped == {"ltv": 2}
    assert [report.skipped_steps for report in result.history] == [1, 1]
    assert "a step was skipped, not finite: ltv" in caplog.text
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_too_many_of_them_stop_the_run_with_the_culprit_named() -> None:
    model, train, valid = samples.ready(256)
    train.targets.values["ltv"][train.targets.mask["ltv"]] = math.inf
    with pytest.raises(NonFiniteLoss, match="4 steps were not finite, 3 are allowed; culprits: ltv \\(4 steps\\)"):
        fit(model, train, valid, samples.training(max_nonfinite_steps=3), None, progress=False)


def _little_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    forward = MultiTaskLoss.forward

    def limited(self: MultiTaskLoss, outputs: object, targets: Targets, model: PLEClusterAdaTT, *more) -> LossResult:
        if model.training and len(targets.values["churn"]) > most:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, outputs, targets, model, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(MultiTaskLoss, "forward", limited)


def test_out_of_memory_halves_the_micro_batch_once_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fitted: Fitted
) -> None:
    _little_memory(monkeypatch, 32)
    with caplog.at_level(logging.WARNING):
        _, result = run()
    assert sum("out of memory at 64 rows" in record.message for record in caplog.records) == 1
    assert result.score == pytest.approx(fitted[1].score, abs=0.1)
    _little_memory(monkeypatch, 31)
    with pytest.raises(torch.OutOfMemoryError):
        run()


# --- kill and resume ----------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from ple_model.serving import files as _files
from ple_model.training import checkpoint, data, trainer
from tests.ple_model import samples

where, at = sys.argv[2].split(":")
count = 0

def dies(call):
    def wrapped(*arguments, **named):
        global count
        count += 1
        if count == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return wrapped

if where == "batch":
    data.TensorTable.batch = dies(data.TensorTable.batch)
elif where == "rename":
    Path.replace = dies(Path.replace)
model, train, valid = samples.ready()
trainer.fit(model, train, valid, samples.training(), Path(sys.argv[1]), progress=False)
"""


def killed(directory: Path, where: str) -> None:
    command = [sys.executable, "-c", KILLED, str(directory), where]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_run_killed_three_times_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, fitted: Fitted) -> None:
    """Batches of 64: 8 training and 4 validation batches an epoch, one more in `build`; 2 renames a save."""
    killed(tmp_path, "batch:30")  # in the third epoch
    killed(tmp_path, "rename:2")  # the third epoch's tensors are in place, the index still names the second's
    assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == ["phase1-epoch002", "phase1-epoch003"]
    killed(tmp_path, "batch:20")  # the third epoch again, and into phase 2
    model, result = run(tmp_path)
    assert result.resumed_from is not None
    assert weights(model) == weights(fitted[0])
    unbroken = fitted[1]
    for name in ("best", "score", "stopped_by"):
        assert getattr(result, name) == getattr(unbroken, name)
    assert [report.valid_loss for report in result.history] == [report.valid_loss for report in unbroken.history]


def test_a_finished_run_is_taken_up_without_training(tmp_path: Path, fitted: Fitted) -> None:
    first, _ = run(tmp_path)
    seen: list[EpochReport] = []
    model, train, valid = samples.ready()
    result = fit(model, train, valid, samples.training(), tmp_path, seen.append, progress=False)
    assert not seen
    assert result.resumed_from == (2, 2)
    assert result.stopped_by == fitted[1].stopped_by
    assert weights(model) == weights(first) == weights(fitted[0])


def test_a_checkpoint_of_other_data_or_settings_is_not_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short: dict[str, object] = {"phase1_epochs": 1, "phase2_epochs": 0, "rows": 128}
    run(tmp_path, **short)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        _, other = run(tmp_path, **(short | {"seed": 1}))  # type: ignore[arg-type]
        _, more = run(tmp_path, **(short | {"seed": 1, "rows": 130}))  # type: ignore[arg-type]
    assert other.resumed_from is None
    assert more.resumed_from is None
    assert "different: training settings" in caplog.text
    assert "training data" in caplog.text


def test_the_callback_comes_after_the_checkpoint(tmp_path: Path) -> None:
    model, train, valid = samples.ready(128)

    def stop(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    settings = samples.training(phase2_epochs=0)
    with pytest.raises(KeyboardInterrupt):
        fit(model, train, valid, settings, tmp_path, stop, progress=False)
    model, train, valid = samples.ready(128)
    assert fit(model, train, valid, settings, tmp_path, progress=False).resumed_from == (1, 2)


# --- the rest -----------------------------------------------------------------------------------------------------


def test_progress_without_a_terminal_is_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model, train, valid = samples.ready(128)
    fit(model, train, valid, samples.training(phase1_epochs=2, phase2_epochs=1), None)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1:4:2] for line in lines] == [["1", "1/2"], ["1", "2/2"], ["2", "1/1"]]
    assert all("score" in line and "rows/s" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "gpu"}, "'gpu' is no device"),
        ({"precision": "fp16"}, "fp16' needs CUDA"),
    ],
)
def test_a_device_that_is_not_there_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(rows=64, **settings)


def test_an_empty_training_table_is_refused() -> None:
    model, train, valid = samples.ready(64)
    nothing = train.select(torch.zeros(len(train), dtype=torch.bool))
    with pytest.raises(ValueError, match="no rows"):
        fit(model, nothing, valid, samples.training(), None, progress=False)


def test_a_compiled_network_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured and differentiated by the compiler, its kernels left out: these take a minute and a C++ compiler."""
    compiled = partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", compiled)
    weights = []
    for compile_it in (False, True):
        model, train, valid = samples.without_dropout(128)
        settings = samples.training(phase1_epochs=1, phase2_epochs=0, batch_size_cpu=64, compile=compile_it)
        fit(model, train, valid, settings, None, progress=False)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=0, msg=name)
