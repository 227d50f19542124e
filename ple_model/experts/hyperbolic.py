"""Hyperbolic operations: points of Poincaré balls read into the tangent space, and a layer with a Möbius bias.

A layer takes and returns tangent vectors at the origin. On the ball it is M ⊗ x ⊕ b (Ganea, Bécigneul, Hofmann,
"Hyperbolic Neural Networks", 2018); between balls of different curvature a vector passes through the tangent space at
the origin (Chami et al., "Hyperbolic Graph Convolutional Neural Networks", 2019, eq. 8–10). log0 directly followed by
exp0 of the same ball is the identity and is not computed.

`Balls` calls geoopt. `mobius_bias` is geoopt's chain of four operations in closed form, because the result lies in the
plane of the vector and the bias: two reductions and one combination instead of some thirty passes over the batch, and
no wait for the device. Tests hold it against geoopt. Source: MODEL §3.
"""

from __future__ import annotations

import math

import torch
from geoopt.manifolds.stereographic import math as stereographic
from torch import Tensor, nn

#: Squared lengths below this count as this: the maps are the identity, and no quotient is 0/0.
TINY = 1e-12


def mobius_bias(u: Tensor, bias: Tensor, curvature: Tensor, limit: float) -> Tensor:
    """log0(exp0(u) ⊕ exp0(bias)) on the ball of sectional curvature −curvature. [G, B, d] → the same, float32 at least.

    u [G, B, d] and bias [G, 1, d] are tangent vectors at the origin, curvature [G, 1, 1] > 0. All three points are kept
    within `limit` of the origin, where √curvature·‖tangent vector‖ is the unit: the rim of the ball lies at infinity,
    where float32 has no digits left.
    """
    with torch.autocast(u.device.type, enabled=False):
        u, bias, curvature = u.to(bias.dtype), bias, curvature.to(bias.dtype)
        # Lengths in units of a ball of curvature −1; exp0 takes u to of_u·u, whose norm is x.
        length, size = _length(u, curvature), _length(bias, curvature)  # [G, B, 1], [G, 1, 1]
        x, y = length.clamp(max=limit).tanh(), size.clamp(max=limit).tanh()
        of_u, of_b = x / length, y / size
        xx, yy = x.square(), y.square()
        twice = of_u * (2.0 * of_b * curvature) * torch.bmm(u, bias.transpose(1, 2))  # 2⟨x, y⟩
        near = 1.0 + twice
        whole = near + xx * yy
        # ‖x ⊕ y‖² = ‖x + y‖² / whole (Ungar 2008)
        norm = ((xx + twice + yy) / whole).clamp_min(TINY).sqrt()
        back = norm.clamp(max=math.tanh(limit)).atanh() / (norm * whole)
        return torch.baddbmm((back * of_u * (near + yy)) * u, back * (1.0 - xx) * of_b, bias)


def _length(v: Tensor, curvature: Tensor) -> Tensor:
    """√curvature·‖v‖, [G, ·, 1]; at least √TINY, so that it may divide."""
    return (curvature * v.square().sum(-1, keepdim=True)).clamp_min(TINY).sqrt()


class Curvature(nn.Module):
    """Learnt curvatures of several balls, each within a factor of its start.

    Args:
        count: G balls.
        start: curvature at the start.
        span: largest factor from it.

    Shape:
        → [G, 1, 1] > 0.

    Example:
        >>> Curvature(count=2, start=1.0, span=20.0)().flatten().tolist()
        [1.0, 1.0]
    """

    def __init__(self, count: int, start: float, span: float) -> None:
        super().__init__()
        self.start, self.span = start, span
        self.exponent = nn.Parameter(torch.zeros(count, 1, 1))

    def forward(self) -> Tensor:
        return self.start * self.span ** self.exponent.tanh()


