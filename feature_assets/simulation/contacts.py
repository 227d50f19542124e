"""Sessions on the web, in the app and on the phone; consultations, complaints, visits and calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.contract import CONTACT_KINDS, SESSION_EVENTS
from feature_assets.simulation.campaigns import Exposures
from feature_assets.simulation.chances import pick
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.paths import Paths
from feature_assets.simulation.world import World

SESSION_CHANNELS = ("web", "app", "phone")
EVENT_SHARES = (
    (0.28, 0.07, 0.05, 0.60),
    (0.52, 0.22, 0.04, 0.22),
    (0.36, 0.42, 0.08, 0.14),
    (0.30, 0.14, 0.08, 0.48),
    (0.30, 0.05, 0.15, 0.50),
)
"""Journey state × event of a session: visit, search, support, login."""
LOG_SECONDS = (4.6, 4.9, 5.6, 3.7)
PAGES = (3.0, 4.5, 1.5, 0.6)
FROM_CAMPAIGN = 0.35  # share of the sessions in the week after an impression that come from it
COMPLAINTS = (0.6, 0.4, 0.6, 3.2, 1.5, 0.8)  # lifecycle → factor of the complaint rate
TOPICS = ("account", "card", "investment", "loan", "insurance", "fees")


@dataclass(frozen=True)
class Sessions:
    """Sessions, N rows: row, day, second, channel, event (indices), seconds, pages, campaign (−1: none)."""

    row: np.ndarray
    day: np.ndarray
    second: np.ndarray
    channel: np.ndarray
    event: np.ndarray
    seconds: np.ndarray
    pages: np.ndarray
    campaign: np.ndarray


@dataclass(frozen=True)
class Contacts:
    """Contacts, N rows: row, day, second, kind (index into contract.CONTACT_KINDS), topic (−1: none)."""

    row: np.ndarray
    day: np.ndarray
    second: np.ndarray
    kind: np.ndarray
    topic: np.ndarray


def draw_sessions(
    rng: np.random.Generator,
    world: World,
    customers: Customers,
    paths: Paths,
    rate: np.ndarray,
    exposures: Exposures,
) -> Sessions:
    """Sessions over all days.

    Args:
        rate: float32 [n, D], sessions a day.
    """
    days = rate.shape[1]
    counts = rng.poisson(rate).astype(np.int64)
    if bursts := world.config.drift.bursts:
        counts += rng.poisson(bursts * counts * world.calendar.drift)
    cell = np.repeat(np.arange(rate.size), counts.ravel())
    row, day = cell // days, cell % days
    n = len(row)
    event = pick(rng, np.array(EVENT_SHARES, np.float32)[paths.journey[row, day]])
    digital = customers.digital[row]
    weights = np.stack([np.full(n, 0.45), 0.9 * digital, 0.10 + 0.2 * (customers.age[row] > 60)], axis=1)
    channel = pick(rng, weights)
    share = customers.hours[row, world.calendar.drift[day].astype(np.int64), world.calendar.weekday[day]]
    share = 0.5 * share + np.array([0.03, 0.30, 0.30, 0.37], np.float32)
    second = ((pick(rng, share) + rng.random(n)) * 6 * 3600).astype(np.int64)
    log = np.array(LOG_SECONDS)[event] + 0.8 * rng.standard_normal(n)
    return Sessions(
        row=row,
        day=day,
        second=second,
        channel=channel,
        event=event,
        seconds=np.round(np.exp(log), 1),
        pages=(1 + rng.poisson(np.array(PAGES)[event])),
        campaign=_campaign(rng, exposures, row, day, days),
    )


def _campaign(
    rng: np.random.Generator, exposures: Exposures, row: np.ndarray, day: np.ndarray, days: int
) -> np.ndarray:
    """The campaign that brought a session: one shown within the week before, if any."""
    key = exposures.row * days + exposures.day
    at = np.searchsorted(key, row * days + day, side="right") - 1
    if not len(key):
        return np.full(len(row), -1)
    recent = (at >= 0) & (exposures.row[at] == row) & (day - exposures.day[at] < 7)
    return np.where(recent & (rng.random(len(row)) < FROM_CAMPAIGN), exposures.campaign[at], -1)


def draw_contacts(rng: np.random.Generator, world: World, customers: Customers, paths: Paths) -> Contacts:
    """Contacts over all days: complaints when a relation declines, branches for the old, calls for the less digital."""
    calendar = world.calendar
    factor = np.array(COMPLAINTS)[paths.lifecycle]
    joined = customers.joined[:, None] < calendar.starts[1:]
    base = customers.caller[:, None] * joined
    digital = customers.digital[:, None]
    rates = np.stack(
        [
            0.30 * base * (0.6 + 0.8 * np.minimum(customers.wealth / 60_000, 2.0))[:, None],
            0.18 * base * factor,
            0.25 * base * (0.5 + (customers.age > 60))[:, None],
            0.30 * base * (1.6 - digital),
        ],
        axis=2,
    )
    counts = rng.poisson(rates)
    row, month, kind = (np.repeat(index, counts.ravel()) for index in _grid(counts.shape))
    length = calendar.lengths[month]
    day = calendar.starts[month] + (rng.random(len(row)) * length).astype(np.int64)
    known = day >= customers.joined[row]
    row, day, kind = row[known], day[known], kind[known]
    m = len(row)
    second = rng.integers(8 * 3600, 18 * 3600, m)
    weights = np.tile(np.array([0.25, 0.25, 0.15, 0.12, 0.13, 0.10]), (m, 1))
    weights[kind == CONTACT_KINDS.index("complaint")] = (0.15, 0.25, 0.05, 0.10, 0.15, 0.30)
    weights[:, 2] *= np.clip(customers.wealth[row] / 40_000, 0.3, 3.0)
    topic = np.where(rng.random(m) < 0.1, -1, pick(rng, weights))
    return Contacts(row, day, second, kind, topic)


def _grid(shape: tuple[int, ...]) -> list[np.ndarray]:
    return [index.ravel() for index in np.indices(shape)]


assert len(SESSION_EVENTS) == len(PAGES)
