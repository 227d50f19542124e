"""Gram matrices of the tasks' gradients, [T, T], which affinities and gradient-conflict methods read.

- `RepresentationGram`: with respect to h_shared, in closed form from what the joint graph already holds. One backward
  through the towers for each round of tasks that share no source, none through the experts, and three products.
- `gradient_gram`: with respect to any tensors (the shared experts' parameters, h_shared), by the vector-Jacobian
  products of all tasks: about one backward for each.

Source: MODEL §12.1; PERFORMANCE §3.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ple_model.layers.basket import GroupTaskExpertBasket
from ple_model.layers.gates import CGCAttention
from ple_model.layers.logit_transfer import LogitTransfer


def gradient_gram(
    losses: Tensor, tensors: Iterable[Tensor], retain_graph: bool = False, batched: bool | None = None
) -> Tensor:
    """⟨∂L_t/∂θ, ∂L_s/∂θ⟩ summed over `tensors` θ, float32 [T, T], from losses [T].

    Tensors that need no gradient or that no loss depends on add nothing.

    Args:
        retain_graph: whether the graph is needed again.
        batched: all tasks in one call. None does so on a GPU only: a CPU takes twice the time for it, and T times the
            memory. Where a kernel cannot be batched, tasks go one by one with a warning.

    Raises:
        ValueError: none of the tensors needs a gradient.
    """
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if not wanted:
        raise ValueError("no tensor among those given needs a gradient, so tasks have no gradients to compare")
    if losses.is_cuda if batched is None else batched:
        try:
            return _gram(losses, _batched(losses, wanted))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            warnings.warn(f"gradients of tasks one by one, as a batch of them failed: {error}", stacklevel=2)
    return _gram(losses, _one_by_one(losses, wanted, retain_graph))


def _batched(losses: Tensor, wanted: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of all tasks with respect to each tensor, [T, ...]; None where no task has one. The graph stays."""
    each = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
    return list(torch.autograd.grad(losses, wanted, each, retain_graph=True, is_grads_batched=True, allow_unused=True))


def _one_by_one(losses: Tensor, wanted: Sequence[Tensor], retain_graph: bool) -> list[Tensor | None]:
    """The same as `_batched`, a backward for each task."""
    last = len(losses) - 1
    by_task = [
        torch.autograd.grad(loss, wanted, retain_graph=retain_graph or t < last, allow_unused=True)
        for t, loss in enumerate(losses.unbind())
    ]
    return [_stacked(grads) for grads in zip(*by_task, strict=True)]


def _stacked(grads: Sequence[Tensor | None]) -> Tensor | None:
    """[T, ...], zeros for tasks that do not depend on the tensor; None where no task does."""
    some = next((grad for grad in grads if grad is not None), None)
    if some is None:
        return None
    return torch.stack([torch.zeros_like(some) if grad is None else grad for grad in grads])


def _gram(losses: Tensor, grads: Iterable[Tensor | None]) -> Tensor:
    """Σ over tensors of the inner products of their rows, float32 [T, T]."""
    gram = torch.zeros(len(losses), len(losses), device=losses.device)
    for grad in grads:
        if grad is not None:
            rows = grad.flatten(1).float()
            gram += rows @ rows.T
    return gram


