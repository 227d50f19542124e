"""The linear term: a linear function of all columns for each output, added to what the towers say.

output(x) = tower(…) + rate · (W z(x) + b)

What single columns settle by themselves (a customer who already has a category cannot take it up) then need not pass
the few hundred numbers between experts and towers. Members share the term, and it starts at 0.

The weights are multiplied by `rate`: an adaptive optimizer moves every weight by steps of one size, so the term learns
at that part of the network's rate, and does not know training rows by heart before the network has learnt anything.
Source: Cheng et al., "Wide & deep learning for recommender systems" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ple_model.config import LinearTermConfig, TaskConfig
from ple_model.tasks import kind_of


class LinearTerm(nn.Module):
    """A linear function for all tasks but those with candidates.

    Args:
        config: its rate.
        tasks: of the network.
        width: F, of what it reads.

    Shape:
        [B, F] → task → [B, out].

    Example:
        >>> LinearTerm(LinearTermConfig(), tasks, width=10)(torch.randn(3, 10))["churn"].tolist()
        [[0.0], [0.0], [0.0]]
    """

    def __init__(self, config: LinearTermConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.rate = config.rate
        self.outputs = {task.name: task.out for task in tasks if not kind_of(task).retrieves}
        out = sum(self.outputs.values())
        self.spare = -out % 4  # at other widths a CPU's BLAS may round a row by where in the batch it stands
        self.weights = nn.Linear(width, out + self.spare)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(self, read: Tensor) -> dict[str, Tensor]:
        parts = (self.weights(read) * self.rate).split([*self.outputs.values(), self.spare], dim=1)
        return dict(zip(self.outputs, parts, strict=False))
