"""Which inputs a trained model uses for which task: the loss when one input is dealt out anew among the rows.

An input is shuffled, with its mask, across the rows that read it, so each gets another customer's; everything else
stays. A task that uses the input then loses there. Source: Breiman (2001), permutation importance; Fisher, Rudin and
Dominici (2019), model reliance, the difference form.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from ple_model.auxiliary import SEGMENTS
from ple_model.config import InputConfig
from ple_model.experts.base import spread_rows
from ple_model.inference import BLOCK
from ple_model.inputs import Inputs, Targets
from ple_model.losses import MultiTaskLoss
from ple_model.model import PLEClusterAdaTT
from ple_model.multitask import evaluating

MOST_REPEATS = 10


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


def readers(inputs: Inputs, name: str) -> Tensor:
    """[B] bool: rows that read input `name`. Columns and clusters: all; a side input: where it is present; the static
    columns of new customers: those of their segment."""
    if name == "cluster_probs" or name.startswith("features_"):
        return torch.ones(len(inputs), dtype=torch.bool, device=inputs.features.device)
    there = inputs.present_rows(name)
    if name in SEGMENTS and "segment" in inputs.sides:
        there = there & inputs.present_rows("segment") & (inputs.sides["segment"][:, 0] == SEGMENTS[name])
    return there


@torch.inference_mode()
def permutation_importance(
    model: PLEClusterAdaTT, inputs: Inputs, targets: Targets, rows: int = 6_000, seed: int = 0
) -> pl.DataFrame:
    """One row an input and task: input, task, loss (of the rows as they are), increase (what the shuffle adds to it),
    error (standard error of the increase, over rows), share (rows that read the input).

    Of the rows that read an input, at most `rows` are looked at, spread evenly; fewer rows are shuffled more often, up
    to `MOST_REPEATS` times, until the same number was looked at. Losses are the unweighted ones of training, without
    dropout; 0 of a task without a label among these rows. The error takes rows as independent.
    """
    with evaluating(model):
        loss = MultiTaskLoss(model.config)
        found = []
        bases: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        for name in bundles(model.config.inputs):
            reading = readers(inputs, name)
            chosen = reading.nonzero()[:, 0]
            chosen = chosen[spread_rows(len(chosen), rows)]
            some, labels = inputs.index(chosen), targets.index(chosen)
            key = tuple(chosen.tolist())
            if key not in bases:
                bases[key] = _losses(model, loss, some, labels)
            before, mask = bases[key]
            generator = torch.Generator().manual_seed(seed)
            repeats = min(max(rows // max(len(chosen), 1), 1), MOST_REPEATS)
            after = torch.zeros_like(before)
            for _ in range(repeats):
                order = torch.randperm(len(some), generator=generator)
                after += _losses(model, loss, shuffled(some, name, order, model.config.inputs), labels)[0] / repeats
            count = mask.sum(1).clamp(min=1)
            base, increase = before.sum(1) / count, (after - before).sum(1) / count
            apart = torch.where(mask, after - before - increase[:, None], 0.0)
            error = apart.square().sum(1).sqrt() / count
            share = reading.float().mean().item()
            for t, task in enumerate(model.task_names):
                found.append((name, task, base[t].item(), increase[t].item(), error[t].item(), share))
    return pl.DataFrame(found, schema=["input", "task", "loss", "increase", "error", "share"], orient="row")


def _losses(model: PLEClusterAdaTT, loss: MultiTaskLoss, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
    """Loss of each task and row [T, B], float64, 0 where not labelled, and the mask of what is [T, B]."""
    parts = []
    for start in range(0, max(len(inputs), 1), 4 * BLOCK):
        rows = torch.arange(start, min(start + 4 * BLOCK, len(inputs)))
        parts.append(loss.rows(model(inputs.index(rows)), targets.index(rows), model))
    return torch.cat([losses for losses, _ in parts], dim=1).double(), torch.cat([mask for _, mask in parts], dim=1)
