"""Deposits, 20 columns: balances of current and savings accounts, inflows and outflows.

Levels and their changes come from the latest statements that were known at an instant; a statement is low when its
current account holds less than the training dates' lower decile. Flows are transactions that buy nothing at a merchant.
Source: FEATURES §3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_assets.data.contract import INFLOWS, OUTFLOWS
from feature_assets.events.numbers import ratio, slope, spread
from feature_assets.events.ragged import Events
from feature_assets.events.statements import MONTH, Holdings, Statements
from feature_assets.events.view import View
from feature_assets.group import GroupState, Inputs, TrainingInputs
from feature_assets.groups.measures import Measure, MeasuredGroup

ACCOUNTS = ("current", "savings")
LOW = 0.1  # quantile of the current accounts' statements below which one is low


@dataclass(frozen=True)
class Deposits:
    accounts: Statements
    levels: list[np.ndarray]  # 13 months, newest first
    low: Events  # low statements of current accounts
    current: Events  # all of them
    flows: Events | None
    held: Holdings | None

    @property
    def moves(self) -> Events:
        assert self.flows is not None
        return self.flows

    @cached_property
    def inflows(self) -> Events:
        return self.moves.of("kind", *INFLOWS)

    @cached_property
    def outflows(self) -> Events:
        return self.moves.of("kind", *OUTFLOWS)

    @property
    def holdings(self) -> Holdings:
        assert self.held is not None
        return self.held


def low_threshold(views: Sequence[View]) -> float:
    """Lower decile of the current accounts' balances on statements before the dates; 0 without any."""
    balances = [view.statements.of("current").balance for view in views]
    known = np.concatenate(balances)
    return float(np.quantile(known, LOW)) if len(known) else 0.0


def _learn(training: TrainingInputs) -> GroupState:
    return GroupState({"low": np.array([low_threshold(training.views)])})


def _read(inputs: Inputs) -> Deposits:
    view = inputs.view
    accounts = view.statements.of(*ACCOUNTS)
    current = view.statements.of("current")
    return Deposits(
        accounts,
        accounts.levels(12),
        current.events.where(current.balance < inputs.state.arrays["low"][0]),
        current.events,
        view.money_flows if view.has("transactions") else None,
        view.holdings if view.has("holdings") else None,
    )


def _growth(d: Deposits) -> np.ndarray:
    return slope([np.log1p(np.maximum(level, 0.0)) for level in d.levels[:7]])


def _variation(d: Deposits) -> np.ndarray:
    mean, deviation, _ = spread(d.levels)
    return ratio(deviation, mean)


def _flow_ratio(d: Deposits) -> np.ndarray:
    come, go = d.inflows.sum_of("amount", 84), d.outflows.sum_of("amount", 84)
    return ratio(come - go, come + go)


def _transfers(d: Deposits) -> np.ndarray:
    return ratio(d.moves.of("kind", "transfer_in", "transfer_out").sum_of("amount", 168), d.moves.sum_of("amount", 168))


_IN, _OUT, _FLOWS = ("inflows",), ("outflows",), ("inflows", "outflows")
_H, _ALL = ("holdings",), "all history"
_MEASURES: tuple[Measure[Deposits], ...] = (
    Measure("balance", "balance of current and savings accounts", "currency", _ALL, lambda d: d.levels[0]),
    Measure(
        "savings_share",
        "share of it on savings accounts",
        "share",
        _ALL,
        lambda d: ratio(np.nan_to_num(d.accounts.of("savings").level()), d.levels[0]),
    ),
    Measure(
        "accounts",
        "current and savings accounts with a statement",
        "count",
        "100 days",
        lambda d: d.accounts.accounts(),
    ),
    *(
        Measure(
            f"balance_change_{MONTH * m}d",
            "balance now less balance then",
            "currency",
            f"{MONTH * m} days",
            lambda d, m=m: d.levels[0] - d.levels[m],  # type: ignore[misc]
        )
        for m in (1, 3)
    ),
    Measure("balance_growth_186d", "least-squares slope of the log balance, a month", "log ratio", "186 days", _growth),
    Measure(
        "balance_variation_372d", "coefficient of variation of the monthly balance", "ratio", "372 days", _variation
    ),
    Measure("balance_least_372d", "smallest monthly balance", "currency", "372 days", lambda d: spread(d.levels)[2]),
    Measure(
        "low_share_372d",
        "share of the current accounts' statements that are low",
        "share",
        "372 days",
        lambda d: ratio(d.low.count(372), d.current.count(372)),
    ),
    Measure("days_since_low", "days since the last low statement", "days", _ALL, lambda d: d.low.days_since()),
    Measure("inflow_28d", "money that came in", "currency", "28 days", lambda d: d.inflows.sum_of("amount", 28), _IN),
    Measure("inflow_84d", "money that came in", "currency", "84 days", lambda d: d.inflows.sum_of("amount", 84), _IN),
    Measure(
        "outflow_84d", "money that went out", "currency", "84 days", lambda d: d.outflows.sum_of("amount", 84), _OUT
    ),
    Measure("inflow_count_84d", "inflows", "count", "84 days", lambda d: d.inflows.count(84), _IN),
    Measure("outflow_count_84d", "outflows", "count", "84 days", lambda d: d.outflows.count(84), _OUT),
    Measure("flow_ratio_84d", "net flow over the sum of both directions", "ratio", "84 days", _flow_ratio, _FLOWS),
    Measure("transfer_share_168d", "share of all flows that are transfers", "share", "168 days", _transfers, _FLOWS),
    Measure("days_since_inflow", "days since the last inflow", "days", _ALL, lambda d: d.inflows.days_since(), _IN),
    Measure(
        "inflow_gap_cv_364d",
        "coefficient of variation of the days between inflows; from three days with one on",
        "ratio",
        "364 days",
        lambda d: d.inflows.recent(364).gap_cv(),
        _IN,
    ),
    Measure(
        "term_balance",
        "balance of open term deposits",
        "currency",
        _ALL,
        lambda d: d.holdings.of_kinds("term_deposit").value(),
        _H,
    ),
)

GROUP = MeasuredGroup(
    "deposit",
    "Deposit accounts: level, growth, volatility, low balances, and flows in and out",
    ("balances",),
    _MEASURES,
    _read,
    _learn,
)