class MobiusBias(nn.Module):
    """`mobius_bias` with a learnt bias and curvature of several balls.

    A ball of d dimensions has curvature c/d, so that a tangent vector whose coordinates are of the order of 1 lies at
    a distance of the order of √c whatever d is. The bias starts at random: at 0 the curvature would have no gradient.

    Args:
        balls: G.
        width: d dimensions of each.
        limit: distance from the origin within which points are kept.

    Shape:
        tangent vectors u [G, B, d], curvatures c [G, 1, 1] → [G, B, d].

    Source: Ganea et al. (2018).

    Example:
        >>> bias = MobiusBias(balls=2, width=8, limit=3.0)
        >>> bias(torch.randn(2, 5, 8), torch.ones(2, 1, 1)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, balls: int, width: int, limit: float) -> None:
        super().__init__()
        self.width, self.limit = width, limit
        self.bias = nn.Parameter(torch.empty(balls, 1, width))
        nn.init.normal_(self.bias, std=0.1)

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return mobius_bias(u, self.bias, c / self.width, self.limit)


class Balls(nn.Module):
    """Points of several unit balls → tangent vectors at the midpoint of the training rows, without a parameter.

    The balls' coordinates lie one behind the other in a row of `sum(sizes)`; a ball none of whose channels is `present`
    is left out. Each is moved so that the training rows' midpoint becomes the origin (−m ⊕ x, an isometry), mapped by
    log0 and divided by the rows' root mean square: standardisation that keeps hyperbolic distances in proportion.

    Args:
        sizes: dimensions of each ball.
        channels: of a row.
        present: channels that the data set has.

    Shape:
        points [B, channels] → tangent vectors [B, width] and distances from the midpoints [B, balls].

    Raises:
        ValueError: sizes that do not add up to the channels, or a ball of which the data set has a part only.

    Source: Chami et al. (2019).

    Example:
        >>> balls = Balls((3, 2), channels=5, present=(0, 1, 2, 3, 4))
        >>> balls(torch.rand(4, 5) / 5)[1].shape
        torch.Size([4, 2])
    """

    sizes: Tensor
    places: Tensor
    kept: Tensor
    midpoint: Tensor
    scale: Tensor

    def __init__(self, sizes: tuple[int, ...], channels: int, present: tuple[int, ...]) -> None:
        super().__init__()
        if sum(sizes) != channels:
            raise ValueError(f"balls of {sizes} dimensions for {channels} coordinates of the hierarchy")
        ends = torch.tensor(sizes).cumsum(0).tolist()
        blocks = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
        used = [block for block in blocks if set(block) & set(present)]
        for block in used:
            if not set(block) <= set(present):
                raise ValueError(f"the data set has a part of the ball in channels {block[0]} to {block[-1]} only")
        widest = max(map(len, used))
        # Shorter balls are filled up with a channel of zeros: no operation here sees it.
        places = [block + [channels] * (widest - len(block)) for block in used]
        self.count, self.width = len(used), sum(map(len, used))
        self.register_buffer("sizes", torch.tensor([len(block) for block in used]), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.register_buffer("kept", (self.places < channels).flatten().nonzero().squeeze(1), persistent=False)
        self.register_buffer("midpoint", torch.zeros(self.count, widest))
        self.register_buffer("scale", torch.ones(self.count))

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Midpoints and scales of these rows [R, channels], R ≥ 1."""
        split, k = self._split(points)
        self.midpoint.copy_(stereographic.weighted_midpoint(stereographic.project(split, k=k), k=k, reducedim=[0]))
        scale = (self._log(split, k).square().sum(-1).mean(0) / self.sizes).sqrt()
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    @torch.no_grad()
    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points [B, channels] → scaled tangent vectors [B, width], and hyperbolic distances from the midpoint in units
        of the training rows' root mean square [B, balls], float32. A point on or beyond the rim counts as just inside.
        """
        with torch.autocast(points.device.type, enabled=False):
            tangent = self._log(*self._split(points)) / self.scale.unsqueeze(1)  # [B, balls, widest]
            distance = tangent.norm(dim=-1) / self.sizes.sqrt()
        return tangent.flatten(1).index_select(1, self.kept).float(), distance.float()

    def _log(self, split: Tensor, k: Tensor) -> Tensor:
        """Tangent vectors at the origin of points [R, balls, widest], moved so that their midpoint is the origin."""
        moved = stereographic.project(stereographic.mobius_add(-self.midpoint, split, k=k), k=k)
        norm = moved.norm(dim=-1, keepdim=True).clamp_min(TINY)
        return moved * (stereographic.artanh(norm) / norm)  # logmap0, less its question of the device for the sign of k

    def _split(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points by ball [B, balls, widest], and the curvature −1 of their balls. In float64, where geoopt lets points
        come nearer to the rim, where the leaves of a tree lie."""
        filled = nn.functional.pad(points.double(), (0, 1))
        k = filled.new_tensor(-1.0)
        split = filled.index_select(1, self.places.flatten()).view(len(points), *self.places.shape)
        return split, k
