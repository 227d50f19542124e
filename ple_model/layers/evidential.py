"""Evidential heads: beside each tower, how much evidence the task vector holds for its answer.

A head gives the parameters of a distribution over the answer's own distribution. It is trained by the label's negative
log marginal likelihood, plus a term, rising over the first epochs, against evidence for anything but the label.

| task | distribution | −log marginal likelihood | against false evidence | u in [0, 1] |
|---|---|---|---|---|
| binary | Beta = Dirichlet of 2 | log S − log α_y | KL(Dir(α̃) ‖ Dir(1)) | K / S |
| multiclass | Dirichlet, α = softplus + 1 | the same | the same | K / S |
| contrastive | Dirichlet of buckets | the same, mean over positives | the same | K / S |
| regression | normal-inverse-gamma | Student t | abs(y − γ)·(2ν + α) | v / (1 + v) |

α̃ is α with 1 at the label: only the evidence of other classes is punished. S = Σ α.

Contrastive: over hundreds of candidates the pseudo-counts of a flat prior alone would outweigh any evidence, so
candidate m is counted in bucket m mod `buckets`. Candidates ordered by frequency then spread evenly.

Regression: v = β(1 + ν) / (ν(α − 1)) is the predictive variance on the standardised label, whose own variance is 1. It
is used as a whole: ν by itself, and so the epistemic share 1 / (1 + ν), is not identified by the likelihood (Meinert
et al., 2023). u is 1 without evidence and 1/2 where the head knows no more than the label's spread.

Source: MODEL §11; Sensoy, Kaplan, Kandemir (2018), eq. 3 and §4; Amini et al. (2020), eq. 8 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import EvidentialConfig, TaskConfig
from ple_model.inputs import Targets
from ple_model.layers.towers import StackedLinear
from ple_model.tasks import kind_of

#: Added to ν, α − 1 and β, whose softplus underflows to 0.
FLOOR = 1e-6

#: Standardises a label: (task, label in its unit) → [B, out].
Standardise = Callable[[str, Tensor], Tensor]


def dirichlet_nll(alpha: Tensor, labels: Tensor) -> Tensor:
    """Mean over a row's labels y of log S − log α_y. alpha [..., K]; labels [..., M] int64, −1 = padding; 0 if all are.

    Source: Sensoy et al. (2018), eq. 3 (type II maximum likelihood).
    """
    labelled = labels >= 0
    surprise = alpha.sum(-1, keepdim=True).log() - alpha.gather(-1, labels.clamp(min=0)).log()
    return torch.where(labelled, surprise, 0.0).sum(-1) / labelled.sum(-1).clamp(min=1)


class _KLTerm(torch.autograd.Function):
    """(α − 1)ψ(α) − log Γ(α), whose derivative is (α − 1)ψ′(α): autograd by parts would take ψ twice."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        ctx.save_for_backward(alpha)
        return (alpha - 1.0) * torch.digamma(alpha) - torch.lgamma(alpha)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (alpha,) = ctx.saved_tensors
        return gradient * (alpha - 1.0) * torch.polygamma(1, alpha)


def dirichlet_kl(alpha: Tensor, classes: Tensor) -> Tensor:
    """KL(Dir(α) ‖ Dir(1)), [...]. alpha [..., K], 1 in places that pad; classes [...]: how many places are classes."""
    terms: Tensor = _KLTerm.apply(alpha)
    evidence = alpha.sum(-1) - alpha.shape[-1]
    strength = classes + evidence
    return torch.lgamma(strength) - torch.lgamma(classes) + terms.sum(-1) - evidence * torch.digamma(strength)


def nig_nll(gamma: Tensor, nu: Tensor, alpha: Tensor, beta: Tensor, y: Tensor) -> Tensor:
    """−log of the Student t with 2α degrees of freedom, location γ and scale² β(1 + ν)/(να), at y. Amini, eq. 8."""
    omega = 2.0 * beta * (1.0 + nu)
    return (
        0.5 * (math.pi / nu).log()
        - alpha * omega.log()
        + (alpha + 0.5) * ((y - gamma).square() * nu + omega).log()
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    )


