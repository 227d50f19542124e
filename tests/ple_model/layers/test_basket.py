import pytest
import torch

from ple_model.config import BasketConfig, TaskConfig
from ple_model.layers.basket import MODES, GroupTaskExpertBasket
from tests.ple_model.catalogue import default_tasks

WIDTHS = (6, 4, 5)
GROUPS = ("x", "y", "x", "z", "y")  # tasks of a group need not stand together
HMM = ("journey", "behavior", "journey", "lifecycle", "behavior")
TASKS = tuple(
    TaskConfig(name=f"t{i}", group=group, kind="binary", loss="focal", hmm=mode)
    for i, (group, mode) in enumerate(zip(GROUPS, HMM, strict=True))
)
ROWS = 7
Batch = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None, torch.Tensor]


def _basket(hmm_width: int = 2, **settings: object) -> GroupTaskExpertBasket:
    config = BasketConfig.from_dict({"hidden": (12, 8), "width": 3, "cluster_width": 2, "dropout": 0.0, **settings})
    return GroupTaskExpertBasket(config, TASKS, WIDTHS, hmm_width=hmm_width, clusters=4)


def _batch() -> Batch:
    blocks = [torch.randn(ROWS, width, requires_grad=True) for width in WIDTHS]
    modes = torch.randn(ROWS, 3, 2, requires_grad=True)
    return blocks, torch.rand(ROWS, len(TASKS), len(WIDTHS)).requires_grad_(), modes, torch.rand(ROWS, 4).softmax(-1)


def _by_loop(
    basket: GroupTaskExpertBasket,
    blocks: list[torch.Tensor],
    weights: torch.Tensor,
    modes: torch.Tensor | None,
    probs: torch.Tensor,
) -> torch.Tensor:
    """Scales the blocks first, then multiplies, for every task on its own."""
    outputs = []
    for t, group in enumerate(GROUPS):
        g = ["x", "y", "z"].index(group)
        scaled = torch.cat([weights[:, t, i, None] * h for i, h in enumerate(blocks)], dim=1)
        cluster = torch.stack([sum(p * e for p, e in zip(row, basket.cluster_embedding, strict=True)) for row in probs])
        span = slice(g * 12, (g + 1) * 12)
        mode = [] if modes is None else [modes[:, MODES.index(HMM[t])]]
        first = torch.cat([scaled, *mode, cluster], dim=1) @ basket.first.weight[span].T + basket.first.bias[span]
        outputs.append(basket.encoders[g](first))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("way", ["blocks of rows", "one block", "one product"])
@pytest.mark.parametrize("with_modes", [True, False])
def test_equals_scaling_first_and_a_loop_over_tasks(
    with_modes: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "one product":  # as on a GPU
        monkeypatch.setattr("ple_model.layers.basket.runs_here", lambda _: False)
    elif way == "blocks of rows":
        monkeypatch.setattr("ple_model.layers.gated_layer.ROWS", 3)
    basket, (blocks, weights, modes, probs) = _basket(2 if with_modes else 0), _batch()
    modes = modes if with_modes else None
    got = basket(blocks, weights, modes, probs).vectors
    want = _by_loop(basket, blocks, weights, modes, probs)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    leaves = [*blocks, weights, basket.first.weight, basket.first.bias, *([] if modes is None else [modes])]
    gradients = [torch.autograd.grad(out.square().sum(), leaves) for out in (got, want)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_hard_routing_takes_the_likeliest_cluster() -> None:
    soft, hard = _basket(), _basket(routing="hard")
    hard.load_state_dict(soft.state_dict())
    *others, probs = _batch()
    assert not torch.allclose(soft(*others, probs).vectors, hard(*others, probs).vectors)
    certain = torch.nn.functional.one_hot(probs.argmax(1), 4).float()
    torch.testing.assert_close(soft(*others, certain).vectors, hard(*others, probs).vectors)


@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_clusters_that_were_not_fitted_are_neither_read_nor_learnt(routing: str) -> None:
    """Few customers carry fewer clusters: those beyond have probability 0 in every row."""
    basket, (blocks, weights, modes, probs) = _basket(routing=routing), _batch()
    probs = torch.cat([probs[:, :2].softmax(-1), torch.zeros(ROWS, 2)], dim=1)
    before = basket(blocks, weights, modes, probs).vectors
    before.sum().backward()
    gradient = basket.cluster_embedding.grad
    assert gradient is not None
    assert gradient[:2].any()
    assert not gradient[2:].any()
    with torch.no_grad():
        basket.cluster_embedding[2:] += 5.0
    torch.testing.assert_close(basket(blocks, weights, modes, probs).vectors, before, rtol=0, atol=0)


def test_a_task_reads_the_mode_of_its_own_only() -> None:
    basket, (blocks, weights, modes, probs) = _basket(), _batch()
    assert modes is not None
    for t, mode in enumerate(HMM):
        grad = torch.autograd.grad(basket(blocks, weights, modes, probs).vectors[:, t].sum(), modes)[0]
        assert [bool(grad[:, m].any()) for m in range(3)] == [name == mode for name in MODES]


def test_parameters_of_the_seven_expert_model() -> None:
    basket = GroupTaskExpertBasket(BasketConfig(), default_tasks(), [128] + [64] * 6, hmm_width=32, clusters=20)
    count = sum(p.numel() for p in basket.parameters())
    assert 0.9 * 362_000 < count < 1.1 * 362_000  # MODEL §6
