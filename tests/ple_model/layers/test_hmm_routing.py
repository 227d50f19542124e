from collections.abc import Callable
from dataclasses import replace

import torch

from ple_model.config import InputConfig, RoutingConfig
from ple_model.inputs import Inputs
from ple_model.layers.hmm_routing import HMMRouting

NAMES = ("hmm_journey", "hmm_lifecycle", "hmm_behavior")
ROWS = 12


def _routing(config: InputConfig) -> HMMRouting:
    routing = HMMRouting(RoutingConfig(width=6), config)
    torch.nn.init.normal_(routing.default)
    return routing


def test_defaults_start_at_zero(input_config: InputConfig) -> None:
    routing = HMMRouting(RoutingConfig(), input_config)
    assert routing.default.shape == (3, 32)
    assert not routing.default.any()


def test_each_mode_has_a_projector_of_its_own(input_config: InputConfig, make_inputs: Callable[..., Inputs]) -> None:
    routing, inputs = _routing(input_config), make_inputs(ROWS)
    got = routing(inputs)
    assert got.shape == (ROWS, 3, 6)
    for i, name in enumerate(NAMES):
        linear = routing.project[name.removeprefix("hmm_")][1]
        x = inputs.sides[name] @ linear.weight.T + linear.bias
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(got[:, i], x * x.sigmoid(), atol=1e-5, rtol=1e-5)


def test_rows_without_a_mode_get_its_default_and_their_values_are_never_read(
    input_config: InputConfig, make_inputs: Callable[..., Inputs]
) -> None:
    routing, inputs = _routing(input_config), make_inputs(ROWS)
    whole = routing(inputs)
    there = {name: torch.arange(ROWS) % (i + 2) != 0 for i, name in enumerate(NAMES)}
    for name in NAMES:
        inputs.sides[name][~there[name]] = torch.nan
    got = routing(replace(inputs, present={**inputs.present, **there}))
    for i, name in enumerate(NAMES):
        want = torch.where(there[name].unsqueeze(1), whole[:, i], routing.default[i])
        torch.testing.assert_close(got[:, i], want)
    got.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in routing.parameters())
    counts = torch.stack([(~there[name]).sum() for name in NAMES]).float()
    assert torch.equal(routing.default.grad, counts.unsqueeze(1).expand(3, 6))


def test_a_mode_that_the_data_set_or_the_bundle_lacks_is_its_default(
    input_config: InputConfig, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs(ROWS)
    sides = tuple(side for side in input_config.sides if side.name != "hmm_lifecycle")
    lacking = _routing(input_config.model_copy(update={"sides": sides}))
    assert set(lacking.project) == {"journey", "behavior"}
    assert torch.equal(lacking(inputs)[:, 1], lacking.default[1].expand(ROWS, 6))
    routing = _routing(input_config)
    assert torch.equal(routing(inputs.without(*NAMES)), routing.default.expand(ROWS, 3, 6))
    assert torch.equal(routing(inputs.without("hmm_journey"))[:, 1:], routing(inputs)[:, 1:])


def test_reads_the_channels_that_the_data_set_has(
    input_config: InputConfig, make_inputs: Callable[..., Inputs]
) -> None:
    sides = tuple(
        side.model_copy(update={"channels": (0, 1, 4)}) if side.name in NAMES else side for side in input_config.sides
    )
    routing, inputs = _routing(input_config.model_copy(update={"sides": sides})), make_inputs(ROWS)
    before = routing(inputs)
    for name in NAMES:
        inputs.sides[name][:, [2, 3, 5, 6]] = torch.nan
    assert torch.equal(routing(inputs), before)
