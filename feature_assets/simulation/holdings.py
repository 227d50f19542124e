"""Products of the bank: openings, closings and balances; card utilisation.

Openings compete with constant hazards within a month: habit (income, wealth, age, segment) × life cycle × products held
already × card utilisation for loans. So the next product depends on the state alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.chances import logistic
from feature_assets.simulation.config import HELD, INHERITED, OPENABLE
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.world import World

LIFECYCLE_OPENING = (2.2, 1.7, 1.0, 0.5, 0.12, 1.4)
LADDER = {
    ("savings", "term_deposit"): 2.5,
    ("savings", "fund"): 1.8,
    ("fund", "stocks"): 2.2,
    ("credit_card", "personal_loan"): 1.6,
    ("credit_card", "travel"): 2.0,
    ("car", "home"): 1.5,
    ("home", "life"): 1.6,
    ("life", "health"): 1.6,
}
"""(held, opened) → factor of the opening rate."""
UTILISATION_LOAN = 2.5  # log rate of a personal loan, for each unit of utilisation above the typical 0.35
INHERITED_SHARE = {"bonds": 0.06, "pension": 0.22, "mortgage": 0.14, "points": 0.75}
NEVER = 1_000_000  # day of an event that never happens
LONGEST_HELD = 2.0  # years over which products were opened before day 0, at the habitual rates
CARD, LOAN = OPENABLE.index("credit_card"), OPENABLE.index("personal_loan")


@dataclass(frozen=True)
class Holdings:
    """The products of n customers.

    Attributes:
        opened: int64 [n, 15], day of opening of each kind of HELD (negative: before day 0; NEVER).
        closed: int64 [n, 15], day of closing (NEVER).
        utilisation: float32 [n, W], logit of card utilisation at each weekly statement (day 7 w + statement_day),
            with or without a card.
    """

    opened: np.ndarray
    closed: np.ndarray
    utilisation: np.ndarray


def draw_utilisation(
    rng: np.random.Generator, world: World, customers: Customers, start: np.ndarray | None, weeks: int
) -> np.ndarray:
    """Logits of card utilisation in `weeks` further weeks, float32 [n, weeks]: AR(1) around the customer's mean.

    Args:
        start: float32 [n], the logit one week before; None: the stationary distribution.
    """
    config, n = world.config, len(customers)
    memory, noise = np.float32(config.utilisation_memory), np.float32(config.utilisation_noise)
    mean = customers.utilisation.astype(np.float32)
    out = np.empty((n, weeks), np.float32)
    spread = noise / np.sqrt(1 - memory**2)
    now = mean + spread * rng.standard_normal(n, dtype=np.float32) if start is None else start
    for w in range(weeks):
        now = mean + memory * (now - mean) + noise * rng.standard_normal(n, dtype=np.float32)
        out[:, w] = now
    return out


def opening_rates(customers: Customers, lifecycle: np.ndarray, held: np.ndarray, utilisation: np.ndarray) -> np.ndarray:
    """Openings a day of each kind, float64 [n, 11], through a month.

    Args:
        lifecycle: uint8 [n], state of the month.
        held: bool [n, 11], opened before the month (zero rate: a kind is opened once).
        utilisation: float [n], logit of card utilisation at the last statement before the month, also without a card.
    """
    rate = customers.products * np.array(LIFECYCLE_OPENING)[lifecycle][:, None]
    for (first, second), factor in LADDER.items():
        rate[:, OPENABLE.index(second)] *= np.where(held[:, OPENABLE.index(first)], factor, 1.0)
    over = np.where(held[:, CARD], logistic(utilisation) - 0.35, 0.0)
    rate[:, LOAN] *= np.exp(UTILISATION_LOAN * over)
    return np.where(held, 0.0, rate)


def statement_before(day: int | np.ndarray, statement_day: np.ndarray) -> np.ndarray:
    """Index of the last weekly statement strictly before `day` (−1: none)."""
    return (day - 1 - statement_day) // 7


def draw_holdings(rng: np.random.Generator, world: World, customers: Customers, lifecycle: np.ndarray) -> Holdings:
    """Openings and closings over all days.

    Args:
        lifecycle: uint8 [n, M].
    """
    calendar, n = world.calendar, len(customers)
    utilisation = draw_utilisation(rng, world, customers, None, calendar.days // 7 + 1)
    opened = np.full((n, len(HELD)), NEVER, dtype=np.int64)
    _open_before(rng, customers, opened)
    for m, start in enumerate(calendar.starts[:-1]):
        length = calendar.lengths[m]
        held = opened[:, : len(OPENABLE)] < start
        week = statement_before(int(start), customers.statement_day)
        logit = utilisation[np.arange(n), np.maximum(week, 0)]
        rate = opening_rates(customers, lifecycle[:, m], held, logit)
        wait = rng.standard_exponential((n, len(OPENABLE))) / np.maximum(rate, 1e-12)
        begin = np.maximum(start, customers.joined)[:, None]
        new = (wait < start + length - begin) & (begin < start + length)
        day = begin + np.minimum(wait, length).astype(np.int64)
        opened[:, : len(OPENABLE)] = np.where(new, day, opened[:, : len(OPENABLE)])
    return Holdings(opened, _close(rng, world, opened), utilisation)


def _open_before(rng: np.random.Generator, customers: Customers, opened: np.ndarray) -> None:
    """Openings before day 0; of inherited kinds only by customers who had joined by then."""
    n = len(customers)
    years = np.clip(-customers.joined / 365, 0.0, LONGEST_HELD)[:, None]
    wait = rng.standard_exponential((n, len(OPENABLE))) / np.maximum(customers.products * 365, 1e-12)
    day = -np.maximum(((years - wait) * 365).astype(np.int64), 1)
    opened[:, : len(OPENABLE)] = np.where(wait < years, day, NEVER)
    share = np.array([INHERITED_SHARE[k] for k in INHERITED])
    has = (rng.random((n, len(INHERITED))) < share) & ~customers.anonymous[:, None]
    young = customers.age < 24
    has[young, INHERITED.index("mortgage")] = False
    back = (rng.random((n, len(INHERITED))) * np.clip(-customers.joined, 0, 5 * 365)[:, None]).astype(np.int64)
    opened[:, len(OPENABLE) :] = np.where(has & (customers.joined[:, None] < 0), -1 - back, NEVER)


def _close(rng: np.random.Generator, world: World, opened: np.ndarray) -> np.ndarray:
    """Day of closing: a constant hazard from day 0 or the opening on, at least a month later."""
    daily = world.config.closing_rate / 30.4
    wait = (rng.standard_exponential(opened.shape) / daily).astype(np.int64) + 30
    day = np.maximum(opened, 0) + wait
    return np.where((opened < NEVER) & (day < world.calendar.days), day, NEVER)
