"""Consultation, 18 columns: times, topics, regularity and outcome of a customer's contacts with the company.

Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import CONTACT_KINDS
from feature_assets.events.numbers import entropy, ratio
from feature_assets.events.ragged import Events
from feature_assets.events.statements import Holdings
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup

OFFICE = (9.0, 17.0)  # local hours
TAKEN_UP = 28  # days after a consultation in which the opening of a product counts as its outcome
HALF_LIFE = 28.0  # days in which a contact loses half of its weight in `intensity`


@dataclass(frozen=True)
class Contacts:
    all: Events
    held: Holdings | None


def _read(inputs: Inputs) -> Contacts:
    view = inputs.view
    return Contacts(view.contacts, view.holdings if view.has("holdings") else None)


def _count(kind: str, c: Contacts) -> np.ndarray:
    return c.all.of("kind", kind).count(364)


def _since(kind: str, c: Contacts) -> np.ndarray:
    return c.all.of("kind", kind).days_since()


def _kind_entropy(c: Contacts) -> np.ndarray:
    return entropy(c.all.table(c.all.ranked("kind", CONTACT_KINDS), len(CONTACT_KINDS)))


def _topics(c: Contacts) -> np.ndarray:
    known = c.all.where((c.all.codes("topic") >= 0) & (c.all.days_ago <= 364))
    width = len(c.all.names("topic")) or 1
    return (known.table(known.codes("topic"), width) > 0).sum(axis=1).astype(np.float64)


def _repeated(c: Contacts) -> np.ndarray:
    """Of two contacts in a row with a topic, both with the same one."""
    known = c.all.where(c.all.codes("topic") >= 0)
    topic, pair = known.codes("topic"), np.zeros(len(known.row), dtype=bool)
    pair[1:] = known.row[1:] == known.row[:-1]
    same = pair.copy()
    same[1:] &= topic[1:] == topic[:-1]
    return ratio(known.where(same).count(), known.where(pair).count())


def _office_hours(c: Contacts) -> np.ndarray:
    hour = c.all.values("minute")
    return ratio(c.all.where((hour >= OFFICE[0]) & (hour < OFFICE[1])).count(), c.all.count())


def _taken_up(c: Contacts) -> np.ndarray:
    assert c.held is not None
    asked = c.all.of("kind", "consultation")
    row, ago = c.held.openings()
    # (customer, day) as one ascending number: the first opening from the day of the consultation on
    span = np.int64(1) << 32
    opened, wanted = row * span - ago, asked.row * span - asked.days_ago
    following = np.append(opened, np.iinfo(np.int64).max)[np.searchsorted(opened, wanted)]
    return ratio(asked.where(following <= wanted + TAKEN_UP).count(), asked.count())


_ALL = "all history"
_MEASURES: tuple[Measure[Contacts], ...] = (
    Measure("contacts_91d", "contacts of any kind", "count", "91 days", lambda c: c.all.count(91)),
    Measure("contacts", "contacts of any kind", "count", _ALL, lambda c: c.all.count()),
    *(
        Measure(
            f"{kind}_364d",
            f"contacts of kind {kind}",
            "count",
            "364 days",
            lambda c, kind=kind: _count(kind, c),  # type: ignore[misc]
        )
        for kind in CONTACT_KINDS
    ),
    Measure("days_since_contact", "days since the last contact", "days", _ALL, lambda c: c.all.days_since()),
    *(
        Measure(
            f"days_since_{kind}",
            f"days since the last contact of kind {kind}",
            "days",
            _ALL,
            lambda c, kind=kind: _since(kind, c),  # type: ignore[misc]
        )
        for kind in ("consultation", "complaint")
    ),
    Measure("gap_mean", "mean days from one day with a contact to the next", "days", _ALL, lambda c: c.all.gap_mean()),
    Measure("gap_cv", "coefficient of variation of them; from three days on", "ratio", _ALL, lambda c: c.all.gap_cv()),
    Measure("kind_entropy", "entropy of the contacts over kinds", "nats", _ALL, _kind_entropy),
    Measure("topics_364d", "different topics", "count", "364 days", _topics),
    Measure("repeated_topic_share", "share of contacts about the same as the one before", "share", _ALL, _repeated),
    Measure("office_hours_share", "share of contacts from 9:00 to 17:00", "share", _ALL, _office_hours),
    Measure(
        "change_182d", "contacts less those of the 182 days before", "count", "364 days", lambda c: c.all.change(182)
    ),
    Measure(
        "intensity",
        f"contacts, each halved every {HALF_LIFE:.0f} days",
        "weighted count",
        _ALL,
        lambda c: c.all.total(np.exp2(-c.all.days_ago / HALF_LIFE)),
    ),
    Measure(
        "taken_up_share",
        f"share of consultations with a product opened within {TAKEN_UP} days",
        "share",
        _ALL,
        _taken_up,
        ("holdings",),
    ),
)

GROUP = MeasuredGroup(
    "consultation",
    "Contacts: counts by kind, recency, regularity, topics, outcome",
    ("contacts",),
    _MEASURES,
    _read,
)
