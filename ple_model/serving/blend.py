"""The two halves of a blend on the same rows: what the network and the trees of a bundle predict together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ple_model.boosting.candidates import CandidateTrees, Histories
from ple_model.boosting.files import Trees
from ple_model.config import HISTORIES, InputConfig, TaskConfig
from ple_model.evaluation.blending import Halves, apart
from ple_model.evaluation.kind import Floats
from ple_model.inputs import Inputs
from ple_model.serving.inference import RawOutputs
from ple_model.tasks import kind_of

HALVES = "halves"
"""The signal of uncertainty that a blend adds: how far its halves lie from each other, in the prediction's unit."""


def flat_matrix(inputs: Inputs, config: InputConfig) -> NDArray[np.float32]:
    """[R, present] features as the network reads them, NaN where missing: the matrix of the trees."""
    present = list(config.present)
    features = inputs.features[:, present].float().numpy().copy()
    features[~inputs.features_mask[:, present].numpy()] = np.nan
    return features


def histories_of(inputs: Inputs, config: InputConfig, candidates: Sequence[int]) -> Histories:
    """The rows' histories; `candidates`: what each value of their vocabulary is (`TaskConfig.history`)."""
    side = config.side(HISTORIES[0])
    values, valid = inputs.read(side)
    return Histories.of(values[..., list(side.present_channels)].numpy(), valid.numpy(), candidates)


def tree_predictions(trees: Mapping[str, Trees], inputs: Inputs, config: InputConfig) -> dict[str, Floats]:
    """Task → predictions of its trees before calibration; every row by itself, in whatever company it comes."""
    if not trees:
        return {}
    features = flat_matrix(inputs, config)
    return {
        task: grown.predict(histories_of(inputs, config, grown.history))
        if isinstance(grown, CandidateTrees)
        else grown.predict(features)
        for task, grown in trees.items()
    }


def blend(
    raw: RawOutputs, halves: Mapping[str, Halves], trees: Mapping[str, Floats], tasks: Sequence[TaskConfig]
) -> RawOutputs:
    """The raw outputs that calibrators read: the network's, or those of the blend, which adds a signal (`HALVES`).

    Args:
        raw: of the network.
        halves: task → its halves; a task without them, or with weight 1, is the network's alone.
        trees: task → predictions of its trees on the same rows.
        tasks: of the network.
    """
    outputs, signals = dict(raw.outputs), dict(raw.signals)
    for task in tasks:
        fitted = halves.get(task.name)
        if fitted is not None and fitted.weight < 1:
            kind = kind_of(task)
            first, second = fitted.predictions(kind, raw.outputs[task.name], trees[task.name])
            outputs[task.name] = fitted.mix(kind, first, second).astype(np.float32)
            signals[task.name] = {**raw.signals[task.name], HALVES: apart(first, second)}
    return replace(raw, outputs=outputs, signals=signals)
