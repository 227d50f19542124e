"""Customized gate control, stage 1: softmax over the experts of a task and those that all share.

h_k = Σ_i g_{k,i} e_i over the task's own and the shared experts of equal width, g_k = softmax(W_k x_k). A layer of
progressive extraction also has a shared gate, over all experts of all tasks, whose mixture feeds the shared experts of
the next layer. Source: Tang et al., "Progressive Layered Extraction" (RecSys 2020), eq. 1–5; MODEL §4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.baselines.mixing import expert_mixture
from ple_model.baselines.stacked import Activation, StackedMLP
from ple_model.layers.towers import StackedLinear


class CGCLayer(nn.Module):
    """x → (mixtures [B, K, last], gates [B, K, E], which may be left empty while training).

    K = tasks, and one more for the shared gate, if the layer has one. E = tasks·specific + shared, experts of the first
    task first; a gate is 0 at experts that are not its own. With `streams`, x [B, T + 1, in] has an input for each task
    and one for the shared experts, as a layer below gives them; else x [B, in] is read by all. It may come in parts,
    side by side: where some of them are data, which nothing learns, their gradient is not computed.
    """

    own: Tensor

    def __init__(
        self,
        tasks: int,
        width: int,
        hidden: Sequence[int],
        specific: int,
        shared: int,
        dropout: float,
        streams: bool = False,
        shared_gate: bool = False,
    ) -> None:
        super().__init__()
        self.tasks, self.specific, self.shared, self.streams = tasks, specific, shared, streams
        self.experts = tasks * specific + shared
        choices = specific + shared
        own = torch.eye(tasks).repeat_interleave(specific, dim=1)  # [T, T·specific]
        self.register_buffer("own", own, persistent=False)
        if streams:
            self.first_specific = StackedLinear(tasks, width, specific * hidden[0]) if specific else None
            self.first_shared = nn.Linear(width, shared * hidden[0])
            self.task_gates = StackedLinear(tasks, width, choices)
        else:
            self.first = StackedLinear(1, width, self.experts * hidden[0])
            self.gates = nn.Linear(width, tasks * choices)
        self.shared_gate = nn.Linear(width, self.experts) if shared_gate else None
        self.activation = Activation(dropout)
        self.rest = StackedMLP(self.experts, hidden[0], hidden[1:], dropout) if hidden[1:] else None

    def forward(self, x: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        parts = [x] if isinstance(x, Tensor) else list(x)
        x = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        chosen = self._task_logits(x).float().softmax(-1)
        common = None
        if self.shared_gate is not None:
            common = self.shared_gate(x[:, -1] if self.streams else x).float().softmax(-1)
        if self._in_blocks(x):
            rate = self.activation.dropout.rate if self.training else 0.0
            weight, bias = self.first.weight[0], self.first.bias[0, 0]
            mixed = expert_mixture(parts, weight, bias, chosen, common, self.specific, rate)
            return mixed, self._shown(chosen.detach(), common)
        gates, outputs = self._placed(chosen, common), self._experts(x)
        return torch.bmm(gates.to(outputs.dtype), outputs), gates

    def _in_blocks(self, x: Tensor) -> bool:
        """Whether `expert_mixture` computes the layer: experts of one layer that all read the same, on a CPU."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and not self.streams and self.rest is None

    def _task_logits(self, x: Tensor) -> Tensor:
        """[B, T, specific + shared]."""
        if self.streams:
            return self.task_gates(x[:, :-1].transpose(0, 1)).transpose(0, 1)
        return self.gates(x).unflatten(1, (self.tasks, -1))

    def _placed(self, chosen: Tensor, common: Tensor | None) -> Tensor:
        """All gates over all experts, [B, K, E]: a task's weights [B, T, specific + shared] at its own experts and the
        shared ones, then the shared gate."""
        if self.specific:
            repeated = chosen[..., : self.specific].repeat(1, 1, self.tasks)
            chosen = torch.cat([repeated * self.own, chosen[..., self.specific :]], dim=-1)
        return chosen if common is None else torch.cat([chosen, common.unsqueeze(1)], dim=1)

    def _shown(self, chosen: Tensor, common: Tensor | None) -> Tensor:
        """The same without a graph, in a third of the time where tasks are many; [B, K, 0] while training, when they
        are not read."""
        if self.training:
            return chosen.new_zeros(len(chosen), self.tasks + (common is not None), 0)
        own = self.tasks * self.specific
        gates = chosen.new_zeros(len(chosen), self.tasks + (common is not None), self.experts)
        if self.specific:
            of_tasks = gates[:, : self.tasks, :own].unflatten(2, (self.tasks, self.specific))
            of_tasks.diagonal(dim1=1, dim2=2).transpose(1, 2).copy_(chosen[..., : self.specific])
        gates[:, : self.tasks, own:] = chosen[..., self.specific :]
        if common is not None:
            gates[:, -1] = common.detach()
        return gates

    def _experts(self, x: Tensor) -> Tensor:
        """[B, E, last]."""
        if self.streams:
            h = self.first_shared(x[:, -1])
            if self.first_specific is not None:
                own = self.first_specific(x[:, :-1].transpose(0, 1))  # [T, B, specific·h]
                h = torch.cat([own.transpose(0, 1).flatten(1), h], dim=1)
        else:
            h = self.first(x.unsqueeze(0)).squeeze(0)
        h = self.activation(h).unflatten(1, (self.experts, -1))
        return h if self.rest is None else self.rest(h.transpose(0, 1)).transpose(0, 1)

    def gate_parameters(self) -> list[nn.Parameter]:
        """Of all gates of the layer."""
        own = self.task_gates if self.streams else self.gates
        return [*own.parameters(), *([] if self.shared_gate is None else self.shared_gate.parameters())]
