from dataclasses import replace

import pytest
import torch
from geoopt.manifolds.stereographic import math as geo
from torch import Tensor

from ple_model.config import InputConfig, SideConfig, UnifiedHGCNConfig
from ple_model.experts.hyperbolic import Balls, Curvature, mobius_bias
from ple_model.experts.unified_hgcn import UnifiedHGCN
from ple_model.inputs import Inputs

COLUMNS = (
    *(f"merchant__{i}" for i in range(4)),
    *("epidemic__contact_rate", "epidemic__recovery_rate", "epidemic__time_to_peak", "base__a"),
)
BALLS = SideConfig(name="hierarchy", shape=(6,))
SETTINGS = UnifiedHGCNConfig(width=10, balls=(3, 2, 1), hidden=(7, 5), dropout=0.0)
MERCHANT = (0, 1, 2, 3, 4, 6)  # those of the group and the two co-visit columns


def config(sides: tuple[SideConfig, ...] = (BALLS,), present: tuple[int, ...] = tuple(range(8))) -> InputConfig:
    return InputConfig(columns=COLUMNS, present=present, normalised=8, clusters=2, sides=sides)


def rows(count: int = 12, hierarchy: bool = True) -> Inputs:
    """Rows 0 and 1 have no hierarchy, rows 1 and 2 no merchant columns; what is not there is NaN."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(count, 8, generator=generator) > 0.2
    mask[:, 0], mask[1:3] = True, torch.arange(8) == 7
    features = torch.where(mask, torch.randn(count, 8, generator=generator), torch.nan)
    points = 0.5 * torch.randn(count, 6, generator=generator).tanh()
    there = torch.arange(count) > 1
    points[~there] = torch.nan
    if not hierarchy:
        return Inputs(features, mask, torch.full((count, 2), 0.5))
    return Inputs(features, mask, torch.full((count, 2), 0.5), {"hierarchy": points}, present={"hierarchy": there})


def chain(u: Tensor, bias: Tensor, k: Tensor, limit: float) -> Tensor:
    """log0(exp0(u) ⊕ exp0(bias)) by geoopt's operations, each point kept within `limit` of the origin."""
    eps = 1 - torch.tensor(limit, dtype=u.dtype).tanh().item()
    x, y = (geo.project(geo.expmap0(v, k=k), k=k, eps=eps) for v in (u, bias))
    return geo.logmap0(geo.project(geo.mobius_add(x, y, k=k), k=k, eps=eps), k=k)


