"""The candidate table of a contrastive task and its InfoNCE loss.

A query and the rows of the table are L2-normalised; a score is their cosine over the temperature τ. The loss of a row
is the mean over its positives p of −log(exp s_p / (exp s_p + Σ_negatives exp s_n)); its other positives are no
negatives. Negatives are the whole table, or a sample n_1…n_S drawn by frequency, whose scores are corrected by
−log(S·q(n)): the sum over them then estimates the sum over the table without bias. A table may have a repeat term
(`repeat.py`), which is added to the scores.
Source: MODEL §9; van den Oord et al. (2018); log-Q correction as in Bengio and Senécal (2008).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ple_model.layers.members import repeated
from ple_model.layers.repeat import RepeatTerm


class CandidateTable(nn.Module):
    """Learnt candidates and how often each occurs in the training labels.

    Args:
        candidates: n rows of the table.
        width: of a query and of a candidate.
        temperature: τ that divides the cosines.
        repeat: scores of candidates by what a customer had before, or None.

    Shape:
        `beside`: inputs of B rows → [B, n]. `scores`: query [B, width] → [B, n]. `loss`: query [M·B, width], labels
        [B, P] → [M·B].

    Source: MODEL §9.

    Example:
        >>> table = CandidateTable(candidates=20, width=8, temperature=0.07)
        >>> table.loss(torch.randn(5, 8), torch.tensor([[3, -1]] * 5), negatives=4).shape
        torch.Size([5])
    """

    frequency: Tensor

    def __init__(self, candidates: int, width: int, temperature: float, repeat: RepeatTerm | None = None) -> None:
        super().__init__()
        self.temperature, self.repeat = temperature, repeat
        self.weight = nn.Parameter(torch.randn(candidates, width) * width**-0.5)
        self.register_buffer("frequency", torch.full((candidates,), 1.0 / candidates))

    def set_frequency(self, counts: Tensor) -> None:
        """Counts [n] of the candidates among training labels; one is added to each, so that all can be drawn."""
        if counts.shape != self.frequency.shape or bool((counts < 0).any()):
            raise ValueError(f"counts must be {len(self.frequency)} numbers of at least 0")
        smoothed = counts.to(self.frequency) + 1.0
        self.frequency.copy_(smoothed / smoothed.sum())
        if self.repeat is not None:
            self.repeat.set_popularity(self.frequency)

    def scores(self, query: Tensor, beside: Tensor | None = None) -> Tensor:
        """[B, width] → [B, n]. beside [B, n]: the repeat term of these rows; None adds nothing."""
        cosines = self._cosine(query, self.weight)
        return cosines if beside is None else cosines + beside

    def loss(self, query: Tensor, labels: Tensor, negatives: int, beside: Tensor | None = None) -> Tensor:
        """InfoNCE of each row, [M·B].

        Args:
            query: [M·B, width] of M members, member after member.
            labels: [B, P] int64, −1 = padding.
            negatives: how many to draw; 0 = the whole table.
            beside: [B, n], as in `scores`.
        """
        members = len(query) // len(labels) if len(labels) else 1
        if negatives == 0:
            with torch.autocast(query.device.type, enabled=False):
                unit = F.normalize(query.float(), dim=-1).unflatten(0, (members, -1)) / self.temperature
                losses: Tensor = WholeTable.apply(unit, F.normalize(self.weight.float(), dim=-1), beside, labels)
            return losses.flatten()
        labelled, safe = repeated(labels >= 0, members), repeated(labels.clamp(min=0), members)
        sample = torch.multinomial(self.frequency, negatives, replacement=True)  # [S]
        positive = self._cosine(query.unsqueeze(1), self.weight[safe]).squeeze(1)
        negative = self._cosine(query, self.weight[sample]) - (negatives * self.frequency[sample]).log()
        if beside is not None:
            beside = repeated(beside, members)
            positive, negative = positive + beside.gather(1, safe), negative + beside[:, sample]
        hit = ((safe.unsqueeze(2) == sample) & labelled.unsqueeze(2)).any(1)  # [B, S]
        return info_nce(positive, labelled, negative.masked_fill(hit, -torch.inf))

    def _cosine(self, query: Tensor, candidates: Tensor) -> Tensor:
        """Cosines over τ in float32, whatever autocast says: τ multiplies a half-precision error by 14."""
        with torch.autocast(query.device.type, enabled=False):
            unit = F.normalize(query.float(), dim=-1)
            return unit @ F.normalize(candidates.float(), dim=-1).transpose(-1, -2) / self.temperature


def info_nce(positive: Tensor, labelled: Tensor, negative: Tensor) -> Tensor:
    """Mean over positives of log(1 + exp(logsumexp(negative) − s_p)), [B]; 0 for a row without a positive.

    positive [B, M] scores; labelled [B, M] bool; negative [B, n] scores, −inf where excluded.
    """
    floor = torch.finfo(torch.float32).min / 2  # a row whose negatives are all excluded has loss 0, not NaN
    rest = negative.clamp(min=floor).logsumexp(1, keepdim=True)
    losses = F.softplus(rest - positive)
    return torch.where(labelled, losses, 0.0).sum(1) / labelled.sum(1).clamp(min=1)


class WholeTable(torch.autograd.Function):
    """`info_nce` of all members' queries against a whole table, in a third of the passes over the scores.

    Args:
        query: [M, B, width] of length 1/τ.
        table: [n, width] of length 1.
        beside: [B, n] that is added to the scores of every member, or None.
        labels: [B, P] int64, −1 = padding.

    Shape:
        → [M, B]; 0 for a row without a label.

    Source: MODEL §9; the gradient of the loss at the head of this file, written out.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, table: Tensor, beside: Tensor | None, labels: Tensor) -> Tensor:
        members, count = query.shape[0], len(table)
        labelled, safe = labels >= 0, labels.clamp(min=0)
        scores = (query.flatten(0, 1) @ table.T).unflatten(0, (members, -1))  # [M, B, n]
        added = scores.new_zeros(len(labels), count) if beside is None else beside
        positive = scores.gather(2, safe.expand(members, -1, -1)) + added.gather(1, safe)
        hit = torch.zeros(len(labels), count + 1, dtype=torch.bool, device=scores.device)
        hit.scatter_(1, torch.where(labelled, labels, count), True)  # padding goes to the extra column
        scores += added.masked_fill(hit[:, :-1], -torch.inf)
        floor = torch.finfo(scores.dtype).min / 2  # a row whose negatives are all excluded has loss 0, not NaN
        highest = scores.amax(2, keepdim=True).clamp_(min=floor)
        share = scores.sub_(highest).exp_()
        total = share.sum(2, keepdim=True)
        above = highest + total.clamp(min=torch.finfo(scores.dtype).tiny).log() - positive  # [M, B, P]
        weight = labelled / labelled.sum(1, keepdim=True).clamp(min=1)
        ctx.save_for_backward(query, table, share, total, above.sigmoid() * weight, safe.expand(members, -1, -1))
        ctx.beside = beside is not None
        return (F.softplus(above) * weight).sum(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, table, share, total, steps, safe = ctx.saved_tensors
        of_positive = steps * grad.unsqueeze(2)
        of_total = of_positive.sum(2, keepdim=True) / total.clamp(min=torch.finfo(total.dtype).tiny)
        of_scores = (share * of_total).scatter_add_(2, safe, -of_positive)
        of_table = of_scores.flatten(0, 1).T @ query.flatten(0, 1)
        of_query = torch.bmm(of_scores, table.expand(len(query), -1, -1))
        return of_query, of_table, of_scores.sum(0) if ctx.beside else None, None
