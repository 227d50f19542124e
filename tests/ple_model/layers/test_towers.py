import torch
from torch.nn import functional as F

from ple_model.config import TaskConfig, TowerConfig
from ple_model.layers.dropout import Dropout, fast_dropout
from ple_model.layers.towers import StackedLayerNorm, StackedLinear, TowerLevel

TASKS = tuple(
    TaskConfig(name=f"t{i}", group="g", kind="multiclass", loss="nll", out=out) for i, out in enumerate((2, 5, 3))
)


def test_stacked_towers_equal_a_loop() -> None:
    level = TowerLevel(TowerConfig(), TASKS, width=6).eval()
    for parameter in level.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(3, 8, 6)
    got = level(x)
    for t, task in enumerate(TASKS):
        h = x[t]
        for layer in level.hidden:
            if isinstance(layer, StackedLinear):
                h = h @ layer.weight[t] + layer.bias[t]
            elif isinstance(layer, StackedLayerNorm):
                h = F.layer_norm(h, h.shape[-1:], layer.weight[t, 0], layer.bias[t, 0])
            elif isinstance(layer, torch.nn.SiLU):
                h = F.silu(h)
        torch.testing.assert_close(got[task.name], level.output[task.name](h), atol=1e-4, rtol=1e-4)
        assert got[task.name].shape == (8, task.out)


def test_tasks_of_a_level_share_nothing() -> None:
    level = TowerLevel(TowerConfig(), TASKS, width=6).eval()
    x = torch.randn(3, 8, 6, requires_grad=True)
    level(x)["t1"].sum().backward()
    assert x.grad is not None
    assert [bool(g.any()) for g in x.grad] == [False, True, False]


def test_dropout_keeps_the_mean_and_drops_the_rate() -> None:
    x = torch.ones(300, 400, requires_grad=True)
    y = fast_dropout(x, 0.2, training=True)
    assert abs((y == 0).float().mean().item() - 51 / 256) < 0.005
    assert abs(y.mean().item() - 1.0) < 0.01
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert torch.equal(fast_dropout(x, 0.2, training=False), x)
    assert torch.equal(fast_dropout(x, 0.0, training=True), x)


def test_dropout_follows_the_seed_and_can_share_an_axis() -> None:
    layer, x = Dropout(0.5), torch.ones(6, 5, 7)
    torch.manual_seed(3)
    a = layer(x)
    torch.manual_seed(3)
    assert torch.equal(a, layer(x))
    assert not torch.equal(a, layer(x))
    shared = fast_dropout(x, 0.5, training=True, shared=1)
    assert torch.equal(shared, shared[:, :1].expand_as(shared))
    assert 0 < int((shared == 0).sum()) < x.numel()
