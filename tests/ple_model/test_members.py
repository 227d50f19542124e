"""Members through the whole path: independent of each other, losses averaged, predictions averaged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ple_model.config import ModelConfig
from ple_model.layers.members import by_member
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.inference import SPREAD, raw_outputs
from ple_model.tasks import kind_of

Make = Callable[..., Any]
MEMBERS = 3


@pytest.fixture
def config(model_config: ModelConfig) -> ModelConfig:
    """All experts, the wide one among them, three members."""
    return ModelConfig.from_dict({**model_config.to_dict(), "members": MEMBERS})


def test_every_row_and_member_has_a_prediction(config: ModelConfig, make_inputs: Make) -> None:
    model, inputs = PLEClusterAdaTT(config).eval(), make_inputs()
    outputs = model(inputs)
    for task in config.tasks:
        assert outputs.predictions[task.name].shape == (MEMBERS * len(inputs), task.out)
        members = by_member(outputs.predictions[task.name], MEMBERS)
        assert not torch.equal(members[0], members[1])
    assert outputs.row_gates.shape == (len(inputs), len(config.tasks), 9)


def test_the_mean_of_the_predictions_is_predicted(config: ModelConfig, make_inputs: Make) -> None:
    model, inputs = PLEClusterAdaTT(config).eval(), make_inputs()
    outputs, predicted = model(inputs), model.predict(inputs)
    for task in config.tasks:
        beside = outputs.beside.get(task.name)
        each = [model.to_units(task.name, raw, beside) for raw in by_member(outputs.predictions[task.name], MEMBERS)]
        mean = torch.stack(each).mean(0)
        if task.kind == "contrastive":  # ranks as the mean of the cosines does
            assert torch.equal(predicted[task.name].argsort(1)[:, -3:], mean.argsort(1)[:, -3:])
        else:
            torch.testing.assert_close(predicted[task.name], mean, rtol=1e-4, atol=1e-5)
    raw = raw_outputs(model, inputs)
    assert all((signals[SPREAD] >= 0).all() and signals[SPREAD].any() for signals in raw.signals.values())


def test_the_mean_of_the_losses_is_trained(config: ModelConfig, make_inputs: Make, make_targets: Make) -> None:
    model, loss = PLEClusterAdaTT(config).eval(), MultiTaskLoss(config)
    inputs, targets = make_inputs(), make_targets(config.tasks)
    outputs = model(inputs)
    rows, mask = loss.rows(outputs, targets, model)
    for t, task in enumerate(config.tasks):
        label, given = targets.values[task.name], targets.mask[task.name]
        each = [
            kind_of(task).row_losses(task, raw, label, given, model, False, outputs.beside.get(task.name))[0]
            for raw in by_member(outputs.predictions[task.name], MEMBERS)
        ]
        want = torch.stack(each).mean(0).where(mask[t], 0.0)
        torch.testing.assert_close(rows[t], want)


def test_a_member_does_not_read_another(config: ModelConfig, make_inputs: Make) -> None:
    model, inputs = PLEClusterAdaTT(config).eval(), make_inputs()
    outputs = model(inputs)
    own = sum(by_member(raw, MEMBERS)[1].sum() for raw in outputs.predictions.values())
    own.backward()
    members = [
        (name, parameter.grad)
        for name, parameter in model.named_parameters()
        if name.startswith(("begin", "experts.wide.layers")) or ".output." in name
    ]
    own_by_member = [(name, grad) for name, grad in members if grad is not None and grad.shape[0] == MEMBERS]
    assert len(own_by_member) > 20
    for name, grad in own_by_member:
        assert not grad[[0, 2]].any(), name


def test_a_network_of_one_member_has_no_scales(model_config: ModelConfig) -> None:
    assert not any(name.startswith("begin") for name in PLEClusterAdaTT(model_config).state_dict())


def test_they_cost_less_than_networks_of_their_own(config: ModelConfig) -> None:
    def size(settings: ModelConfig) -> int:
        return sum(p.numel() for p in PLEClusterAdaTT(settings).parameters())

    one = size(config.model_copy(update={"members": 1}))
    assert one < size(config) < 1.5 * one
