import torch

from ple_model.basket import GroupTaskExpertBasket
from ple_model.config import BasketConfig, TaskConfig

WIDTHS = (6, 4, 5)
GROUPS = ("x", "y", "x", "z", "y")  # tasks of a group need not stand together
TASKS = tuple(TaskConfig(name=f"t{i}", group=g, kind="binary", loss="focal") for i, g in enumerate(GROUPS))
ROWS = 7


def _basket(**settings: object) -> GroupTaskExpertBasket:
    config = BasketConfig.from_dict({"hidden": (12, 8), "width": 3, "cluster_width": 2, "dropout": 0.0, **settings})
    return GroupTaskExpertBasket(config, TASKS, WIDTHS, clusters=4)


def _batch() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    blocks = [torch.randn(ROWS, width, requires_grad=True) for width in WIDTHS]
    return blocks, torch.rand(ROWS, len(TASKS), len(WIDTHS)), torch.rand(ROWS, 4).softmax(-1)


def _by_loop(
    basket: GroupTaskExpertBasket, blocks: list[torch.Tensor], weights: torch.Tensor, probs: torch.Tensor
) -> torch.Tensor:
    """Scales the blocks first, then multiplies, for every task on its own."""
    outputs = []
    for t, group in enumerate(GROUPS):
        g = ["x", "y", "z"].index(group)
        scaled = torch.cat([weights[:, t, i, None] * h for i, h in enumerate(blocks)], dim=1)
        cluster = torch.stack([sum(p * e for p, e in zip(row, basket.cluster_embedding, strict=True)) for row in probs])
        span = slice(g * 12, (g + 1) * 12)
        first = torch.cat([scaled, cluster], dim=1) @ basket.first.weight[span].T + basket.first.bias[span]
        outputs.append(basket.encoders[g](first))
    return torch.stack(outputs, dim=1)


def test_equals_scaling_first_and_a_loop_over_tasks() -> None:
    basket, (blocks, weights, probs) = _basket(), _batch()
    got, want = basket(blocks, weights, probs), _by_loop(basket, blocks, weights, probs)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    gradients = [torch.autograd.grad(out.square().sum(), [*blocks, basket.first.weight]) for out in (got, want)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_hard_routing_takes_the_likeliest_cluster() -> None:
    soft, hard = _basket(), _basket(routing="hard")
    hard.load_state_dict(soft.state_dict())
    blocks, weights, probs = _batch()
    assert not torch.allclose(soft(blocks, weights, probs), hard(blocks, weights, probs))
    certain = torch.nn.functional.one_hot(probs.argmax(1), 4).float()
    torch.testing.assert_close(soft(blocks, weights, certain), hard(blocks, weights, probs))


def test_parameters_of_the_seven_expert_model() -> None:
    from ple_model.tasks import default_tasks

    basket = GroupTaskExpertBasket(BasketConfig(), default_tasks(), [128] + [64] * 6, clusters=20)
    count = sum(p.numel() for p in basket.parameters())
    assert 0.7 * 362_000 < count < 1.3 * 362_000  # MODEL §6, less the HMM's 32 of 576 columns
