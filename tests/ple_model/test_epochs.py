"""A network whose tasks are answered by epochs of their own predicts exactly what was validated."""

from pathlib import Path

import pytest
import torch

from ple_model.epochs import Epoch, TaskEpochs, at_epochs
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.bundle import load_bundle
from ple_model.serving.inference import raw_outputs
from ple_model.training.config import TrainingConfig
from ple_model.training.finish import finish
from ple_model.training.trainer import FitResult, fit
from ple_model.training.validate import validate
from tests.ple_model import samples

CPU = torch.device("cpu")


def run(directory: Path | None = None, **settings: object) -> tuple[PLEClusterAdaTT, FitResult]:
    model, train, valid = samples.ready()
    config = samples.training(best_epoch="task", learning_rate=0.02, phase1_epochs=5, **settings)
    return model, fit(model, train, valid, config, directory, progress=False)


@pytest.fixture(scope="module")
def fitted() -> tuple[PLEClusterAdaTT, FitResult]:
    return run()


def test_each_task_has_the_epoch_of_its_least_validation_loss(fitted: tuple[PLEClusterAdaTT, FitResult]) -> None:
    _, result = fitted
    for task, epoch in result.epochs.items():
        best = min(result.history, key=lambda report: report.valid_loss[task])
        assert epoch == (best.phase, best.epoch)
    assert len(set(result.epochs.values())) > 1
    assert set(result.weights) == set(result.epochs.values())


def test_it_predicts_what_was_validated(fitted: tuple[PLEClusterAdaTT, FitResult]) -> None:
    model, result = fitted
    chosen = at_epochs(model, result.epochs, result.weights)
    assert isinstance(chosen, TaskEpochs)
    _, _, valid = samples.ready()
    losses, _ = validate(chosen, MultiTaskLoss(model.config), valid, 64, CPU, torch.float32)
    reached = {(report.phase, report.epoch): report.valid_loss for report in result.history}
    for task, loss in losses.items():
        assert loss == pytest.approx(reached[result.epochs[task]][task], rel=1e-5)


def test_the_bundle_holds_every_epoch(fitted: tuple[PLEClusterAdaTT, FitResult], tmp_path: Path) -> None:
    model, result = fitted
    chosen = at_epochs(model, result.epochs, result.weights)
    _, train, valid = samples.ready()
    finish(chosen, train, valid, tmp_path / "bundle", samples.CLASSES, {})
    loaded = load_bundle(tmp_path / "bundle").model
    assert isinstance(loaded, TaskEpochs)
    assert loaded.epochs == result.epochs
    ours, theirs = raw_outputs(chosen, valid.inputs), raw_outputs(loaded, valid.inputs)
    for task, outputs in ours.outputs.items():
        assert (outputs == theirs.outputs[task]).all()


def test_one_epoch_for_all_needs_no_second_network(fitted: tuple[PLEClusterAdaTT, FitResult]) -> None:
    model, result = fitted
    epoch = next(iter(result.weights))
    found = at_epochs(model, dict.fromkeys(result.epochs, epoch), result.weights)
    assert found is model
    assert torch.equal(found.gate.linear.weight, result.weights[epoch]["gate.linear.weight"])


def test_given_epochs_are_trained_without_validation_rows(fitted: tuple[PLEClusterAdaTT, FitResult]) -> None:
    _, result = fitted
    model, train, _ = samples.ready()
    config = samples.training(best_epoch="task", learning_rate=0.02, phase1_epochs=5)
    again = fit(model, train, None, config, epochs=result.epochs, phase2_from=result.phase2_from, progress=False)
    assert again.epochs == result.epochs
    assert again.phase2_from == result.phase2_from
    for epoch, weights in result.weights.items():
        assert all(torch.equal(again.weights[epoch][name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("epochs", "phase2_from", "trained"),
    [
        ({"churn": (1, 2)}, None, [(1, 1), (1, 2)]),
        ({"churn": (1, 3), "ltv": (2, 1)}, 2, [(1, 1), (1, 2), (1, 3), (2, 1)]),
        ({"churn": (2, 1)}, None, [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]),
    ],
)
def test_no_epoch_behind_the_last_given_one_is_trained(
    epochs: dict[str, Epoch], phase2_from: int | None, trained: list[Epoch]
) -> None:
    model, train, _ = samples.ready(128)
    given = {task: epochs.get(task, next(iter(epochs.values()))) for task in samples.TASKS}
    config = samples.training(phase1_epochs=4, phase2_epochs=2, patience=1)
    result = fit(model, train, None, config, epochs=given, phase2_from=phase2_from, progress=False)
    assert [(report.phase, report.epoch) for report in result.history] == trained
    assert set(result.weights) == set(given.values())


def test_phase_2_from_an_epoch_that_is_not_trained_is_refused() -> None:
    model, train, _ = samples.ready(128)
    given: dict[str, Epoch] = dict.fromkeys(samples.TASKS, (1, 1))
    with pytest.raises(ValueError, match="phase 2 is to go on from epoch 9"):
        fit(model, train, None, samples.training(), epochs=given, phase2_from=9, progress=False)


@pytest.mark.parametrize("epochs", [{"churn": (1, 1)}, dict.fromkeys(samples.TASKS, (1, 9)), None])
def test_epochs_that_do_not_fit_are_refused(epochs: dict[str, Epoch] | None) -> None:
    model, train, _ = samples.ready()
    with pytest.raises(ValueError, match=r"epoch"):
        fit(model, train, None, TrainingConfig(phase1_epochs=2, phase2_epochs=0), epochs=epochs, progress=False)


def test_a_resumed_run_keeps_the_epochs_of_before(tmp_path: Path, fitted: tuple[PLEClusterAdaTT, FitResult]) -> None:
    class Killed(Exception):
        pass

    def kill(report: object) -> None:
        if (report.phase, report.epoch) == (1, 3):  # type: ignore[attr-defined]
            raise Killed

    model, train, valid = samples.ready()
    config = samples.training(best_epoch="task", learning_rate=0.02, phase1_epochs=5)
    with pytest.raises(Killed):
        fit(model, train, valid, config, tmp_path, on_epoch=kill, progress=False)
    _, resumed = run(tmp_path)
    _, whole = fitted
    assert resumed.resumed_from == (1, 3)
    assert resumed.epochs == whole.epochs
    for epoch, weights in whole.weights.items():
        assert all(torch.equal(weights[name], value) for name, value in resumed.weights[epoch].items())
