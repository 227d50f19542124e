"""A few customers with R latent paths of each from the state at t on, and the past that their labels depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.horizon import LONG_WINDOWS
from feature_assets.labels.constants import ACTIVE_DAYS
from feature_assets.simulation.block import Block
from feature_assets.simulation.intensity import known_purchase_rate, path_purchase_factor, subscription_chance
from feature_assets.simulation.oracle.constants import H, OracleConstants
from feature_assets.simulation.paths import draw_paths
from feature_assets.simulation.world import World

LONG = LONG_WINDOWS * H
CENSORED = 28  # joining in the first days of data is not observed (labels: CENSORED_DAYS)


@dataclass(frozen=True)
class Past:
    """The past that labels depend on, for n customers: active (a purchase in 56 days), spend_past, refunds still to
    come of earlier purchases in the short and the long window (≤ 0), new (joined in 56 days)."""

    active: np.ndarray
    spend: np.ndarray
    pending: np.ndarray
    pending_long: np.ndarray
    new: np.ndarray


def past_of(block: Block, day: int) -> Past:
    p, n = block.purchases, len(block.customers)
    recent = (p.day < day) & (p.day >= day - ACTIVE_DAYS)
    owed = p.refund & (p.origin < day)

    def pending(days: int) -> np.ndarray:
        inside = owed & (p.day >= day) & (p.day < day + days)
        return np.bincount(p.row[inside], p.amount[inside], n)

    joined = block.customers.joined
    return Past(
        active=np.bincount(p.row[recent & ~p.refund], minlength=n) > 0,
        spend=np.bincount(p.row[recent], p.amount[recent], n),
        pending=pending(H),
        pending_long=pending(LONG),
        new=(joined >= day - ACTIVE_DAYS) & (joined >= CENSORED),
    )


class Chunk:
    """Some customers and R paths of each; arrays over paths have n · R rows, a customer's paths in a row."""

    def __init__(
        self,
        rng: np.random.Generator,
        world: World,
        block: Block,
        constants: OracleConstants,
        day: int,
        rows: np.ndarray,
        draws: int,
    ) -> None:
        self.rng, self.world, self.block, self.constants, self.day, self.rows = rng, world, block, constants, day, rows
        self.n, self.draws = len(rows), draws
        self.people = block.customers.take(rows)
        self.owner = np.arange(self.n).repeat(self.draws)
        self.repeated = self.people.take(self.owner)
        state = block.paths.state(world, block.customers, day).take(rows).repeat(self.draws)
        self.paths = draw_paths(rng, world, self.repeated, state, day, LONG)
        known = known_purchase_rate(world, self.people, block.lift[rows, day : day + LONG], day, LONG)
        self.rate = known[self.owner] * path_purchase_factor(world, self.paths)
        self.charge = subscription_chance(world, self.repeated, self.paths)
        self.quiet = np.exp(-self.rate) * (1 - self.charge).prod(axis=1)
        self.survival = np.cumprod(self.quiet, axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average over each customer's paths: [n · R, …] → [n, …]."""
        return values.reshape(self.n, self.draws, *values.shape[1:]).mean(axis=1)

    def before(self) -> np.ndarray:
        """P(no purchase in the window before each day) [n · R, H]."""
        return np.concatenate([np.ones((len(self.quiet), 1), np.float32), self.survival[:, : H - 1]], axis=1)

    def first_day(self) -> np.ndarray:
        """P(first purchase on each day of the window) [n · R, H]."""
        return self.before() * (1 - self.quiet[:, :H])


def shares(weights: np.ndarray) -> np.ndarray:
    """Rows that sum to 1."""
    weights = weights + 1e-12
    return weights / weights.sum(axis=1, keepdims=True)
