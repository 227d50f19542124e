"""Permutation importance of the inputs by task: the loss when one input is permuted among the rows.

An input is shuffled, with its mask, across the rows that read it, so each gets another customer's; everything else
stays. The loss of a task that uses the input then rises. Where other inputs carry the same information, the model reads
those instead and an input alone costs little; so inputs of one origin (the topology of a customer's purchases:
diagrams, their statistics, 70 columns) are shuffled together too, all of them from the same other customer.
Source: Breiman (2001), permutation importance; Fisher, Rudin and Dominici (2019), model reliance, the difference form;
Gregorutti, Michel and Saint-Pierre (2015), grouped importance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
import torch
from torch import Tensor

from ple_model.config import InputConfig
from ple_model.config.inputs import SideName
from ple_model.epochs import Network
from ple_model.experts.base import spread_rows
from ple_model.inputs import Inputs, Targets
from ple_model.layers.auxiliary import SEGMENTS
from ple_model.losses.multitask import MultiTaskLoss
from ple_model.multitask import evaluating
from ple_model.serving.inference import BLOCK

MOST_REPEATS = 10


@dataclass(frozen=True)
class InputSet:
    """Inputs that are shuffled together: columns [C] bool of the feature matrix, side inputs, the cluster posterior."""

    columns: Tensor
    sides: tuple[SideName, ...] = ()
    clusters: bool = False


#: Name of a joint set → its inputs, and the feature groups whose columns carry the same information.
TOGETHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "topology": (("tda_short", "tda_long", "tda_global"), ("tda_short", "tda_long", "phase_transition")),
    "clusters": (("cluster_probs",), ("gmm",)),
    "hidden_states": (("hmm_journey", "hmm_lifecycle", "hmm_behavior"), ("hmm_summary",)),
    "sequences": (("txn_seq", "session_seq"), ("mamba",)),
}


def input_sets(config: InputConfig) -> dict[str, InputSet]:
    """Sets of inputs by name: the two kinds of columns, the clusters, each side input alone, then those of `TOGETHER`
    that join more than one of these."""
    count = len(config.columns)
    none, normalised = torch.zeros(count, dtype=torch.bool), torch.arange(count) < config.normalised
    found: dict[str, InputSet] = {}
    if config.present_normalised:
        found["features_normalised"] = InputSet(normalised)
    if config.present_raw:
        found["features_raw"] = InputSet(~normalised)
    found["cluster_probs"] = InputSet(none, clusters=True)
    found |= {side.name: InputSet(none, (side.name,)) for side in config.sides}
    for name, (inputs, groups) in TOGETHER.items():
        parts, columns = [found[part] for part in inputs if part in found], none.clone()
        columns[list(config.present_of(*groups))] = True
        if len(parts) + bool(columns.any()) > 1:
            sides = tuple(side for part in parts for side in part.sides)
            found[name] = InputSet(columns, sides, clusters=any(part.clusters for part in parts))
    return found


def shuffled(inputs: Inputs, joint: InputSet, order: Tensor) -> Inputs:
    """The rows with the inputs of a set taken from row `order[i]` at row i."""

    columns = joint.columns.to(inputs.features.device)

    def dealt(given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: (values[order] if name in joint.sides else values) for name, values in given.items()}

    return replace(
        inputs,
        features=torch.where(columns, inputs.features[order], inputs.features),
        features_mask=torch.where(columns, inputs.features_mask[order], inputs.features_mask),
        cluster_probs=inputs.cluster_probs[order] if joint.clusters else inputs.cluster_probs,
        sides=dealt(inputs.sides),
        masks=dealt(inputs.masks),
        present=dealt(inputs.present),
    )


def readers(inputs: Inputs, joint: InputSet) -> Tensor:
    """[B] bool: rows that read any input of a set. Columns and clusters: all; a side input: where it is present; the
    static columns of new customers: those of their segment."""
    if joint.clusters or bool(joint.columns.any()):
        return torch.ones(len(inputs), dtype=torch.bool, device=inputs.features.device)
    found = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.features.device)
    for name in joint.sides:
        given = inputs.present_rows(name)
        if name in SEGMENTS and "segment" in inputs.sides:
            given = given & inputs.present_rows("segment") & (inputs.sides["segment"][:, 0] == SEGMENTS[name])
        found |= given
    return found


@torch.inference_mode()
def permutation_importance(
    model: Network, inputs: Inputs, targets: Targets, rows: int = 6_000, seed: int = 0
) -> pl.DataFrame:
    """One row an input set and task: input (its name), task, loss (of the rows as they are), increase (of the loss by
    the shuffle), error (standard error of the increase, over rows), share (rows that read the input).

    Of the rows that read an input, at most `rows` are looked at, spread evenly; fewer rows are shuffled more often, up
    to `MOST_REPEATS` times, until the same number was looked at. Losses are the unweighted ones of training, without
    dropout; 0 of a task without a label among these rows. The error takes rows as independent.
    """
    with evaluating(model):
        loss = MultiTaskLoss(model.config)
        found = []
        bases: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        for name, joint in input_sets(model.config.inputs).items():
            reading = readers(inputs, joint)
            chosen = reading.nonzero()[:, 0]
            if not len(chosen):
                found += [(name, task, 0.0, 0.0, 0.0, 0.0) for task in model.task_names]
                continue
            chosen = chosen[spread_rows(len(chosen), rows)]
            some, labels = inputs.index(chosen), targets.index(chosen)
            key = tuple(chosen.tolist())
            if key not in bases:
                bases[key] = _losses(model, loss, some, labels)
            before, mask = bases[key]
            generator = torch.Generator().manual_seed(seed)
            repeats = min(max(rows // len(chosen), 1), MOST_REPEATS)
            after = torch.zeros_like(before)
            for _ in range(repeats):
                order = torch.randperm(len(some), generator=generator)
                after += _losses(model, loss, shuffled(some, joint, order), labels)[0] / repeats
            count = mask.sum(1).clamp(min=1)
            base, increase = before.sum(1) / count, (after - before).sum(1) / count
            apart = torch.where(mask, after - before - increase[:, None], 0.0)
            error = apart.square().sum(1).sqrt() / count
            share = reading.float().mean().item()
            for t, task in enumerate(model.task_names):
                found.append((name, task, base[t].item(), increase[t].item(), error[t].item(), share))
    return pl.DataFrame(found, schema=["input", "task", "loss", "increase", "error", "share"], orient="row")


def _losses(model: Network, loss: MultiTaskLoss, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
    """Loss of each task and row [T, B], float64, 0 where not labelled, and the mask of labels [T, B]."""
    parts = []
    for start in range(0, len(inputs), 4 * BLOCK):
        rows = torch.arange(start, min(start + 4 * BLOCK, len(inputs)))
        parts.append(loss.rows(model.averaged(model(inputs.index(rows))), targets.index(rows), model))
    return torch.cat([losses for losses, _ in parts], dim=1).double(), torch.cat([mask for _, mask in parts], dim=1)
