"""Financial behaviour, 9 columns: relations between inflows, spending, balances and debts.

Each column is a named measure of household finance, estimated on the customer's own events. Consumption is purchases
less refunds plus cash withdrawals, fees and premiums; transfers, repayments and investments are no consumption.

- Savings rate: 1 − consumption / inflows (Browning & Lusardi 1996).
- Buffer: liquid balances (current and savings accounts) in months of consumption (Carroll 1997).
- Liquidity: lowest liquid balance over half a month's consumption; below 1 is hand-to-mouth (Kaplan, Violante &
  Weidner 2014).
- Marginal propensity to spend: b₀ + b₁ of weekly spend on the inflow of the same and of the week before (Johnson,
  Parker & Souleles 2006), least squares with a normal prior of standard deviation 1 on each.
- Smoothing: 1 − λ, λ the excess sensitivity of monthly changes of spend to those of inflows (Campbell & Mankiw 1989;
  Blundell, Pistaferri & Preston 2008), on arc changes, with the same prior on λ.
- Debt service: repayments over inflows (Dynan, Johnson & Pence 2003).
- Payday effect: log ratio of daily spend in the 4 days from a salary or benefit on to that of other days (Stephens
  2003), one mean day added to either side.
- Round numbers: share of purchase lines of whole currency units, corrected for the 1 % of chance (heaping: Whipple's
  index, Shryock & Siegel 1976).
- Cash share: withdrawals over withdrawals and purchases (Bagnall et al. 2016).

The state records which kinds of transactions the data set has; a measure whose kinds it lacks is missing throughout and
therefore absent. Source: FEATURES §3.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.data.contract import INFLOWS
from feature_assets.events.flows import kinds_in
from feature_assets.events.numbers import sum_at
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

MONTH = 365.25 / 12  # days
HALF_YEAR, YEAR = 182, 365
CONSUMED = ("refund", "withdrawal", "fee", "premium")  # beside purchases
PAYDAYS = ("salary", "benefit")
AFTER_PAYDAY, MIN_PAYDAYS = 4, 3  # days
LIQUID = ("current", "savings")
WEEKS, MIN_WEEKS, MIN_INFLOW_WEEKS = 52, 12, 3
MONTHS, MIN_MONTHS = 18, 4
MIN_LINES = 10
CHANCE = 0.01  # of a whole amount, with 100 cents to a unit


def _column(measure: str, meaning: str, unit: str, days: int, *more: str) -> Column:
    return Column(f"financial_behaviour__{measure}_{days}d", meaning, unit, f"{days} days", ("transactions", *more))


_COLUMNS = (
    _column("savings_rate", "share of inflows that was not consumed", "share", HALF_YEAR, "inflows"),
    _column("buffer_months", "liquid balances over monthly consumption", "months", HALF_YEAR, "balances"),
    _column("marginal_propensity", "spend in two weeks per unit of inflow (regression)", "ratio", 7 * WEEKS, "inflows"),
    _column("smoothing", "1 − sensitivity of monthly changes of spend to those of inflows", "ratio", 548, "inflows"),
    _column(
        "liquidity",
        "lowest liquid balance over half a month's consumption; hand-to-mouth below 1",
        "ratio",
        182,
        "balances",
    ),
    _column("debt_service", "repayments over inflows", "share", HALF_YEAR, "inflows", "outflows"),
    _column(
        "payday_effect", "log ratio of daily spend in 4 days from payday on to other days", "log ratio", YEAR, "inflows"
    ),
    _column("round_number_share", "purchase lines of a whole amount, beyond chance", "share", YEAR),
    _column("cash_share", "cash withdrawals over withdrawals and purchases", "share", HALF_YEAR, "outflows"),
)


class FinancialBehaviour(FeatureGroup):
    """Saving, liquidity, response to inflows. Fitted: the kinds of flows that the data set has."""

    name = "financial_behaviour"
    description = "Savings rate, buffer, propensity to spend, smoothing, liquidity, debt service, payday, cash"
    columns = _COLUMNS
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Meta `kinds`: kind → count before the training dates."""
        return GroupState({}, {"kinds": kinds_in(training.views)})

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        kinds, customers = inputs.state.meta["kinds"], view.customers.height
        days, known, observed = view.purchase_days, view.flows, view.observed_days
        absent = np.full(customers, np.nan)

        def recent(*kinds: str) -> np.ndarray:
            return known.of("kind", *kinds).sum_of("amount", HALF_YEAR)

        bought = days.total(days.amount, HALF_YEAR)
        consumed = np.maximum(bought + recent(*CONSUMED), 0.0)
        inflow = recent(*INFLOWS)
        received = np.where(inflow > 0, inflow, np.nan)
        monthly = consumed / (np.clip(observed, 1, HALF_YEAR) / MONTH)
        monthly = np.where(monthly > 0, monthly, np.nan)
        savings, propensity, smooth, payday = absent, absent, absent, absent
        if any(kind in kinds for kind in INFLOWS):
            savings = 1.0 - consumed / received
            propensity, smooth = _responses(view, known)
        if any(kind in kinds for kind in PAYDAYS):
            payday = _payday(view, known)
        debt = recent("repayment") / received if "repayment" in kinds else absent
        buffer, lowest = _liquid(view) if view.has("balances") else (absent, absent)
        cash = absent
        if "withdrawal" in kinds:
            withdrawn = recent("withdrawal")
            cash = withdrawn / np.where(withdrawn + bought > 0, withdrawn + bought, np.nan)
        measures = [
            savings,
            buffer / monthly,
            propensity,
            smooth,
            lowest / (monthly / 2),
            debt,
            payday,
            _round(view),
            cash,
        ]
        return Values(np.column_stack(measures))


