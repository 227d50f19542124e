"""Statements: balances of accounts at the ends of weeks and months, and the rows that state holdings.

The current account sums inflows and outflows; its surplus goes to savings. Card balances are the limit
times the latent utilisation. A holding is stated on opening, at the end of each quarter, and on closing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import BALANCE_KINDS
from feature_assets.simulation.chances import logistic
from feature_assets.simulation.config import HELD, INHERITED
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.holdings import CARD, NEVER, Holdings
from feature_assets.simulation.world import World

RAISE = 1.3  # a raised limit over the old one
INSURED = {"life": 150_000.0, "home": 80_000.0, "car": 25_000.0, "health": 50_000.0, "travel": 5_000.0}
SHARE_OF_WEALTH = {"savings": 0.4, "term_deposit": 0.35, "fund": 0.3, "stocks": 0.2, "bonds": 0.25, "pension": 0.5}
DEBT_OF_INCOME = {"credit_card": 0.05, "personal_loan": 0.35, "mortgage": 4.0}
VOLATILITY = {"fund": 0.05, "stocks": 0.12, "bonds": 0.02, "pension": 0.03}


@dataclass(frozen=True)
class Balances:
    """Statements, N rows: row, day, kind (index into contract.BALANCE_KINDS), balance, limit (NaN: none)."""

    row: np.ndarray
    day: np.ndarray
    kind: np.ndarray
    balance: np.ndarray
    limit: np.ndarray


@dataclass(frozen=True)
class Stated:
    """Rows of holdings, N: row, kind (index into HELD), opened, closed (NEVER), day of the statement, balance, limit
    (NaN: none)."""

    row: np.ndarray
    kind: np.ndarray
    opened: np.ndarray
    closed: np.ndarray
    day: np.ndarray
    balance: np.ndarray
    limit: np.ndarray


def card_limit(customers: Customers, row: np.ndarray, day: np.ndarray) -> np.ndarray:
    """The card's limit on a day."""
    raised = day >= customers.limit_raised[row]
    return np.round(customers.credit_limit[row] * np.where(raised, RAISE, 1.0), -2)


