"""PLE-Cluster-adaTT: experts → CGC attention → baskets → logit transfer → towers, and the heads beside that path.

- Experts are of different types and read different inputs; one whose input a row lacks has gate weight exactly 0.
- Rows of customers without a history get their blocks from the auxiliary path.
- All gates are one Linear; the first layer behind them uses the identity of MODEL §4.2.
- Members begin inside the experts that have them and behind the others; all that follows sees M·B rows.
- Towers of one topological level run as one batch; experts of single tasks, linear term and class terms go past all
  that lies before them.
- Raw outputs become label units as in every multi-task network (`multitask.py`).

A part that is switched off is not built and costs nothing. Losses are in `ple_model.losses`, training in
`ple_model.training`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import ModelConfig, SideName
from ple_model.experts import Expert, build_experts
from ple_model.experts.wide import Wide
from ple_model.inputs import Inputs
from ple_model.layers.autoencoder import SparseAutoencoder
from ple_model.layers.auxiliary import AuxiliaryPath
from ple_model.layers.basket import GroupTaskExpertBasket
from ple_model.layers.class_term import ClassTerm
from ple_model.layers.cluster_basket import ClusterTaskExpertBasket
from ple_model.layers.evidential import EvidentialHeads
from ple_model.layers.gates import CGCAttention
from ple_model.layers.hmm_routing import HMMRouting
from ple_model.layers.linear_term import LinearTerm
from ple_model.layers.logit_transfer import LogitTransfer
from ple_model.layers.members import MemberScale, by_member, repeated
from ple_model.layers.task_experts import TaskExperts
from ple_model.layers.towers import TowerLevel
from ple_model.multitask import MultiTaskNetwork, Outputs


class PLEClusterAdaTT(MultiTaskNetwork):
    """The multi-task network. Source: MODEL §1–§8.

    `expert_names` are the experts that were built, in the order of the gates' last axis.
    """

    config: ModelConfig
    experts: nn.ModuleDict

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.members = config.members
        self.experts = build_experts(config)
        self.expert_names = tuple(self.experts)
        widths = [expert.width for expert in self._experts()]
        self.begin = nn.ModuleList(self._begin(expert) for expert in self._experts())
        self.auxiliary = AuxiliaryPath(config.auxiliary, config.inputs, widths) if _has_auxiliary(config) else None
        self.gate = CGCAttention(config.gate, config.tasks, self.expert_names, widths)
        self.routing = HMMRouting(config.routing, config.inputs) if _has_modes(config) else None
        hmm_width = 0 if self.routing is None else config.routing.width
        basket = GroupTaskExpertBasket if config.basket.kind == "group" else ClusterTaskExpertBasket
        self.basket = basket(config.basket, config.tasks, widths, hmm_width, config.inputs.clusters)
        self.transfer = LogitTransfer(config.transfer, config.tasks, config.basket.width)
        self.towers = nn.ModuleList(
            TowerLevel(config.tower, [config.task(name) for name in level], config.basket.width, config.members)
            for level in self.transfer.levels
        )
        self.linear = self._linear()
        self.classes = nn.ModuleDict(self._class_terms())
        self.task_experts = self._task_experts()
        heads = config.evidential
        self.evidential = EvidentialHeads(heads, config.tasks, config.basket.width) if heads.enabled else None
        codes = config.autoencoder
        self.autoencoder = SparseAutoencoder(sum(widths), codes) if codes.enabled else None
        self.add_units()

    def _experts(self) -> list[Expert]:
        return [expert for expert in self.experts.values() if isinstance(expert, Expert)]

    def _wide(self) -> Wide | None:
        """The wide expert, whose encoded columns the terms beside the towers read."""
        wide = dict(self.experts.items()).get(Wide.name)
        return wide if isinstance(wide, Wide) else None

    def _linear(self) -> LinearTerm | None:
        """The linear term over what the wide expert reads."""
        wide = self._wide()
        if not self.config.linear.enabled or wide is None:
            return None
        return LinearTerm(self.config.linear, self.config.tasks, len(wide.columns) + len(wide.flags))

    def _class_terms(self) -> dict[str, ClassTerm]:
        """Task → its class term over what the wide expert reads, of the tasks whose classes have columns."""
        wide = self._wide()
        if not self.config.classes.enabled or wide is None:
            return {}
        place = {column: i for i, column in enumerate(self.config.inputs.present)} | {-1: -1}
        width = len(wide.columns) + len(wide.flags)
        return {
            task.name: ClassTerm(
                self.config.classes, tuple(tuple(place[c] for c in columns) for columns in task.by_class), width
            )
            for task in self.config.tasks
            if task.by_class
        }

    def _task_experts(self) -> TaskExperts | None:
        """The experts of the tasks with columns of their own, over what the wide expert reads."""
        own = [task for task in self.config.tasks if task.columns]
        if not self.config.task_experts.enabled or self._wide() is None or not own:
            return None
        place = {column: i for i, column in enumerate(self.config.inputs.present)}
        places = [[place[column] for column in task.columns] for task in own]
        return TaskExperts(self.config.task_experts, own, places, self.members)

    def _begin(self, expert: Expert) -> nn.Module:
        """Where members begin: inside the expert, or behind it by scales of its block."""
        return nn.Identity() if self.members == 1 or expert.has_members else MemberScale(self.members, expert.width)

    def forward(self, inputs: Inputs, interpret: bool = False) -> Outputs:
        results = [expert(inputs, interpret) for expert in self._experts()]
        present = torch.stack([expert.present(inputs) for expert in self._experts()], dim=1)  # [B, N]
        present = repeated(present, self.members)  # from here on M·B rows
        outputs = [begin(result.output) for begin, result in zip(self.begin, results, strict=True)]
        blocks = [output * present[:, i, None] for i, output in enumerate(outputs)]
        if self.auxiliary is not None:
            blocks, present = self.auxiliary(blocks, present, inputs, self.members)
        shared = torch.cat(blocks, dim=1)
        blocks = list(shared.split([expert.width for expert in self._experts()], dim=1))  # all that follows reads it
        gates = self.gate(shared, present)  # [B, T, N]
        modes = None if self.routing is None else repeated(self.routing(inputs), self.members)
        clusters = repeated(inputs.cluster_probs, self.members)
        behind = self.basket(blocks, gates * self.gate.scales, modes, clusters)
        by_name = dict(zip(self.task_names, behind.by_task, strict=True))
        predictions: dict[str, Tensor] = {}
        encoded = next((result.encoded for result in results if result.encoded is not None), None)
        added = self._added(encoded, inputs)
        own = {} if self.task_experts is None or encoded is None else self.task_experts(encoded)
        for level, tower in zip(self.transfer.levels, self.towers, strict=True):
            tower_in = self.transfer.level_inputs(level, [by_name[name] for name in level], predictions)
            raw = tower(tower_in)
            if self.task_experts is not None and own:
                raw = self.task_experts.mixed(own, raw)
            predictions.update({name: raw[name] + added[name] if name in added else raw[name] for name in level})
        evidence: dict[str, Tensor] = {}
        u: Tensor | None = None
        if self.evidential is not None:
            evidence = self.evidential(by_member(behind.vectors, self.members).mean(0))
            u = None if self.training else self.evidential.uncertainty(evidence)
        return Outputs(
            predictions={name: predictions[name] for name in self.task_names},
            gates=gates,
            shared=shared,
            mixed=behind.mixed,
            evidence=evidence,
            u=u,
            losses={
                f"{n}_{k}": v for n, r in zip(self.expert_names, results, strict=True) for k, v in r.losses.items()
            },
            interpretation={n: r.interpretation for n, r in zip(self.expert_names, results, strict=True) if interpret},
            beside=self.beside(inputs),
            members=self.members,
        )

    def _added(self, encoded: Tensor | None, inputs: Inputs) -> dict[str, Tensor]:
        """Task → [M·B, out] of the linear term and of the class terms."""
        if encoded is None:
            return {}
        added = {} if self.linear is None else dict(self.linear(encoded))
        given = inputs.features_mask[:, list(self.config.inputs.present)] if self.classes else None
        for name, term in self.classes.items():
            told = term(encoded, given)
            added[name] = added[name] + told if name in added else told
        return {name: repeated(term, self.members) for name, term in added.items()}

    def regularisation(self, outputs: Outputs) -> dict[str, Tensor]:
        """Terms to add to the loss, by name, while training: those of the experts, the autoencoder's, and the gates'
        entropy; the gates' and the experts' only while these are not frozen (MODEL §4.3, §9)."""
        if not self.training:
            return {}
        terms = {} if bool(self.shared_frozen) else dict(outputs.losses)
        if not bool(self.gate.frozen):
            terms["gate_entropy"] = self.gate.regularisation(outputs.gates)
        if self.autoencoder is not None:
            first = by_member(outputs.shared.detach(), self.members)[0]
            terms["autoencoder"] = self.autoencoder(first).loss
        return terms

    def fit_inputs(self, inputs: Inputs) -> None:
        """Takes bin edges and channel scales (buffers) from training rows. Call it once before training."""
        for expert in self._experts():
            expert.fit(inputs)

    def freeze_shared(self, frozen: bool = True) -> None:
        """Stops (or resumes) the training of shared experts and gates, and of the auxiliary path beside them; the flag
        is kept in a checkpoint (MODEL §13)."""
        self.shared_frozen.fill_(frozen)
        self.gate.frozen.fill_(frozen)
        self.apply_frozen()

    def freeze_gates(self) -> None:
        """Stops the training of the gates alone, for good; kept in a checkpoint (MODEL §4.4)."""
        self.gate.frozen.fill_(True)
        self.apply_frozen()

    def apply_frozen(self) -> None:
        self.gate.requires_grad_(not bool(self.gate.frozen))
        self.experts.requires_grad_(not bool(self.shared_frozen))
        self.begin.requires_grad_(not bool(self.shared_frozen))
        if self.auxiliary is not None:
            self.auxiliary.requires_grad_(not bool(self.shared_frozen))


def _has_auxiliary(config: ModelConfig) -> bool:
    sides = config.inputs
    return config.auxiliary.enabled and sides.has("segment") and (sides.has("coldstart") or sides.has("anonymous"))


def _has_modes(config: ModelConfig) -> bool:
    modes: tuple[SideName, ...] = ("hmm_journey", "hmm_lifecycle", "hmm_behavior")
    return config.routing.enabled and any(config.inputs.has(mode) for mode in modes)
