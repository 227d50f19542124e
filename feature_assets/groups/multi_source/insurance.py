"""Insurance, 25 columns: covers, insured sums and their age, premiums, claims.

The balance of an insurance is its insured sum. Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import PRODUCT_FAMILIES
from feature_assets.events.numbers import entropy, ratio
from feature_assets.events.ragged import Events
from feature_assets.events.statements import Holdings
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup

COVERS = tuple(kind for kind, family in PRODUCT_FAMILIES.items() if family == "insurance")


@dataclass(frozen=True)
class Insurance:
    held: Holdings
    insured: np.ndarray  # sum that is insured now [customers, COVERS]
    value: np.ndarray  # over all covers [customers]
    paid: Events | None
    claimed: Events | None

    @property
    def premiums(self) -> Events:
        assert self.paid is not None
        return self.paid

    @property
    def claims(self) -> Events:
        assert self.claimed is not None
        return self.claimed

    def age(self, cover: str) -> np.ndarray:
        held = self.held.of_kinds(cover)
        return held.least(np.where(held.open, held.age, np.nan))


def _read(inputs: Inputs) -> Insurance:
    view = inputs.view
    held, moves = view.holdings.of("insurance"), view.money_flows if view.has("transactions") else None
    return Insurance(
        held,
        held.by_kind(COVERS),
        held.value(),
        moves.of("kind", "premium") if moves is not None else None,
        moves.of("kind", "claim") if moves is not None else None,
    )


def _kinds_ever(i: Insurance) -> np.ndarray:
    return i.held.kinds(np.ones(len(i.held.row), dtype=bool)).sum(axis=1)


def _lapsed_share(i: Insurance) -> np.ndarray:
    lapsed = i.held.count(~i.held.open)
    return ratio(lapsed, lapsed + i.held.count(i.held.open))


_IN, _OUT, _BOTH, _ALL = ("inflows",), ("outflows",), ("inflows", "outflows"), "all history"
_MEASURES: tuple[Measure[Insurance], ...] = (
    *(
        Measure(
            f"insured_{cover}",
            f"insured sum, {cover}",
            "currency",
            _ALL,
            lambda i, k=k: i.insured[:, k],  # type: ignore[misc]
        )
        for k, cover in enumerate(COVERS)
    ),
    *(
        Measure(
            f"age_{cover}",
            f"days since the open {cover} insurance was opened",
            "days",
            _ALL,
            lambda i, cover=cover: i.age(cover),  # type: ignore[misc]
        )
        for cover in COVERS
    ),
    Measure("open_count", "open insurances", "count", _ALL, lambda i: i.held.count(i.held.open)),
    Measure("kinds_ever", "kinds of insurance ever held", "count", _ALL, _kinds_ever),
    Measure("lapsed_share", "share of the insurances ever held that are closed", "share", _ALL, _lapsed_share),
    Measure("days_since_opened", "days since one was opened", "days", _ALL, lambda i: i.held.least(i.held.age)),
    Measure("days_since_lapse", "days since one was closed", "days", _ALL, lambda i: i.held.least(i.held.closed_ago)),
    Measure("cover_entropy", "entropy of the insured sum over kinds", "nats", _ALL, lambda i: entropy(i.insured)),
    Measure(
        "insured_change_186d",
        "insured sum now less then",
        "currency",
        "186 days",
        lambda i: i.value - i.held.value(186),
    ),
    Measure("premium_364d", "premiums paid", "currency", "364 days", lambda i: i.premiums.sum_of("amount", 364), _OUT),
    Measure("premiums_91d", "payments of premiums", "count", "91 days", lambda i: i.premiums.count(91), _OUT),
    Measure("days_since_premium", "days since the last one", "days", _ALL, lambda i: i.premiums.days_since(), _OUT),
    Measure(
        "premium_change_182d",
        "premiums less those of the 182 days before",
        "currency",
        "364 days",
        lambda i: i.premiums.change(182, i.premiums.values("amount")),
        _OUT,
    ),
    Measure(
        "premium_rate_364d",
        "premiums of a year over the insured sum",
        "ratio",
        "364 days",
        lambda i: ratio(i.premiums.sum_of("amount", 364), i.value),
        _OUT,
    ),
    Measure("claimed_364d", "claims paid out", "currency", "364 days", lambda i: i.claims.sum_of("amount", 364), _IN),
    Measure("days_since_claim", "days since the last claim", "days", _ALL, lambda i: i.claims.days_since(), _IN),
    Measure(
        "loss_ratio",
        "claims over premiums",
        "ratio",
        _ALL,
        lambda i: ratio(i.claims.sum_of("amount"), i.premiums.sum_of("amount")),
        _BOTH,
    ),
)

GROUP = MeasuredGroup(
    "insurance",
    "Insurance: covers, insured sums, lapses, premiums, claims",
    ("holdings",),
    _MEASURES,
    _read,
)
