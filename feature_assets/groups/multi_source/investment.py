"""Investments, 18 columns: value and forms of the holdings, their change, purchases.

Value and mix come from the latest statements of holdings; volatility and drawdown from the statements of investment
accounts, which are more frequent. Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import PRODUCT_FAMILIES
from feature_assets.events.numbers import entropy, moments, ratio, slope
from feature_assets.events.ragged import Events
from feature_assets.events.statements import MONTH, Holdings, Statements
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup
from feature_assets.groups.multi_source.deposit import ACCOUNTS

FORMS = tuple(kind for kind, family in PRODUCT_FAMILIES.items() if family == "investment")


@dataclass(frozen=True)
class Investments:
    held: Holdings
    by_form: np.ndarray  # value of what is open [customers, FORMS]
    value: np.ndarray  # [customers]
    statements: Statements | None
    bought: Events | None

    @property
    def all_accounts(self) -> Statements:
        assert self.statements is not None
        return self.statements

    @property
    def accounts(self) -> Statements:
        return self.all_accounts.of("investment")

    @property
    def buys(self) -> Events:
        assert self.bought is not None
        return self.bought


def _read(inputs: Inputs) -> Investments:
    view = inputs.view
    held = view.holdings.of("investment")
    return Investments(
        held,
        held.by_kind(FORMS),
        held.value(),
        view.statements if view.has("balances") else None,
        view.money_flows.of("kind", "investment") if view.has("transactions") else None,
    )


def _volatility(i: Investments) -> np.ndarray:
    """Standard deviation of the log change from one statement to the next."""
    steps, change = i.accounts.steps()
    now = steps.values("balance")
    counts = (steps.days_ago <= 372) & (now > 0) & (now - change > 0)
    logs = np.log(now[counts]) - np.log(now[counts] - change[counts])
    return moments(steps.row[counts], logs, steps.customers)[1]


def _drawdown(i: Investments) -> np.ndarray:
    levels = i.accounts.levels(12)
    peak = levels[0]
    for level in levels[1:]:
        peak = np.fmax(peak, level)
    return ratio(levels[0], peak) - 1.0


def _growth(i: Investments) -> np.ndarray:
    return slope([np.log1p(np.maximum(level, 0.0)) for level in i.accounts.levels(6)])


def _wealth_share(i: Investments) -> np.ndarray:
    deposits = np.nan_to_num(i.all_accounts.of(*ACCOUNTS).level())
    return ratio(i.value, i.value + np.maximum(deposits, 0.0))


_B, _OUT, _ALL = ("balances",), ("outflows",), "all history"
_MEASURES: tuple[Measure[Investments], ...] = (
    Measure("value", "value of all open investments", "currency", _ALL, lambda i: i.value),
    *(
        Measure(
            f"{form}_share",
            f"share of it in {form}",
            "share",
            _ALL,
            lambda i, k=k: ratio(i.by_form[:, k], i.value),  # type: ignore[misc]
        )
        for k, form in enumerate(FORMS)
    ),
    Measure("open_count", "open investments", "count", _ALL, lambda i: i.held.count(i.held.open)),
    Measure("mix_entropy", "entropy of the value over forms", "nats", _ALL, lambda i: entropy(i.by_form)),
    *(
        Measure(
            f"value_change_{MONTH * m}d",
            "value now less value then",
            "currency",
            f"{MONTH * m} days",
            lambda i, m=m: i.value - i.held.value(MONTH * m),  # type: ignore[misc]
        )
        for m in (3, 12)
    ),
    Measure(
        "volatility_372d",
        "standard deviation of the log change between statements",
        "log ratio",
        "372 days",
        _volatility,
        _B,
    ),
    Measure("drawdown_372d", "value of the accounts over its monthly peak, less 1", "ratio", "372 days", _drawdown, _B),
    Measure(
        "growth_186d", "least-squares slope of the accounts' log value, a month", "log ratio", "186 days", _growth, _B
    ),
    Measure("wealth_share", "share of investments in investments and deposits", "share", _ALL, _wealth_share, _B),
    Measure(
        "bought_93d", "money put into investments", "currency", "93 days", lambda i: i.buys.sum_of("amount", 93), _OUT
    ),
    Measure("buys_372d", "purchases of investments", "count", "372 days", lambda i: i.buys.count(372), _OUT),
    Measure("days_since_buy", "days since the last purchase", "days", _ALL, lambda i: i.buys.days_since(), _OUT),
    Measure(
        "mean_age", "mean age of the open investments", "days", _ALL, lambda i: i.held.mean(i.held.age, i.held.open)
    ),
    Measure(
        "days_since_opened", "days since the last one was opened", "days", _ALL, lambda i: i.held.least(i.held.age)
    ),
)

GROUP = MeasuredGroup(
    "investment",
    "Investments: value, mix, change, volatility, drawdown, buying",
    ("holdings",),
    _MEASURES,
    _read,
)
