"""The report of an epoch, and progress for people: a bar on a terminal, one line an epoch anywhere else."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one phase. A task without labels is left out of a mapping; nothing here is ever NaN.

    train_loss, valid_loss: task → its plain loss, before any weighting, over labelled rows; None where it is not
    finite. weights: task → what its loss was multiplied with at the end of the epoch. skill: task → part of the score
    (`ple_model.training.skill`), score their mean. gates: task → expert → mean weight over validation rows;
    gate_entropy the mean entropy of a row's gate and mean_gate_entropy that of the mean gate, in nats. adatt: an
    `AdaTTReport` as a mapping, in phase 1 where it is on. waiting: share of the steps' time, from 0 to 1, in which they
    stood still for their rows (`ple_model.training.feed`).
    """

    phase: int
    epoch: int
    score: float
    best: bool
    loss: float
    train_loss: dict[str, float | None]
    valid_loss: dict[str, float | None]
    skill: dict[str, float]
    weights: dict[str, float]
    gates: dict[str, dict[str, float]]
    gate_entropy: float
    mean_gate_entropy: float
    learning_rate: float
    seconds: float
    rows_per_second: float
    skipped_steps: int = 0
    culprits: dict[str, int] = field(default_factory=dict)
    adatt: dict[str, Any] | None = None
    waiting: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EpochReport":
        return cls(**data)


class Progress:
    """A bar for each phase where stderr is a terminal, one line an epoch where it is not, nothing when switched off."""

    def __init__(self, phase: int, epochs: int, steps: int, done: int, on: bool) -> None:
        self.phase, self.epochs, self.on = phase, epochs, on
        self.bar: tqdm | None = None
        if on and sys.stderr.isatty():
            self.bar = tqdm(total=epochs * steps, initial=done * steps, desc=f"phase {phase}", unit="step")

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, report: EpochReport) -> None:
        if self.bar is not None:
            self.bar.set_postfix(epoch=report.epoch, loss=f"{report.loss:.4f}", score=f"{report.score:.4f}")
        elif self.on:
            print(
                f"phase {self.phase} epoch {report.epoch:>2}/{self.epochs}  loss {report.loss:.4f}  "
                f"score {report.score:.4f}{' best' if report.best else '     '}  lr {report.learning_rate:.1e}  "
                f"{report.seconds:.1f} s  {report.rows_per_second:,.0f} rows/s  waits {report.waiting:.1%}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