def cosines(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Gram [T, T] → (cosines in [−1, 1] [T, T], defined [T, T] bool). A pair with a gradient that is zero or not finite
    is not defined, and its cosine reads 0."""
    norms = gram.diagonal().clamp(min=0).sqrt()
    known = norms.isfinite() & (norms > 0)
    scale = torch.where(known, norms, 1.0)
    cosine = gram / scale / scale.unsqueeze(1)
    defined = known & known.unsqueeze(1) & cosine.isfinite()
    return torch.where(defined, cosine, 0.0).clamp(-1.0, 1.0), defined


def agreement(gram: Tensor, other: Tensor, has_target: Tensor) -> float | None:
    """Pearson correlation of the cosines of two Gram matrices [T, T] over pairs of different tasks with labels in the
    batch; None with fewer than three pairs, or where one side does not vary. Source: PERFORMANCE §3."""
    (a, known_a), (b, known_b) = cosines(gram), cosines(other)
    pairs = (known_a & known_b & has_target & has_target.unsqueeze(1)).triu(diagonal=1)
    both = torch.stack([a[pairs], b[pairs]]).double()
    if both.shape[1] < 3 or bool((both.std(1) == 0).any()):
        return None
    return float(torch.corrcoef(both)[0, 1])


class RepresentationGram:
    """⟨∂L_t/∂h_shared, ∂L_s/∂h_shared⟩ summed over rows, for a `GroupTaskExpertBasket` behind `CGCAttention`.

    Task k reads h_shared through its gated blocks and through its gate. With d_k = ∂L/∂mixed_k, A its group's part of
    the basket's first layer, w_k the gates, s their scales and δ_k = ∂L/∂(gate logits of k), the gradient through k is

        v_k = (w_k s)·(Aᵀ d_k) + W_kᵀ δ_k,      δ_k = w_k (q_k − Σ w_k q_k),   q_k = ∂L/∂w_k.

    L_t also reaches h_shared through the sources of t in logit transfer; its gradient is the sum of v_k over t and
    these sources. A single backward would add up the gradients of different losses through one source, so losses are
    differentiated in `rounds` in which no two tasks share one: three for the relations of MODEL §7.
    """

    def __init__(self, basket: GroupTaskExpertBasket, gate: CGCAttention, transfer: LogitTransfer) -> None:
        self.basket, self.gate = basket, gate
        sources = _ancestors(transfer)
        self.rounds = _rounds(sources)
        place = {task: i for i, task in enumerate(basket.order)}  # where the basket keeps a task
        # (round, place, loss) of each v_k that is not zero by construction, by place so that groups are contiguous.
        self.paths = sorted(
            ((r, place[k], t) for r, members in enumerate(self.rounds) for t in members for k in sources[t]),
            key=lambda path: path[1],
        )

    def __call__(self, losses: Tensor, mixed: Sequence[Tensor], gates: Tensor) -> Tensor:
        """float32 [T, T]; the graph stays for the backward of the step.

        With equal denominators of the losses, the Gram of a batch is the sum of those of its parts.

        Args:
            losses: [T], the plain mean loss of each task, in the order of the configuration. One common factor (a
                gradient scaler's) scales the result and leaves cosines alone.
            mixed: [B, T_group, H] of each group, `Outputs.mixed`.
            gates: [B, T, N], `Outputs.gates`.
        """
        leaves = [*mixed, gates] if gates.requires_grad else list(mixed)
        found = [
            torch.autograd.grad(losses[members].sum(), leaves, retain_graph=True, allow_unused=True)
            for members in self.rounds
        ]
        with torch.no_grad(), torch.autocast(gates.device.type, enabled=False):
            weights = gates.float()
            handed = self._through_first([grads[: len(mixed)] for grads in found], weights)  # [paths, B, D]
            if gates.requires_grad:
                self._add_through_gate(handed, [grads[-1] for grads in found], weights)
            _scale_blocks(handed, (weights > 0).any(1), self._widths(weights))  # an absent expert's block is a constant
            flat = handed.flatten(1)
            of_loss = flat.new_zeros(len(losses), len(self.paths))
            of_loss[[t for _, _, t in self.paths], list(range(len(self.paths)))] = 1.0
            return of_loss @ (flat @ flat.T) @ of_loss.T

    def _widths(self, gates: Tensor) -> list[int]:
        """Of the experts' blocks, which come first among those of the basket."""
        return self.basket.widths[: gates.shape[-1]]

    def _through_first(self, found: Sequence[Sequence[Tensor | None]], gates: Tensor) -> Tensor:
        """(w s)·(Aᵀ d) of each path, [paths, B, D], from the d of each round and group."""
        basket, widths = self.basket, self._widths(gates)
        first = basket.first.weight[:, : sum(widths)].float().split(basket.hidden)  # G × [H, D]
        handed = gates.new_empty(len(self.paths), len(gates), sum(widths))
        start, begin = 0, 0  # the group's first place and its first path
        for g, (members, weight) in enumerate(zip(basket.members, first, strict=True)):
            d = [_or_zeros(grads[g], (len(gates), len(members), basket.hidden), gates) for grads in found]
            own = [d[r][:, k - start] for r, k, _ in self.paths[begin:] if k < start + len(members)]
            start += len(members)
            out = handed[begin : begin + len(own)].view(-1, sum(widths))
            torch.mm(torch.cat(own), weight, out=out)
            begin += len(own)
        _scale_blocks(handed, (gates * self.gate.scales)[:, [basket.order[k] for _, k, _ in self.paths]], widths)
        return handed

    def _add_through_gate(self, handed: Tensor, found: Sequence[Tensor | None], gates: Tensor) -> None:
        """Add Wᵀ δ of each path to [paths, B, D]."""
        tasks = [self.basket.order[k] for _, k, _ in self.paths]
        q = [_or_zeros(grad, gates.shape, gates) for grad in found]
        chosen = torch.stack([q[r][:, task] for (r, _, _), task in zip(self.paths, tasks, strict=True)])
        w = gates[:, tasks].transpose(0, 1)  # [paths, B, N]
        delta = w * (chosen - (w * chosen).sum(-1, keepdim=True))
        weight = self.gate.linear.weight.float().unflatten(0, gates.shape[1:])  # [T, N, D]
        handed.baddbmm_(delta, weight[tasks])


def _ancestors(transfer: LogitTransfer) -> list[list[int]]:
    """Task → itself and its sources, direct and indirect, in the order of the configuration."""
    index = {name: i for i, name in enumerate(transfer.sources)}
    ancestors: dict[str, set[int]] = {}
    for name in (name for level in transfer.levels for name in level):
        ancestors[name] = {index[name]}.union(*(ancestors[relation.source] for relation in transfer.sources[name]))
    return [sorted(ancestors[name]) for name in transfer.sources]


def _rounds(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Tasks in as few rounds as a greedy choice needs, so that no two of a round have a source in common."""
    rounds: list[list[int]] = []
    taken: list[set[int]] = []
    for task, own in enumerate(sources):
        free = next((r for r, busy in enumerate(taken) if busy.isdisjoint(own)), None)
        if free is None:
            free = len(rounds)
            rounds.append([])
            taken.append(set())
        rounds[free].append(task)
        taken[free].update(own)
    return rounds


def _or_zeros(grad: Tensor | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """A gradient in float32; zeros where the losses do not depend on the tensor."""
    return like.new_zeros(shape) if grad is None else grad.float()


def _scale_blocks(handed: Tensor, factors: Tensor, widths: Sequence[int]) -> None:
    """Scale each expert's block of [paths, B, D] in place by its factor, [B, N] or [B, paths, N]."""
    by_path = factors.unsqueeze(1) if factors.dim() == 2 else factors
    for block, factor in zip(handed.split(list(widths), -1), by_path.transpose(0, 1).unbind(-1), strict=True):
        block.mul_(factor.unsqueeze(-1))
