"""A part of the model that takes no part is found."""

from collections.abc import Callable

import pytest
import torch

from ple_model.config import ModelConfig
from ple_model.inputs import Inputs, Targets
from ple_model.interpretation.parts import Parts, absent, examine
from ple_model.interpretation.permutation import input_sets
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT


@pytest.fixture
def examined(
    model_config: ModelConfig, make_inputs: Callable[..., Inputs], make_targets: Callable[..., Targets]
) -> tuple[PLEClusterAdaTT, Inputs, Targets]:
    model, inputs, targets = PLEClusterAdaTT(model_config), make_inputs(), make_targets(model_config.tasks)
    model.fit_inputs(inputs)
    loss = MultiTaskLoss(model_config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model(inputs), targets, model).total.backward()
        optimizer.step()
    return model, inputs, targets


def test_a_trained_model_has_no_idle_part(examined: tuple[PLEClusterAdaTT, Inputs, Targets]) -> None:
    model, inputs, targets = examined
    model.freeze_shared()
    found = examine(model, inputs, targets)
    assert found.idle == ()
    assert found.not_finite == ()
    assert found.gradients.keys() == set(model.expert_names)
    assert bool(model.gate.frozen)  # only a copy was thawed


def test_an_expert_that_is_not_fed_and_a_gate_at_its_prior_are_idle(
    examined: tuple[PLEClusterAdaTT, Inputs, Targets],
) -> None:
    model, inputs, targets = examined
    model.gate.reset_parameters()
    found = examine(model, inputs.without("collaborative"), targets)
    assert "expert lightgcn" in found.idle
    assert {f"gate of {task}" for task in model.task_names} <= set(found.idle)


def test_an_input_whose_absence_breaks_an_output_is_named(
    examined: tuple[PLEClusterAdaTT, Inputs, Targets], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, targets = examined
    plain = model.experts["temporal"].forward

    def divides(given: Inputs, interpret: bool = False) -> object:
        result = plain(given, interpret)
        result.output = result.output / given.present_rows("txn_seq").float().mean()
        return result

    monkeypatch.setattr("copy.deepcopy", lambda model: model)
    monkeypatch.setattr(model.experts["temporal"], "forward", divides)
    assert examine(model, inputs, targets).not_finite == ("txn_seq", "sequences")


def test_absent_rows_lose_that_input_alone(make_inputs: Callable[..., Inputs], model_config: ModelConfig) -> None:
    inputs, rows = make_inputs(), torch.arange(48) % 2 == 0
    for chosen in input_sets(model_config.inputs).values():
        other = absent(inputs, chosen, rows)
        changed = {key for key, value in other.tensors().items() if not torch.equal(value, inputs.tensors()[key])}
        expected = {f"present/{name}" for name in chosen.sides}
        expected |= {"cluster_probs"} if chosen.clusters else set()
        expected |= {"features", "features_mask"} if chosen.columns.any() else set()
        assert changed <= expected
        assert changed


def test_idle_names_what_has_no_gradient_or_did_not_move() -> None:
    found = Parts({"a": 0.0, "b": 1.0, "c": float("nan")}, {"t": 0.0, "u": 0.1}, ())
    assert found.idle == ("expert a", "expert c", "gate of t")
