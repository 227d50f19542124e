"""The latent state of each customer over time: Markov chains, trips, spending peaks, drawn from any day on.

One function draws the paths, both for the data (from the first day) and for the oracle (from t on, given the state at
t), so that the oracle's process is the data's process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.simulation.config import LIFECYCLE
from feature_assets.simulation.customers import Customers
from feature_assets.simulation.segments import ROUTINES
from feature_assets.simulation.world import World

SUSCEPTIBLE, ADOPTED, RECOVERED = range(3)
TRIP_MONTHS = (0.7, 0.9, 0.8, 1.0, 1.0, 1.1, 1.9, 1.7, 1.1, 1.1, 0.5, 0.9)  # January first: when people travel
SHORTEST_TRIP, LONGEST_TRIP = 3, 14
NEVER = -10_000


@dataclass(frozen=True)
class State:
    """The latent state at the start of a day, of n customers.

    Attributes:
        lifecycle, behavior, journey: uint8 [n], states on the day before (lifecycle and behavior: of its month).
        adoption: uint8 [n, E], SUSCEPTIBLE, ADOPTED or RECOVERED.
        trip_until: int64 [n], last day of the present trip (NEVER without one). country: int64 [n] of that trip.
        shock, interest: float32 [n], remainder of earlier spending peaks and interests, relative to the usual rates.
    """

    lifecycle: np.ndarray
    behavior: np.ndarray
    journey: np.ndarray
    adoption: np.ndarray
    trip_until: np.ndarray
    country: np.ndarray
    shock: np.ndarray
    interest: np.ndarray

    def repeat(self, times: int) -> State:
        """Each row `times` times in a row."""
        return State(**{name: values.repeat(times, axis=0) for name, values in self.__dict__.items()})

    def take(self, rows: np.ndarray) -> State:
        """The rows `rows`."""
        return State(**{name: values[rows] for name, values in self.__dict__.items()})


@dataclass(frozen=True)
class Paths:
    """Latent chains over the days [day, day + D) and the months that they touch.

    Attributes:
        day: first day. month: first month.
        lifecycle, behavior: uint8 [n, M]. adoption: uint8 [n, M, E].
        journey: uint8 [n, D].
        trip: int8 [n, D], country of a trip, 0 at home.
        shock, interest: float32 [n, D], excess of the rates of purchases and sessions over their usual level.
    """

    day: int
    month: int
    lifecycle: np.ndarray
    behavior: np.ndarray
    adoption: np.ndarray
    journey: np.ndarray
    trip: np.ndarray
    shock: np.ndarray
    interest: np.ndarray

    def take(self, rows: np.ndarray) -> Paths:
        """The paths `rows`, in that order."""
        chains = {k: v[rows] for k, v in self.__dict__.items() if isinstance(v, np.ndarray)}
        return Paths(day=self.day, month=self.month, **chains)

    def state(self, world: World, customers: Customers, day: int) -> State:
        """The state at the start of `day`, which lies after the first day of the paths."""
        k = day - self.day
        month = world.calendar.month[day - 1] - self.month
        trip = self.trip[:, k - 1]
        still = np.where(trip > 0, day - 1 + _remaining(self.trip[:, k - 1 :]), NEVER)
        left = 0.5 ** (1.0 / customers.patience)
        return State(
            lifecycle=self.lifecycle[:, month],
            behavior=self.behavior[:, month],
            journey=self.journey[:, k - 1],
            adoption=self.adoption[:, month],
            trip_until=still,
            country=trip.astype(np.int64),
            shock=(self.shock[:, k - 1] * left).astype(np.float32),
            interest=(self.interest[:, k - 1] * left).astype(np.float32),
        )


COUNTRIES = ("CHF", "EUR", "EUR", "USD", "GBP", "THB", "SEK")
"""Country of a trip → its currency; 0 is home."""


def _remaining(trip: np.ndarray) -> np.ndarray:
    """Further days of the trip of the first column, int64 [n]."""
    same = np.logical_and.accumulate(trip[:, 1 : LONGEST_TRIP + 1] == trip[:, :1], axis=1)
    return same.sum(axis=1)


def first_state(rng: np.random.Generator, world: World, customers: Customers) -> State:
    """The state before the first day; a later customer is new in the month of joining (see `draw_paths`)."""
    config, n = world.config, len(customers)
    lifecycle = rng.choice(len(LIFECYCLE), n, p=config.lifecycle.start)
    adopted = world.infection[:, customers.community, 0].T  # [n, E]
    u = rng.random(adopted.shape)
    return State(
        lifecycle=lifecycle.astype(np.uint8),
        behavior=rng.choice(len(config.behavior.start), n, p=config.behavior.start).astype(np.uint8),
        journey=rng.choice(len(config.journey.start), n, p=config.journey.start).astype(np.uint8),
        adoption=np.where(u < adopted, ADOPTED, SUSCEPTIBLE).astype(np.uint8),
        trip_until=np.full(n, NEVER),
        country=np.zeros(n, np.int64),
        shock=np.zeros(n, np.float32),
        interest=np.zeros(n, np.float32),
    )


def draw_paths(
    rng: np.random.Generator, world: World, customers: Customers, state: State, day: int, days: int
) -> Paths:
    """Chains over [day, day + days) from the state at the start of `day`.

    Args:
        customers: n rows, those of `state`; the oracle repeats a customer for each of its draws.
    """
    config, calendar, n = world.config, world.calendar, len(customers)
    last = day + days - 1
    before = int(calendar.month[day - 1]) if day else -1
    first, end = int(calendar.month[day]), int(calendar.month[last]) + 1
    joined_month = np.where(customers.joined > 0, calendar.month[np.clip(customers.joined, 0, calendar.days - 1)], -1)
    lifecycle = np.empty((n, end - first), np.uint8)
    behavior = np.empty((n, end - first), np.uint8)
    adoption = np.empty((n, end - first, len(world.epidemic)), np.uint8)
    life, behave, adopted = state.lifecycle, state.behavior, state.adoption
    variant = customers.segment * len(ROUTINES) + customers.routine
    for m in range(first, end):
        if m != before:
            life = world.lifecycle.step(rng, variant, life)
            behave = world.behavior.step(rng, customers.segment, behave)
            adopted = _adopt(rng, world, customers, adopted, m)
        life = np.where(m <= joined_month, 0, life).astype(np.uint8)
        lifecycle[:, m - first], behavior[:, m - first], adoption[:, m - first] = life, behave, adopted
    return Paths(
        day=day,
        month=first,
        lifecycle=lifecycle,
        behavior=behavior,
        adoption=adoption,
        journey=world.journey.path(rng, customers.journey, state.journey, days),
        trip=_trips(rng, world, customers, state, day, days),
        shock=_peaks(rng, customers, state.shock, config.shocks_a_year * ~customers.anonymous, config.shock_size, days),
        interest=_peaks(rng, customers, state.interest, config.interests_a_year, config.interest_size, days),
    )


def _adopt(rng: np.random.Generator, world: World, customers: Customers, adopted: np.ndarray, month: int) -> np.ndarray:
    """One month of S → I → R: the hazard grows with the infectious share of the community."""
    pressure = world.infection[:, customers.community, month].T
    caught = 1.0 - np.exp(-world.config.contact * pressure)
    u = rng.random(adopted.shape, dtype=np.float32)
    after_s = np.where(u < caught, ADOPTED, SUSCEPTIBLE)
    after_i = np.where(u < world.config.recovery, RECOVERED, ADOPTED)
    chosen = np.where(adopted == SUSCEPTIBLE, after_s, np.where(adopted == ADOPTED, after_i, RECOVERED))
    return chosen.astype(np.uint8)


def _trips(
    rng: np.random.Generator, world: World, customers: Customers, state: State, day: int, days: int
) -> np.ndarray:
    """Trips begin as a Poisson process by month and last 3 to 14 days; none begins during another."""
    calendar, n = world.calendar, len(customers)
    months = calendar.month_of_year[calendar.month[day : day + days]]
    expected = np.array(TRIP_MONTHS)[months] / 30.4
    starts = rng.poisson(customers.trips * expected.sum())
    who = np.repeat(np.arange(n), starts)
    begin = np.searchsorted(np.cumsum(expected) / expected.sum(), rng.random(len(who)), side="right")
    begin = np.minimum(begin, days - 1)
    length = rng.integers(SHORTEST_TRIP, LONGEST_TRIP + 1, len(who))
    country = rng.integers(1, len(COUNTRIES), len(who))
    order = np.lexsort((begin, who))
    who, begin, length, country = who[order], begin[order], length[order], country[order]
    days_now = np.arange(days, dtype=np.int32)
    trip = np.where(days_now <= (state.trip_until - day)[:, None], state.country[:, None], 0).astype(np.int8)
    busy = state.trip_until - day
    for chosen in _rounds(who):
        rows = who[chosen]
        made = begin[chosen] > busy[rows]
        chosen, rows = chosen[made], rows[made]
        busy[rows] = begin[chosen] + length[chosen] - 1
        for k in range(LONGEST_TRIP):
            reach = (length[chosen] > k) & (begin[chosen] + k < days)
            trip[rows[reach], begin[chosen][reach] + k] = country[chosen][reach]
    return trip


def _peaks(
    rng: np.random.Generator, customers: Customers, left: np.ndarray, a_year: np.ndarray | float, size: float, days: int
) -> np.ndarray:
    """Peaks of `size`: Poisson in time, then exponential decay with the customer's half-life. float32 [n, days].

    Args:
        left: float32 [n], of earlier peaks. a_year: mean number of peaks, of all or of each customer.
    """
    n, fall = len(customers), (np.log(2.0) / customers.patience).astype(np.float32)
    peaks = rng.poisson(np.broadcast_to(np.asarray(a_year) / 365 * days, n))
    who = np.repeat(np.arange(n), peaks)
    at = rng.integers(0, days, len(who))
    elapsed = np.arange(days, dtype=np.float32)
    out = np.zeros((n, days), np.float32)
    some = np.flatnonzero(left > 1e-3)
    out[some] = left[some, None] * np.exp(-fall[some, None] * elapsed)
    for chosen in _rounds(who):
        rows = who[chosen]
        age = elapsed[None, :] - at[chosen][:, None].astype(np.float32)
        wave = np.exp(-fall[rows][:, None] * np.maximum(age, 0)) * (age >= 0)
        out[rows] += np.float32(size) * wave
    return out


def _rounds(who: np.ndarray) -> list[np.ndarray]:
    """Positions of sorted `who`, split so that no customer occurs twice in a part."""
    if not len(who):
        return []
    first = np.concatenate([[True], who[1:] != who[:-1]])
    nth = np.arange(len(who)) - np.maximum.accumulate(np.where(first, np.arange(len(who)), 0))
    return [np.flatnonzero(nth == k) for k in range(int(nth.max()) + 1)]
