import json
import math

import pytest
import torch
from torch import Tensor

from ple_model.config import AdaTTConfig, TaskConfig
from ple_model.losses.adatt import AdaTT, group_prior
from tests.ple_model.catalogue import default_tasks

T = 4


def task(name: str, group: str) -> TaskConfig:
    return TaskConfig(name=name, group=group, kind="binary", loss="focal")


TASKS = (task("a", "value"), task("b", "value"), task("c", "lifecycle"), task("d", "lifecycle"))
ALL = torch.ones(T, dtype=torch.bool)


def gram_of(affinity: Tensor) -> Tensor:
    """A Gram matrix with these cosines and unequal norms."""
    norms = torch.tensor([1.0, 2.0, 0.1, 30.0])
    return affinity * norms * norms[:, None]


def symmetric(**pairs: float) -> Tensor:
    affinity = torch.eye(T)
    for name, value in pairs.items():
        i, j = ("abcd".index(letter) for letter in name)
        affinity[i, j] = affinity[j, i] = value
    return affinity


def build(epoch: int = 1, affinity: Tensor | None = None, **settings: object) -> AdaTT:
    config = AdaTTConfig.from_dict({"warmup_epochs": 2, "freeze_epoch": 6, **settings})
    module = AdaTT(config, TASKS)
    if affinity is not None:
        module.measure(gram_of(affinity), ALL)
    module.begin_epoch(epoch)
    return module


def weights_by_loop(module: AdaTT, has: Tensor, r: float) -> Tensor:
    """MODEL §12.2 read pair by pair."""
    config, want = module.config, torch.zeros(T, T)
    for i in range(T):
        strength = [
            0.0 if j == i else config.intra[TASKS[i].group] if TASKS[i].group == TASKS[j].group else config.inter
            for j in range(T)
        ]
        terms = {}
        for j in range(T):
            affinity = module.affinity[i, j].item()
            if j == i or affinity < config.conflict or not has[j] or not has[i]:
                continue
            mixed = (module.weight[i, j].item() + affinity) * (1 - r) + strength[j] / sum(strength) * r
            terms[j] = math.exp(mixed / config.temperature)
        for j, term in terms.items():
            want[i, j] = term / sum(terms.values())
    return want


# Affinity


def test_first_observation_is_whole_and_then_a_moving_average() -> None:
    first, second = symmetric(ab=0.6, bc=-0.4), symmetric(ab=-0.2, cd=0.5)
    module = build(affinity=first)
    torch.testing.assert_close(module.affinity, first)
    module.measure(gram_of(second), ALL)
    torch.testing.assert_close(module.affinity, 0.9 * first + 0.1 * second)


def test_a_pair_first_seen_later_is_taken_whole_then() -> None:
    first, second = symmetric(ab=0.6), symmetric(ab=0.1, ac=0.7, bd=-0.3)
    module = build()
    module.measure(gram_of(first), torch.tensor([True, True, False, False]))
    assert module.observed.sum() == 4
    module.measure(gram_of(second), ALL)
    want = second.clone()
    want[0, 1] = want[1, 0] = 0.9 * 0.6 + 0.1 * 0.1
    torch.testing.assert_close(module.affinity, want)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_task_without_a_usable_gradient_keeps_what_was_known(bad: float) -> None:
    first = symmetric(ab=0.6, ac=0.2)
    module = build(affinity=first)
    gram = gram_of(symmetric(ab=-0.5, bd=0.4))
    gram[0], gram[:, 0] = bad, bad
    module.measure(gram, ALL)
    torch.testing.assert_close(module.affinity[0], first[0])
    torch.testing.assert_close(module.affinity[1, 3], torch.tensor(0.1 * 0.4))


def test_affinity_is_clamped() -> None:
    module = build(affinity=symmetric(ab=1.7, cd=-1.3))
    assert (module.affinity[0, 1].item(), module.affinity[2, 3].item()) == (1.0, -1.0)


