from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ple_model.config import BasketConfig, GateConfig, Relation, TaskConfig, TowerConfig, TransferConfig
from ple_model.layers.basket import GroupTaskExpertBasket
from ple_model.layers.gates import CGCAttention
from ple_model.layers.logit_transfer import LogitTransfer
from ple_model.layers.towers import TowerLevel
from ple_model.losses.gram import RepresentationGram, agreement, cosines, gradient_gram
from tests.ple_model.catalogue import RELATIONS, default_tasks

WIDTHS, ROWS = (6, 3, 4), 20


@dataclass
class Graph:
    losses: Tensor
    blocks: list[Tensor]
    mixed: tuple[Tensor, ...]
    gates: Tensor


class Head(nn.Module):
    """What stands behind the experts, at small sizes and with gates that read h_shared."""

    def __init__(self, relations: tuple[Relation, ...] = RELATIONS, hmm: int = 5, dim: bool = True) -> None:
        super().__init__()
        tasks, config = default_tasks(), BasketConfig(hidden=(9, 7), width=8, cluster_width=5)
        self.tasks = tasks
        self.gate = CGCAttention(GateConfig(dim_normalize=dim), tasks, ("temporal", "deepfm", "perslay"), WIDTHS)
        nn.init.normal_(self.gate.linear.weight)
        self.basket = GroupTaskExpertBasket(config, tasks, WIDTHS, hmm_width=hmm, clusters=4)
        self.transfer = LogitTransfer(TransferConfig(relations=relations), tasks, 8)
        by_name = {task.name: task for task in tasks}
        self.towers = nn.ModuleList(
            TowerLevel(TowerConfig(hidden=(6,), dropout=0.0), [by_name[n] for n in level], 8)
            for level in self.transfer.levels
        )
        self.hmm = hmm

    def run(self, absent: bool = True, rows: slice = slice(None), without: str = "") -> Graph:
        draw = torch.Generator().manual_seed(3)
        present = torch.rand(ROWS, len(WIDTHS), generator=draw) > (0.3 if absent else -1.0)
        present[0] = False
        blocks = [torch.randn(ROWS, width, generator=draw) for width in WIDTHS]
        modes = torch.randn(ROWS, 3, self.hmm, generator=draw) if self.hmm else None
        probs = torch.rand(ROWS, 4, generator=draw).softmax(-1)
        blocks = [block[rows].requires_grad_() for block in blocks]
        present, probs, modes = present[rows], probs[rows], modes if modes is None else modes[rows]
        zeroed = [block * present[:, i, None] for i, block in enumerate(blocks)]
        gates = self.gate(torch.cat(zeroed, 1), present)
        behind = self.basket(zeroed, gates * self.gate.scales, modes, probs)
        vectors = dict(zip([t.name for t in self.tasks], behind.vectors.unbind(1), strict=True))
        predictions: dict[str, Tensor] = {}
        for level, tower in zip(self.transfer.levels, self.towers, strict=True):
            predictions.update(tower(self.transfer.level_inputs(level, [vectors[n] for n in level], predictions)))
        losses = [(predictions[t.name] - 1).square().sum(1).sum() * (t.name != without) for t in self.tasks]
        assert behind.mixed is not None
        return Graph(torch.stack(losses), blocks, behind.mixed, gates)


def by_task(losses: Tensor, tensors: list[Tensor]) -> Tensor:
    """The Gram matrix from one backward for each task."""
    flat = []
    for loss in losses:
        grads = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        kept = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, tensors, strict=True)]
        flat.append(torch.cat([g.flatten() for g in kept]).double())
    each = torch.stack(flat)
    return each @ each.T


def closed_form(head: Head, graph: Graph) -> Tensor:
    return RepresentationGram(head.basket, head.gate, head.transfer)(graph.losses, graph.mixed, graph.gates)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5 * want.abs().max().item())


