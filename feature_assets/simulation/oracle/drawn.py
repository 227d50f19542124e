"""Labels that need amounts or counts: drawn along the latent paths, given a purchase where the label requires one."""

from __future__ import annotations

import numpy as np

from feature_assets.labels.constants import ACTIVE_DAYS, STAGES
from feature_assets.simulation.basics import Basics, aftermath, basics_of
from feature_assets.simulation.config import CATEGORIES, CHANNELS
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.intensity import known_session_rate, path_session_factor
from feature_assets.simulation.oracle.chunk import LONG, Chunk, Past, shares
from feature_assets.simulation.oracle.constants import H
from feature_assets.simulation.oracle.merchants import Affinity, brand_order
from feature_assets.simulation.paths import Paths

EVERY = 2  # every second path is used for the spend of the long window, which is costly to draw
ROUNDS = 3  # how often categories, amounts and channels are drawn for the same purchases
TOP_BRANDS = 30
PRIOR = 1.0  # weight of a customer's mean shares beside the drawn frequencies of a class


def drawn_tasks(c: Chunk, past: Past, liked: np.ndarray) -> dict[str, np.ndarray]:
    """engagement, ltv, life_stage, spending_bucket, merchant_affinity, spending_category, channel [n] or [n, K], and
    brand_prediction__top [n, 30].

    Args:
        past: of all customers of the block. liked: int64, favourite merchant of all of them, -1 without.
    """
    out = {"engagement": c.mean(np.log1p(active_days(c))), "ltv": long_spend(c, past)}
    return out | _bought(c, past, liked)


def _bought(c: Chunk, past: Past, liked: np.ndarray) -> dict[str, np.ndarray]:
    """Labels of the purchases in the window: R draws a customer, given at least one purchase."""
    chance = 1.0 - c.survival[:, H - 1].astype(np.float64)
    buys = c.mean(chance)
    cumulative = np.cumsum(chance.reshape(c.n, c.draws) + 1e-300, axis=1)
    u = c.rng.random((c.n, c.draws)) * cumulative[:, -1:]
    chosen = np.concatenate([np.searchsorted(*pair) for pair in zip(cumulative, u, strict=True)])
    path = np.minimum(chosen, c.draws - 1) + c.owner * c.draws
    paths = _first_days(c.paths.take(path), H)
    counts, charged = at_least_one(c, path)
    lifts, channels = [], []
    for _ in range(ROUNDS):
        basics = basics_of(c.rng, c.world, c.repeated, paths, counts, charged)
        spend, again, again_amount = net(c, basics, c.repeated, H)
        lines = np.ones(len(basics.row))
        lines[again] += 1.0
        money = _by_category(basics, len(c.owner), basics.amount)
        money += _by_category(basics, len(c.owner), again_amount, again)
        lifts.append((money / np.array(c.constants.category_shares)).argmax(axis=1))
        key = basics.row * len(CHANNELS) + basics.channel
        used = np.bincount(key, lines, len(c.owner) * len(CHANNELS)).reshape(-1, len(CHANNELS))
        channels.append(used.argmax(axis=1))
    spend = np.maximum(spend + past.pending[c.rows][c.owner], 0.0)
    level = np.interp(np.log1p(spend), c.constants.spend_knots, c.constants.spend_levels)
    nothing = np.interp(0.0, c.constants.spend_knots, c.constants.spend_levels)
    hit = Affinity(c.world, c.people, liked[c.rows]).chance(basics, c.owner[basics.row])
    share = np.bincount(basics.row, lines * hit) / np.bincount(basics.row, lines)
    return {
        "life_stage": stages(c, past, spend, buys),
        "spending_bucket": buys * c.mean(level) + (1.0 - buys) * nothing,
        "merchant_affinity": np.where(liked[c.rows] >= 0, c.mean(share), np.nan),
        "spending_category": frequency(c, lifts, money > 0),
        "channel": frequency(c, channels, used),
        "brand_prediction__top": brand_order(c.world, c.people, basics, c.owner, again)[:, :TOP_BRANDS],
    }