@pytest.mark.parametrize("curvature", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("size", [1e-3, 1.0, 2.5, 30.0])
def test_mobius_bias_equals_geoopt(curvature: float, size: float) -> None:
    c = torch.tensor(curvature, dtype=torch.float64)
    u, bias = (torch.nn.functional.normalize(torch.randn(1, n, 5, dtype=torch.float64), dim=-1) for n in (40, 1))
    u, bias = u * size / c.sqrt(), bias * 0.7 / c.sqrt()
    got = mobius_bias(u, bias, c.view(1, 1, 1), limit=3.0)
    torch.testing.assert_close(got, chain(u, bias, -c, limit=3.0), atol=1e-10, rtol=1e-7)


def test_mobius_bias_gradients_equal_those_through_geoopt_and_finite_differences() -> None:
    c = torch.tensor([[[0.3]], [[1.7]]], dtype=torch.float64, requires_grad=True)
    u = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    bias = (0.3 * torch.randn(2, 1, 4, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(2, 6, 4, dtype=torch.float64)
    got = torch.autograd.grad((mobius_bias(u, bias, c, 4.0) * weight).sum(), (u, bias, c))
    oracle = torch.stack([chain(u[i], bias[i], -c[i, 0, 0], 4.0) for i in range(2)])
    torch.testing.assert_close(got, torch.autograd.grad((oracle * weight).sum(), (u, bias, c)))
    assert torch.autograd.gradcheck(lambda *x: mobius_bias(*x, 4.0), (u, bias, c))


def test_mobius_bias_in_closed_cases() -> None:
    u, bias = torch.randn(1, 9, 4, dtype=torch.float64), torch.randn(1, 1, 4, dtype=torch.float64)
    c = torch.ones(1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(mobius_bias(0.1 * u, 0 * bias, c, 3.0), 0.1 * u)  # nothing added
    torch.testing.assert_close(mobius_bias(u, bias, 1e-9 * c, 3.0), u + bias)  # flat
    along = torch.linspace(-1.5, 1.0, 9, dtype=torch.float64).view(1, 9, 1) * bias / bias.norm()
    torch.testing.assert_close(
        mobius_bias(along, bias / bias.norm(), c, 3.0), along + bias / bias.norm()
    )  # one geodesic
    turned = mobius_bias(u, bias, c, 3.0) - (u + bias)
    assert turned.abs().amax() > 0.05  # and anywhere else the space is curved


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-6, 3.0, 1e4, 1e15])
def test_gradients_are_finite_at_the_origin_and_at_the_edge(size: float) -> None:
    u = (size * torch.nn.functional.normalize(torch.randn(2, 20, 6), dim=-1)).requires_grad_()
    bias = torch.stack([u[0, :1].detach(), -u[1, :1].detach()]).clamp(-5, 5).requires_grad_()
    c = torch.ones(2, 1, 1, requires_grad=True)
    out = mobius_bias(u, bias, c, 3.0)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert (out.norm(dim=-1) <= 3.0 + 1e-3).all()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (u, bias, c))


def test_curvature_starts_at_its_number_and_stays_within_its_span() -> None:
    curvature = Curvature(2, 0.5, 20.0)
    torch.testing.assert_close(curvature().flatten(), torch.tensor([0.5, 0.5]))
    with torch.no_grad():
        curvature.exponent.copy_(torch.tensor([-50.0, 50.0]).view(2, 1, 1))
    torch.testing.assert_close(curvature().flatten(), torch.tensor([0.025, 10.0]))


def test_balls_centre_the_rows_and_keep_hyperbolic_distances() -> None:
    balls, k = Balls((3, 2, 1), 6, tuple(range(6))), torch.tensor(-1.0, dtype=torch.float64)
    points = (0.2 + 0.4 * torch.rand(30, 6, dtype=torch.float64)).tanh()
    balls.fit(points)
    tangent, distance = balls(points)
    torch.testing.assert_close(distance.square().mean(0), torch.ones(3))
    for i, (start, end) in enumerate([(0, 3), (3, 5), (5, 6)]):
        scale = balls.scale[i].double()
        moved = geo.expmap0(tangent[:, start:end].double() * scale, k=k)
        midpoint = geo.weighted_midpoint(moved, k=k, reducedim=[0])
        torch.testing.assert_close(midpoint, torch.zeros(end - start, dtype=torch.float64), atol=1e-6, rtol=0)
        for a, b in ((0, 1), (5, 17)):
            want = geo.dist(points[a, start:end], points[b, start:end], k=k)
            torch.testing.assert_close(geo.dist(moved[a], moved[b], k=k), want, atol=1e-5, rtol=1e-5)
        centre = geo.weighted_midpoint(points[:, start:end], k=k, reducedim=[0])
        want = geo.dist(centre, points[:, start:end], k=k) / (2 * scale * (end - start) ** 0.5)
        torch.testing.assert_close(distance[:, i].double(), want, atol=1e-5, rtol=1e-5)


def test_balls_that_the_data_set_lacks_are_left_out_and_a_part_of_one_is_an_error() -> None:
    balls = Balls((3, 2, 1), 6, (0, 1, 2, 5))
    points = 0.3 * torch.randn(4, 6).tanh()
    poisoned = points.clone()
    poisoned[:, 3:5] = torch.nan
    assert (balls.width, balls.count) == (4, 2)
    assert all(torch.equal(a, b) for a, b in zip(balls(points), balls(poisoned), strict=True))
    with pytest.raises(ValueError, match="channels 3 to 4 only"):
        Balls((3, 2, 1), 6, (0, 1, 2, 3))
    with pytest.raises(ValueError, match="6 coordinates"):
        Balls((3, 2), 6, tuple(range(6)))


def test_points_on_the_rim_or_beyond_are_finite() -> None:
    balls = Balls((3, 2, 1), 6, tuple(range(6)))
    balls.fit(torch.tensor([[1.0, 0, 0, 0.5, 0.5, 0.99], [-0.6, 0.8, 0, 0.2, 0.1, 0.9]]))
    tangent, distance = balls(torch.tensor([[1.0, 0, 0, 3.0, 4.0, -1.0], [0.0] * 6]))
    assert tangent.isfinite().all()
    assert distance.isfinite().all()


def oracle(expert: UnifiedHGCN, inputs: Inputs, row: int) -> Tensor:
    """One row, written with geoopt's operations on points of each ball; Möbius product, not a tangent product."""
    values = inputs.sides["hierarchy"][row]
    k1 = torch.tensor(-1.0)
    starts, blocks, distances = ((0, 3), (3, 5), (5, 6)), [], []
    for i, (a, b) in enumerate(starts):
        middle = expert.balls.midpoint[i, : b - a]
        blocks.append(geo.logmap0(geo.mobius_add(-middle, values[a:b], k=k1), k=k1) / expert.balls.scale[i])
        distances.append(geo.dist(middle, values[a:b], k=k1) / (2 * expert.balls.scale[i] * (b - a) ** 0.5) - 1)
    columns = list(MERCHANT)
    known = torch.cat([inputs.features_mask[row, columns], torch.ones(3, dtype=torch.bool)])
    merchant = torch.where(known, torch.cat([inputs.features[row, columns], torch.stack(distances)]), expert.missing)
    total = torch.zeros(10)
    for g, (name, x) in enumerate((("hierarchy", torch.cat(blocks)), ("merchant", merchant))):
        c = expert.curvature()[g, 0, 0]
        matrices = [expert.first[name].weight, expert.weights[0][g].T]
        for matrix, bias in zip(matrices, expert.biases, strict=True):
            k = -c / matrix.shape[0]
            point = geo.mobius_matvec(matrix, geo.expmap0(0.1 * x, k=k), k=k)  # 0.1: inside of what float32 can hold
            point = geo.mobius_scalar_mul(torch.tensor(10.0), point, k=k)
            point = geo.mobius_add(point, geo.expmap0(bias.bias[g, 0], k=k), k=k)
            x = torch.nn.functional.silu(geo.logmap0(point, k=k))
        total = total + x @ expert.weights[1][g]
    return expert.norm(total)


def test_expert_equals_geoopt_step_by_step() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()).eval(), rows()
    expert.fit(inputs)
    with torch.no_grad():
        expert.missing.normal_()
        expert.curvature.exponent.copy_(torch.tensor([0.3, -0.4]).view(2, 1, 1))
    output = expert(inputs).output
    for row in range(3, 12):
        torch.testing.assert_close(output[row], oracle(expert, inputs, row), atol=1e-4, rtol=1e-4)


