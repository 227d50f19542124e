from collections.abc import Callable
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from ple_model.config import InputConfig, OptimalTransportConfig
from ple_model.experts import sinkhorn
from ple_model.experts.optimal_transport import OptimalTransport
from ple_model.experts.sinkhorn import KERNEL_FROM, sinkhorn_divergence, solve
from ple_model.inputs import Inputs

CONFIG = OptimalTransportConfig(width=10, support=12, prototypes=5, dimension=3, hidden=(16,))


def squared_distances(points: Tensor) -> Tensor:
    cost = (points[:, None] - points[None]).square().sum(2)
    return cost / cost.max()


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Four and three distributions over nine points, and the cost, in float64."""
    draw = torch.randn(4 + 3, 9, dtype=torch.float64).mul(1.5).softmax(1)
    return draw[:4], draw[4:], squared_distances(torch.randn(9, 3, dtype=torch.float64))


def plan_of_pot(a: Tensor, b: Tensor, cost: Tensor, epsilon: float) -> np.ndarray:
    return np.asarray(ot.sinkhorn(a.numpy(), b.numpy(), cost.numpy(), epsilon, "sinkhorn", 3_000, 1e-9, warn=False))


def value(plan: np.ndarray, cost: Tensor, epsilon: float) -> float:
    return float((plan * cost.numpy()).sum() + epsilon * (plan * (np.log(plan) - 1)).sum())


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("epsilon", [0.05, 0.3])
def test_plans_equal_those_of_pot(problem: tuple[Tensor, Tensor, Tensor], kernel: bool, epsilon: float) -> None:
    a, b, cost = problem
    f, g, own_a, own_b = solve(a, b, cost, epsilon, 300, kernel)

    def plan(left: Tensor, right: Tensor) -> np.ndarray:
        return np.asarray((left[:, None] + right[None] - cost / epsilon).exp().numpy())

    for i in range(4):
        for k in range(3):
            np.testing.assert_allclose(plan(f[i, k], g[i, k]), plan_of_pot(a[i], b[k], cost, epsilon), atol=1e-7)
    np.testing.assert_allclose(plan(own_a[0], own_a[0]), plan_of_pot(a[0], a[0], cost, epsilon), atol=1e-7)
    np.testing.assert_allclose(plan(own_b[1], own_b[1]), plan_of_pot(b[1], b[1], cost, epsilon), atol=1e-7)


@pytest.mark.parametrize("epsilon", [0.1, 0.019])
def test_divergence_equals_that_of_pots_plans(problem: tuple[Tensor, Tensor, Tensor], epsilon: float) -> None:
    a, b, cost = problem
    got = sinkhorn_divergence(a, b, cost, epsilon, 400)

    def transport(left: Tensor, right: Tensor) -> float:
        return value(plan_of_pot(left, right, cost, epsilon), cost, epsilon)

    for i, k in ((0, 0), (1, 2), (3, 1)):
        want = transport(a[i], b[k]) - 0.5 * transport(a[i], a[i]) - 0.5 * transport(b[k], b[k])
        assert got[i, k].item() == pytest.approx(want, abs=1e-7)


def test_tends_to_the_exact_cost_as_epsilon_falls(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    a, b, cost = problem
    exact = torch.tensor([[ot.emd2(p.numpy(), q.numpy(), cost.numpy()) for q in b] for p in a], dtype=torch.float64)
    errors = [
        (sinkhorn_divergence(a, b, cost, epsilon, iterations) - exact).abs().max().item()
        for epsilon, iterations in ((0.2, 50), (0.05, 100), (0.01, 300), (0.001, 800))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.03 * exact.mean().item()


@pytest.mark.parametrize("epsilon", [0.019, 0.2])
def test_zero_for_equal_distributions_symmetric_and_positive(
    problem: tuple[Tensor, Tensor, Tensor], epsilon: float
) -> None:
    both = torch.cat(problem[:2])[1:6]
    distance = sinkhorn_divergence(both, both, problem[2], epsilon, 150)
    assert distance.diagonal().abs().max() < 1e-8
    torch.testing.assert_close(distance, distance.T, atol=1e-5, rtol=0)
    assert (distance + torch.eye(5) > 1e-3).all()  # equal distributions cost least
    few = sinkhorn_divergence(both.float(), both.float(), problem[2].float(), epsilon, 2).diagonal()
    assert few.abs().max() < 1e-3


@pytest.mark.parametrize("kernel_from", [KERNEL_FROM, 1.0])
def test_gradients_equal_finite_differences(kernel_from: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel, and on logarithms."""
    monkeypatch.setattr(sinkhorn, "KERNEL_FROM", kernel_from)
    shapes = ((2, 4), (3, 4), (4, 2))
    rows, prototypes, points = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes)

    def divergence(rows: Tensor, prototypes: Tensor, points: Tensor) -> Tensor:
        return sinkhorn_divergence(rows.softmax(1), prototypes.softmax(1), squared_distances(points), 0.4, 30)

    assert torch.autograd.gradcheck(divergence, (rows, prototypes, points), eps=1e-5, atol=1e-6, rtol=1e-4)


