"""Which inputs a trained model uses for which task: the loss when one input is dealt out anew among the rows.

An input is shuffled across rows with its mask and its presence, so each row gets another customer's; everything else
stays. A task that reads the input then loses. Source: Breiman (2001), permutation importance; Fisher, Rudin and
Dominici (2019), model reliance, the difference form.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from ple_model.config import InputConfig
from ple_model.inference import BLOCK
from ple_model.inputs import Inputs, Targets
from ple_model.losses import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT


def bundles(config: InputConfig) -> tuple[str, ...]:
    """Names of the inputs that are shuffled one by one: the two kinds of columns, the clusters, each side input."""
    flat = ["features_normalised"] if config.present_normalised else []
    flat += ["features_raw"] if config.present_raw else []
    return (*flat, "cluster_probs", *(side.name for side in config.sides))


def shuffled(inputs: Inputs, name: str, order: Tensor, config: InputConfig) -> Inputs:
    """The rows with input `name` (of `bundles`) taken from row `order[i]` at row i."""
    if name == "cluster_probs":
        return replace(inputs, cluster_probs=inputs.cluster_probs[order])
    if name.startswith("features_"):
        raw = name == "features_raw"
        columns = (torch.arange(inputs.features.shape[1]) >= config.normalised) == raw
        return replace(
            inputs,
            features=torch.where(columns, inputs.features[order], inputs.features),
            features_mask=torch.where(columns, inputs.features_mask[order], inputs.features_mask),
        )

    def dealt(given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: (v[order] if k == name else v) for k, v in given.items()}

    return replace(inputs, sides=dealt(inputs.sides), masks=dealt(inputs.masks), present=dealt(inputs.present))


@torch.inference_mode()
def permutation_importance(
    model: PLEClusterAdaTT, inputs: Inputs, targets: Targets, repeats: int = 3, seed: int = 0
) -> pl.DataFrame:
    """One row an input and task: input, task, loss (of the rows as they are), increase (mean over repeats of what the
    shuffle adds to it), spread (standard deviation over repeats), share (rows that have the input).

    Losses are the unweighted ones of training, without dropout.
    """
    was_training = model.training
    model.eval()
    try:
        loss = MultiTaskLoss(model.config)
        base = _losses(model, loss, inputs, targets)
        found = []
        for name in bundles(model.config.inputs):
            generator = torch.Generator().manual_seed(seed)
            added = []
            for _ in range(repeats):
                order = torch.randperm(len(inputs), generator=generator)
                other = shuffled(inputs, name, order, model.config.inputs)
                added.append(_losses(model, loss, other, targets) - base)
            increase = torch.stack(added)
            share = inputs.present_rows(name).float().mean().item() if name in inputs.sides else 1.0
            for t, task in enumerate(model.task_names):
                values = increase[:, t]
                found.append((name, task, base[t].item(), values.mean().item(), values.std(correction=0).item(), share))
    finally:
        model.train(was_training)
    return pl.DataFrame(found, schema=["input", "task", "loss", "increase", "spread", "share"], orient="row")


def _losses(model: PLEClusterAdaTT, loss: MultiTaskLoss, inputs: Inputs, targets: Targets) -> Tensor:
    """Mean loss of each task [T] over labelled rows."""
    sums = torch.zeros(len(model.task_names), dtype=torch.float64)
    counts = torch.zeros_like(sums)
    for rows in torch.arange(len(inputs)).split(4 * BLOCK):
        losses, here, _ = loss.plain(model(inputs.index(rows)), targets.index(rows), model)
        sums += losses.double() * here
        counts += here
    return sums / counts.clamp(min=1)