# Weights


def test_prior_of_the_default_tasks() -> None:
    tasks = default_tasks()
    prior = group_prior(AdaTTConfig(), tasks)
    torch.testing.assert_close(prior.sum(1), torch.ones(16))
    assert not prior.diagonal().any()
    index = {t.name: i for i, t in enumerate(tasks)}
    inside = {"engagement": ("ctr", "cvr", 0.8), "lifecycle": ("churn", "ltv", 0.7)}
    inside |= {"value": ("channel", "timing", 0.6), "consumption": ("nba", "merchant_affinity", 0.7)}
    for a, b, strength in inside.values():
        outside = index["churn" if a != "churn" else "nba"]
        torch.testing.assert_close(prior[index[a], index[b]] / prior[index[a], outside], torch.tensor(strength / 0.3))


def test_a_group_without_a_strength_is_an_error() -> None:
    with pytest.raises(ValueError, match="no strength for group other"):
        AdaTT(AdaTTConfig(), (*TASKS, task("e", "other")))


@pytest.mark.parametrize("epoch", [3, 5, 7])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("has", [ALL, torch.tensor([True, False, True, True])], ids=["all", "one without labels"])
def test_weights_equal_a_loop_over_pairs(epoch: int, temperature: float, has: Tensor) -> None:
    module = build(temperature=temperature)
    module.weight.data.normal_()
    module.measure(gram_of(symmetric(ab=0.6, ac=-0.3, bd=0.2, cd=-0.05)), ALL)
    module.begin_epoch(epoch)
    r = {3: 0.5, 5: 0.3, 7: 0.1}[epoch]
    torch.testing.assert_close(module.weights(has), weights_by_loop(module, has, r))


