"""Money in and out beside purchases: salaries, benefits, cash, transfers, interest, fees, premiums, repayments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import INFLOWS, KINDS
from feature_assets.simulation.config import CHANNELS, HELD
from feature_assets.simulation.customers import EMPLOYED, RETIRED, SELF_EMPLOYED, STUDENT, UNEMPLOYED, Customers
from feature_assets.simulation.holdings import Holdings
from feature_assets.simulation.paths import Paths
from feature_assets.simulation.world import World

NET = 0.80  # of the gross income
POS, ONLINE, APP = (CHANNELS.index(c) for c in ("pos", "online", "app"))
MONTHLY_RATES = {"deposit": 0.20, "transfer_in": 0.35, "withdrawal": 0.75, "transfer_out": 0.65}
INSURANCES = ("life", "home", "car", "health", "travel")
PREMIUM = (420.0, 180.0, 260.0, 340.0, 60.0)  # a quarter
CLAIMS = (0.00, 0.10, 0.14, 0.30, 0.12)  # a year and policy
CLAIM_LOG = (8.0, 6.9, 7.3, 5.9, 6.0)
CUT = {"declining": 0.92, "dormant": 0.6}  # share of the salary that still arrives at this bank


@dataclass(frozen=True)
class Flows:
    """Transactions that are no purchase, N rows: row, day, second, `kind` (index into contract.KINDS), amount ≥ 0 and
    channel (−1: none)."""

    row: np.ndarray
    day: np.ndarray
    second: np.ndarray
    kind: np.ndarray
    amount: np.ndarray
    channel: np.ndarray

    def signed(self) -> np.ndarray:
        """Amounts as the account sees them: inflows positive."""
        inflow = np.isin(self.kind, [KINDS.index(k) for k in INFLOWS])
        return np.where(inflow, self.amount, -self.amount)


class _Ledger:
    """Collects rows of one kind after the other."""

    def __init__(self, rng: np.random.Generator, world: World, customers: Customers) -> None:
        self.rng, self.world, self.customers = rng, world, customers
        self.rows: list[tuple[np.ndarray, ...]] = []

    def add(
        self, kind: str, row: np.ndarray, day: np.ndarray, amount: np.ndarray, channel: int, hours: tuple[float, float]
    ) -> None:
        """Rows that lie in the data and after the customer joined, with a time between two hours of the day."""
        inside = (day >= np.maximum(self.customers.joined[row], 0)) & (day < self.world.calendar.days)
        row, day, amount = row[inside], day[inside], amount[inside]
        second = (self.rng.uniform(*hours, len(row)) * 3600).astype(np.int64)
        code = np.full(len(row), KINDS.index(kind))
        money = np.round(np.maximum(amount, 0.05), 2)
        self.rows.append((row, day, second, code, money, np.full(len(row), channel)))

    def at_random(
        self, kind: str, monthly: np.ndarray, log_amount: np.ndarray, spread: float, channel: int, step: float = 0.0
    ) -> None:
        """Poisson in time with `monthly` [n] events a month and lognormal amounts, in multiples of `step`."""
        rng, days = self.rng, self.world.calendar.days
        counts = rng.poisson(np.where(self.customers.anonymous, 0.0, monthly) * days / 30.4)
        row = np.repeat(np.arange(len(self.customers)), counts)
        amount = np.exp(log_amount[row] + spread * rng.standard_normal(len(row)))
        if step:
            amount = np.maximum(np.rint(amount / step), 1) * step
        self.add(kind, row, rng.integers(0, days, len(row)), amount, channel, (7.0, 20.0))

    def done(self) -> Flows:
        """All rows so far."""
        return Flows(*(np.concatenate(parts) for parts in zip(*self.rows, strict=True)))


def draw_flows(rng: np.random.Generator, world: World, customers: Customers, holdings: Holdings, paths: Paths) -> Flows:
    """All flows of the block's customers over all days.

    Args:
        paths: over all days; a declining customer moves part of the salary elsewhere.
    """
    ledger = _Ledger(rng, world, customers)
    _earnings(ledger, paths)
    log_month = np.log(customers.income / 12)
    rates = {kind: np.full(len(customers), rate) for kind, rate in MONTHLY_RATES.items()}
    self_employed = customers.occupation == SELF_EMPLOYED
    ledger.at_random("deposit", rates["deposit"] * customers.cash, log_month - 2.2, 0.7, POS, 10.0)
    ledger.at_random("transfer_in", rates["transfer_in"] + 1.4 * self_employed, log_month - 1.2, 0.8, ONLINE)
    ledger.at_random("withdrawal", rates["withdrawal"] * customers.cash, 0.4 * log_month + 1.4, 0.5, POS, 10.0)
    ledger.at_random("transfer_out", rates["transfer_out"] * (0.6 + customers.digital), log_month - 2.0, 0.8, APP)
    _quarterly(ledger, holdings)
    _loans(ledger, holdings)
    _claims(ledger, holdings)
    _investments(ledger, holdings)
    return ledger.done()


def _earnings(ledger: _Ledger, paths: Paths) -> None:
    """Salaries and pensions on the customer's payday, students' and jobless benefits on the 5th; a thirteenth salary in
    December."""
    rng, calendar, customers = ledger.rng, ledger.world.calendar, ledger.customers
    share = np.ones(len(ledger.world.config.lifecycle.start))
    for state, left in CUT.items():
        share[("new", "growing", "steady", "declining", "dormant", "returning").index(state)] = left
    for kind in range(len(calendar.since_payday)):
        paid = np.flatnonzero(calendar.since_payday[kind] == 0)
        for occupation, name in ((EMPLOYED, "salary"), (RETIRED, "benefit")):
            who = np.flatnonzero(
                (customers.occupation == occupation) & (customers.salary_day == kind) & ~customers.anonymous
            )
            row, day = np.repeat(who, len(paid)), np.tile(paid, len(who))
            month = calendar.month[day]
            monthly = customers.income[row] * NET / (13 if occupation == EMPLOYED else 12)
            thirteenth = 1.0 + ((calendar.month_of_year[month] == 11) & (occupation == EMPLOYED))
            noise = np.where(rng.random(len(row)) < 0.15, rng.lognormal(0, 0.12, len(row)), 1.0)
            amount = monthly * thirteenth * noise * share[paths.lifecycle[row, month]]
            ledger.add(name, row, day, amount, -1, (2.0, 5.0))
    fifth = np.flatnonzero(calendar.day_of_month == 5)
    needy = np.isin(customers.occupation, [STUDENT, UNEMPLOYED]) & ~customers.anonymous
    who = np.flatnonzero(needy)
    row, day = np.repeat(who, len(fifth)), np.tile(fifth, len(who))
    ledger.add("benefit", row, day, customers.income[row] * NET / 12, -1, (2.0, 5.0))


def _held(holdings: Holdings, kind: str, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Customer and day of each of `days` on which a product is held."""
    k = HELD.index(kind)
    opened, closed = holdings.opened[:, k], holdings.closed[:, k]
    who = np.flatnonzero(opened < days[-1])
    row, day = np.repeat(who, len(days)), np.tile(days, len(who))
    on = (day > opened[row]) & (day < closed[row])
    return row[on], day[on]