def draw_balances(
    rng: np.random.Generator, world: World, customers: Customers, holdings: Holdings, monthly: np.ndarray
) -> Balances:
    """Month-end balances of current, savings, investment, points and loan accounts; weekly ones of cards.

    Args:
        monthly: float64 [n, M, 2]: net flow of the current account, and spend at merchants.
    """
    calendar, n = world.calendar, len(customers)
    ends = np.minimum(calendar.starts[1:], calendar.days) - 1
    months = np.arange(calendar.months)
    income = customers.income / 12
    current, savings = np.empty((n, calendar.months)), np.empty((n, calendar.months))
    now = income * rng.uniform(0.3, 2.0, n)
    kept = customers.wealth * SHARE_OF_WEALTH["savings"]
    for m in months:
        now = now + monthly[:, m, 0]
        over = 0.6 * np.maximum(now - 2.5 * income, 0.0)
        short = np.minimum(np.maximum(0.2 * income - now, 0.0), np.maximum(kept, 0.0))
        now = np.maximum(now - over + short, -income)
        kept = (kept + over - short) * 1.0008
        current[:, m], savings[:, m] = now, kept
    parts = [_monthly("current", np.where(customers.anonymous, NEVER, customers.joined), current, ends)]
    opened, closed = holdings.opened, holdings.closed

    def when(kind: str) -> tuple[np.ndarray, np.ndarray]:
        return opened[:, HELD.index(kind)], closed[:, HELD.index(kind)]

    parts.append(_monthly("savings", when("savings")[0], savings, ends, when("savings")[1]))
    market = _market(world)
    invested = np.zeros((n, calendar.months))
    for kind in ("fund", "stocks", "bonds", "pension"):
        first, last = when(kind)
        held = (first[:, None] <= ends) & (last[:, None] > ends)
        size = customers.wealth * SHARE_OF_WEALTH[kind]
        invested += held * size[:, None] * np.exp(VOLATILITY[kind] / 0.12 * market)
    own = np.exp(0.04 * np.cumsum(rng.standard_normal((n, calendar.months)), axis=1))
    start = np.minimum.reduce([when(k)[0] for k in ("fund", "stocks", "bonds", "pension")])
    parts.append(_monthly("investment", start, invested * own, ends, positive=True))
    points = np.cumsum(np.maximum(monthly[:, :, 1], 0.0), axis=1) + rng.gamma(1.5, 700, n)[:, None]
    redeemed = np.cumsum(rng.random((n, calendar.months)) < 0.08, axis=1)
    parts.append(_monthly("points", when("points")[0], np.round(points / (1 + redeemed)), ends, when("points")[1]))
    debt = np.zeros((n, calendar.months))
    for kind, term in (("personal_loan", 36.0), ("mortgage", 240.0)):
        first, last = when(kind)
        age = np.clip((ends - first[:, None]) / 30.4, 0, term)
        held = (first[:, None] <= ends) & (last[:, None] > ends)
        debt += held * (customers.income * DEBT_OF_INCOME[kind])[:, None] * (1 - age / term)
    start = np.minimum(when("personal_loan")[0], when("mortgage")[0])
    parts.append(_monthly("loan", start, debt, ends, positive=True))
    parts.append(_cards(world, customers, holdings))
    return Balances(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _monthly(
    kind: str,
    opened: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
    closed: np.ndarray | None = None,
    positive: bool = False,
) -> tuple[np.ndarray, ...]:
    """Rows of the month ends on which an account is open (and, if asked, worth something)."""
    on = opened[:, None] <= ends
    if closed is not None:
        on &= closed[:, None] > ends
    if positive:
        on &= values > 0
    row, month = np.nonzero(on)
    code = np.full(len(row), BALANCE_KINDS.index(kind))
    return row, ends[month], code, np.round(values[row, month], 2), np.full(len(row), np.nan)


def _cards(world: World, customers: Customers, holdings: Holdings) -> tuple[np.ndarray, ...]:
    weeks = holdings.utilisation.shape[1]
    day = 7 * np.arange(weeks) + customers.statement_day[:, None]
    on = (day >= holdings.opened[:, CARD, None]) & (day < holdings.closed[:, CARD, None])
    row, week = np.nonzero(on & (day < world.calendar.days))
    day = day[row, week]
    limit = card_limit(customers, row, day)
    balance = np.round(limit * logistic(holdings.utilisation[row, week].astype(np.float64)), 2)
    return row, day, np.full(len(row), BALANCE_KINDS.index("credit_card")), balance, limit


def _market(world: World) -> np.ndarray:
    """Log level of the market at the month ends, the same for all: a rise with swings."""
    month = np.arange(world.calendar.months)
    return 0.05 * month / 12 * 6 + 0.10 * np.sin(2 * np.pi * month / 7.3)


def draw_statements(rng: np.random.Generator, world: World, customers: Customers, holdings: Holdings) -> Stated:
    """Rows of holdings of every product held: on opening (older ones: on day 0), at quarter ends, on closing."""
    calendar = world.calendar
    ends = calendar.starts[1:-1] - 1
    quarters = ends[calendar.month_of_year[calendar.month[ends]] % 3 == 2]
    rows, kinds, days = [], [], []
    for k in range(len(HELD)):
        opened, closed = holdings.opened[:, k], holdings.closed[:, k]
        has = np.flatnonzero((opened < NEVER) & (opened < calendar.days))
        first = np.maximum(opened[has], 0)
        gone = has[closed[has] < calendar.days]
        later = (quarters > first[:, None]) & (quarters < closed[has][:, None])
        again, quarter = np.nonzero(later)
        rows += [has, has[again], gone]
        days += [first, quarters[quarter], closed[gone]]
        kinds.append(np.full(len(has) + len(again) + len(gone), k))
    row, kind, day = np.concatenate(rows), np.concatenate(kinds), np.concatenate(days)
    opened, closed = holdings.opened[row, kind], holdings.closed[row, kind]
    return Stated(
        row=row,
        kind=kind,
        opened=opened,
        closed=np.where(closed <= day, closed, NEVER),
        day=day,
        balance=_worth(rng, world, customers, row, kind, opened, day),
        limit=_limits(customers, row, kind, day),
    )


def _worth(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    row: np.ndarray,
    kind: np.ndarray,
    opened: np.ndarray,
    day: np.ndarray,
) -> np.ndarray:
    """Balance, insured sum or points: a share of wealth or income that moves with the quarter."""
    years = (day - opened) / 365
    noise = np.exp(0.06 * rng.standard_normal(len(row)))
    worth = np.zeros(len(row))
    market = _market(world)[world.calendar.month[day]]
    for k, name in enumerate(HELD):
        on = np.flatnonzero(kind == k)
        who = row[on]
        if name in SHARE_OF_WEALTH:
            value = customers.wealth[who] * SHARE_OF_WEALTH[name] * (1 + 0.08 * years[on])
            value = value * np.exp(VOLATILITY.get(name, 0.0) / 0.12 * market[on])
        elif name in DEBT_OF_INCOME:
            value = customers.income[who] * DEBT_OF_INCOME[name] * np.maximum(1 - 0.12 * years[on], 0.05)
        elif name in INSURED:
            value = INSURED[name] * np.rint(4 * (0.5 + customers.income[who] / 80_000)) / 4
        else:
            value = 900 * (0.3 + years[on]) * customers.rate[who] / 0.2
        worth[on] = value if name in INSURED else value * noise[on]
    return np.round(worth, 2)


def _limits(customers: Customers, row: np.ndarray, kind: np.ndarray, day: np.ndarray) -> np.ndarray:
    limit = np.full(len(row), np.nan)
    on = np.flatnonzero(kind == CARD)
    limit[on] = card_limit(customers, row[on], day[on])
    for name in ("personal_loan", "mortgage"):
        on = np.flatnonzero(kind == HELD.index(name))
        limit[on] = np.round(customers.income[row[on]] * DEBT_OF_INCOME[name], -2)
    return limit


assert set(INHERITED) <= set(HELD)
