"""The repeat term of a candidate table: what a customer bought before is added to the scores of these candidates.

score(b) = cos(query, b)/τ + bias_b + f(own history of b, popularity of b)

The bias holds how popular a candidate is: the score of a customer without a past. f is a small network, the same for
every candidate, and 0 for one that is not in the customer's history. It reads how often and how lately the candidate
was bought: in next-basket data that alone is ahead of most learnt recommenders (Hu et al. 2020, SIGIR; Li et al. 2023,
"A next basket recommendation reality check"). All of it is float32, whatever autocast says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.config import RepeatConfig, SideConfig
from ple_model.inputs import Inputs

_LARGEST_EXACT = 2048  # whole numbers up to here are exact in float16, in which a history rests


class RepeatTerm(nn.Module):
    """Scores of candidates by a customer's own history.

    Args:
        config: its settings.
        side: the history [places, channels], masked; channel 0 is the number of what was bought in the history's
            vocabulary, the others say how often and how lately.
        history: for each value of that vocabulary the candidate that it is, −1 = none.
        candidates: n rows of the table.

    Shape:
        inputs of B rows → [B, n].

    Raises:
        ValueError: the history has no mask, lacks channel 0, or its vocabulary is too large for its numbers.

    Example:
        >>> side = SideConfig(name="brand_history", shape=(64, 5), masked=True)
        >>> term = RepeatTerm(RepeatConfig(), side, history=(2, 0, -1), candidates=3)
        >>> sum(parameter.numel() for parameter in term.parameters())
        740
    """

    candidate: Tensor
    channels: Tensor
    popularity: Tensor

    def __init__(self, config: RepeatConfig, side: SideConfig, history: Sequence[int], candidates: int) -> None:
        super().__init__()
        if not side.masked or side.present_channels[0] != 0 or len(side.present_channels) < 2:
            raise ValueError(
                f"{side.name} of shape {side.shape} is no history: a mask, a number and measures are needed"
            )
        if len(history) > _LARGEST_EXACT:
            raise ValueError(
                f"{len(history)} values of {side.name}; at most {_LARGEST_EXACT} have numbers of their own"
            )
        self.side, self.candidates = side, candidates
        of = torch.tensor(history)
        self.register_buffer("candidate", torch.where(of < 0, candidates, of), persistent=False)
        self.register_buffer("channels", torch.tensor(side.present_channels[1:]), persistent=False)
        self.register_buffer("popularity", torch.zeros(candidates))
        self.bias = nn.Parameter(torch.zeros(candidates))
        layers: list[nn.Module] = []
        width = len(self.channels) + 1
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.SiLU()]
            width = hidden
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))

    @torch.no_grad()
    def set_popularity(self, share: Tensor) -> None:
        """Shares [n] of the candidates among training labels: their log odds are the first bias, and standardised what
        f reads."""
        log_odds = torch.logit(share.double(), eps=1e-6)
        self.bias.copy_(log_odds)
        self.popularity.copy_((log_odds - log_odds.mean()) / log_odds.std().clamp(min=1e-6))

    def forward(self, inputs: Inputs) -> Tensor:
        values, valid = inputs.read(self.side)
        with torch.autocast(values.device.type, enabled=False):
            candidate = self.candidate[values[..., 0].long()].masked_fill(~valid, self.candidates)  # [B, places]
            popularity = torch.cat([self.popularity, self.popularity.new_zeros(1)])[candidate].unsqueeze(-1)
            read = torch.cat([values.index_select(-1, self.channels), popularity], dim=-1)
            added = self.network(read).squeeze(-1)
            scores = torch.cat([self.bias, self.bias.new_zeros(1)]).expand(len(added), -1)
            return scores.scatter_add(1, candidate, added)[:, :-1]  # what is no candidate goes to the extra column
