"""One network at several epochs of its training: each task is answered by the weights of its own epoch.

Tasks of one network reach their best validation loss at different epochs. `TaskEpochs` holds the whole weights of each
epoch that a task chose, so that it predicts exactly what was validated; a prediction costs a pass for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ple_model.config import ModelConfig
from ple_model.inputs import Inputs
from ple_model.layers.autoencoder import SparseAutoencoder
from ple_model.layers.contrastive import CandidateTable
from ple_model.model import PLEClusterAdaTT
from ple_model.multitask import MultiTaskNetwork, Outputs, TargetScale

Epoch = tuple[int, int]
"""(phase, epoch within it)."""


class TaskEpochs(MultiTaskNetwork):
    """A trained network, for prediction only.

    Args:
        config: of every network in it.
        epochs: task → the epoch that answers it, for every task.

    Raises:
        ValueError: tasks without an epoch, or epochs of unknown tasks.
    """

    config: ModelConfig

    def __init__(self, config: ModelConfig, epochs: Mapping[str, Epoch]) -> None:
        super().__init__(config)
        if wrong := sorted(set(self.task_names) ^ set(epochs)):
            raise ValueError(f"epochs and tasks differ: {', '.join(wrong)}")
        self.epochs = {task: epochs[task] for task in self.task_names}
        self.members = config.members
        distinct = sorted(set(self.epochs.values()))
        self.networks = nn.ModuleList(PLEClusterAdaTT(config) for _ in distinct)
        self.network_of = {task: distinct.index(epoch) for task, epoch in self.epochs.items()}
        first = self._networks[0]
        self.expert_names, self.evidential = first.expert_names, None

    @classmethod
    def of(
        cls, config: ModelConfig, epochs: Mapping[str, Epoch], weights: Mapping[Epoch, Mapping[str, Tensor]]
    ) -> TaskEpochs:
        """From the weights (`state_dict`) of each chosen epoch."""
        with torch.random.fork_rng(devices=[]):  # all weights are given; the caller's draws stay as they are
            model = cls(config, epochs)
        for epoch, network in zip(sorted(set(model.epochs.values())), model._networks, strict=True):
            network.load_state_dict(weights[epoch])
        return model.eval()

    @property
    def _networks(self) -> list[PLEClusterAdaTT]:
        return [network for network in self.networks if isinstance(network, PLEClusterAdaTT)]

    @property
    def latest(self) -> PLEClusterAdaTT:
        """The network of the latest epoch: what its gates, experts and hidden vectors look like is shown of it."""
        return self._networks[-1]

    @property
    def autoencoder(self) -> SparseAutoencoder | None:
        """That of `latest`, whose hidden vectors `Outputs.shared` holds."""
        return self.latest.autoencoder

    def _own(self, task: str) -> PLEClusterAdaTT:
        return self._networks[self.network_of.get(task, 0)]

    def forward(self, inputs: Inputs, interpret: bool = False) -> Outputs:
        found = [network(inputs, interpret and network is self.latest) for network in self._networks]
        which = [self.network_of[task] for task in self.task_names]
        us = [outputs.u for outputs in found]
        return Outputs(
            predictions={task: found[i].predictions[task] for task, i in zip(self.task_names, which, strict=True)},
            gates=torch.stack([found[i].gates[:, t] for t, i in enumerate(which)], dim=1),
            shared=found[-1].shared,
            u=None if us[0] is None else torch.stack([us[i][:, t] for t, i in enumerate(which)], dim=1),
            interpretation=found[-1].interpretation,
            members=self.members,
            beside={
                task: found[i].beside[task]
                for task, i in zip(self.task_names, which, strict=True)
                if task in found[i].beside
            },
        )

    def regularisation(self, outputs: Outputs) -> dict[str, Tensor]:  # noqa: ARG002
        """None: nothing here trains."""
        return {}

    def scale(self, task: str) -> TargetScale:
        return self._own(task).scale(task)

    def table(self, task: str) -> CandidateTable:
        return self._own(task).table(task)

    def apply_frozen(self) -> None:
        """Nothing here trains."""


Network = PLEClusterAdaTT | TaskEpochs
"""What a bundle holds: a network whose tasks share one epoch, or one with an epoch for each task."""


def at_epochs(
    model: PLEClusterAdaTT, epochs: Mapping[str, Epoch], weights: Mapping[Epoch, Mapping[str, Tensor]]
) -> Network:
    """The network of a training with the weights that are to answer each task (`FitResult.epochs`, `.weights`): `model`
    itself, with these weights, where all tasks chose the same epoch."""
    if len(set(epochs.values())) > 1:
        return TaskEpochs.of(model.config, epochs, weights)
    (epoch,) = set(epochs.values())
    model.load_state_dict(weights[epoch])
    return model.eval()