DIAMOND = tuple(
    Relation(source=a, target=b, kind="feature")
    for a, b in (("ctr", "cvr"), ("ctr", "engagement"), ("cvr", "ltv"), ("engagement", "ltv"), ("churn", "ltv"))
)


@pytest.mark.parametrize(
    "settings",
    [{}, {"relations": ()}, {"relations": DIAMOND}, {"hmm": 0}, {"dim": False}],
    ids=["default", "no relations", "several sources and targets", "no modes", "no scales"],
)
@pytest.mark.parametrize("absent", [False, True])
def test_closed_form_equals_a_backward_for_each_task(settings: dict[str, Any], absent: bool) -> None:
    head = Head(**settings)
    graph = head.run(absent)
    close(closed_form(head, graph), by_task(graph.losses, graph.blocks))


def test_parts_of_a_batch_add_up() -> None:
    head = Head()
    whole = head.run()
    parts = [closed_form(head, head.run(rows=part)) for part in (slice(0, 12), slice(12, ROWS))]
    torch.testing.assert_close(sum(parts), closed_form(head, whole), rtol=1e-4, atol=1e-3)


def test_the_step_can_still_go_back_and_gets_the_same_gradient() -> None:
    head = Head()
    before, after = head.run(), head.run()
    before.losses.sum().backward()
    closed_form(head, after)
    after.losses.sum().backward()
    for a, b in zip(before.blocks, after.blocks, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_a_task_without_labels_has_a_zero_row_and_scaling_leaves_cosines() -> None:
    head = Head()
    graph = head.run(without="nba")
    gram = closed_form(head, graph)
    nba = [t.name for t in head.tasks].index("nba")
    assert not gram[nba].any()
    cosine, defined = cosines(gram)
    assert defined.sum() == 15 * 15
    assert not defined[nba].any()
    graph.losses = graph.losses * 1024
    torch.testing.assert_close(cosines(closed_form(head, graph))[0], cosine, rtol=1e-4, atol=1e-5)


def test_fixed_gates_leave_their_path_out() -> None:
    head = Head()
    head.gate.requires_grad_(False)
    nn.init.zeros_(head.gate.linear.weight)
    graph = head.run()
    close(closed_form(head, graph), by_task(graph.losses, graph.blocks))


@pytest.mark.parametrize(("relations", "rounds"), [((), 1), (RELATIONS, 3), (DIAMOND, 4)])
def test_rounds_share_no_source(relations: tuple[Relation, ...], rounds: int) -> None:
    head = Head(relations=relations)
    gram = RepresentationGram(head.basket, head.gate, head.transfer)
    assert len(gram.rounds) == rounds
    assert sorted(task for members in gram.rounds for task in members) == list(range(16))
    assert len({(r, place) for r, place, _ in gram.paths}) == len(gram.paths)


@pytest.mark.parametrize("batched", [True, False, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_gram_equals_a_backward_for_each_task(dtype: torch.dtype, batched: bool | None) -> None:
    net, unused = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.SiLU(), nn.Linear(7, 4)).to(dtype), nn.Linear(2, 2)
    first = nn.Parameter(torch.randn(4, dtype=dtype))
    losses = net(torch.randn(11, 5, dtype=dtype)).square().mean(0) * torch.cat([first[:1], torch.ones(3).to(dtype)])
    want = by_task(losses, [*net.parameters(), first])
    close(gradient_gram(losses, [*net.parameters(), *unused.parameters(), first], batched=batched), want)


def test_gradient_gram_keeps_the_graph_when_asked_and_needs_something_to_differentiate() -> None:
    net = nn.Linear(5, 3)
    losses = net(torch.randn(11, 5)).square().mean(0)
    gradient_gram(losses, net.parameters(), retain_graph=True)
    losses.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        gradient_gram(losses, net.parameters())
    assert not gradient_gram(net(torch.randn(11, 5)).mean(0), nn.Linear(2, 2).parameters()).any()
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="needs a gradient"):
        gradient_gram(losses, net.parameters())


class _NotBatchable(torch.autograd.Function):
    """Its backward reads memory directly, as compiled kernels do."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        return torch.from_numpy(2 * grads[0].numpy())


def test_a_kernel_that_cannot_be_batched_is_said_and_goes_task_by_task() -> None:
    net, x = nn.Linear(5, 3), torch.randn(11, 5)
    plain, odd = ((2 * net(x)).square().mean(0), _NotBatchable.apply(net(x)).square().mean(0))
    with pytest.warns(UserWarning, match="one by one"):
        got = gradient_gram(odd, net.parameters(), batched=True)
    torch.testing.assert_close(got, gradient_gram(plain, net.parameters(), batched=True))


@pytest.mark.parametrize("batched", [True, False])
def test_gradient_gram_of_h_shared_equals_the_closed_form(batched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if batched:  # as on a GPU
        monkeypatch.setattr("ple_model.layers.basket.runs_here", lambda _: False)
    head = Head()
    graph = head.run()
    exact = gradient_gram(graph.losses, graph.blocks, retain_graph=True, batched=batched)
    torch.testing.assert_close(closed_form(head, graph), exact, rtol=1e-4, atol=1e-3)


def test_cosines_equal_those_of_the_vectors_and_leave_out_zero_and_non_finite() -> None:
    x = torch.randn(5, 8, dtype=torch.float64)
    x[1] *= 1e-6
    cosine, defined = cosines(x @ x.T)
    torch.testing.assert_close(cosine, torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1))
    assert defined.all()
    x[2], x[3, 0] = 0.0, torch.inf
    cosine, defined = cosines(x @ x.T)
    known = torch.tensor([True, True, False, False, True])
    assert torch.equal(defined, known & known[:, None])
    assert cosine.isfinite().all()
    assert not cosine[~defined].any()


def test_agreement_is_the_correlation_over_pairs_with_labels() -> None:
    x, y = torch.randn(6, 9, dtype=torch.float64), torch.randn(6, 9, dtype=torch.float64)
    has = torch.tensor([True, True, False, True, True, True])
    a, b = x[has] @ x[has].T, y[has] @ y[has].T
    pairs = np.triu_indices(5, 1)
    cos = [(g / g.diagonal().sqrt() / g.diagonal().sqrt()[:, None]).numpy()[pairs] for g in (a, b)]
    assert agreement(x @ x.T, y @ y.T, has) == pytest.approx(np.corrcoef(cos)[0, 1])
    assert agreement(x @ x.T, x @ x.T, has) == pytest.approx(1.0)
    assert agreement(torch.eye(6), x @ x.T, has) is None
    assert agreement(x @ x.T, y @ y.T, torch.tensor([True] * 2 + [False] * 4)) is None


def test_tasks_in_any_order_of_the_configuration() -> None:
    """The basket keeps tasks by group; the Gram is in the order of the configuration."""
    tasks = [TaskConfig(name=f"t{i}", group=g, kind="binary", loss="focal") for i, g in enumerate("abab")]
    gate = CGCAttention(GateConfig(), tasks, ("temporal", "deepfm", "perslay"), WIDTHS)
    basket = GroupTaskExpertBasket(BasketConfig(hidden=(5, 4), width=3), tasks, WIDTHS, hmm_width=0, clusters=2)
    transfer = LogitTransfer(TransferConfig(relations=()), tasks, 3)
    blocks = [torch.randn(ROWS, width, requires_grad=True) for width in WIDTHS]
    gates = gate(torch.cat(blocks, 1), torch.ones(ROWS, 3, dtype=torch.bool))
    behind = basket(blocks, gates * gate.scales, None, torch.full((ROWS, 2), 0.5))
    assert behind.mixed is not None
    losses = torch.stack([(v - i).square().mean() for i, v in enumerate(behind.vectors.unbind(1))])
    want = by_task(losses, blocks)
    close(RepresentationGram(basket, gate, transfer)(losses, behind.mixed, gates), want)