def test_reads_the_merchant_columns_three_covisits_and_the_distances() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()).eval(), rows()
    assert tuple(expert.columns.tolist()) == MERCHANT
    before = expert(inputs).output
    features, mask = inputs.features.clone(), inputs.features_mask.clone()
    features[:, [5, 7]], mask[:, [5, 7]] = 9.0, True
    assert torch.equal(expert(replace(inputs, features=features, features_mask=mask)).output[3:], before[3:])
    features = inputs.features.clone()
    features[:, 6] += 1
    changed = (expert(replace(inputs, features=features)).output != before).any(1)
    assert torch.equal(changed, inputs.features_mask[:, 6])
    with torch.no_grad():  # the hierarchy branch cut off: its points still speak through the distances
        expert.weights[-1][0] = 0.0
    points = {"hierarchy": inputs.sides["hierarchy"] * 0.5}
    moved = (expert(replace(inputs, sides=points)).output != expert(inputs).output).any(1)
    assert moved.tolist() == [False] * 3 + [True] * 9  # row 2 has no merchant columns to go with


def test_absent_branches_are_masked_and_gradients_stay_finite() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()), rows()
    expert.fit(inputs)
    assert expert.present(inputs).tolist() == [True, False] + [True] * 10
    for given in (inputs, inputs.without("hierarchy")):
        expert.zero_grad()
        output = expert(given).output
        (output * torch.randn_like(output)).sum().backward()
        assert output.isfinite().all()
        grads = {name: p.grad for name, p in expert.named_parameters()}
        assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    expert.zero_grad()
    output = expert(inputs).output
    (output * torch.randn_like(output)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in expert.parameters())
    assert expert.curvature.exponent.grad.all()