def test_float32_holds_two_far_point_masses_at_the_kernels_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0.5, 0.5, 0]])
    cost = squared_distances(torch.tensor([[0.0], [0.5], [1.0]]))
    got = sinkhorn_divergence(a, a, cost, KERNEL_FROM, 50)
    monkeypatch.setattr(sinkhorn, "KERNEL_FROM", 1.0)
    want = sinkhorn_divergence(a.double(), a.double(), cost.double(), KERNEL_FROM, 50)
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=0)
    assert want[0, 1].item() == pytest.approx(1.0, abs=1e-6)


def test_the_settings_leave_the_error_that_they_state() -> None:
    config = OptimalTransportConfig()
    logits = torch.randn(32, config.support).mul(config.spread).requires_grad_()
    b = torch.randn(config.prototypes, config.support).mul(config.spread).softmax(1)
    cost = squared_distances(torch.randn(config.support, config.dimension))
    few, many = (sinkhorn_divergence(logits.softmax(1), b, cost, config.epsilon, n) for n in (config.iterations, 60))
    assert (few - many).abs().max() < 1e-3 * many.mean()
    weights = torch.randn_like(few)
    gradients = [torch.autograd.grad((d * weights).sum(), logits, retain_graph=True)[0] for d in (few, many)]
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[1].norm()


@pytest.fixture
def expert(input_config: InputConfig) -> OptimalTransport:
    made = OptimalTransport(CONFIG, input_config).eval()
    with torch.no_grad():
        made.weigh.weight.normal_()
    return made


def test_a_row_that_is_a_prototype_is_at_distance_zero(
    expert: OptimalTransport, make_inputs: Callable[..., Inputs]
) -> None:
    with torch.no_grad():
        expert.weigh.weight.zero_()
        expert.weigh.bias.copy_(expert.prototypes[3])
    distance = expert(make_inputs(4), interpret=True).interpretation["prototype_distance"]
    assert (distance.argmin(1) == 3).all()
    torch.testing.assert_close(distance[:, 3], torch.full((4,), 0.01), atol=1e-3, rtol=0)


def test_cost_is_symmetric_with_a_zero_diagonal(expert: OptimalTransport) -> None:
    cost = expert.cost()
    assert torch.equal(cost, cost.T)
    assert (cost.diagonal() == 0).all()
    assert cost.max() == 1


def test_reads_present_normalised_columns_and_tells_missing_from_zero(
    expert: OptimalTransport, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs(6)
    poisoned = replace(inputs, features=torch.where(inputs.features_mask, inputs.features, torch.nan))
    before = expert(poisoned).output
    assert before.isfinite().all()
    before.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in expert.parameters())
    features, mask = inputs.features.clone(), inputs.features_mask.clone()
    features[:, [4, 7, 8, 10]], mask[:, [4, 7, 8, 10]] = 9.0, True
    assert torch.equal(expert(replace(inputs, features=features, features_mask=mask)).output, before)
    full = replace(inputs, features_mask=torch.ones_like(mask))  # the missing ones stand as 0
    changed = (expert(full).output != before).any(1)
    assert torch.equal(changed, (~inputs.features_mask[:, [0, 1, 2, 3, 5, 6]]).any(1))
    mask = inputs.features_mask.clone()
    mask[2, :8] = False
    absent = replace(inputs, features_mask=mask)
    assert expert.present(absent).tolist() == [True, True, False, True, True, True]
    assert expert(absent).output.isfinite().all()


def test_far_rows_autocast_and_interpretation(expert: OptimalTransport, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(6)
    far = replace(inputs, features=inputs.features * 1e6)
    output = expert(far).output
    output.square().sum().backward()
    assert output.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())
    assert expert(inputs).interpretation == {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = expert(inputs, interpret=True).interpretation
    assert {name: tuple(tensor.shape) for name, tensor in seen.items()} == {
        "prototype_distance": (6, 5),
        "support_weight": (6, 12),
        "prototype": (5, 12),
    }
    assert all(tensor.dtype == torch.float32 for tensor in seen.values())
    torch.testing.assert_close(seen["support_weight"].sum(1), torch.ones(6))


def test_budget() -> None:
    inputs = InputConfig(columns=tuple(map(str, range(734))), present=tuple(range(734)))
    count = sum(p.numel() for p in OptimalTransport(OptimalTransportConfig(), inputs).parameters())
    assert 0.7 * 100_000 < count < 1.3 * 100_000