class DirichletHeads(nn.Module):
    """Heads of T tasks over K_t classes each.

    Args:
        classes: K_t of each task.
        width: of a task vector.

    Shape:
        [T, B, width] → α [T, B, max K], exactly 1 beyond a task's K_t.

    Source: MODEL §11; Sensoy et al. (2018).

    Example:
        >>> heads = DirichletHeads([2, 5], width=8)
        >>> heads.uncertainty(heads(torch.randn(2, 4, 8))).shape
        torch.Size([2, 4])
    """

    padding: ClassVar[float] = -1  # of labels
    valid: Tensor
    classes: Tensor

    def __init__(self, classes: Sequence[int], width: int) -> None:
        super().__init__()
        self.linear = StackedLinear(len(classes), width, max(classes))
        valid = torch.arange(max(classes)) < torch.tensor(classes).unsqueeze(1)
        self.register_buffer("valid", valid.unsqueeze(1), persistent=False)  # [T, 1, K]
        self.register_buffer("classes", torch.tensor(classes, dtype=torch.float32).unsqueeze(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return 1.0 + F.softplus(self.linear(x)) * self.valid

    def uncertainty(self, alpha: Tensor) -> Tensor:
        """K / S, [T, B]."""
        return self.classes / (alpha * self.valid).sum(-1)

    def likelihood(self, alpha: Tensor, labels: Tensor) -> Tensor:
        """Negative log likelihood [T, B] of labels [T, B, M]."""
        return dirichlet_nll(alpha * self.valid, labels)

    def penalty(self, alpha: Tensor, labels: Tensor) -> Tensor:
        """Evidence for what is not the label, [T, B]."""
        first = labels.amax(-1, keepdim=True).clamp(min=0)
        others = alpha.scatter(-1, torch.where(labels >= 0, labels, first), 1.0)
        return dirichlet_kl(others, self.classes)


class NormalHeads(nn.Module):
    """Heads of T tasks of numbers: a normal-inverse-gamma distribution for each output.

    Args:
        outs: outputs of each task.
        width: of a task vector.

    Shape:
        [T, B, width] → [T, B, max out, 4] = γ, ν, α, β of each output.

    Source: MODEL §11; Amini et al. (2020).

    Example:
        >>> heads = NormalHeads([1, 12], width=8)
        >>> heads(torch.randn(2, 4, 8)).shape
        torch.Size([2, 4, 12, 4])
    """

    padding: ClassVar[float] = 0.0  # of labels
    valid: Tensor

    def __init__(self, outs: Sequence[int], width: int) -> None:
        super().__init__()
        self.linear = StackedLinear(len(outs), width, 4 * max(outs))
        valid = torch.arange(max(outs)) < torch.tensor(outs).unsqueeze(1)
        self.register_buffer("valid", valid.unsqueeze(1), persistent=False)  # [T, 1, out]

    def forward(self, x: Tensor) -> Tensor:
        gamma, nu, alpha, beta = self.linear(x).unflatten(-1, (-1, 4)).unbind(-1)
        positive = F.softplus(torch.stack([nu, alpha, beta], dim=-1)) + FLOOR
        nu, alpha, beta = positive.unbind(-1)
        return torch.stack([gamma, nu, alpha + 1.0, beta], dim=-1)

    def uncertainty(self, evidence: Tensor) -> Tensor:
        """v / (1 + v), mean over outputs, [T, B]."""
        _, nu, alpha, beta = evidence.unbind(-1)
        variance = beta * (1.0 + nu)
        return self._mean(variance / (variance + nu * (alpha - 1.0)))

    def likelihood(self, evidence: Tensor, labels: Tensor) -> Tensor:
        """Negative log likelihood, mean over outputs, [T, B]; labels [T, B, out] standardised."""
        gamma, nu, alpha, beta = evidence.unbind(-1)
        return self._mean(nig_nll(gamma, nu, alpha, beta, labels))

    def penalty(self, evidence: Tensor, labels: Tensor) -> Tensor:
        """Error times evidence, mean over outputs, [T, B]. Amini, eq. 9."""
        gamma, nu, alpha, _ = evidence.unbind(-1)
        return self._mean((labels - gamma).abs() * (2.0 * nu + alpha))

    def _mean(self, values: Tensor) -> Tensor:
        return (values * self.valid).sum(-1) / self.valid.sum(-1)


class EvidentialHeads(nn.Module):
    """Heads of all tasks, stacked: all that predict numbers, and all of about as many classes, side by side.

    Evidence is computed in float32, whatever autocast says. `annealed` is the share of the KL term that counts.

    Args:
        config: weights of the loss, epochs of the annealing, buckets of contrastive tasks.
        tasks: T of them.
        width: of a task vector.

    Shape:
        task vectors [B, T, width] → evidence by stack (`DirichletHeads`, `NormalHeads`); `uncertainty` → u [B, T].

    Source: MODEL §11.

    Example:
        >>> heads = EvidentialHeads(EvidentialConfig(), tasks, width=8)
        >>> heads.uncertainty(heads(torch.randn(4, len(tasks), 8))).shape == (4, len(tasks))
        True
    """

    annealed: Tensor
    order: Tensor
    restore: Tensor

    def __init__(self, config: EvidentialConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.config, self.tasks = config, list(tasks)
        self.members: dict[str, list[int]] = {}
        for i, task in enumerate(tasks):
            self.members.setdefault(self._stack(task), []).append(i)
        order = torch.tensor([i for members in self.members.values() for i in members])
        self.register_buffer("order", order, persistent=False)  # tasks by stack
        self.register_buffer("restore", order.argsort(), persistent=False)
        self.heads = nn.ModuleDict({stack: self._build(members, width) for stack, members in self.members.items()})
        self.register_buffer("annealed", torch.zeros(()))

    def _stack(self, task: TaskConfig) -> str:
        """Classes of a stack differ by less than a factor of 2, so that little of it is padding."""
        classes = self._classes(task)
        return "regression" if classes is None else f"classes_{(classes - 1).bit_length()}"

    def _build(self, members: Sequence[int], width: int) -> DirichletHeads | NormalHeads:
        tasks = [self.tasks[i] for i in members]
        classes = [count for count in map(self._classes, tasks) if count is not None]
        return DirichletHeads(classes, width) if classes else NormalHeads([task.out for task in tasks], width)

    def _classes(self, task: TaskConfig) -> int | None:
        return kind_of(task).evidence_classes(task, self.config.buckets)

    def _head(self, stack: str) -> DirichletHeads | NormalHeads:
        head = self.heads[stack]
        assert isinstance(head, DirichletHeads | NormalHeads)
        return head

    def begin_epoch(self, epoch: int) -> None:
        """Sets the share of the KL term: min(1, epoch / kl_epochs), epochs counted from 0. A checkpoint keeps it."""
        self.annealed.fill_(min(1.0, epoch / self.config.kl_epochs))

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        with torch.autocast(vectors.device.type, enabled=False):
            x = vectors.float().index_select(1, self.order).transpose(0, 1)  # [T, B, width]
            parts = x.split([len(members) for members in self.members.values()])
            return {stack: self._head(stack)(part) for stack, part in zip(self.members, parts, strict=True)}

    def uncertainty(self, evidence: dict[str, Tensor]) -> Tensor:
        """u of each row and task, [B, T] in [0, 1]."""
        by_stack = torch.cat([self._head(stack).uncertainty(part) for stack, part in evidence.items()])
        return by_stack.index_select(0, self.restore).transpose(0, 1)

    def loss(self, evidence: dict[str, Tensor], targets: Targets, standardise: Standardise) -> Tensor:
        """weight · (negative log likelihood + kl_weight · annealed · penalty), mean over labelled rows, [T]; 0 for a
        task without labels. A masked label is never read."""
        share = self.config.kl_weight * self.annealed
        losses = []
        for stack, part in evidence.items():
            head, members = self._head(stack), [self.tasks[i] for i in self.members[stack]]
            labels, mask = self._labels(members, targets, standardise, part, head.padding)
            rows = head.likelihood(part, labels) + share * head.penalty(part, labels)  # [T of the stack, B]
            losses.append(torch.where(mask, rows, 0.0).sum(1) / mask.sum(1).clamp(min=1))
        return self.config.weight * torch.cat(losses).index_select(0, self.restore)

    def _labels(
        self, tasks: Sequence[TaskConfig], targets: Targets, standardise: Standardise, evidence: Tensor, padding: float
    ) -> tuple[Tensor, Tensor]:
        """Labels [T, B, M] of a stack (classes, −1 = padding; or standardised values) and masks [T, B]."""
        rows, device = evidence.shape[1], evidence.device
        labels, masks = [], []
        for task in tasks:
            mask = targets.mask.get(task.name, torch.zeros(rows, dtype=torch.bool, device=device))
            label = targets.values.get(task.name, torch.zeros(rows, task.out, device=device))
            label = torch.where(mask.unsqueeze(-1), label.reshape(rows, -1), 0)
            label, mask = kind_of(task).evidence_labels(task, label, mask, self._classes(task), standardise)
            labels.append(label)
            masks.append(mask)
        widest = max(label.shape[1] for label in labels)
        stacked = torch.stack([F.pad(label, (0, widest - label.shape[1]), value=padding) for label in labels])
        return stacked, torch.stack(masks)