def test_blocked_pairs_the_diagonal_and_absent_tasks_get_exactly_nothing() -> None:
    module = build(3, symmetric(ab=-0.5, ac=-0.1001, ad=-0.0999, bc=0.9))
    weights = module.weights(torch.tensor([True, True, True, True]))
    assert weights[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert not weights.diagonal().any()
    torch.testing.assert_close(weights.sum(1), torch.ones(T))
    weights = module.weights(torch.tensor([True, True, True, False]))
    assert not weights[0].any()  # nothing is left for a
    assert not weights[3].any()
    assert not weights[:, 3].any()


def test_more_conflict_never_means_more_weight() -> None:
    """A pair far below the threshold once kept a larger share than one just above it."""
    shares = [build(3, symmetric(ab=value)).weights(ALL)[0, 1].item() for value in (-0.9, -0.5, -0.05, 0.0, 0.5, 1.0)]
    assert shares[:2] == [0.0, 0.0]
    assert shares == sorted(shares)


def test_nothing_is_blocked_before_it_was_seen() -> None:
    assert (build(3).weights(ALL) > 0).sum() == T * (T - 1)


def test_learnt_weights_get_a_finite_gradient_where_a_pair_is_open() -> None:
    module = build(3, symmetric(ab=-0.5, ac=-0.5, ad=-0.5, cd=0.4))
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    module.transfer(losses, ALL).sum().backward()
    grad = module.weight.grad
    assert grad is not None
    assert grad.isfinite().all()
    assert not grad[0].any()
    open_pairs = torch.ones(T, T, dtype=torch.bool).fill_diagonal_(False)
    open_pairs[0], open_pairs[:, 0] = False, False
    assert torch.equal(grad != 0, open_pairs)


# Loss


def test_transfer_equals_the_formula() -> None:
    module = build(3, symmetric(ab=0.6, cd=0.4))
    losses = torch.tensor([0.01, 2.0, 3.0, 0.5])
    weights = module.weights(ALL)
    want = [
        losses[i] + min(0.1 * sum(weights[i, j].item() * losses[j].item() for j in range(T)), 0.5 * losses[i].item())
        for i in range(T)
    ]
    got = module.transfer(losses, ALL)
    torch.testing.assert_close(got, torch.stack(want))
    assert got[0].item() == pytest.approx(0.015)  # at the limit


def test_gradient_of_what_is_taken_reaches_other_tasks_and_stops_at_the_limit() -> None:
    module = build(3, symmetric(ab=0.6, cd=0.4))
    losses = torch.tensor([0.01, 2.0, 3.0, 0.5], requires_grad=True)
    taken = module.transfer(losses, ALL) - losses
    assert not torch.autograd.grad(taken[0], losses, retain_graph=True)[0].any()
    grad = torch.autograd.grad(taken[1], losses)[0]
    torch.testing.assert_close(grad, 0.1 * module.weights(ALL)[1])


def test_negative_losses_are_bounded_by_their_size() -> None:
    """Uncertainty weighting makes small losses negative; their bound must not switch the mechanism off."""
    module = build(3, symmetric(ab=0.6, cd=0.4))
    losses = torch.tensor([-2.0, -1.5, -1e-3, 1.0], requires_grad=True)
    taken = module.transfer(losses, ALL) - losses
    assert (taken.detach().abs() <= 0.5 * losses.detach().abs() + 1e-7).all()
    assert torch.autograd.grad(taken[0], losses)[0].any()


def test_absent_tasks_take_and_give_nothing_not_even_nan() -> None:
    module = build(3, symmetric(ab=0.6))
    has = torch.tensor([True, True, False, True])
    with_nan = torch.tensor([1.0, 2.0, math.nan, 3.0])
    got = module.transfer(with_nan, has)[has]
    torch.testing.assert_close(got, module.transfer(torch.tensor([1.0, 2.0, 0.0, 3.0]), has)[has])
    assert module.transfer(torch.tensor([1.0, 2.0, 0.0, 3.0]), has)[2] == 0
    one = torch.tensor([False, True, False, False])
    assert torch.equal(module.transfer(torch.tensor([0.0, 2.0, 0.0, 0.0]), one), torch.tensor([0.0, 2.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 0.3},
        {"limit": 0.01},
        {"temperature": 0.2},
        {"prior": (0.9, 0.8)},
        {"conflict": 0.5},
        {"intra": {"value": 5.0, "lifecycle": 0.7}},
        {"inter": 3.0},
        {"enabled": False},
        {"warmup_epochs": 4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_switch_changes_the_loss(change: dict[str, object]) -> None:
    affinity, losses = symmetric(ab=0.6, cd=0.4, ac=0.1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    before = build(3, affinity).transfer(losses, ALL)
    assert not torch.equal(build(3, affinity, **change).transfer(losses, ALL), before)


def test_momentum_and_interval_are_read() -> None:
    module = build(affinity=symmetric(ab=1.0), momentum=0.5, every=3)
    module.measure(gram_of(symmetric(ab=0.0)), ALL)
    assert module.affinity[0, 1].item() == pytest.approx(0.5)
    assert [step for step in range(8) if module.due(step)] == [0, 3, 6]


# Phases


def test_phases_and_prior_share_at_their_epochs() -> None:
    module = AdaTT(AdaTTConfig(), default_tasks())
    phases, shares = [], []
    for epoch in range(1, 32):
        module.begin_epoch(epoch)
        phases.append(module.phase)
        shares.append(module.prior_share)
    assert phases == ["warm-up"] * 10 + ["dynamic"] * 18 + ["frozen"] * 3
    assert shares[:11] == [0.5] * 11
    assert shares[19] == pytest.approx(0.3)
    assert shares[28:] == pytest.approx([0.1] * 3)
    assert shares == sorted(shares, reverse=True)


def test_warm_up_measures_from_the_first_step_and_transfers_nothing() -> None:
    module = build(1)
    assert module.due(0)
    module.measure(gram_of(symmetric(ab=0.6)), ALL)
    assert module.affinity[0, 1].item() == pytest.approx(0.6)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert module.transfer(losses, ALL) is losses


def test_steps_that_measure_are_counted_once() -> None:
    module = build(3, every=10)
    assert sum(module.due(step) for step in range(1000)) == 100


def test_frozen_weights_stay_as_they_were_and_learn_nothing() -> None:
    module = build(6, symmetric(ab=0.6, ac=-0.4))
    module.begin_epoch(7)
    weights = module.weights(ALL)
    assert not any(module.due(step) for step in range(100))
    module.measure(gram_of(symmetric(ab=-0.9, ac=0.9)), ALL)
    module.weight.data.normal_()
    module.begin_epoch(8)
    assert torch.equal(module.weights(ALL), weights)
    assert weights[0, 2] == 0
    assert not weights.requires_grad
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    assert not torch.equal(module.transfer(losses, ALL), losses)


@pytest.mark.parametrize("epoch", [1, 4, 7])
def test_state_survives_a_checkpoint(epoch: int) -> None:
    module = build(3, symmetric(ab=0.6, ac=-0.4, bd=0.3))
    module.weight.data.normal_()
    module.begin_epoch(epoch)
    module.weight.data.mul_(2.0)
    again = build()
    again.load_state_dict(module.state_dict())
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert again.phase == module.phase
    assert torch.equal(again.transfer(losses, ALL), module.transfer(losses, ALL))
    for twin in (module, again):
        twin.begin_epoch(epoch + 1)
        twin.measure(gram_of(symmetric(ab=-0.6)), ALL)
    assert torch.equal(again.transfer(losses, ALL), module.transfer(losses, ALL))


def test_weights_of_an_epoch_before_the_freeze_can_come_back() -> None:
    module = build(6, symmetric(ab=0.6))
    best = {name: value.clone() for name, value in module.state_dict().items()}
    module.begin_epoch(7)
    module.load_state_dict(best)
    assert module.phase == "dynamic"
    module.begin_epoch(6)
    assert module.weights(ALL).requires_grad


def test_suspended_is_off_and_comes_back_whatever_happens() -> None:
    module, losses = build(3, symmetric(ab=0.6)), torch.tensor([1.0, 2.0, 3.0, 4.0])

    def fail_inside() -> None:
        with module.suspended():
            assert module.transfer(losses, ALL) is losses
            assert not module.due(0)
            raise RuntimeError("step failed")

    with pytest.raises(RuntimeError, match="step failed"):
        fail_inside()
    assert module.due(0)
    assert not torch.equal(module.transfer(losses, ALL), losses)


# Report


def test_negative_transfer_names_tasks_in_conflict() -> None:
    module = build(1, symmetric(ab=-0.5, ac=-0.2, cd=0.3))
    assert module.negative_transfer() == {"a": ["b", "c"], "b": ["a"], "c": ["a"]}
    assert build(1).negative_transfer() == {}


def test_report_is_plain_json() -> None:
    module = build(3, symmetric(ab=-0.5, cd=0.25))
    with module.timed():
        module.compare(gram_of(symmetric(ab=0.5, cd=0.1)), gram_of(symmetric(ab=0.25, cd=0.05)), ALL)
    report = module.report(epoch_seconds=10.0)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["phase"] == "dynamic"
    assert (report.tasks, report.epoch, report.prior_share) == (("a", "b", "c", "d"), 3, 0.5)
    assert report.affinity[2][3] == pytest.approx(0.25)
    assert report.weights[0][1] == 0.0
    assert report.conflicts == {"a": ["b"], "b": ["a"]}
    assert report.correlation == pytest.approx(1.0)
    assert 0 < report.seconds == pytest.approx(10 * report.share)
    module.begin_epoch(4)
    assert (module.report(10.0).seconds, module.report(10.0).correlation) == (0.0, None)
