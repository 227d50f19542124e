"""Labels whose chances follow exactly from a latent path: averaged over the paths, nothing else is drawn."""

from __future__ import annotations

import numpy as np

from feature_assets.data.horizon import LONG_WINDOWS
from feature_assets.labels.constants import CYCLE_EDGES
from feature_assets.simulation.campaigns import click_chance
from feature_assets.simulation.chances import logistic
from feature_assets.simulation.config import OPENABLE
from feature_assets.simulation.holdings import opening_rates, statement_before
from feature_assets.simulation.oracle.chunk import Chunk, shares
from feature_assets.simulation.oracle.constants import H

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


def exact_tasks(c: Chunk) -> dict[str, np.ndarray]:
    """churn, retention, consumption_cycle, timing, balance_util, nba, ctr, cvr: [n] or [n, K]."""
    absent = [c.quiet[:, k * H : (k + 1) * H].prod(axis=1, dtype=np.float64) for k in range(LONG_WINDOWS)]
    ctr, cvr = campaigns(c)
    return {
        "churn": c.mean(absent[0]),
        "retention": c.mean(np.prod([1.0 - a for a in absent], axis=0)),
        "consumption_cycle": cycle(c),
        "timing": timing(c),
        "balance_util": utilisation(c),
        "nba": c.mean(next_product(c)),
        "ctr": ctr,
        "cvr": cvr,
    }


def cycle(c: Chunk) -> np.ndarray:
    """P(days to the next purchase in each class) [n, 7]."""
    alive = np.stack([c.survival[:, edge - 1] for edge in CYCLE_EDGES], axis=1)
    alive = c.mean(alive.astype(np.float64))
    ones, zeros = np.ones((c.n, 1)), np.zeros((c.n, 1))
    return -np.diff(np.concatenate([ones, alive, zeros], axis=1), axis=1)


def timing(c: Chunk) -> np.ndarray:
    """P(weekday and part of the next purchase | one in the window) [n, 28]. Subscriptions charge at night."""
    span = np.arange(c.day, c.day + H)
    weekday = c.world.calendar.weekday[span]
    drift = c.world.calendar.drift[span].astype(np.int64)
    later = 1 - np.cumsum(c.people.hours[:, drift, weekday], axis=2)  # [n, H, 4], share of the day after a part
    alive, free = c.before(), (1 - c.charge[:, :, :H]).prod(axis=1)
    classes = np.zeros((c.n, 7, 4))
    for part in range(4):
        through = np.maximum(1 - later[:, :, part], 0)[c.owner]
        after = c.before() * np.exp(-c.rate[:, :H] * through) * free
        first = c.mean((alive - after).astype(np.float64))  # [n, H]
        for k, w in enumerate(weekday):
            classes[:, w, part] += first[:, k]
        alive = after
    return shares(np.maximum(classes.reshape(c.n, 28), 0.0))


def campaigns(c: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """P(a click), P(a conversion) of an impression in the window, NaN without one [n] each."""
    e = c.block.exposures
    position = np.full(len(c.block.customers), -1)
    position[c.rows] = np.arange(c.n)
    inside = np.flatnonzero((e.day >= c.day) & (e.day < c.day + H) & (position[e.row] >= 0))
    entries = inside.repeat(c.draws)
    path = position[e.row[entries]] * c.draws + np.tile(np.arange(c.draws), len(inside))
    click, convert = click_chance(c.world, c.block.customers, e, entries, path, c.paths)
    none = np.zeros((2, c.n * c.draws))
    for k, chance in enumerate((click, click * convert)):
        none[k] = np.bincount(path, np.log1p(-chance), c.n * c.draws)
    exposed = np.bincount(position[e.row[inside]], minlength=c.n) > 0
    ctr, cvr = (np.where(exposed, c.mean(1.0 - np.exp(log)), np.nan) for log in none)
    return ctr, cvr


def utilisation(c: Chunk) -> np.ndarray:
    """E of the mean utilisation over the window's statements [n]; the logit is AR(1) from its last value on."""
    config, mean = c.world.config, c.people.utilisation
    last = statement_before(c.day, c.people.statement_day)
    now = c.block.holdings.utilisation[c.rows, np.maximum(last, 0)]
    out = np.zeros(c.n)
    for k in range(1, H // 7 + 1):
        fade = config.utilisation_memory**k
        spread = config.utilisation_noise * np.sqrt((1 - fade**2) / (1 - config.utilisation_memory**2))
        at = mean + fade * (now - mean)
        out += (logistic(at[:, None] + spread * NODES) * NODE_WEIGHTS).sum(axis=1) / NODE_WEIGHTS.sum()
    return out / (H // 7)


def next_product(c: Chunk) -> np.ndarray:
    """P(first kind newly opened in the window, or none) [n · R, 12]: hazards compete, constant within months."""
    calendar, holdings, config = c.world.calendar, c.block.holdings, c.world.config
    opened = holdings.opened[c.rows, : len(OPENABLE)]
    before = opened < c.day
    out = np.zeros((c.n * c.draws, len(OPENABLE) + 1))
    alive = np.ones(c.n * c.draws)
    last = statement_before(c.day, c.people.statement_day)
    for m in range(calendar.month[c.day], calendar.month[c.day + H - 1] + 1):
        start, end = max(calendar.starts[m], c.day), min(calendar.starts[m + 1], c.day + H)
        known = calendar.starts[m] <= c.day
        held = opened < calendar.starts[m] if known else before
        week = statement_before(calendar.starts[m], c.people.statement_day)
        logit = holdings.utilisation[c.rows, np.maximum(np.minimum(week, last), 0)]
        logit = logit[c.owner]
        if not known:
            fade = config.utilisation_memory ** np.maximum(week - last, 0)[c.owner]
            spread = config.utilisation_noise * np.sqrt((1 - fade**2) / (1 - config.utilisation_memory**2))
            mean = c.repeated.utilisation
            logit = mean + fade * (logit - mean) + spread * c.rng.standard_normal(len(mean))
        lifecycle = c.paths.lifecycle[:, m - c.paths.month]
        rate = opening_rates(c.repeated, lifecycle, held[c.owner], logit)
        rate = np.where(before[c.owner], 0.0, rate)
        total = rate.sum(axis=1)
        something = alive * -np.expm1(-total * (end - start))
        out[:, :-1] += something[:, None] * rate / np.maximum(total, 1e-300)[:, None]
        alive = alive - something
    out[:, -1] = alive
    return out
