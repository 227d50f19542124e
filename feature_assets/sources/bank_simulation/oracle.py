"""The oracle: the distribution of each label at t given the latent state at t and the bank's own campaign plan.

For each customer R latent paths are drawn from the state at t on, by the very functions that made the data. Given a
path, purchases are Poisson by day and part of the day, openings compete with known hazards, clicks are independent:
churn, retention, timing, consumption_cycle, nba, ctr and cvr are computed exactly given the path and averaged over the
paths; card utilisation is Gaussian on the logit scale and integrated by quadrature; what needs amounts or counts
(spend, stages, categories, channels, affinity, engagement) is drawn, given that something is bought where the label
requires it. No model that sees less than this state can have a better expected proper score, up to the noise of R
draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.labels.tasks import ACTIVE_DAYS, CYCLE_EDGES, LONG_WINDOWS, STAGES
from feature_assets.sources.bank_simulation.block import Block
from feature_assets.sources.bank_simulation.campaigns import click_chance
from feature_assets.sources.bank_simulation.chances import logistic
from feature_assets.sources.bank_simulation.config import CATEGORIES, CHANNELS, OPENABLE
from feature_assets.sources.bank_simulation.customers import Customers
from feature_assets.sources.bank_simulation.holdings import opening_rates, statement_before
from feature_assets.sources.bank_simulation.intensity import (
    known_purchase_rate,
    known_session_rate,
    path_purchase_factor,
    path_session_factor,
    subscription_chance,
)
from feature_assets.sources.bank_simulation.oracle_constants import H, OracleConstants
from feature_assets.sources.bank_simulation.oracle_merchants import Affinity, brand_order, favourites
from feature_assets.sources.bank_simulation.paths import Paths, draw_paths
from feature_assets.sources.bank_simulation.purchases import Basics, aftermath, basics_of
from feature_assets.sources.bank_simulation.world import World

LONG = LONG_WINDOWS * H
EVERY = 2  # every second path is used for the spend of the long window, which is costly to draw
CHUNK = 24  # customers whose paths are drawn at once
CENSORED = 28  # joining in the first days of data is not observed (labels: CENSORED_DAYS)
TOP_BRANDS = 30
PRIOR = 1.0  # weight of the customer's mean shares beside the drawn frequencies of a class
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class Past:
    """What the labels take from before t, for n customers: active (a purchase in 56 days), spend_past, refunds still to
    come of earlier purchases in the short and the long window (≤ 0), new (joined in 56 days)."""

    active: np.ndarray
    spend: np.ndarray
    pending: np.ndarray
    pending_long: np.ndarray
    new: np.ndarray


def oracle_block(
    rng: np.random.Generator, world: World, block: Block, constants: OracleConstants, day: int, quota: int
) -> dict[str, np.ndarray]:
    """The oracle of the first `quota` customers of a block that had joined before `day`.

    Returns:
        `row` int64 [n] (index into the block's customers) and one array a task: [n], or [n, K] of class probabilities;
        `brand_prediction__top` int64 [n, 30], indices into the catalogue's brands, likeliest first. NaN where the label
        cannot exist (no exposure in the window).
    """
    rows = np.flatnonzero(block.customers.joined[:quota] < day)
    chunks = [rows[k : k + CHUNK] for k in range(0, len(rows), CHUNK)]
    past = _past(block, day)
    liked = favourites(world, block, day)
    parts = [_Chunk(rng, world, block, constants, day, chunk).tasks(past, liked) | {"row": chunk} for chunk in chunks]
    if not parts:
        return {"row": rows}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _past(block: Block, day: int) -> Past:
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


class _Chunk:
    """Some customers and R paths of each; arrays over paths have n · R rows, a customer's paths in a row."""

    def __init__(
        self,
        rng: np.random.Generator,
        world: World,
        block: Block,
        constants: OracleConstants,
        day: int,
        rows: np.ndarray,
    ) -> None:
        self.rng, self.world, self.block, self.constants, self.day, self.rows = rng, world, block, constants, day, rows
        self.n, self.draws = len(rows), world.config.oracle_draws
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

    def tasks(self, past: Past, liked: np.ndarray) -> dict[str, np.ndarray]:
        """All tasks. `liked` int64 [customers of the block], favourite merchant, −1 without."""
        absent = self.survival[:, H - 1].astype(np.float64)
        windows = [self.quiet[:, k * H : (k + 1) * H].prod(axis=1, dtype=np.float64) for k in range(LONG_WINDOWS)]
        out = {
            "churn": self.mean(absent),
            "retention": self.mean(np.prod([1.0 - w for w in windows], axis=0)),
            "engagement": self.mean(np.log1p(self._active_days())),
            "consumption_cycle": self._cycle(),
            "timing": self._timing(),
            "ltv": self._long_spend(past),
            "balance_util": self._utilisation(),
            "nba": self.mean(self._next_product()),
        }
        out["ctr"], out["cvr"] = self._campaigns()
        return out | self._bought(past, liked, absent)

    def _cycle(self) -> np.ndarray:
        """P(days to the next purchase in each class) [n, 7]."""
        alive = np.stack([self.survival[:, edge - 1] for edge in CYCLE_EDGES], axis=1)
        alive = self.mean(alive.astype(np.float64))
        ones, zeros = np.ones((self.n, 1)), np.zeros((self.n, 1))
        return -np.diff(np.concatenate([ones, alive, zeros], axis=1), axis=1)

    def _first_day(self) -> np.ndarray:
        """P(first purchase on each day of the window) [n · R, H]."""
        return self._before() * (1 - self.quiet[:, :H])

    def _before(self) -> np.ndarray:
        """P(no purchase in the window before each day) [n · R, H]."""
        return np.concatenate([np.ones((len(self.quiet), 1), np.float32), self.survival[:, : H - 1]], axis=1)

    def _timing(self) -> np.ndarray:
        """P(weekday and part of the next purchase | one in the window) [n, 28]. Subscriptions charge at night."""
        span = np.arange(self.day, self.day + H)
        weekday = self.world.calendar.weekday[span]
        drift = self.world.calendar.drift[span].astype(np.int64)
        later = 1 - np.cumsum(self.people.hours[:, drift, weekday], axis=2)  # [n, H, 4], share of the day after a part
        alive, free = self._before(), (1 - self.charge[:, :, :H]).prod(axis=1)
        classes = np.zeros((self.n, 7, 4))
        for part in range(4):
            through = np.maximum(1 - later[:, :, part], 0)[self.owner]
            after = self._before() * np.exp(-self.rate[:, :H] * through) * free
            first = self.mean((alive - after).astype(np.float64))  # [n, H]
            for k, w in enumerate(weekday):
                classes[:, w, part] += first[:, k]
            alive = after
        return _shares(np.maximum(classes.reshape(self.n, 28), 0.0))

    def _active_days(self) -> np.ndarray:
        """Days with a session or a purchase in the window, one draw a path [n · R]."""
        known = known_session_rate(self.world, self.people, self.day, LONG)[:, :H]
        sessions = known[self.owner] * path_session_factor(self.world, self.paths)[:, :H]
        quiet = self.quiet[:, :H] * np.exp(-sessions)
        return (self.rng.random(quiet.shape, dtype=np.float32) >= quiet).sum(axis=1)

    def _long_spend(self, past: Past) -> np.ndarray:
        """E log1p of net spend in the long window [n]."""
        some = np.flatnonzero(np.arange(len(self.owner)) % EVERY == 0)
        people, paths, charge = self.repeated.take(some), self.paths.take(some), self.charge[some]
        charged = self.rng.random(charge.shape, dtype=np.float32) < charge
        counts = self.rng.poisson(self.rate[some])
        basics = basics_of(self.rng, self.world, people, paths, counts, charged)
        spend = self._net(basics, people, LONG)[0] + past.pending_long[self.rows][self.owner[some]]
        return np.log1p(np.maximum(spend, 0.0)).reshape(self.n, -1).mean(axis=1)

    def _net(self, basics: Basics, people: Customers, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Net spend in the first `days` days [n · R], and which purchases were bought again for how much."""
        near = people.near_repeat[basics.row]
        after = aftermath(self.rng, self.world, near, basics.amount, basics.subscription >= 0)
        spend = np.bincount(basics.row, basics.amount, len(people))
        spend += np.bincount(basics.row[after.again], after.again_amount, len(people))
        returned = basics.day[after.back] + after.delay
        back = after.back[returned < min(self.day + days, self.world.calendar.days)]
        spend -= np.bincount(basics.row[back], basics.amount[back], len(people))
        return np.round(spend, 2), after.again, after.again_amount

    def _campaigns(self) -> tuple[np.ndarray, np.ndarray]:
        """P(a click), P(a conversion) of an impression in the window, NaN without one [n] each."""
        e = self.block.exposures
        position = np.full(len(self.block.customers), -1)
        position[self.rows] = np.arange(self.n)
        inside = np.flatnonzero((e.day >= self.day) & (e.day < self.day + H) & (position[e.row] >= 0))
        entries = inside.repeat(self.draws)
        path = position[e.row[entries]] * self.draws + np.tile(np.arange(self.draws), len(inside))
        click, convert = click_chance(self.world, self.block.customers, e, entries, path, self.paths)
        none = np.zeros((2, self.n * self.draws))
        for k, chance in enumerate((click, click * convert)):
            none[k] = np.bincount(path, np.log1p(-chance), self.n * self.draws)
        exposed = np.bincount(position[e.row[inside]], minlength=self.n) > 0
        ctr, cvr = (np.where(exposed, self.mean(1.0 - np.exp(log)), np.nan) for log in none)
        return ctr, cvr

    def _utilisation(self) -> np.ndarray:
        """E of the mean utilisation over the window's statements [n]; the logit is AR(1) from its last value on."""
        config, mean = self.world.config, self.people.utilisation
        last = statement_before(self.day, self.people.statement_day)
        now = self.block.holdings.utilisation[self.rows, np.maximum(last, 0)]
        out = np.zeros(self.n)
        for k in range(1, H // 7 + 1):
            fade = config.utilisation_memory**k
            spread = config.utilisation_noise * np.sqrt((1 - fade**2) / (1 - config.utilisation_memory**2))
            at = mean + fade * (now - mean)
            out += (logistic(at[:, None] + spread * NODES) * NODE_WEIGHTS).sum(axis=1) / NODE_WEIGHTS.sum()
        return out / (H // 7)

    def _next_product(self) -> np.ndarray:
        """P(first kind newly opened in the window, or none) [n · R, 12]: hazards compete, constant within months."""
        calendar, holdings, config = self.world.calendar, self.block.holdings, self.world.config
        opened = holdings.opened[self.rows, : len(OPENABLE)]
        before = opened < self.day
        out = np.zeros((self.n * self.draws, len(OPENABLE) + 1))
        alive = np.ones(self.n * self.draws)
        last = statement_before(self.day, self.people.statement_day)
        for m in range(calendar.month[self.day], calendar.month[self.day + H - 1] + 1):
            start, end = max(calendar.starts[m], self.day), min(calendar.starts[m + 1], self.day + H)
            known = calendar.starts[m] <= self.day
            held = opened < calendar.starts[m] if known else before
            week = statement_before(calendar.starts[m], self.people.statement_day)
            logit = holdings.utilisation[self.rows, np.maximum(np.minimum(week, last), 0)]
            logit = logit[self.owner]
            if not known:
                fade = config.utilisation_memory ** np.maximum(week - last, 0)[self.owner]
                spread = config.utilisation_noise * np.sqrt((1 - fade**2) / (1 - config.utilisation_memory**2))
                mean = self.repeated.utilisation
                logit = mean + fade * (logit - mean) + spread * self.rng.standard_normal(len(mean))
            lifecycle = self.paths.lifecycle[:, m - self.paths.month]
            rate = opening_rates(self.repeated, lifecycle, held[self.owner], logit)
            rate = np.where(before[self.owner], 0.0, rate)
            total = rate.sum(axis=1)
            something = alive * -np.expm1(-total * (end - start))
            out[:, :-1] += something[:, None] * rate / np.maximum(total, 1e-300)[:, None]
            alive = alive - something
        out[:, -1] = alive
        return out

    def _bought(self, past: Past, liked: np.ndarray, absent: np.ndarray) -> dict[str, np.ndarray]:
        """Tasks that look at what is bought: R draws a customer, given that something is bought in the window."""
        buys = self.mean(1.0 - absent)
        weight = (1.0 - absent).reshape(self.n, self.draws) + 1e-300
        cumulative = np.cumsum(weight, axis=1)
        u = self.rng.random((self.n, self.draws)) * cumulative[:, -1:]
        chosen = np.concatenate([np.searchsorted(c, x) for c, x in zip(cumulative, u, strict=True)])
        path = np.minimum(chosen, self.draws - 1) + self.owner * self.draws
        paths = _first_days(self.paths.take(path), H)
        counts, charged = self._at_least_one(path)
        basics = basics_of(self.rng, self.world, self.repeated, paths, counts, charged)
        spend, again, again_amount = self._net(basics, self.repeated, H)
        spend = np.maximum(spend + past.pending[self.rows][self.owner], 0.0)
        lines = np.ones(len(basics.row))
        lines[again] += 1.0
        level = np.interp(np.log1p(spend), self.constants.spend_knots, self.constants.spend_levels)
        nothing = np.interp(0.0, self.constants.spend_knots, self.constants.spend_levels)
        affinity = Affinity(self.world, self.people, liked[self.rows])
        size, row = len(self.owner), basics.row
        hit = affinity.chance(basics, self.owner[row])
        share = np.bincount(row, lines * hit, size) / np.bincount(row, lines, size)
        key = row * len(CATEGORIES) + basics.category
        money = np.bincount(key, basics.amount, size * len(CATEGORIES))
        money += np.bincount(key[again], again_amount, size * len(CATEGORIES))
        lift = money.reshape(size, -1) / np.array(self.constants.category_shares)
        used = np.bincount(row * len(CHANNELS) + basics.channel, lines, size * len(CHANNELS)).reshape(size, -1)
        return {
            "life_stage": self._stages(past, spend, buys),
            "spending_bucket": buys * self.mean(level) + (1.0 - buys) * nothing,
            "merchant_affinity": np.where(liked[self.rows] >= 0, self.mean(share), np.nan),
            "spending_category": self._frequency(lift.argmax(axis=1), money.reshape(size, -1) > 0),
            "channel": self._frequency(used.argmax(axis=1), used),
            "brand_prediction__top": brand_order(self.world, self.people, basics, self.owner, again)[:, :TOP_BRANDS],
        }

    def _frequency(self, drawn: np.ndarray, support: np.ndarray) -> np.ndarray:
        """Class frequencies [n, K] of the draws [n · R], with a little weight on what occurs in them at all."""
        classes = support.shape[1]
        counts = np.bincount(self.owner * classes + drawn, minlength=self.n * classes).reshape(self.n, classes)
        prior = _shares(self.mean(support.astype(np.float64)) + 0.02)
        return (counts + PRIOR * prior) / (self.draws + PRIOR)

    def _stages(self, past: Past, spend: np.ndarray, buys: np.ndarray) -> np.ndarray:
        """P(stage) [n, 6]: dormant without a purchase; new and returning are known beforehand given one."""
        low, high = self.constants.stage_edges
        active, new, before = past.active[self.rows], past.new[self.rows], past.spend[self.rows]
        expected = np.maximum(before, 0.01)[self.owner] * (H / ACTIVE_DAYS)
        ratio = np.where(before[self.owner] > 0.005, spend / expected, np.inf)
        growing, declining = self.mean(ratio >= high), self.mean(ratio < low)
        half = 0.5 / self.draws
        moved = np.stack([growing, 1.0 - growing - declining, declining], axis=1)
        moved = (moved + half) / (1 + 3 * half)
        out = np.zeros((self.n, len(STAGES)))
        out[:, STAGES.index("dormant")] = 1.0 - buys
        out[:, STAGES.index("new")] = buys * new
        out[:, STAGES.index("returning")] = buys * (~new & ~active)
        out[:, 1:4] = (buys * (~new & active))[:, None] * moved
        return out

    def _at_least_one(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts [n · R, H] and charges [n · R, 2, H] of the chosen paths, given one purchase at least.

        The first day with one is drawn; on it something is charged or a Poisson count is positive; earlier days have
        nothing; later days are free. A positive Poisson count of mean λ is 1 + Poisson(λ − T), T a truncated waiting
        time.
        """
        rng, size = self.rng, len(path)
        cumulative = np.cumsum(self._first_day()[path], axis=1)
        u = rng.random(size) * cumulative[:, -1]
        first = np.minimum((cumulative <= u[:, None]).sum(axis=1), H - 1)
        rate, charge = self.rate[path, :H], self.charge[path, :, :H]
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
    """The same paths without what comes after the first `days` days."""
    shorter = {name: getattr(paths, name)[:, :days] for name in ("journey", "trip", "shock")}
    return Paths(**(paths.__dict__ | shorter))


def _shares(weights: np.ndarray) -> np.ndarray:
    """Rows that sum to 1."""
    weights = weights + 1e-12
    return weights / weights.sum(axis=1, keepdims=True)
