import itertools
import math

import pytest
import torch

from ple_model.config import TaskConfig, WeightingConfig
from ple_model.losses.weighting import GradNorm, UncertaintyWeighting, build_weighting


def _tasks(*weights: float) -> tuple[TaskConfig, ...]:
    return tuple(
        TaskConfig(name=f"t{i}", group="g", kind="binary", loss="focal", weight=w) for i, w in enumerate(weights)
    )


ALL = torch.ones(3, dtype=torch.bool)


def test_minimiser_over_s_alone_is_log_loss() -> None:
    weighting = build_weighting(WeightingConfig(), _tasks(1.0, 2.0, 0.5))
    assert isinstance(weighting, UncertaintyWeighting)
    losses = torch.tensor([0.05, 1.0, 20.0])
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        weighting(losses, ALL).sum().backward()
        optimizer.step()
    torch.testing.assert_close(weighting.log_variance.detach(), losses.log(), atol=1e-3, rtol=1e-3)


def test_a_smaller_loss_is_not_given_less_precision_than_a_larger_one() -> None:
    weighting = build_weighting(WeightingConfig(), _tasks(1.0, 1.0, 1.0))
    s = torch.tensor([-1.0, 0.0, 2.0])
    weighting.log_variance.data.copy_(s)  # type: ignore[operator]
    torch.testing.assert_close(weighting(torch.full((3,), 3.0), ALL), 3.0 * torch.exp(-s) + s)


@pytest.mark.parametrize(("loss", "bound"), [(1e-9, -4.0), (1e9, 4.0)])
def test_s_stays_in_its_bounds_and_can_come_back(loss: float, bound: float) -> None:
    weighting = build_weighting(WeightingConfig(), _tasks(1.0))
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.2)
    one = ALL[:1]
    for step_loss, steps in ((loss, 60), (1.0, 60)):
        for _ in range(steps):
            optimizer.zero_grad()
            weighting(torch.tensor([step_loss]), one).sum().backward()
            optimizer.step()
        weighting(torch.tensor([1.0]), one)
        if step_loss == loss:
            assert weighting.log_variance.item() == bound  # type: ignore[operator]
    assert abs(weighting.log_variance.item()) < 0.5  # type: ignore[operator]


def test_precision_has_bounds_of_its_own() -> None:
    weighting = build_weighting(WeightingConfig(precision=(0.5, 2.0)), _tasks(1.0, 1.0, 1.0))
    weighting.log_variance.data.copy_(torch.tensor([-3.0, 0.0, 3.0]))  # type: ignore[operator]
    want = torch.tensor([2.0, 1.0, 0.5]) * 7.0 + torch.tensor([-3.0, 0.0, 3.0])
    torch.testing.assert_close(weighting(torch.full((3,), 7.0), ALL), want)


@pytest.mark.parametrize("strategy", ["fixed", "uncertainty", "gradnorm", "dwa"])
def test_doubling_a_weight_doubles_its_contribution(strategy: str) -> None:
    losses = torch.tensor([0.3, 2.0, 5.0])
    config = WeightingConfig.from_dict({"strategy": strategy})
    once = build_weighting(config, _tasks(1.0, 1.5, 0.8))(losses, ALL)
    twice = build_weighting(config, _tasks(1.0, 3.0, 0.8))(losses, ALL)
    torch.testing.assert_close(twice / once, torch.tensor([1.0, 2.0, 1.0]))


def test_fixed_is_the_weight_times_the_loss_and_has_nothing_to_learn() -> None:
    weighting = build_weighting(WeightingConfig(strategy="fixed"), _tasks(1.0, 1.5, 0.8))
    assert list(weighting.parameters()) == []
    got = weighting(torch.tensor([0.3, 2.0, 5.0]), torch.tensor([True, True, False]))
    torch.testing.assert_close(got, torch.tensor([0.3, 3.0, 0.0]))


def test_start_is_the_plain_weighted_sum() -> None:
    weighting = build_weighting(WeightingConfig(), _tasks(1.0, 1.0, 1.0))
    assert math.isclose(weighting(torch.tensor([1.0, 2.0, 3.0]), ALL).sum().item(), 6.0, rel_tol=1e-6)


