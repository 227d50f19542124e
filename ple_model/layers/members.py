"""Members of a parameter-efficient ensemble: networks that share their matrices and differ in a few vectors.

Member m of a shared linear layer computes s_m ∘ (W (r_m ∘ x)) + b_m. All members run at once: where they have begun, a
batch of B rows is one of M·B, member after member (row m·B + b is row b of member m), and a shared layer just sees more
rows.
Source: Wen, Tran, Ba, "BatchEnsemble" (2020), eq. 4; Gorishniy, Kotelnikov, Babenko, "TabM" (2024), §3.3: the scales r
of the first layer start as random signs, all other scales as 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def repeated(x: Tensor, members: int) -> Tensor:
    """[B, …] → [M·B, …]: the same rows for every member."""
    return x if members == 1 else x.repeat(members, *[1] * (x.dim() - 1))


def by_member(x: Tensor, members: int) -> Tensor:
    """[M·B, …] → [M, B, …]."""
    return x.unflatten(0, (members, -1))


class MemberScale(nn.Module):
    """r_m ∘ x with r_m of random signs at the start: where members begin.

    Args:
        members: M.
        width: of x.

    Shape:
        [B, width] → [M·B, width].

    Source: BatchEnsemble, eq. 4; TabM, §3.3.

    Example:
        >>> MemberScale(members=4, width=8)(torch.randn(5, 8)).shape
        torch.Size([20, 8])
    """

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randint(0, 2, (members, 1, width)).mul(2.0).sub(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.scale).flatten(0, 1)


class MemberLinear(nn.Module):
    """A linear layer that M members share: s_m ∘ (W (r_m ∘ x)) + b_m.

    Args:
        members: M.
        width_in: of the input.
        width_out: of the output.
        first: whether members begin here: r starts at random signs, else at 1.

    Shape:
        [B, in] (the same for every member) or [M, B, in] → [M, B, out].

    Source: BatchEnsemble, eq. 4; TabM, §3.3.

    Example:
        >>> MemberLinear(4, 8, 6, first=True)(torch.randn(5, 8)).shape
        torch.Size([4, 5, 6])
    """

    def __init__(self, members: int, width_in: int, width_out: int, first: bool = False) -> None:
        super().__init__()
        bound = width_in**-0.5
        start = torch.randint(0, 2, (members, 1, width_in)).mul(2.0).sub(1.0) if first else None
        self.weight = nn.Parameter(torch.empty(width_out, width_in).uniform_(-bound, bound))
        self.scale_in = nn.Parameter(torch.ones(members, 1, width_in) if start is None else start)
        self.scale_out = nn.Parameter(torch.ones(members, 1, width_out))
        self.bias = nn.Parameter(torch.empty(members, 1, width_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.linear(x * self.scale_in, self.weight), self.scale_out)
