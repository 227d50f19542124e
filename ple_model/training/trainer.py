"""The trainer, in two phases: everything, then baskets and towers behind frozen experts and gates.

- A run is a function of (model, settings, data): every draw comes from a seed derived from (seed, phase, epoch), so a
  run that was killed at any instant and resumed ends with the same bits as one that was not.
- Each phase has its own optimizer, schedule, scaler and early stopping, and counts its own epochs. It ends with the
  weights of its best epoch; phase 2 keeps those it started from unless it finds better ones.
- With `best_epoch: task` the weights of every epoch are kept that has the least validation loss of some task.
- With `average` a moving average of the weights is validated and kept in their place.
- A step whose loss or gradient is not finite is skipped, counted by task, and too many stop the run.
- Out of memory cuts batches in two, once. `accumulate` cuts them from the start. Losses are means over the labels of
  the whole batch either way.
- adaTT works in phase 1 only, and is restored whatever happens; when it freezes, the gates freeze with it.
- Under `torchrun` each process takes its share of every batch and of the validation rows: same losses, same steps as
  one process, but for the draws (dropout), which each process has of its own.

Source: MODEL §13.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ple_model.epochs import Epoch
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.multitask import MultiTaskNetwork
from ple_model.serving.files import digest_of_json
from ple_model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ple_model.training.config import TrainingConfig
from ple_model.training.data import Rows, derived_seed, digest_of_tensors, permuted_batches, steps_in
from ple_model.training.device import choose_device, choose_precision, reproducible
from ple_model.training.distributed import World
from ple_model.training.feed import Feed
from ple_model.training.optimizer import load_optimizer_tensors, optimizer_tensors
from ple_model.training.report import EpochReport, Progress
from ple_model.training.skill import constant_losses, score, skills
from ple_model.training.state import RunState
from ple_model.training.step import Stepper
from ple_model.training.validate import GateMeans, LossMeans, task_weights, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """best: (phase, epoch) whose weights the model has; epoch 0 of phase 1 are the initial ones. score: of that epoch.
    epochs: task → the epoch that is to answer it. weights: the network's weights of these epochs. stopped_by: phase →
    "epochs" or "patience". history: every epoch, those before a resume included. resumed_from: (phase, epochs done in
    it), or None. batch_size: rows in one step. skipped: steps left out, by culprit."""

    best: Epoch
    score: float
    epochs: dict[str, Epoch]
    weights: dict[Epoch, dict[str, Tensor]]
    stopped_by: dict[int, str]
    history: tuple[EpochReport, ...]
    resumed_from: Epoch | None
    device: str
    precision: str
    batch_size: int
    skipped: dict[str, int]

    @property
    def phase2_from(self) -> int:
        """The epoch of phase 1 that phase 2 went on from, or would have: the best one."""
        return max(report.epoch for report in self.history if report.phase == 1 and report.best)


def fit(
    model: MultiTaskNetwork,
    train: Rows,
    valid: Rows | None,
    config: TrainingConfig,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    progress: bool = True,
    epochs: Mapping[str, Epoch] | None = None,
    phase2_from: int | None = None,
) -> FitResult:
    """Train `model` in place; it ends on the CPU, in eval mode, with the weights of the best epoch.

    Args:
        model: with bin edges and target scales set (`fit_inputs`, `set_target_scale`) from training rows.
        train: rows to learn from.
        valid: rows of later dates, for the score of an epoch (`ple_model.training.skill`); None with `epochs`.
        checkpoint_dir: where every epoch is kept; a checkpoint of the same model, settings and data is resumed, one of
            another run is ignored with a warning. None keeps nothing.
        on_epoch: called after every epoch of this process, once its checkpoint is safe. Epochs before a resume are in
            `FitResult.history`.
        progress: show a bar or lines on stderr.
        epochs: task → epoch that is to answer it, chosen by an earlier run; none behind the last of them is trained.
        phase2_from: with `epochs`: the epoch of phase 1 that phase 2 goes on from; without it the last of `config`.

    Raises:
        ValueError: no training rows, no label among the validation rows, an unknown expert or device in `config`;
            `epochs` or `phase2_from` that `config` does not train, or validation rows beside them.
        NonFiniteLoss: more than `config.max_nonfinite_steps` steps were skipped.
        torch.OutOfMemoryError: a second time, with halved batches.

    Source: MODEL §13.
    """
    run = _Run(model, train, valid, config, checkpoint_dir, epochs, phase2_from)
    with reproducible(config, run.device):
        try:
            return run.run(on_epoch, progress)
        finally:
            model.freeze_shared(False)
            model.to("cpu").eval()


class _Run:
    def __init__(
        self,
        model: MultiTaskNetwork,
        train: Rows,
        valid: Rows | None,
        config: TrainingConfig,
        checkpoint_dir: Path | None,
        epochs: Mapping[str, Epoch] | None,
        phase2_from: int | None,
    ) -> None:
        if not len(train):
            raise ValueError("the training table has no rows")
        if (valid is None) == (epochs is None):
            raise ValueError("either validation rows choose the epochs or they are given")
        self.constant = {} if valid is None else constant_losses(model, valid.targets)
        if valid is not None and not self.constant:
            raise ValueError("no task has varying labels among the validation rows, so no epoch can be called best")
        self.given = None if epochs is None else dict(epochs)
        self.last = {1: config.phase1_epochs, 2: config.phase2_epochs}
        self.phase2_from = phase2_from or config.phase1_epochs
        if self.given is not None:
            _check_given(self.given, self.phase2_from, model, config)
            self.last = _last_epochs(self.given, self.phase2_from)
        self.device = choose_device(config.device)
        self.train, self.valid = train.resident(self.device), None if valid is None else valid.resident(self.device)
        self.model, self.config, self.directory = model, config, checkpoint_dir
        self.precision = choose_precision(config, self.device)
        self.loss = MultiTaskLoss(model.config)
        self.modules = nn.ModuleDict({"model": model, "loss": self.loss})
        self.identity = self._identity() if checkpoint_dir else {}
        self.modules.to(self.device)
        self.world = World.current()
        limit = config.batch_size_gpu if self.device.type == "cuda" else config.batch_size_cpu
        self.batch_size = max(min(limit, len(train) // config.min_steps), 2)
        self.steps = steps_in(len(train), self.batch_size)
        self.stepper = Stepper(self.modules, config, self.device, self.precision, self.steps)
        self.feed = Feed(self.train, self.device, self.world)
        self.best = self._weights()
        self.kept: dict[Epoch, dict[str, Tensor]] = {}
        self.stepper.begin(1)

    @property
    def state(self) -> RunState:
        return self.stepper.state

    def run(self, on_epoch: Callable[[EpochReport], None] | None, progress: bool) -> FitResult:
        resumed_from = self._resume()
        stopped_by: dict[int, str] = {}
        for phase, epochs in self.last.items():
            if self.state.phase < phase:
                self.stepper.begin(phase)
            if self.state.phase == phase and epochs:
                with nullcontext() if phase == 1 or self.loss.adatt is None else self.loss.adatt.suspended():
                    self._train_phase(epochs, on_epoch, progress)
                stopped_by[phase] = "patience" if self.state.waited >= self.config.patience else "epochs"
                self.modules.load_state_dict(self.best)
            else:
                done = sum(report["phase"] == phase for report in self.state.history)
                stopped_by[phase] = "epochs" if done == epochs else "patience"
        assert self.state.best_score is not None
        chosen = self._chosen()
        best = {self.state.best: _under("model.", self.best)}
        return FitResult(
            best=self.state.best,
            score=self.state.best_score,
            epochs=chosen,
            weights={epoch: _on_cpu((best | self.kept)[epoch]) for epoch in sorted(set(chosen.values()))},
            stopped_by=stopped_by,
            history=tuple(EpochReport.from_dict(report) for report in self.state.history),
            resumed_from=resumed_from,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            batch_size=self.batch_size,
            skipped=dict(self.state.culprits),
        )

    def _train_phase(self, epochs: int, on_epoch: Callable[[EpochReport], None] | None, progress: bool) -> None:
        state = self.state
        bar = Progress(state.phase, epochs, self.steps, state.epoch, progress and self.world.first)
        try:
            while state.epoch < epochs and state.waited < self.config.patience:
                report = self._epoch(bar)
                state.history.append(report.to_dict())
                self._save()
                bar.epoch(report)
                if on_epoch is not None and self.world.first:
                    on_epoch(report)
        finally:
            bar.close()

    def _epoch(self, bar: Progress) -> EpochReport:
        state, started = self.state, time.perf_counter()
        state.epoch += 1
        torch.manual_seed(derived_seed(self.config.seed, "draws", state.phase, state.epoch, self.world.rank))
        self._enter_epoch()
        self.modules.train()
        if state.phase == 2:  # frozen experts answer as they will when they score
            self.model.experts.eval()
        means, total, skipped = LossMeans(self.model.task_names, self.device), 0.0, state.skipped_steps
        batches = permuted_batches(len(self.train), self.batch_size, self.config.seed, state.phase, state.epoch)
        self.feed.waited = 0.0
        for step, batch in enumerate(self.feed(batches)):
            total += self.stepper.take(batch, (state.epoch - 1) * self.steps + step, means)
            bar.step()
        trained = time.perf_counter() - started
        losses = means.losses()
        self.loss.weighting.epoch(torch.tensor([losses.get(task, 0.0) for task in self.model.task_names]))
        with self.stepper.average.applied():
            valid_loss, gates = self._validate()
            skill = skills(valid_loss, self.constant)
            reached = score(skill) if skill else 0.0
            better = state.best_score is None or reached > state.best_score
            if self.given is not None:  # no score: the weights to go on with are known beforehand
                better = state.phase == 2 or state.epoch <= self.phase2_from
            state.waited = 0 if better or self.given is not None else state.waited + 1
            if better:
                state.best_score, state.best, self.best = reached, (state.phase, state.epoch), self._weights()
            self._keep(valid_loss)
        skipped, adatt = state.skipped_steps - skipped, self.loss.adatt
        return EpochReport(
            phase=state.phase,
            epoch=state.epoch,
            score=reached,
            best=better,
            loss=total / max(self.steps - skipped, 1),
            train_loss=_finite(losses),
            valid_loss=_finite(valid_loss),
            skill=skill,
            weights=task_weights(self.loss),
            gates=gates.by_task,
            gate_entropy=gates.entropy,
            mean_gate_entropy=gates.entropy_of_mean,
            learning_rate=self.stepper.rate,
            seconds=time.perf_counter() - started,
            rows_per_second=len(self.train) / trained,
            skipped_steps=skipped,
            culprits=dict(state.culprits),
            adatt=None if adatt is None or not adatt.enabled else adatt.report(trained).to_dict(),
            waiting=min(self.feed.waited / trained, 1.0),
        )

    def _validate(self) -> tuple[dict[str, float], GateMeans]:
        if self.valid is None:
            return {}, GateMeans({}, 0.0, 0.0)
        return validate(self.model, self.loss, self.valid, self.batch_size, self.device, self.precision)

    def _keep(self, valid_loss: dict[str, float]) -> None:
        """Keep the weights of this epoch if it is the one of a task, and forget those of epochs that are none's."""
        state, here = self.state, (self.state.phase, self.state.epoch)
        if self.given is None and self.config.best_epoch == "network":
            return
        for task, loss in valid_loss.items():
            if math.isfinite(loss) and (task not in state.by_task or loss < state.by_task[task][0]):
                state.by_task[task] = [loss, *here]
        wanted = set(self._chosen().values())
        if here in wanted:
            self.kept[here] = _copy(self.model)
        self.kept = {epoch: weights for epoch, weights in self.kept.items() if epoch in wanted}

    def _chosen(self) -> dict[str, Epoch]:
        """Task → its epoch so far; that of the whole network where a task has no validation loss."""
        if self.given is not None:
            return self.given
        own = {task: (int(phase), int(epoch)) for task, (_, phase, epoch) in self.state.by_task.items()}
        return {task: own.get(task, self.state.best) for task in self.model.task_names}

    def _enter_epoch(self) -> None:
        """Passes on the number of the epoch, counted over both phases."""
        state = self.state
        if self.model.evidential is not None:
            before = self.config.phase1_epochs if state.phase == 2 else 0
            self.model.evidential.begin_epoch(before + state.epoch - 1)
        if self.loss.adatt is not None and state.phase == 1:
            self.loss.adatt.begin_epoch(state.epoch)
            if self.loss.adatt.phase == "frozen":
                self.model.freeze_gates()

    def _weights(self) -> dict[str, Tensor]:
        return _copy(self.modules)

    def _identity(self) -> dict[str, str]:
        return {
            "model": digest_of_json(self.model.config.to_dict()),
            "training settings": digest_of_json(self.config.to_dict()),
            "initial weights": digest_of_tensors(self.modules.state_dict()),
            "training data": self.train.digest(),
            "validation data": "none" if self.valid is None else self.valid.digest(),
            "epochs": digest_of_json([self.given, self.phase2_from if self.given else None]),
            "device": f"{self.device} {self.precision}",
        }

    def _save(self) -> None:
        if self.directory is None:
            return
        if not self.world.first:
            self.world.wait()
            return
        self.state.scaler = self.stepper.scaler.state_dict()
        self.state.averaged = self.stepper.average.steps
        tensors = {f"now/{name}": value for name, value in self.modules.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"average/{name}": value for name, value in self.stepper.average.average.items()}
        for (phase, epoch), weights in self.kept.items():
            tensors |= {f"kept/{phase}/{epoch}/{name}": value for name, value in weights.items()}
        tensors |= {
            f"optimizer/{name}": value for name, value in optimizer_tensors(self.modules, self.stepper.optimizer)
        }
        name = f"phase{self.state.phase}-epoch{self.state.epoch:03d}"
        save_checkpoint(self.directory, name, Checkpoint(tensors, asdict(self.state)), self.identity)
        self.world.wait()

    def _resume(self) -> Epoch | None:
        saved = load_checkpoint(self.directory, self.identity) if self.directory else None
        if saved is None:
            return None
        state = RunState(**{**saved.state, "best": tuple(saved.state["best"])})
        self.stepper.begin(state.phase)
        self.stepper.state = state
        self.modules.load_state_dict(_under("now/", saved.tensors))
        self.best = {name: value.to(self.device) for name, value in _under("best/", saved.tensors).items()}
        for name in (name for name in saved.tensors if name.startswith("kept/")):
            _, phase, epoch, key = name.split("/", 3)
            self.kept.setdefault((int(phase), int(epoch)), {})[key] = saved.tensors[name].to(self.device)
        self.stepper.average.load(_under("average/", saved.tensors), state.averaged)
        load_optimizer_tensors(self.modules, self.stepper.optimizer, _under("optimizer/", saved.tensors))
        self.stepper.scaler.load_state_dict(state.scaler)
        log.info("resumed after epoch %d of phase %d", state.epoch, state.phase)
        return state.phase, state.epoch


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in weights.items()}


def _last_epochs(epochs: Mapping[str, Epoch], phase2_from: int) -> dict[int, int]:
    """Phase → its last epoch that these tasks need."""
    last = {of: max((epoch for phase, epoch in epochs.values() if phase == of), default=0) for of in (1, 2)}
    return {1: max(last[1], phase2_from) if last[2] else last[1], 2: last[2]}


def _check_given(
    epochs: Mapping[str, Epoch], phase2_from: int, model: MultiTaskNetwork, config: TrainingConfig
) -> None:
    """Raises ValueError unless every task has an epoch that `config` trains."""
    if not 1 <= phase2_from <= config.phase1_epochs:
        raise ValueError(f"phase 2 is to go on from epoch {phase2_from}, which these settings do not train")
    if wrong := sorted(set(epochs) ^ set(model.task_names)):
        raise ValueError(f"epochs and tasks differ: {', '.join(wrong)}")
    last = {1: config.phase1_epochs, 2: config.phase2_epochs}
    for task, (phase, epoch) in epochs.items():
        if not 1 <= epoch <= last.get(phase, 0):
            raise ValueError(f"{task} asks for epoch {epoch} of phase {phase}, which these settings do not train")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
