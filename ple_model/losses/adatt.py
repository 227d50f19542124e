"""adaTT, adaptive task transfer: a task's loss takes a share of the losses whose gradients agree with its own.

- Affinity: a moving average of the cosines between the tasks' gradients (`gram.py` computes these), measured from the
  first step of warm-up on.
- Pairs in conflict, a task itself, and tasks without a label in the batch are removed inside the softmax: their weight
  is exactly 0.
- Warm-up measures only; then weights adapt; then they are fixed for good.
- All that a resumed run needs is a buffer or a parameter.

Source: MODEL §12.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ple_model.config import AdaTTConfig, TaskConfig
from ple_model.layers.gates import masked_softmax
from ple_model.losses.gram import agreement, cosines

Phase = Literal["warm-up", "dynamic", "frozen"]


@dataclass(frozen=True)
class AdaTTReport:
    """One epoch of the mechanism. affinity, weights: [T][T] rows in the order of `tasks` (weights with every task
    labelled; row i: the shares that task i takes). conflicts: task → those in conflict with it. correlation: of the
    two spaces' cosines, None where not compared. prior_share: r. seconds: spent measuring; share: of the epoch's
    time."""

    tasks: tuple[str, ...]
    phase: Phase
    epoch: int
    prior_share: float
    affinity: list[list[float]]
    weights: list[list[float]]
    conflicts: dict[str, list[str]]
    correlation: float | None
    seconds: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class AdaTT(nn.Module):
    """losses [T] → losses [T] with the shares that each task takes of the others. Tasks in the order of the
    configuration.

    `weight` W is learnt from 0 (row i: shares that task i takes, §12.2). Epochs are counted from 1, as a training does:
    1 … warmup_epochs are warm-up, those up to freeze_epoch dynamic, later ones frozen.
    """

    prior: Tensor
    affinity: Tensor
    observed: Tensor
    fixed: Tensor
    frozen: Tensor
    epoch_count: Tensor

    def __init__(self, config: AdaTTConfig, tasks: Sequence[TaskConfig]) -> None:
        super().__init__()
        self.config, self.task_names = config, tuple(task.name for task in tasks)
        self.enabled = config.enabled
        self.weight = nn.Parameter(torch.zeros(len(tasks), len(tasks)))
        self.register_buffer("prior", group_prior(config, tasks), persistent=False)
        self.register_buffer("affinity", torch.zeros(len(tasks), len(tasks)))
        self.register_buffer("observed", torch.zeros(len(tasks), len(tasks), dtype=torch.bool))
        self.register_buffer("fixed", torch.zeros(len(tasks), len(tasks)))  # logits since the freeze
        self.register_buffer("frozen", torch.tensor(False))
        self.register_buffer("epoch_count", torch.tensor(1))
        self.correlation: float | None = None
        self.seconds = 0.0
        self._epoch = 1
        self.register_load_state_dict_post_hook(_read_epoch)

    @property
    def phase(self) -> Phase:
        if self._epoch <= self.config.warmup_epochs:
            return "warm-up"
        return "dynamic" if self._epoch <= self.config.freeze_epoch else "frozen"

    @property
    def prior_share(self) -> float:
        """r: falls linearly from the first to the second of `config.prior`, from the end of warm-up to the freeze."""
        start, end = self.config.prior
        length = self.config.freeze_epoch - self.config.warmup_epochs
        done = min(max(self._epoch - 1 - self.config.warmup_epochs, 0) / length, 1.0)
        return start + (end - start) * done

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Enter an epoch, counted from 1. Entering the first frozen one fixes the weights as they stand."""
        self._epoch, self.seconds, self.correlation = epoch, 0.0, None
        self.epoch_count.fill_(epoch)
        if self.phase != "frozen":
            self.frozen.fill_(False)
        elif not bool(self.frozen):
            self.fixed.copy_(self._logits())
            self.frozen.fill_(True)

    def due(self, step: int) -> bool:
        """Whether this step, counted from 0 over the whole run, measures."""
        return self.enabled and self.phase != "frozen" and step % self.config.every == 0

    @torch.no_grad()
    def measure(self, gram: Tensor, has_target: Tensor) -> None:
        """Take a Gram matrix [T, T] of the tasks' gradients into the moving average; nothing once frozen.

        has_target [T] bool: the task has a label among the measured rows. A pair's first observation is taken whole.
        """
        if self.phase == "frozen":
            return
        cosine, defined = cosines(gram.float())
        pairs = defined & has_target & has_target.unsqueeze(1)
        momentum = self.config.momentum
        averaged = torch.where(self.observed, momentum * self.affinity + (1 - momentum) * cosine, cosine)
        self.affinity.copy_(torch.where(pairs, averaged, self.affinity).clamp_(-1.0, 1.0))
        self.observed |= pairs

    def compare(self, representation: Tensor, parameters: Tensor, has_target: Tensor) -> None:
        """Keep, for this epoch's report, how the cosines of two spaces agree; Gram matrices of the same rows."""
        self.correlation = agreement(representation, parameters, has_target)

    def weights(self, has_target: Tensor) -> Tensor:
        """Share that task i (row) takes of task j's loss, [T, T]: rows sum to 1, or to 0 where nothing is left."""
        logits = self.fixed if self.phase == "frozen" else self._logits()
        others = ~torch.eye(len(has_target), dtype=torch.bool, device=has_target.device)
        allowed = logits.isfinite() & others & has_target & has_target.unsqueeze(1)
        return masked_softmax(logits / self.config.temperature, allowed)

    def transfer(self, losses: Tensor, has_target: Tensor) -> Tensor:
        """L_i + λ Σ_j w_ij L_j, the added share at most `limit`·|L_i| on either side; the losses unchanged when off or
        in warm-up.

        MODEL §12.3 has min(·, limit·L_i). Uncertainty weighting makes w (L/σ² + log σ²) negative as soon as a loss is
        small, and that bound would then hold always and let no gradient through; for losses ≥ 0 the two are equal.
        """
        if not self.enabled or self.phase == "warm-up":
            return losses
        usable = torch.where(has_target, losses, 0.0)
        bound = self.config.limit * usable.detach().abs()
        taken = self.config.strength * (self.weights(has_target) @ usable)
        return losses + torch.minimum(torch.maximum(taken, -bound), bound)

    def conflicts(self) -> Tensor:
        """[T, T] bool: pairs whose affinity was measured and lies below the threshold."""
        return self.observed & (self.affinity < self.config.conflict)

    def negative_transfer(self) -> dict[str, list[str]]:
        """Task → the tasks in conflict with it; a task without any is left out."""
        found = {
            task: [other for other, conflict in zip(self.task_names, row, strict=True) if conflict]
            for task, row in zip(self.task_names, self.conflicts().tolist(), strict=True)
        }
        return {task: others for task, others in found.items() if others}

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Off inside the block, and as before behind it, also after an error (MODEL §13, phase 2)."""
        before, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = before

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the wall time of the block to the epoch's `seconds`: put it around computing a Gram and `measure`."""
        _synchronise(self.affinity)
        started = time.perf_counter()
        try:
            yield
        finally:
            _synchronise(self.affinity)
            self.seconds += time.perf_counter() - started

    @torch.no_grad()
    def report(self, epoch_seconds: float) -> AdaTTReport:
        """The state at the end of an epoch that took so long."""
        return AdaTTReport(
            tasks=self.task_names,
            phase=self.phase,
            epoch=self._epoch,
            prior_share=self.prior_share,
            affinity=self.affinity.tolist(),
            weights=self.weights(torch.ones_like(self.observed[0])).tolist(),
            conflicts=self.negative_transfer(),
            correlation=self.correlation,
            seconds=self.seconds,
            share=self.seconds / epoch_seconds if epoch_seconds > 0 else 0.0,
        )

    def _logits(self) -> Tensor:
        """R = (W + A)(1 − r) + P r, [T, T]; −inf where two tasks are in conflict."""
        r = self.prior_share
        mixed = (self.weight + self.affinity) * (1 - r) + self.prior * r
        return mixed.masked_fill(self.conflicts(), -torch.inf)


def group_prior(config: AdaTTConfig, tasks: Sequence[TaskConfig]) -> Tensor:
    """P [T, T]: the strength of a group inside it, `inter` between groups, diagonal 0, rows sum to 1 (0 for a single
    task). Raises ValueError for a group without a strength. Source: MODEL §12.2."""
    missing = sorted({task.group for task in tasks} - config.intra.keys())
    if missing:
        raise ValueError(
            f"adatt.intra has no strength for group {', '.join(missing)}; it has {', '.join(config.intra)}"
        )
    strength = torch.tensor(
        [[config.intra[a.group] if a.group == b.group else config.inter for b in tasks] for a in tasks]
    )
    strength.fill_diagonal_(0.0)
    total = strength.sum(1, keepdim=True)
    return torch.where(total > 0, strength / total, 0.0)


def _read_epoch(module: nn.Module, _: Any) -> None:
    assert isinstance(module, AdaTT)
    module._epoch = int(module.epoch_count)


def _synchronise(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
