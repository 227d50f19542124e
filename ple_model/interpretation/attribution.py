"""Attributions: which columns and inputs move a prediction, and by how much, in one unit for network and trees.

The unit is that in which a kind of task adds up (`Kind.explained`): log odds, log probability of a class, or the
label's unit. Each half of a blend is explained by itself, calibrated:

- the network by sampled Owen values (`owen`), exact in their sum, against background rows;
- the trees by TreeSHAP on their margins, exact against their training rows, carried through their calibrator along the
  straight line from the mean margins to the row's (Aumann–Shapley).

A source has w · (network's) + (1 − w) · (trees'), w the weight of the blend. `unexplained` is the rest of the final
prediction: a blend mixes probabilities, not log odds, and is calibrated once more. It is 0 for the network alone, and
for values that are not clipped.
Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (2020); Aumann
and Shapley, "Values of non-atomic games" (1974).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ple_model.config import TaskConfig
from ple_model.evaluation.kind import Floats, Ints
from ple_model.inputs import Inputs
from ple_model.interpretation.owen import owen_values
from ple_model.interpretation.sources import Sources
from ple_model.serving.blend import blend, flat_matrix, tree_predictions
from ple_model.serving.bundle import Bundle
from ple_model.serving.inference import RawOutputs, raw_outputs
from ple_model.tasks import kind_of

STEPS = 16
"""Points of the straight line at which the slopes of a calibrator of several margins are taken."""


@dataclass(frozen=True)
class Attribution:
    """Why R rows have their predictions of one task; `base + contributions.sum(1) + unexplained` is `explained`.

    Attributes:
        task: its name.
        unit: of all numbers.
        chosen: [R] name of the class whose log probability is explained; empty for kinds without classes.
        explained: [R] the model's own prediction, no base rate in its place.
        base: [R] prediction for the average background row (network) and training row (trees).
        contributions: [R, S], S the sources.
        errors: [R, S] standard errors of the contributions.
        unexplained: [R].
    """

    task: str
    unit: str
    chosen: tuple[str, ...]
    explained: Floats
    base: Floats
    contributions: Floats
    errors: Floats
    unexplained: Floats


def attribute(bundle: Bundle, inputs: Inputs, background: Inputs, seed: int = 0) -> dict[str, Attribution]:
    """Attributions of every task for R rows.

    A row costs the network about two passes a background row and source in which the two differ.

    Args:
        bundle: of the version that predicts.
        inputs: R rows.
        background: rows that the network's part is compared with; more of them lower the errors.
        seed: of the orders in which sources are moved.
    """
    config = bundle.model.config
    sources, tasks = Sources.of(config.inputs), config.tasks
    final = {name: bundle.calibration[name].calibrator.apply(raw) for name, raw in _blended(bundle, inputs).items()}
    classes = bundle.classes
    chosen = {t.name: kind_of(t).chosen(t, final[t.name], classes.get(t.name, ())) for t in tasks}
    shape = (len(inputs), len(sources), len(tasks))
    base, values, errors = np.zeros((len(inputs), len(tasks))), np.zeros(shape), np.zeros(shape)
    for r in range(len(inputs)):
        own = [None if (places := chosen[task.name]) is None else int(places[r]) for task in tasks]
        row = inputs.index(torch.tensor([r]))
        found = owen_values(_network(bundle, own), row, background, sources, np.random.default_rng([seed, r]))
        base[r], values[r], errors[r] = found.base, found.values, found.errors
    features = flat_matrix(inputs, config.inputs)
    result = {}
    for t, task in enumerate(tasks):
        kind, weight = kind_of(task), bundle.calibration[task.name].weight
        start, moved, spread = base[:, t] * weight, values[:, :, t] * weight, errors[:, :, t] * weight
        if weight < 1:
            of_trees = tree_contributions(bundle, task, features, chosen[task.name])
            start = start + (1 - weight) * of_trees[:, -1]
            moved[:, : features.shape[1]] += (1 - weight) * of_trees[:, :-1]
        explained = kind.explained(final[task.name], chosen[task.name])
        places, names = chosen[task.name], classes.get(task.name, ())
        result[task.name] = Attribution(
            task=task.name,
            unit=kind.explained_in,
            chosen=() if places is None else tuple(names[i] for i in places),
            explained=explained,
            base=start,
            contributions=moved,
            errors=spread,
            unexplained=explained - start - moved.sum(axis=1),
        )
    return result


def tree_contributions(bundle: Bundle, task: TaskConfig, features: NDArray[np.float32], chosen: Ints | None) -> Floats:
    """[R, c + 1] what each column adds to the calibrated prediction of the trees alone; last the prediction at their
    mean margins. `features` [R, c]; `chosen` [R] as of `Kind.chosen`."""
    halves, kind = bundle.calibration[task.name].halves, kind_of(task)
    assert halves is not None  # trees have a weight
    margins = bundle.trees[task.name].contributions(features)  # [R, c + 1, K]
    out = np.zeros(margins.shape[:2])
    for r, own in enumerate(margins):

        def carried(z: Floats, r: int = r) -> Floats:
            shaped = z[:, 0] if z.shape[1] == 1 else z
            place = None if chosen is None else np.full(len(z), chosen[r])
            return kind.explained(halves.trees.apply(shaped), place)

        start = own[-1]
        out[r, :-1] = own[:-1] @ slopes(carried, start, own.sum(axis=0))
        out[r, -1] = carried(start[None])[0]
    return out


def slopes(function: Callable[[Floats], Floats], start: Floats, end: Floats) -> Floats:
    """[K] mean slopes of a function of K numbers on the straight line from `start` to `end`; of one number, the exact
    difference quotient."""
    if len(start) == 1:
        apart = float(end[0] - start[0])
        low, high = function(np.stack([start, end]))
        return np.array([(high - low) / apart if apart else 0.0])
    at = (np.arange(STEPS) + 0.5) / STEPS
    points = start + at[:, None] * (end - start)  # [m, K]
    step = 1e-5 * np.maximum(1.0, np.abs(points).max())
    moves = step * np.eye(len(start))
    both = [function((points[:, None] + sign * moves).reshape(-1, len(start))) for sign in (1, -1)]
    return ((both[0] - both[1]) / (2 * step)).reshape(STEPS, -1).mean(axis=0)


def _network(bundle: Bundle, places: Sequence[int | None]) -> Callable[[Inputs], Floats]:
    """Rows → the network's own calibrated prediction of every task in its unit, [n, T]."""

    def function(rows: Inputs) -> Floats:
        raw = raw_outputs(bundle.model, rows)
        columns = []
        for task, place in zip(bundle.model.config.tasks, places, strict=True):
            fitted, kind = bundle.calibration[task.name], kind_of(task)
            calibrator = fitted.calibrator if fitted.halves is None else fitted.halves.network
            chosen = None if place is None else np.full(len(rows), place)
            columns.append(kind.explained(calibrator.apply(raw.outputs[task.name]), chosen))
        return np.stack(columns, axis=1)

    return function


def _blended(bundle: Bundle, inputs: Inputs) -> dict[str, NDArray]:
    """Task → raw outputs that its calibrator reads."""
    config = bundle.model.config
    alone: RawOutputs = raw_outputs(bundle.model, inputs)
    halves = {name: task.halves for name, task in bundle.calibration.items() if task.halves is not None}
    trees = tree_predictions(bundle.trees, inputs, config.inputs)
    return dict(blend(alone, halves, trees, config.tasks).outputs)
