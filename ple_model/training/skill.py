"""The validation score that picks epochs: how much better than a constant, averaged over tasks.

A task's *skill* is 1 − L / L₀: L its validation loss, L₀ the validation loss of the best constant prediction, chosen
on the validation labels themselves. 0 is as good as that constant, 1 is perfect, and the scale is the same for a loss
of 0.01 and one of 6. Skills are cut off at −1, so that one task that explodes cannot outweigh all others, and a loss
that is not finite counts as −1. Tasks without validation labels have no skill and are left out of the mean.
"""

import math
from collections.abc import Mapping

from ple_model.inputs import Targets
from ple_model.multitask import MultiTaskNetwork
from ple_model.tasks import kind_of


def constant_losses(model: MultiTaskNetwork, targets: Targets) -> dict[str, float]:
    """Task → loss of its best constant prediction on these labels, in the unit of `MultiTaskLoss`.

    Class shares for NLL, the mean for MSE, a grid search for focal and Huber, popularity (log odds of a brand being
    among a row's positives) for InfoNCE. Tasks without a label, and those whose labels a constant predicts without
    error, are left out.
    """
    losses = {}
    for task in model.config.tasks:
        mask = targets.mask.get(task.name)
        if mask is None or not bool(mask.any()):
            continue
        loss = kind_of(task).constant_loss(task, targets.values[task.name][mask], model)
        if loss > 1e-9:
            losses[task.name] = loss
    return losses


def skills(losses: Mapping[str, float], constant: Mapping[str, float]) -> dict[str, float]:
    """Task → skill in [−1, 1], for the tasks of `constant`."""
    found = {}
    for task, base in constant.items():
        loss = losses.get(task, math.nan)
        found[task] = max(1.0 - loss / base, -1.0) if math.isfinite(loss) else -1.0
    return found


def score(found: Mapping[str, float]) -> float:
    """Mean of the skills."""
    return sum(found.values()) / len(found)
