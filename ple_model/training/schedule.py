"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

import math

from ple_model.training.config import TrainingConfig


def rate_factor(config: TrainingConfig, phase: int, step: int, steps_per_epoch: int) -> float:
    """Multiple of the base learning rate at one optimiser step.

    Linear warm-up from `warmup_start` to 1, then, in phase 1, cosines from 1 to 0 with warm restarts (Loshchilov &
    Hutter 2017, "SGDR") and, in phase 2, one cosine to 0 at the end of the phase.

    Args:
        phase: 1 or 2.
        step: steps since the start of this phase, from 0.
        steps_per_epoch: steps in one epoch of this phase.

    Source: MODEL §13.
    """
    warmup = (config.warmup_epochs if phase == 1 else config.phase2_warmup_epochs) * steps_per_epoch
    if step < warmup:
        return config.warmup_start + (1.0 - config.warmup_start) * step / warmup
    done = step - warmup
    if phase == 1:
        length = config.restart_epochs * steps_per_epoch
        while done >= length:
            done -= length
            length *= config.restart_factor
    else:
        length = max(config.phase2_epochs * steps_per_epoch - warmup, 1)
        done = min(done, length)
    return 0.5 * (1.0 + math.cos(math.pi * done / length))
