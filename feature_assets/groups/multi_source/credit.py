"""Credit, 12 columns: limits, utilisation and its change, loans, repayment.

Utilisation is the balance owed on credit cards over their limits, on the latest statements; the utilisation of a single
statement is its own balance over its own limit. Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.events.numbers import maximum, moments, ratio
from feature_assets.events.ragged import Events
from feature_assets.events.statements import MONTH, Holdings, Statements
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup

NEAR = 0.8  # share of the limit from which a statement is near it


@dataclass(frozen=True)
class Credit:
    cards: Statements  # those with a limit
    stated: Events  # the same, as events
    utilisation: np.ndarray  # of each statement
    repayments: Events | None
    held: Holdings | None

    def overall(self, lag: int = 0) -> np.ndarray:
        return ratio(self.cards.level(lag), self.cards.level(lag, self.cards.limit))

    def recent(self, days: int) -> tuple[np.ndarray, np.ndarray]:
        """Customer and utilisation of the statements of the last `days` days."""
        inside = self.stated.days_ago <= days
        return self.stated.row[inside], self.utilisation[inside]

    @property
    def repaid(self) -> Events:
        assert self.repayments is not None
        return self.repayments

    @property
    def loans(self) -> Holdings:
        assert self.held is not None
        return self.held


def _read(inputs: Inputs) -> Credit:
    view = inputs.view
    cards = view.statements.of("credit_card")
    cards = cards.where(cards.limit > 0)
    return Credit(
        cards,
        cards.events,
        cards.balance / cards.limit,
        view.money_flows.of("kind", "repayment") if view.has("transactions") else None,
        view.holdings.of("credit") if view.has("holdings") else None,
    )


def _mean(c: Credit) -> np.ndarray:
    return moments(*c.recent(93), c.stated.customers)[0]


def _deviation(c: Credit) -> np.ndarray:
    return moments(*c.recent(186), c.stated.customers)[1]


def _near(c: Credit) -> np.ndarray:
    near = c.stated.where(c.utilisation >= NEAR)
    return ratio(near.count(372), c.stated.count(372))


_OUT, _H, _ALL = ("outflows",), ("holdings",), "all history"
_MEASURES: tuple[Measure[Credit], ...] = (
    Measure("limit", "limits of all credit cards", "currency", _ALL, lambda c: c.cards.level(0, c.cards.limit)),
    Measure("owed", "owed on credit cards", "currency", _ALL, lambda c: c.cards.level()),
    Measure("utilisation", "owed over limit", "share", _ALL, lambda c: c.overall()),
    Measure("utilisation_mean_93d", "mean over statements", "share", "93 days", _mean),
    Measure(
        "utilisation_change_93d",
        "utilisation now less then",
        "share",
        "93 days",
        lambda c: c.overall() - c.overall(3 * MONTH),
    ),
    Measure("utilisation_deviation_186d", "standard deviation over statements", "share", "186 days", _deviation),
    Measure(
        "utilisation_most_372d",
        "largest of a statement",
        "share",
        "372 days",
        lambda c: maximum(*c.recent(372), c.stated.customers),
    ),
    Measure(
        "near_limit_share_372d", f"share of statements from {NEAR:.0%} of the limit on", "share", "372 days", _near
    ),
    Measure("repaid_93d", "paid back", "currency", "93 days", lambda c: c.repaid.sum_of("amount", 93), _OUT),
    Measure(
        "days_since_repayment", "days since the last repayment", "days", _ALL, lambda c: c.repaid.days_since(), _OUT
    ),
    Measure(
        "loan_balance",
        "owed on open loans and mortgages",
        "currency",
        _ALL,
        lambda c: c.loans.of_kinds("personal_loan", "mortgage").value(),
        _H,
    ),
    Measure("open_count", "open cards, loans and mortgages", "count", _ALL, lambda c: c.loans.count(c.loans.open), _H),
)

GROUP = MeasuredGroup(
    "credit",
    "Credit: limits, utilisation and how it moves, loans, repayment",
    ("balances",),
    _MEASURES,
    _read,
)
