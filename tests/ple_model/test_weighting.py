import math

import pytest
import torch

from ple_model.config import TaskConfig, WeightingConfig
from ple_model.weighting import UncertaintyWeighting, build_weighting


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


@pytest.mark.parametrize("strategy", ["fixed", "uncertainty"])
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