def test_gradnorm_steps_down_the_gradient_of_its_loss() -> None:
    """Against autograd of Σ|m n − n̄ r^α| over log m, target constant, as the paper writes it."""
    weighting = build_weighting(WeightingConfig(strategy="gradnorm", rate=0.1, restoring=1.2), _tasks(1.0, 5.0, 0.2))
    assert isinstance(weighting, GradNorm)
    first, losses = torch.tensor([2.0, 1.0, 4.0]), torch.tensor([1.0, 0.9, 1.0])
    norms = torch.tensor([0.5, 3.0, 1.0])
    weighting.measure(norms, first, ALL)
    log_scale = weighting.scale.log().requires_grad_()
    scaled = log_scale.exp() * norms
    mean = scaled.mean().detach()
    ratio = losses / first
    loss = (scaled - mean * (ratio / ratio.mean()) ** 1.2).abs().sum()
    (gradient,) = torch.autograd.grad(loss, log_scale)
    want = torch.exp(log_scale.detach() - 0.1 * gradient / mean)
    weighting.measure(norms, losses, ALL)
    torch.testing.assert_close(weighting.scale, 3.0 * want / want.sum())


def test_gradnorm_ends_where_norms_follow_the_training_rates() -> None:
    """m_k n_k ∝ r_k^α at the fixed point, for constant norms and losses; more than two updates work."""
    weighting = build_weighting(WeightingConfig(strategy="gradnorm", rate=0.02, restoring=1.5), _tasks(1.0, 1.0, 1.0))
    norms, losses = torch.tensor([0.1, 1.0, 5.0]), torch.tensor([0.5, 1.0, 0.25])
    weighting.measure(norms, torch.ones(3), ALL)
    for _ in range(600):
        weighting.measure(norms, losses, ALL)
    want = (losses / losses.mean()) ** 1.5 / norms
    torch.testing.assert_close(weighting.multipliers(), 3.0 * want / want.sum(), atol=0.05, rtol=0.1)


def test_gradnorm_leaves_out_tasks_without_labels_and_what_is_not_finite() -> None:
    weighting = build_weighting(WeightingConfig(strategy="gradnorm"), _tasks(1.0, 1.0, 1.0))
    labelled = torch.tensor([True, False, True])
    for losses in ([1.0, math.nan, 1.0], [0.5, math.nan, 0.9]):
        weighting.measure(torch.tensor([1.0, math.nan, 2.0]), torch.tensor(losses), labelled)
    weighting.measure(torch.tensor([1.0, 1.0, math.inf]), torch.tensor([1.0, 1.0, 1.0]), ALL)
    weighting.measure(torch.zeros(3), torch.zeros(3), ALL)
    assert weighting.multipliers().isfinite().all()
    assert weighting.multipliers().sum().item() == pytest.approx(3.0)
    assert weighting.multipliers()[0] > weighting.multipliers()[2]


def test_dynamic_weight_averaging_is_the_papers_formula_from_the_third_epoch_on() -> None:
    weighting = build_weighting(WeightingConfig(strategy="dwa", temperature=2.0), _tasks(1.0, 2.0, 1.0))
    epochs = [[1.0, 2.0, 3.0], [0.5, 2.0, 2.7], [0.4, 1.0, 2.7]]
    for mean in epochs[:1]:
        weighting.epoch(torch.tensor(mean))
        assert weighting.multipliers().tolist() == [1.0, 2.0, 1.0]
    for before, mean in itertools.pairwise(epochs):
        weighting.epoch(torch.tensor(mean))
        powers = [math.exp(m / b / 2.0) for m, b in zip(mean, before, strict=True)]
        want = [w * 3 * p / sum(powers) for w, p in zip([1.0, 2.0, 1.0], powers, strict=True)]
        assert weighting.multipliers().tolist() == pytest.approx(want)


def test_dynamic_weight_averaging_leaves_a_task_without_labels_at_one() -> None:
    weighting = build_weighting(WeightingConfig(strategy="dwa"), _tasks(1.0, 1.0, 1.0))
    for mean in ([1.0, 0.0, 1.0], [0.5, 1.0, 1.0]):
        weighting.epoch(torch.tensor(mean))
    found = weighting.multipliers()
    assert found[1].item() == 1.0
    assert found[0] < 1.0 < found[2]
    assert found.sum().item() == pytest.approx(3.0)


@pytest.mark.parametrize("strategy", ["gradnorm", "dwa"])
def test_what_is_measured_survives_a_checkpoint_and_is_not_learnt(strategy: str) -> None:
    config = WeightingConfig.from_dict({"strategy": strategy})
    one, other = build_weighting(config, _tasks(1.0, 1.0, 1.0)), build_weighting(config, _tasks(1.0, 1.0, 1.0))
    for losses in (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0, 2.0])):
        one.measure(torch.tensor([1.0, 2.0, 3.0]), losses, ALL)
        one.epoch(losses)
    assert not torch.equal(one.multipliers(), other.multipliers())
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.multipliers(), other.multipliers())
    assert list(one.parameters()) == []