def _quarterly(ledger: _Ledger, holdings: Holdings) -> None:
    """Interest on savings, account fees and premiums at the end of each quarter."""
    calendar, customers, rng = ledger.world.calendar, ledger.customers, ledger.rng
    ends = calendar.starts[1:-1] - 1
    quarters = ends[calendar.month_of_year[calendar.month[ends]] % 3 == 2]
    row, day = _held(holdings, "savings", quarters)
    ledger.add("interest", row, day, customers.wealth[row] * 0.4 * 0.01 / 4, -1, (1.0, 3.0))
    everyone = np.flatnonzero(~customers.anonymous)
    row, day = np.repeat(everyone, len(quarters)), np.tile(quarters, len(everyone))
    charged = rng.random(len(row)) < 0.8
    fee = np.where(customers.digital[row] > 0.6, 6.0, 15.0)
    ledger.add("fee", row[charged], day[charged], fee[charged], -1, (1.0, 3.0))
    for kind, premium in zip(INSURANCES, PREMIUM, strict=True):
        row, day = _held(holdings, kind, quarters)
        size = 0.6 + 0.4 * customers.income[row] / 70_000
        ledger.add("premium", row, day, premium * size, -1, (1.0, 3.0))


def _loans(ledger: _Ledger, holdings: Holdings) -> None:
    """Monthly instalments of loans and of the card."""
    calendar, customers, rng = ledger.world.calendar, ledger.customers, ledger.rng
    starts = calendar.starts[1:-1]
    for kind, share in (("personal_loan", 0.06), ("mortgage", 0.20)):
        row, day = _held(holdings, kind, starts)
        ledger.add("repayment", row, day, customers.income[row] / 12 * share, -1, (3.0, 5.0))
    row, day = _held(holdings, "credit_card", starts + 9)
    part = rng.uniform(0.03, 0.10, len(row))
    ledger.add("repayment", row, day, customers.credit_limit[row] * part, -1, (3.0, 5.0))


def _claims(ledger: _Ledger, holdings: Holdings) -> None:
    rng, days = ledger.rng, ledger.world.calendar.days
    for kind, rate, log in zip(INSURANCES, CLAIMS, CLAIM_LOG, strict=True):
        k = HELD.index(kind)
        counts = rng.poisson(np.where(holdings.opened[:, k] < days, rate * days / 365, 0.0))
        row = np.repeat(np.arange(len(counts)), counts)
        day = rng.integers(0, days, len(row))
        on = (day > holdings.opened[row, k] + 30) & (day < holdings.closed[row, k])
        ledger.add("claim", row[on], day[on], np.exp(log + 0.8 * rng.standard_normal(int(on.sum()))), -1, (9.0, 17.0))


def _investments(ledger: _Ledger, holdings: Holdings) -> None:
    """A monthly plan for a third of the funds, irregular purchases of stocks."""
    calendar, customers, rng = ledger.world.calendar, ledger.customers, ledger.rng
    row, day = _held(holdings, "fund", calendar.starts[1:-1] + 2)
    planned = (rng.random(len(customers)) < 0.35)[row]
    row, day = row[planned], day[planned]
    ledger.add("investment", row, day, np.rint(customers.income[row] / 12 * 0.05 / 10) * 10, ONLINE, (8.0, 10.0))
    row, day = _held(holdings, "stocks", calendar.starts[1:-1] + 4)
    bought = rng.random(len(row)) < 0.3
    row, day = row[bought], day[bought] + rng.integers(0, 20, int(bought.sum()))
    amount = customers.income[row] / 12 * 0.15 * rng.lognormal(0, 0.8, len(row))
    ledger.add("investment", row, day, amount, APP, (9.0, 17.0))
