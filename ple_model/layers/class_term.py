"""The class term: scores of a task's classes by what the columns say of each, added to what the towers say.

score(k) = tower(…)_k + rate · f(columns of class k, context of the row, e_k)

Where classes are categories, channels or kinds of products, columns say of each how long ago and how much of it the
customer bought. f is one small network for all classes: what it learns of one (who has never bought it may take it up)
it knows of all, where a model of columns has to find it for each class anew. It is the repeat term of candidates
(`layers.repeat`) for classes. The context is a linear function of all that the wide expert reads, e_k the class's own
numbers. Members share the term, and it starts at 0; `rate` as in `layers.linear_term`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import ClassTermConfig


class ClassTerm(nn.Module):
    """The term of one task of K classes.

    Args:
        config: its settings.
        places: for each class the places of its columns among those that are read, −1 = none; [K][m].
        width: F, of what the wide expert reads.

    Shape:
        encoded [B, F], and which of the columns that are read are given [B, columns] bool → [B, K].

    Example:
        >>> term = ClassTerm(ClassTermConfig(), ((0, 2), (1, -1)), width=5)
        >>> term(torch.randn(3, 5), torch.ones(3, 4, dtype=torch.bool)).tolist()
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """

    places: Tensor
    known: Tensor

    def __init__(self, config: ClassTermConfig, places: tuple[tuple[int, ...], ...], width: int) -> None:
        super().__init__()
        self.rate = config.rate
        of = torch.tensor(places)  # [K, m]
        self.register_buffer("places", of.clamp(min=0), persistent=False)
        self.register_buffer("known", of >= 0, persistent=False)
        self.context = nn.Linear(width, config.context)
        self.own = nn.Parameter(torch.randn(len(places), config.embedding) * 0.1)
        inner = 2 * of.shape[1] + config.context + config.embedding
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [nn.Linear(inner, hidden), nn.SiLU()]
            inner = hidden
        self.network = nn.Sequential(*layers)
        self.last = nn.Linear(inner, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, encoded: Tensor, given: Tensor) -> Tensor:
        rows, classes = len(encoded), len(self.own)
        there = given[:, self.places] & self.known  # [B, K, m]
        values = encoded[:, self.places] * there
        context = self.context(encoded).unsqueeze(1).expand(-1, classes, -1)
        read = torch.cat([values, there.to(values.dtype), context, self.own.expand(rows, -1, -1)], dim=2)
        return self.last(self.network(read)).squeeze(2) * self.rate
