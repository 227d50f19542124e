from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from ple_model.config import BasketConfig, TaskConfig
from ple_model.layers.cluster_basket import ClusterTaskExpertBasket
from tests.ple_model.catalogue import default_tasks

WIDTHS, HMM, CLUSTERS, ROWS = (6, 4, 5), 3, 4, 7
HMM_MODES = ("lifecycle", "behavior", "journey", "behavior")
TASKS = tuple(
    TaskConfig(name=f"t{i}", group="g", kind="binary", loss="focal", hmm=mode) for i, mode in enumerate(HMM_MODES)
)


def _basket(hmm_width: int = HMM, **settings: object) -> ClusterTaskExpertBasket:
    config = BasketConfig.from_dict({"cluster_hidden": (5,), "width": 3, **settings})
    basket = ClusterTaskExpertBasket(config, TASKS, WIDTHS, hmm_width, CLUSTERS)
    for parameter in basket.parameters():
        torch.nn.init.normal_(parameter)
    return basket


def _batch() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    blocks = [torch.randn(ROWS, width, requires_grad=True) for width in WIDTHS]
    weights = torch.rand(ROWS, len(TASKS), len(WIDTHS), requires_grad=True)
    modes = torch.randn(ROWS, 3, HMM, requires_grad=True)
    return blocks, weights, modes, torch.rand(ROWS, CLUSTERS).softmax(-1)


def _by_loop(
    basket: ClusterTaskExpertBasket,
    hidden: tuple[int, ...],
    blocks: list[torch.Tensor],
    weights: torch.Tensor,
    modes: torch.Tensor | None,
    probs: torch.Tensor,
) -> torch.Tensor:
    """One network after the other, each mixed in with its cluster's share."""
    names = ["journey", "lifecycle", "behavior"]
    outputs = []
    for t, task in enumerate(TASKS):
        parts = [weights[:, t, i, None] * h for i, h in enumerate(blocks)]
        x = torch.cat(parts if modes is None else [*parts, modes[:, names.index(task.hmm)]], dim=1)
        total = torch.zeros(ROWS, 3)
        for c in range(CLUSTERS):
            span, head = slice(c * hidden[0], (c + 1) * hidden[0]), t * CLUSTERS + c
            u = x @ basket.first.weight[t, :, span] + basket.first.bias[t, 0, span]
            u = F.silu(F.layer_norm(u, (hidden[0],), basket.gain[0][t, 0, c], basket.shift[0][t, 0, c]))
            for i, (_, width) in enumerate(pairwise(hidden)):
                u = u @ basket.inner[i].weight[head] + basket.inner[i].bias[head, 0]
                u = F.silu(F.layer_norm(u, (width,), basket.gain[i + 1][t, 0, c], basket.shift[i + 1][t, 0, c]))
            span = slice(c * hidden[-1], (c + 1) * hidden[-1])
            total = total + probs[:, c, None] * (u @ basket.last[t, span] + basket.last_bias[t, c])
        outputs.append(F.silu(F.layer_norm(total, (3,), basket.norm.weight[t, 0], basket.norm.bias[t, 0])))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("hidden", [(5,), (5, 6, 4)])
def test_equals_a_loop_over_tasks_and_clusters(hidden: tuple[int, ...]) -> None:
    basket, (blocks, weights, modes, probs) = _basket(cluster_hidden=hidden), _batch()
    got = basket(blocks, weights, modes, probs)
    assert got.mixed is None
    want = _by_loop(basket, hidden, blocks, weights, modes, probs)
    torch.testing.assert_close(got.vectors, want, atol=1e-5, rtol=1e-4)
    read = [*blocks, weights, modes, *basket.parameters()]
    gradients = [torch.autograd.grad(out.square().sum(), read) for out in (got.vectors, want)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_without_modes() -> None:
    basket, (blocks, weights, _, probs) = _basket(hmm_width=0), _batch()
    got = basket(blocks, weights, None, probs).vectors
    torch.testing.assert_close(got, _by_loop(basket, (5,), blocks, weights, None, probs), atol=1e-5, rtol=1e-4)


def test_hard_routing_takes_the_likeliest_cluster() -> None:
    soft, hard = _basket(), _basket(routing="hard")
    hard.load_state_dict(soft.state_dict())
    blocks, weights, modes, probs = _batch()
    got = hard(blocks, weights, modes, probs).vectors
    assert not torch.allclose(soft(blocks, weights, modes, probs).vectors, got)
    certain = F.one_hot(probs.argmax(1), CLUSTERS).float()
    torch.testing.assert_close(got, _by_loop(soft, (5,), blocks, weights, modes, certain), atol=1e-5, rtol=1e-4)


def test_dropout_is_of_training_only() -> None:
    basket, batch = _basket(dropout=0.5), _batch()
    assert not torch.equal(basket(*batch).vectors, basket(*batch).vectors)
    basket.eval()
    assert torch.equal(basket(*batch).vectors, basket(*batch).vectors)


def test_parameters_of_the_seven_expert_model() -> None:
    basket = ClusterTaskExpertBasket(BasketConfig(), default_tasks(), [128] + [64] * 6, 32, clusters=20)
    count = sum(p.numel() for p in basket.parameters())
    assert 0.9 * 3.0e6 < count < 1.1 * 3.0e6  # MODEL §6
