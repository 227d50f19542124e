"""Experts and their mixture in blocks, forward and backward, against the same lines left to autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ple_model.baselines import mixing
from ple_model.baselines.cgc_layer import CGCLayer


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that fill no last block, and more than one group of tasks."""
    monkeypatch.setattr(mixing, "ROWS", 16)
    monkeypatch.setattr(mixing, "COLUMNS", 16)


def plain(x: Tensor, weight: Tensor, bias: Tensor, chosen: Tensor, common: Tensor | None, specific: int) -> Tensor:
    """One expert and one gate at a time."""
    tasks, shared = chosen.shape[1], chosen.shape[2] - specific
    count = tasks * specific + shared
    outputs = [torch.relu(x @ w + b) for w, b in zip(weight.chunk(count, 1), bias.chunk(count), strict=True)]
    mixed = []
    for t in range(tasks):
        own = outputs[t * specific : (t + 1) * specific] + outputs[tasks * specific :]
        mixed.append(sum(chosen[:, t, i, None] * h for i, h in enumerate(own)))
    if common is not None:
        mixed.append(sum(common[:, i, None] * h for i, h in enumerate(outputs)))
    return torch.stack(mixed, dim=1)


@pytest.mark.parametrize("shared_gate", [False, True])
@pytest.mark.parametrize("specific", [0, 1, 2])
def test_values_and_gradients_equal_autograds(specific: int, shared_gate: bool) -> None:
    tasks, shared, width, rows = 5, 3, 4, 37
    experts = tasks * specific + shared
    given = [torch.randn(rows, 7), torch.randn(7, experts * width), torch.randn(experts * width)]
    given += [torch.rand(rows, tasks, specific + shared), torch.rand(rows, experts)]
    if not shared_gate:
        given = given[:-1]
    leaves = [tensor.requires_grad_() for tensor in given]
    common = leaves[4] if shared_gate else None
    up = torch.randn(rows, tasks + shared_gate, width)
    got = mixing.expert_mixture(leaves[0].split([3, 4], dim=1), *leaves[1:4], common, specific)
    expected = plain(*leaves[:4], common, specific)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    of_got = torch.autograd.grad((got * up).sum(), leaves)
    of_expected = torch.autograd.grad((expected * up).sum(), leaves)
    for one, other in zip(of_got, of_expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_part_that_is_data_changes_nothing_for_the_others() -> None:
    layer, data, learnt = CGCLayer(3, 7, (4,), 2, 3, 0.0), torch.randn(20, 3), torch.randn(20, 4, requires_grad=True)
    wanted = [learnt, *layer.parameters()]
    of_parts = torch.autograd.grad(layer([data, learnt])[0].square().sum(), wanted)
    whole = torch.cat([data, learnt], dim=1)
    of_whole = torch.autograd.grad(layer(whole)[0].square().sum(), wanted)
    for one, other in zip(of_parts, of_whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_dropped_units_hand_nothing_back() -> None:
    """With one expert whose gate is 1, an output's gradient is its own scale where it was kept."""
    x, gates = torch.rand(40, 3) + 0.5, torch.ones(40, 1, 1)
    weight, bias = torch.rand(3, 8).requires_grad_(), torch.zeros(8, requires_grad=True)
    whole = mixing.expert_mixture([x], weight, bias, gates, None, 0)
    some = mixing.expert_mixture([x], weight, bias, gates, None, 0, dropout=0.5)
    kept = some != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(some[kept], 2 * whole[kept])
    (grad,) = torch.autograd.grad(some.sum(), bias)
    torch.testing.assert_close(grad, 2.0 * kept.sum((0, 1)))


def test_inputs_without_a_gradient_and_a_second_backward() -> None:
    layer = CGCLayer(3, 7, (4,), 2, 3, 0.0)
    mixed, _ = layer(torch.randn(20, 7))
    first = torch.autograd.grad(mixed[:, 0].sum(), list(layer.parameters()), retain_graph=True)
    again = torch.autograd.grad(mixed[:, 0].sum(), list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("shared_gate", [False, True])
@pytest.mark.parametrize("specific", [0, 2])
def test_a_layer_gives_the_same_in_blocks_and_without(
    specific: int, shared_gate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = CGCLayer(3, 7, (4,), specific, 3, 0.0, shared_gate=shared_gate), torch.randn(37, 7)
    training, _ = layer(x)
    layer.eval()  # gates are shown outside of training alone; the rate of dropout is 0
    mixed, gates = layer(x)
    torch.testing.assert_close(mixed, training)
    monkeypatch.setattr(layer, "_in_blocks", lambda _: False)
    expected, expected_gates = layer(x)
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gates, expected_gates, atol=1e-6, rtol=1e-6)
