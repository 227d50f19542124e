"""One optimizer step: gradients of a batch in parts and processes, clipping, and the steps that are left out."""

import logging
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ple_model.inputs import Inputs, Targets
from ple_model.losses.multitask import LossResult, MultiTaskLoss, Part
from ple_model.multitask import MultiTaskNetwork, Outputs
from ple_model.training.affinity import AffinityMeter
from ple_model.training.averaging import WeightAverage
from ple_model.training.config import TrainingConfig
from ple_model.training.distributed import World
from ple_model.training.feed import Batch
from ple_model.training.optimizer import build_optimizer
from ple_model.training.schedule import rate_factor
from ple_model.training.state import RunState
from ple_model.training.validate import LossMeans

log = logging.getLogger(__name__)


class NonFiniteLoss(RuntimeError):
    """More steps than allowed had a loss or a gradient that is not finite; the message names the culprits."""


class Stepper:
    """The optimizer of a phase and the steps that it takes.

    Args:
        modules: `model` and `loss` on the device, whose parameters are trained.
        config: settings of the run.
        device: of the modules.
        precision: of autocast; float32 means none.
        steps: of an epoch.
    """

    def __init__(
        self,
        modules: nn.ModuleDict,
        config: TrainingConfig,
        device: torch.device,
        precision: torch.dtype,
        steps: int,
    ) -> None:
        model, loss = modules["model"], modules["loss"]
        assert isinstance(model, MultiTaskNetwork)
        assert isinstance(loss, MultiTaskLoss)
        self.modules, self.model, self.loss = modules, model, loss
        self.config, self.steps = config, steps
        self.device, self.precision, self.world = device, precision, World.current()
        self.meter = AffinityMeter(model, loss, self.world)
        self.average = WeightAverage(modules, config.average)
        self.forward: Callable[[Inputs], Outputs] = torch.compile(model) if config.compile else model
        self.state = RunState()

    def begin(self, phase: int) -> None:
        """Freeze what the phase freezes and start optimizer, scaler and early stopping afresh."""
        self.state.phase, self.state.epoch, self.state.waited = phase, 0, 0
        self.average.restart()
        self.model.freeze_shared(phase == 2)
        self.modules.zero_grad(set_to_none=True)  # frozen parameters must not count in the norm that clips the rest
        self.optimizer = build_optimizer(
            self.modules, self.config, [name for name, _ in self.model.experts.named_children()]
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    @property
    def rate(self) -> float:
        """The learning rate of the last step, before the multiples of experts."""
        group = self.optimizer.param_groups[0]
        return float(group["lr"] / group["multiple"])

    def take(self, batch: Batch, step: int, means: LossMeans) -> float:
        """One optimizer step; the total loss, 0 where the step was skipped."""
        factor = rate_factor(self.config, self.state.phase, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * group["multiple"] * factor
        try:
            total, results = self._backward(batch, step)
        except torch.OutOfMemoryError:
            if self.state.micro_batches > 1:
                raise
            total = None
        if total is None:
            self.state.micro_batches = 2
            log.warning(
                "out of memory at %d rows: from here on batches are computed in twice as many parts, gradients added",
                batch.rows,
            )
            torch.cuda.empty_cache()
            total, results = self._backward(batch, step)
        culprits = _culprits(total, results)
        if not culprits:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.modules.parameters(), self.config.clip_norm)
            if self.scaler.is_enabled() or math.isfinite(norm.item()):
                self.scaler.step(self.optimizer)  # a scaler leaves out the steps that overflow, and lowers its scale
                self.scaler.update()
                self.average.step()
                for result in results:
                    means.add(result)
                return total
            culprits = ["gradient of " + _first_nonfinite_gradient(self.modules)]
        self._skip(culprits)
        return 0.0

    def _backward(self, batch: Batch, step: int) -> tuple[float, list[LossResult]]:
        """Gradients of a batch over all parts and processes; the sum of the losses of its parts."""
        self.optimizer.zero_grad(set_to_none=True)
        total, results = 0.0, []
        labels = self._labels(batch.targets)
        parts = torch.arange(batch.own, device=self.device).tensor_split(
            self.config.accumulate * self.state.micro_batches
        )
        for i, rows in enumerate(parts):
            inputs, targets = batch.part(rows)
            first = i == 0 and self.state.phase == 1
            if first and step % self.steps == 0:
                self.meter.compare(inputs, targets)
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                outputs = self.forward(inputs)
                observe = self.meter.observer(step, inputs, targets, outputs) if first else None
                share = self._part(len(rows), targets, batch, labels)
                result = self.loss(outputs, targets, self.model, share, observe)
            results.append(result)
            total += self._own(result, share)
            if not math.isfinite(total) and self.world.size == 1:
                break
            self.scaler.scale(result.total).backward()
        if self.world.size > 1:  # all processes skip a step, or none
            total = float(self.world.sum(torch.tensor(total, device=self.device)))
            self.world.sum_gradients(list(self.model.parameters()), list(self.loss.parameters()))
        return total, results

    def _labels(self, targets: Targets) -> Tensor:
        """Labels of each task among these rows of all processes, [T]."""
        none = torch.zeros((), dtype=torch.int64, device=self.device)
        counts = [targets.mask[task].sum() if task in targets.mask else none for task in self.model.task_names]
        return self.world.sum(torch.stack(counts))

    def _part(self, rows: int, targets: Targets, batch: Batch, labels: Tensor) -> Part | None:
        """The share of a batch that so many rows with these targets are; None for the whole of it."""
        if self.world.size == 1 and rows == batch.rows:
            return None
        share = self._labels(targets) / labels.clamp(min=1)
        return Part(rows / batch.rows, share, self.world.sum if self.world.size > 1 else None)

    def _own(self, result: LossResult, share: Part | None) -> float:
        """What a part of this process adds to the loss of the batch: the tasks' losses are those of all processes
        already, the regularisation is that of the rows here."""
        total = result.total.item()
        if share is None or self.world.size == 1:
            return total
        here = share.rows * sum(term.item() for term in result.regularisation.values())
        return (total - here) / self.world.size + here

    def _skip(self, culprits: list[str]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        state = self.state
        state.skipped_steps += 1
        state.culprits = dict(Counter(state.culprits) + Counter(culprits))
        where = f"phase {state.phase}, epoch {state.epoch}"
        log.warning("%s: a step was skipped, not finite: %s", where, ", ".join(culprits))
        if state.skipped_steps > self.config.max_nonfinite_steps:
            worst = ", ".join(f"{name} ({n} steps)" for name, n in Counter(state.culprits).most_common())
            raise NonFiniteLoss(
                f"{where}: {state.skipped_steps} steps were not finite, {self.config.max_nonfinite_steps} are allowed; "
                f"culprits: {worst}. Look at the labels and inputs of those tasks, or lower the learning rate"
            )


def _culprits(total: float, results: list[LossResult]) -> list[str]:
    """Tasks and regularisers that are not finite; empty for a finite total."""
    if math.isfinite(total):
        return []
    terms = {name: term for result in results for name, term in (result.per_task | result.regularisation).items()}
    return [name for name, term in terms.items() if not bool(torch.isfinite(term))] or ["the weighted total"]


def _first_nonfinite_gradient(modules: nn.Module) -> str:
    for name, parameter in modules.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "all parameters together"
