from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize
from torchjd import aggregation as jd

from ple_model.config import WeightingConfig
from ple_model.losses.conflict import ConflictWeights, nash_weights

METHODS = ["upgrad", "pcgrad", "cagrad", "nash_mtl", "aligned_mtl", "mgda", "imtl_g"]
ALL = torch.ones(5, dtype=torch.bool)


def _module(method: str, tasks: int = 5, **changes: float) -> ConflictWeights:
    return ConflictWeights(WeightingConfig.from_dict({"conflict": method} | changes), tasks)


def _gradients(conflict: float, tasks: int = 5, width: int = 40) -> torch.Tensor:
    """Rows of unit length; each has the cosine −`conflict` with the one before it."""
    rows = [torch.randn(width, dtype=torch.float64)]
    for _ in range(tasks - 1):
        new = torch.randn(width, dtype=torch.float64)
        last = rows[-1] / rows[-1].norm()
        new = new - (new @ last) * last
        rows.append((1 - conflict**2) ** 0.5 * new / new.norm() - conflict * last)
    rows[0] = rows[0] / rows[0].norm()
    return torch.stack(rows)


@pytest.mark.parametrize("method", METHODS)
def test_orthogonal_gradients_of_one_length_are_summed(method: str) -> None:
    module = _module(method, cagrad_radius=0.0)
    module.measure(3.0 * torch.eye(5), ALL)
    torch.testing.assert_close(module.weights, torch.ones(5), atol=1e-3, rtol=0)


AGGREGATORS = {
    "upgrad": (jd.UPGrad(), 5.0),
    "cagrad": (jd.CAGrad(c=0.4), 5.0),
    "mgda": (jd.MGDA(), 5.0),
    "imtl_g": (jd.IMTLG(), 5.0),
    "pcgrad": (jd.PCGrad(), 1.0),
}


@pytest.mark.parametrize("method", AGGREGATORS)
def test_the_weighted_sum_is_torchjds_aggregate_of_the_gradients(method: str) -> None:
    gradients = _gradients(0.6)
    aggregator, factor = AGGREGATORS[method]
    module = _module(method)
    torch.manual_seed(3)
    module.measure(gradients @ gradients.T, ALL)
    torch.manual_seed(3)
    torch.testing.assert_close(
        module.weights.double() @ gradients, factor * aggregator(gradients), atol=2e-3, rtol=2e-3
    )


def test_aligned_gradients_are_torchjds_up_to_a_factor() -> None:
    gradients = _gradients(0.6)
    module = _module("aligned_mtl")
    module.measure(gradients @ gradients.T, ALL)
    got, want = module.weights.double() @ gradients, jd.AlignedMTL()(gradients)
    torch.testing.assert_close(got / got.norm(), want / want.norm(), atol=1e-5, rtol=1e-5)
    assert module.weights.mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["upgrad", "cagrad", "nash_mtl", "mgda", "imtl_g"])
def test_no_task_is_worsened_by_the_step_where_the_sum_would(method: str) -> None:
    gradients = _gradients(0.7)
    gradients[0] *= 6.0
    gram = gradients @ gradients.T
    assert (gram @ torch.ones(5, dtype=torch.float64)).min() < -0.1
    module = _module(method, cagrad_radius=1.0)
    module.measure(gram, ALL)
    assert (gram @ module.weights.double()).min() > -1e-2


def test_bargaining_solution_solves_its_equation() -> None:
    for tasks in (2, 5, 16):
        gradients = torch.randn(tasks, 60, dtype=torch.float64) * torch.logspace(-2, 2, tasks).unsqueeze(1)
        gram = gradients @ gradients.T
        alpha = nash_weights(gram)
        assert bool((alpha > 0).all())
        torch.testing.assert_close(gram @ alpha * alpha, torch.ones(tasks, dtype=torch.float64), atol=1e-4, rtol=0)


def test_bargaining_solution_is_scipys_minimum_and_maximises_the_product_of_gains() -> None:
    gradients = _gradients(0.5, tasks=4)
    gram = (gradients @ gradients.T).numpy()
    alpha = nash_weights(torch.from_numpy(gram)).numpy()

    def objective(log_alpha: np.ndarray) -> float:
        a = np.exp(log_alpha)
        return 0.5 * a @ gram @ a - log_alpha.sum()

    found = optimize.minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(alpha, np.exp(found.x), rtol=1e-5)
    length = np.sqrt(alpha @ gram @ alpha)
    rng = np.random.default_rng(0)
    for _ in range(200):  # no other direction of that length in the gradients' span has a larger product of gains
        other = np.abs(alpha + rng.normal(scale=0.3, size=4))
        other *= length / np.sqrt(other @ gram @ other)
        gains = gram @ other
        assert (gains <= 0).any() or np.log(gains).sum() <= np.log(gram @ alpha).sum() + 1e-9


def test_bargaining_is_bounded_where_two_gradients_cancel() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert bool(nash_weights(gradients @ gradients.T).isfinite().all())


@pytest.mark.parametrize("method", METHODS)
def test_tasks_without_labels_or_gradient_keep_their_weight(method: str) -> None:
    gradients = _gradients(0.6)
    gradients[2] = 0.0
    module = _module(method)
    module.weights[1:3] = torch.tensor([0.3, 0.7])
    labelled = torch.tensor([True, False, True, True, True])
    torch.manual_seed(0)
    module.measure((gradients @ gradients.T).float(), labelled)
    torch.testing.assert_close(module.weights[1:3], torch.tensor([0.3, 0.7]))
    alone = _module(method, tasks=3)
    kept = gradients[[0, 3, 4]]
    torch.manual_seed(0)
    alone.measure((kept @ kept.T).float(), ALL[:3])
    torch.testing.assert_close(module.weights[[0, 3, 4]], alone.weights)


@pytest.mark.parametrize("method", METHODS)
def test_a_common_factor_changes_nothing(method: str) -> None:
    gram = _gradients(0.6) @ _gradients(0.6).T
    gram = gram @ gram.T
    found = []
    for factor in (1e-8, 1.0, 1e8):
        module = _module(method)
        torch.manual_seed(0)
        module.measure(factor * gram, ALL)
        found.append(module.weights)
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[2], found[1], atol=1e-3, rtol=1e-3)


def test_one_task_counts_once_and_no_task_changes_nothing() -> None:
    module = _module("upgrad")
    module.weights.fill_(0.4)
    module.measure(torch.eye(5), ALL & False)
    assert module.weights.tolist() == pytest.approx([0.4] * 5)
    module.measure(torch.eye(5), torch.arange(5) == 3)
    assert module.weights.tolist() == pytest.approx([0.4, 0.4, 0.4, 1.0, 0.4])


def test_what_is_not_finite_is_passed_on_to_be_counted() -> None:
    module = _module("upgrad")
    module.measure(torch.full((5, 5), torch.nan), ALL)
    assert not module.weights.isfinite().any()


def test_values_stay_and_gradients_are_weighted() -> None:
    module = _module("upgrad", tasks=3)
    module.weights.copy_(torch.tensor([0.0, 0.5, 2.0]))
    losses = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    scaled = module(losses)
    torch.testing.assert_close(scaled, losses)
    scaled.sum().backward()
    torch.testing.assert_close(losses.grad, module.weights)


def test_weights_survive_a_checkpoint_and_none_is_an_error() -> None:
    module, again = _module("upgrad"), _module("upgrad")
    module.weights.fill_(0.3)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.weights, module.weights)
    with pytest.raises(ValueError, match="names no method"):
        ConflictWeights(WeightingConfig(), 3)