def _by_category(basics: Basics, rows: int, amount: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
    """Sums of amounts (of the purchases `which`) by row and category, [rows, 12]."""
    key = basics.row * len(CATEGORIES) + basics.category
    key = key if which is None else key[which]
    return np.bincount(key, amount, rows * len(CATEGORIES)).reshape(rows, len(CATEGORIES))


def active_days(c: Chunk) -> np.ndarray:
    """Days with a session or a purchase in the window, one draw a path [n · R]."""
    known = known_session_rate(c.world, c.people, c.day, LONG)[:, :H]
    sessions = known[c.owner] * path_session_factor(c.world, c.paths)[:, :H]
    quiet = c.quiet[:, :H] * np.exp(-sessions)
    return (c.rng.random(quiet.shape, dtype=np.float32) >= quiet).sum(axis=1)


def long_spend(c: Chunk, past: Past) -> np.ndarray:
    """E log1p of net spend in the long window [n]."""
    some = np.flatnonzero(np.arange(len(c.owner)) % EVERY == 0)
    people, paths, charge = c.repeated.take(some), c.paths.take(some), c.charge[some]
    charged = c.rng.random(charge.shape, dtype=np.float32) < charge
    counts = c.rng.poisson(c.rate[some])
    basics = basics_of(c.rng, c.world, people, paths, counts, charged)
    spend = net(c, basics, people, LONG)[0] + past.pending_long[c.rows][c.owner[some]]
    return np.log1p(np.maximum(spend, 0.0)).reshape(c.n, -1).mean(axis=1)


def net(c: Chunk, basics: Basics, people: Customers, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Net spend in the first `days` days [n · R], and which purchases were bought again for how much."""
    near = people.near_repeat[basics.row]
    after = aftermath(c.rng, c.world, near, basics.amount, basics.subscription >= 0)
    spend = np.bincount(basics.row, basics.amount, len(people))
    spend += np.bincount(basics.row[after.again], after.again_amount, len(people))
    returned = basics.day[after.back] + after.delay
    back = after.back[returned < min(c.day + days, c.world.calendar.days)]
    spend -= np.bincount(basics.row[back], basics.amount[back], len(people))
    return np.round(spend, 2), after.again, after.again_amount


def frequency(c: Chunk, drawn: list[np.ndarray], support: np.ndarray) -> np.ndarray:
    """Class frequencies [n, K] of rounds of draws [n · R], with a little weight on what occurs in them at all."""
    classes = support.shape[1]
    keys = np.concatenate([c.owner * classes + d for d in drawn])
    counts = np.bincount(keys, minlength=c.n * classes).reshape(c.n, classes)
    prior = shares(c.mean(support.astype(np.float64)) + 0.02)
    return (counts + PRIOR * prior) / (c.draws * len(drawn) + PRIOR)


def stages(c: Chunk, past: Past, spend: np.ndarray, buys: np.ndarray) -> np.ndarray:
    """P(stage) [n, 6]: dormant without a purchase; new and returning are known beforehand given one."""
    low, high = c.constants.stage_edges
    active, new, before = past.active[c.rows], past.new[c.rows], past.spend[c.rows]
    expected = np.maximum(before, 0.01)[c.owner] * (H / ACTIVE_DAYS)
    ratio = np.where(before[c.owner] > 0.005, spend / expected, np.inf)
    growing, declining = c.mean(ratio >= high), c.mean(ratio < low)
    half = 0.5 / c.draws
    moved = np.stack([growing, 1.0 - growing - declining, declining], axis=1)
    moved = (moved + half) / (1 + 3 * half)
    out = np.zeros((c.n, len(STAGES)))
    out[:, STAGES.index("dormant")] = 1.0 - buys
    out[:, STAGES.index("new")] = buys * new
    out[:, STAGES.index("returning")] = buys * (~new & ~active)
    out[:, 1:4] = (buys * (~new & active))[:, None] * moved
    return out


def at_least_one(c: Chunk, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts [n · R, H] and charges [n · R, 2, H] of the chosen paths, given one purchase at least.

    The first day with one is drawn; on it something is charged or a Poisson count is positive; earlier days have
    nothing; later days are free. A positive Poisson count of mean λ is 1 + Poisson(λ − T), T a truncated waiting
    time.
    """
    rng, size = c.rng, len(path)
    cumulative = np.cumsum(c.first_day()[path], axis=1)
    u = rng.random(size) * cumulative[:, -1]
    first = np.minimum((cumulative <= u[:, None]).sum(axis=1), H - 1)
    rate, charge = c.rate[path, :H], c.charge[path, :, :H]
    counts, charged = rng.poisson(rate), rng.random(charge.shape, dtype=np.float32) < charge
    days = np.arange(H)
    early = days < first[:, None]
    counts[early] = 0
    charged &= ~early[:, None, :]
    here = np.arange(size)
    mean = rate[here, first].astype(np.float64)
    one, two = charge[here, 0, first].astype(np.float64), charge[here, 1, first].astype(np.float64)
    rest = 1.0 - (1.0 - two) * np.exp(-mean)
    is_one = rng.random(size) * (1.0 - (1.0 - one) * (1.0 - rest)) < one
    is_two = np.where(is_one, rng.random(size) < two, rng.random(size) * rest < two)
    wait = -np.log1p(rng.random(size) * np.expm1(-mean))
    positive = 1 + rng.poisson(np.maximum(mean - wait, 0.0))
    counts[here, first] = np.where(is_one | is_two, rng.poisson(mean), positive)
    charged[here, 0, first], charged[here, 1, first] = is_one, is_two
    return counts, charged


def _first_days(paths: Paths, days: int) -> Paths:
    """The first `days` days of the paths."""
    shorter = {name: getattr(paths, name)[:, :days] for name in ("journey", "trip", "shock", "interest")}
    return Paths(**(paths.__dict__ | shorter))