def _responses(view: View, known: Events) -> tuple[np.ndarray, np.ndarray]:
    days, observed = view.purchase_days, view.observed_days
    inflows = known.of("kind", *INFLOWS)
    inflows = inflows.where(inflows.values("amount") > 0)
    received = (inflows.start, inflows.days_ago, inflows.values("amount"))
    weeks = np.minimum(observed // 7, WEEKS)
    months = np.minimum((observed / MONTH).astype(np.int64), MONTHS)
    spent = (days.start, days.days_ago, days.amount)
    return marginal_propensity(*spent, *received, weeks), smoothing(*spent, *received, months)


def _payday(view: View, known: Events) -> np.ndarray:
    days, paid = view.purchase_days, known.of("kind", *PAYDAYS)
    span = np.minimum(view.observed_days, YEAR)
    return payday_effect(days.start, days.days_ago, days.amount, paid.start, paid.days_ago, span)


def _round(view: View) -> np.ndarray:
    """(k/n − chance)/(1 − chance) of the n purchase lines of a year; NaN below `MIN_LINES`."""
    part = view.purchases
    amount, young = part.values("amount"), (part.days_ago <= YEAR)
    chosen = young & (amount > 0)
    whole = np.rint(amount * 100) % 100 == 0
    n = np.bincount(part.row[chosen], minlength=part.customers).astype(np.float64)
    k = np.bincount(part.row[chosen & whole], minlength=part.customers)
    return (k / np.where(n >= MIN_LINES, n, np.nan) - CHANCE) / (1 - CHANCE)


def _liquid(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Latest and lowest statement of the last half year, summed over the liquid accounts; NaN without any."""
    liquid = view.statements.of(*LIQUID)
    recent = liquid.where(liquid.events.days_ago <= HALF_YEAR)
    row, customers = recent.row, view.customers.height
    some = np.where(np.bincount(row, minlength=customers) > 0, 1.0, np.nan)
    balance = recent.balance
    lowest = np.minimum.reduceat(balance, recent.start) if len(balance) else balance
    latest = sum_at(row, balance[recent.latest()], customers)
    return some * latest, some * sum_at(row, lowest, customers)


@njit(cache=True)
def marginal_propensity(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    in_start: np.ndarray,
    in_days_ago: np.ndarray,
    in_amount: np.ndarray,
    weeks: np.ndarray,
) -> np.ndarray:
    """b₀ + b₁ of s(w) = a + b₀ y(w) + b₁ y(w − 1) + e, weeks counted back from t: float64 [customers]; NaN below 12
    known weeks or 3 with an inflow."""
    result = np.full(start.size - 1, np.nan)
    for i in range(result.size):
        n = weeks[i]
        if n < MIN_WEEKS:
            continue
        s, y, paid = np.zeros(n), np.zeros(n), 0
        for j in range(start[i], start[i + 1]):
            w = (days_ago[j] - 1) // 7
            if w < n:
                s[n - 1 - w] += amount[j]
        for j in range(in_start[i], in_start[i + 1]):
            w = (in_days_ago[j] - 1) // 7
            if w < n:
                y[n - 1 - w] += in_amount[j]
        for w in range(n):
            paid += y[w] > 0
        if paid < MIN_INFLOW_WEEKS or s.sum() <= 0:
            continue
        m = n - 1
        mean_s, mean_0, mean_1 = s[1:].sum() / m, y[1:].sum() / m, y[:-1].sum() / m
        ss, s_0, s_1, s00, s11, s01 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for w in range(1, n):
            a, b, c = s[w] - mean_s, y[w] - mean_0, y[w - 1] - mean_1
            ss += a * a
            s_0 += a * b
            s_1 += a * c
            s00 += b * b
            s11 += c * c
            s01 += b * c
        if s00 + s11 <= 1e-9 * (mean_0 * mean_0 + mean_1 * mean_1):
            continue
        s00 += ss / m
        s11 += ss / m
        det = s00 * s11 - s01 * s01
        if det > 0:
            result[i] = (s_0 * s11 - s_1 * s01 + s_1 * s00 - s_0 * s01) / det
    return result


@njit(cache=True)
def smoothing(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    in_start: np.ndarray,
    in_days_ago: np.ndarray,
    in_amount: np.ndarray,
    months: np.ndarray,
) -> np.ndarray:
    """1 − λ of Δc = a + λ Δy + e, Δ the arc change 2(x − x′)/(x + x′) of monthly sums: float64 [customers]; NaN below 4
    months, or where inflows do not change."""
    result = np.full(start.size - 1, np.nan)
    for i in range(result.size):
        n = months[i]
        if n < MIN_MONTHS:
            continue
        c, y = np.zeros(n), np.zeros(n)
        for j in range(start[i], start[i + 1]):
            k = int((days_ago[j] - 1) / MONTH)
            if k < n:
                c[n - 1 - k] += amount[j]
        for j in range(in_start[i], in_start[i + 1]):
            k = int((in_days_ago[j] - 1) / MONTH)
            if k < n:
                y[n - 1 - k] += in_amount[j]
        count, sc, sy, scc, syy, scy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(1, n):
            if c[k] + c[k - 1] > 0 and y[k] + y[k - 1] > 0:
                a = 2 * (c[k] - c[k - 1]) / (c[k] + c[k - 1])
                b = 2 * (y[k] - y[k - 1]) / (y[k] + y[k - 1])
                count += 1
                sc += a
                sy += b
                scc += a * a
                syy += b * b
                scy += a * b
        if count < MIN_MONTHS - 1:
            continue
        scc -= sc * sc / count
        syy -= sy * sy / count
        scy -= sc * sy / count
        if syy > 1e-12:
            result[i] = 1.0 - scy / (syy + max(scc, 0.0) / count)
    return result


@njit(cache=True)
def payday_effect(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    pay_start: np.ndarray,
    pay_days_ago: np.ndarray,
    span: np.ndarray,
) -> np.ndarray:
    """log of the mean daily spend within 4 days from payday on over that of other days of the last `span` days:
    float64 [customers]; NaN below 3 paydays, or without purchases or other days."""
    result = np.full(start.size - 1, np.nan)
    for i in range(result.size):
        n = span[i]
        near, paydays = np.zeros(n + 1, dtype=np.bool_), 0
        for j in range(pay_start[i], pay_start[i + 1]):
            paydays += pay_days_ago[j] <= n
            for k in range(AFTER_PAYDAY):
                if 1 <= pay_days_ago[j] - k <= n:
                    near[pay_days_ago[j] - k] = True
        close, spent_close, spent = 0, 0.0, 0.0
        for d in range(1, n + 1):
            close += near[d]
        for j in range(start[i], start[i + 1]):
            if days_ago[j] <= n:
                spent += amount[j]
                if near[days_ago[j]]:
                    spent_close += amount[j]
        if paydays < MIN_PAYDAYS or spent <= 0 or close == n:
            continue
        mean = spent / n
        inside, outside = (spent_close + mean) / (close + 1), (spent - spent_close + mean) / (n - close + 1)
        result[i] = np.log(inside / outside)
    return result


GROUP = FinancialBehaviour()
