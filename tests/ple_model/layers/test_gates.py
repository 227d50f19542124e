import math

import pytest
import torch

from ple_model.config import GateConfig, TaskConfig
from ple_model.layers.gates import CGCAttention, dim_scales, entropy, masked_softmax

EXPERTS = ("deepfm", "temporal", "raw_scale")
WIDTHS = (8, 4, 4)


def _task(name: str, *experts: str) -> TaskConfig:
    return TaskConfig(name=name, group="g", kind="binary", loss="focal", experts=experts)


TASKS = (_task("a", "temporal"), _task("b", "deepfm", "temporal", "perslay"), _task("c"))


@pytest.fixture
def gate() -> CGCAttention:
    return CGCAttention(GateConfig(), TASKS, EXPERTS, WIDTHS)


def test_first_output_is_the_softmax_of_the_prior(gate: CGCAttention) -> None:
    prior = torch.tensor([[-1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    weights = gate(torch.randn(5, 16), torch.ones(5, 3, dtype=torch.bool))
    torch.testing.assert_close(weights, prior.softmax(-1).expand(5, 3, 3))


def test_dimension_scales_of_the_full_pool() -> None:
    seven = dim_scales([128] + [64] * 6)
    assert [round(s, 3) for s in seven.tolist()] == [0.756] + [1.069] * 6
    eight = dim_scales([128] + [64] * 7)
    assert [round(s, 3) for s in eight.tolist()] == [0.75] + [1.061] * 7


def test_an_absent_expert_has_weight_exactly_zero(gate: CGCAttention) -> None:
    torch.nn.init.normal_(gate.linear.weight)
    present = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])
    h = torch.randn(4, 16)
    weights = gate(h, present)
    assert bool((weights[~present.unsqueeze(1).expand_as(weights)] == 0).all())
    torch.testing.assert_close(weights.sum(-1), present.any(1, keepdim=True).float().expand(4, 3))
    alone = gate.linear(h).view(4, 3, 3)[1][:, [0, 2]].softmax(-1)
    torch.testing.assert_close(weights[1][:, [0, 2]], alone)
    (weights.square().sum() + gate.regularisation(weights)).backward()
    assert gate.linear.weight.grad is not None
    assert bool(gate.linear.weight.grad.isfinite().all())


def test_masked_softmax_is_computed_in_float32() -> None:
    weights = masked_softmax(torch.tensor([[10.0, 0.0]], dtype=torch.bfloat16), torch.tensor([[True, True]]))
    assert weights.dtype == torch.float32


def test_entropy_and_its_sign() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(entropy(weights), torch.tensor([math.log(2), 0.0, math.log(3)]), atol=1e-6, rtol=1e-6)
    gate = CGCAttention(GateConfig(entropy_weight=0.02), TASKS, EXPERTS, WIDTHS)
    term = gate.regularisation(weights.expand(4, 3, 3))
    torch.testing.assert_close(term, torch.tensor(-0.02 * (math.log(2) + math.log(3)) / 3))


def test_the_entropy_term_spreads_the_gates(gate: CGCAttention) -> None:
    h, present = torch.randn(5, 16), torch.ones(5, 3, dtype=torch.bool)
    optimizer = torch.optim.SGD(gate.parameters(), lr=1.0)
    before = entropy(gate(h, present)).mean().item()
    for _ in range(20):
        optimizer.zero_grad()
        gate.regularisation(gate(h, present)).backward()
        optimizer.step()
    assert entropy(gate(h, present)).mean().item() > before