@pytest.mark.parametrize("only", ["hierarchy", "merchant"])
def test_works_with_one_branch(only: str) -> None:
    settings = config(present=(7,)) if only == "hierarchy" else config(sides=())
    inputs = rows(hierarchy=only == "hierarchy")
    assert UnifiedHGCN.available(settings)
    expert = UnifiedHGCN(SETTINGS, settings)
    expert.fit(inputs)
    found = expert(inputs, interpret=True)
    assert found.output.isfinite().all()
    assert found.interpretation["branch_share"].shape == (12, 1)
    absent = [0, 1] if only == "hierarchy" else [1, 2]
    assert [i for i, there in enumerate(expert.present(inputs).tolist()) if not there] == absent
    assert not UnifiedHGCN.available(config(sides=(), present=(7,)))


def test_curvature_and_max_norm_change_the_output() -> None:
    inputs, outputs = rows(), []
    for changes in ({}, {"curvature": 3.0}, {"max_norm": 0.5}, {"covisit": ()}, {"balls": (2, 2, 2)}):
        torch.manual_seed(0)
        outputs.append(UnifiedHGCN(SETTINGS.model_copy(update=changes), config()).eval()(inputs).output[3:])
    assert all((other - outputs[0]).abs().max() > 1e-3 for other in outputs[1:])


def test_interpretation() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()).eval(), rows()
    expert.fit(inputs)
    assert expert(inputs).interpretation == {}
    found = expert(inputs, interpret=True).interpretation
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "curvature": (2,),
        "depth": (12, 2),
        "branch_share": (12, 2),
        "hierarchy_distance": (12, 3),
    }
    assert all(x.isfinite().all() and not x.requires_grad for x in found.values())
    torch.testing.assert_close(found["branch_share"].sum(1)[3:], torch.ones(9))


def test_half_precision_does_not_reach_the_ball() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()).eval(), rows()
    whole = expert(inputs).output
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = expert(inputs).output
    torch.testing.assert_close(half.float(), whole, atol=0.1, rtol=0.1)
    u, c = torch.randn(1, 8, 16), torch.ones(1, 1, 1)
    outside = mobius_bias(u, u[:, :1], c, 3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mobius_bias(u, u[:, :1], c, 3.0), outside)


def test_fit_ignores_rows_without_a_hierarchy() -> None:
    expert, inputs = UnifiedHGCN(SETTINGS, config()), rows()
    expert.fit(inputs)
    other = UnifiedHGCN(SETTINGS, config())
    other.fit(inputs.index(torch.arange(2, 12)))
    torch.testing.assert_close(expert.balls.midpoint, other.balls.midpoint)
    expert.fit(inputs.index(torch.arange(2)))  # none of them has one: what was fitted stays
    torch.testing.assert_close(expert.balls.midpoint, other.balls.midpoint)


def test_budget_when_everything_is_there() -> None:
    names = (*(f"merchant__{i}" for i in range(21)), *UnifiedHGCNConfig().covisit)
    expert = UnifiedHGCN(UnifiedHGCNConfig(), InputConfig(columns=names, present=tuple(range(24)), normalised=24))
    assert expert.first["merchant"].in_features + expert.first["hierarchy"].in_features == 47
    assert 0.7 * 200_000 < sum(p.numel() for p in expert.parameters()) < 1.3 * 200_000
