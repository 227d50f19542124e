"""Measures how far tasks' gradients agree while a model trains: for adaTT, GradNorm and conflict methods.

All three read one Gram matrix [T, T]. In the space of h_shared it costs a pass through the towers; in that of the
experts' parameters about one backward a task, on a sub-batch. Once an epoch the two are compared.
Source: MODEL §9, §12.1; PERFORMANCE §3.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from ple_model.inputs import Inputs, Targets
from ple_model.layers.basket import GroupTaskExpertBasket
from ple_model.losses.gram import RepresentationGram, gradient_gram
from ple_model.losses.multitask import MultiTaskLoss, Observe
from ple_model.model import PLEClusterAdaTT
from ple_model.multitask import MultiTaskNetwork, Outputs
from ple_model.training.distributed import World


class AffinityMeter:
    """Feeds adaTT, GradNorm and conflict weights of `loss` with Gram matrices of `model`'s tasks."""

    def __init__(self, model: MultiTaskNetwork, loss: MultiTaskLoss, world: World) -> None:
        self.model, self.loss, self.world = model, loss, world
        self.closed_form: RepresentationGram | None = None
        if isinstance(model, PLEClusterAdaTT) and isinstance(model.basket, GroupTaskExpertBasket):
            self.closed_form = RepresentationGram(model.basket, model.gate, model.transfer)

    def observer(self, step: int, inputs: Inputs, targets: Targets, outputs: Outputs) -> Observe | None:
        """The function that the loss of this step calls, None where nothing is measured. Steps are counted from 0 over
        the run."""
        adatt, config = self.loss.adatt, self.loss.config.adatt
        due = adatt is not None and adatt.due(step)
        reads_norms = self.loss.weighting.reads_norms and step % config.every == 0
        if not (due or reads_norms or self.loss.conflict is not None):
            return None

        def observe(losses: Tensor, labelled: Tensor) -> None:
            with adatt.timed() if due and adatt is not None else nullcontext():
                gram = self.representation(losses, outputs)
                if due and adatt is not None:
                    own = self.parameters(inputs, targets) if config.affinity == "parameters" else gram
                    adatt.measure(own, labelled)
            if reads_norms:
                self.loss.weighting.measure(gram.diagonal().clamp(min=0).sqrt(), losses.detach(), labelled)
            if self.loss.conflict is not None:
                scale = self.loss.weighting.multipliers().detach()
                self.loss.conflict.measure(gram * scale * scale.unsqueeze(1), labelled)

        return observe

    def representation(self, losses: Tensor, outputs: Outputs) -> Tensor:
        """Gram of the gradients with respect to h_shared, over all processes. The closed form leaves out the blocks of
        absent experts."""
        if self.closed_form is not None and outputs.mixed is not None:
            return self.world.sum(self.closed_form(losses, outputs.mixed, outputs.gates))
        return self.world.sum(gradient_gram(losses, [outputs.shared], retain_graph=True))

    def parameters(self, inputs: Inputs, targets: Targets) -> Tensor:
        """Gram of the gradients with respect to the shared experts' parameters, on a sub-batch: the mean over the
        processes' own, so that all of them go on with the same."""
        losses, _, _ = self._sub_batch(inputs, targets)
        return self.world.sum(gradient_gram(losses, self.model.experts.parameters())) / self.world.size

    def compare(self, inputs: Inputs, targets: Targets) -> None:
        """Compares the affinities in the two spaces on a sub-batch, for adaTT's report."""
        adatt = self.loss.adatt
        if adatt is None or not adatt.enabled or adatt.phase == "frozen":
            return
        with adatt.timed():
            losses, outputs, labelled = self._sub_batch(inputs, targets)
            closed = self.representation(losses, outputs)
            adatt.compare(closed, gradient_gram(losses, self.model.experts.parameters()), labelled)

    def _sub_batch(self, inputs: Inputs, targets: Targets) -> tuple[Tensor, Outputs, Tensor]:
        count = min(len(inputs), self.loss.config.adatt.sub_batch)
        rows = torch.arange(count, device=inputs.features.device)
        outputs = self.model(inputs.index(rows))
        losses, here, _ = self.loss.plain(outputs, targets.index(rows), self.model)
        return losses, outputs, here > 0
