"""Income decomposition, 8 columns: permanent and transitory part of a customer's inflows, and their regularity.

Monthly income y is a permanent level that moves as a random walk, plus a transitory part: y(t) = p(t) + e(t), p(t) =
p(t − 1) + η(t) (Friedman 1957; Muth 1960; Meghir & Pistaferri 2004). The level is the Kalman filter's of this
local-level model with a diffuse start (Harvey 1989, §2.6; Durbin & Koopman 2012, ch. 2). The ratio q = var η / var e is
averaged over a grid with weight proportional to the exact likelihood (var e concentrated out, uniform prior in log q),
so that few months give a moderate estimate. A month is 1/12 of a year, counted back from t; at most 24.

Inflows are kinds of transactions (`contract.INFLOWS`). The state records the kinds that the training dates have;
without any, every column is missing and therefore absent. Level and shares of variance need 4 months (a customer
without inflow has the level 0 and nothing else), volatility 3 with an inflow, regularity 3 salaries in 365 days; null
below. Source: FEATURES §3.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.data.contract import INFLOWS
from feature_assets.events.flows import kinds_in
from feature_assets.events.numbers import month_place, sum_at
from feature_assets.events.ragged import Events
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

MONTH = 365.25 / 12  # days
MONTHS, MIN_MONTHS = 24, 4
YEAR = 365
RATIOS = np.geomspace(1e-3, 1e2, 21)  # var η / var e
SHARES = {"salary": ("salary",), "benefit": ("benefit",), "transfer": ("transfer_in", "deposit")}
MIN_SALARIES = 3


def _column(measure: str, meaning: str, unit: str, window: str = "24 months") -> Column:
    return Column(f"income_decomposition__{measure}", meaning, unit, window, ("transactions", "inflows"))


_COLUMNS = (
    _column("permanent_income", "permanent level of monthly inflows at t", "currency per month"),
    _column("transitory_income", "last month's inflows less their permanent level, over the mean month", "ratio"),
    _column("permanent_share", "share of the variance of monthly changes that is permanent, q / (q + 2)", "share"),
    _column("volatility", "standard deviation of arc changes of monthly inflows (Dynan, Elmendorf & Sichel)", "ratio"),
    _column(
        "salary_regularity_365d",
        "squared mean resultant length of salaries round the calendar month, corrected for their number",
        "share",
        "365 days",
    ),
    *(
        _column(f"{name}_share_365d", f"share of inflows that are {' or '.join(kinds)}", "share", "365 days")
        for name, kinds in SHARES.items()
    ),
)


class IncomeDecomposition(FeatureGroup):
    """Permanent and transitory income. Fitted: the number of inflows of each kind on the training dates."""

    name = "income_decomposition"
    description = "Permanent and transitory income, regularity of salary, inflow types, volatility"
    columns = _COLUMNS
    sources = ("transactions", "inflows")

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Meta `inflows`: kind → count before the training dates."""
        return GroupState({}, {"inflows": {k: n for k, n in kinds_in(training.views).items() if k in INFLOWS}})

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        names, customers = [c.name for c in self.columns], view.customers.height
        if not inputs.state.meta["inflows"]:
            return Values(np.full((customers, len(names)), np.nan))
        known = view.flows.of("kind", *INFLOWS)
        known = known.where(known.values("amount") > 0)
        amount = known.values("amount")
        months = np.minimum((view.observed_days / MONTH).astype(np.int64), MONTHS)
        month = ((known.days_ago - 1) / MONTH).astype(np.int64)
        inside = month < months[known.row]
        cell = known.row[inside] * MONTHS + months[known.row[inside]] - 1 - month[inside]
        monthly = sum_at(cell, amount[inside], customers * MONTHS)
        level = permanent(monthly.reshape(customers, MONTHS), months, RATIOS)
        year = known.sum_of("amount", YEAR)
        shares = [
            known.of("kind", *kinds).sum_of("amount", YEAR) / np.where(year > 0, year, np.nan)
            for kinds in SHARES.values()
        ]
        salaries = known.of("kind", "salary").recent(YEAR)
        regular = _regularity(salaries)
        return Values(np.column_stack([level, regular, *shares]))


def _regularity(salaries: Events) -> np.ndarray:
    """(n R² − 1) / (n − 1) of the angles of each customer's salaries round the calendar month, whose mean is the
    squared mean resultant length of the distribution; NaN below `MIN_SALARIES`. Source: Mardia & Jupp (2000), §4.8."""
    day, days = month_place(salaries.as_of - salaries.days_ago.astype(np.int64))
    angle = 2 * np.pi * day.astype(np.float64) / days.astype(np.float64)
    n = salaries.count()
    squares = salaries.total(np.cos(angle)) ** 2 + salaries.total(np.sin(angle)) ** 2
    enough = np.where(n >= MIN_SALARIES, n, np.nan)
    return (squares / enough - 1.0) / (enough - 1.0)


@njit(cache=True)
def permanent(monthly: np.ndarray, months: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Permanent level, transitory ratio, permanent share and volatility, float64 [customers, 4], of `monthly`
    [customers, MONTHS], whose first `months` columns are known, oldest first."""
    customers = monthly.shape[0]
    result = np.full((customers, 4), np.nan)
    score, level = np.zeros(ratios.size), np.zeros(ratios.size)
    for i in range(customers):
        n = months[i]
        if n < MIN_MONTHS:
            continue
        y = monthly[i, :n]
        mean, paid = y.sum() / n, 0
        for t in range(n):
            paid += y[t] > 0
        if paid < 1:
            result[i, 0] = 0.0
            continue
        best = -np.inf
        for k in range(ratios.size):
            a, p = y[0] / mean, 1.0  # level and its variance over var e, after the first month
            errors, log_f = 1e-6, 0.0
            for t in range(1, n):
                p += ratios[k]
                v, f = y[t] / mean - a, p + 1.0
                errors += v * v / f
                log_f += np.log(f)
                a += p / f * v
                p /= f
            level[k] = a
            score[k] = -0.5 * ((n - 1) * np.log(errors) + log_f)
            best = max(best, score[k])
        total, a, share = 0.0, 0.0, 0.0
        for k in range(ratios.size):
            weight = np.exp(score[k] - best)
            total += weight
            a += weight * level[k]
            share += weight * ratios[k] / (ratios[k] + 2.0)
        result[i, 0], result[i, 1], result[i, 2] = a / total * mean, y[n - 1] / mean - a / total, share / total
        changes, square, sum_ = 0, 0.0, 0.0
        for t in range(1, n):
            if y[t] + y[t - 1] > 0:
                change = 2.0 * (y[t] - y[t - 1]) / (y[t] + y[t - 1])
                changes += 1
                square += change * change
                sum_ += change
        if paid >= 3 and changes >= 2:
            result[i, 3] = np.sqrt(max(square / changes - (sum_ / changes) ** 2, 0.0))
    return result


GROUP = IncomeDecomposition()
