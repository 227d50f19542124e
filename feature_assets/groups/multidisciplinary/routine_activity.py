"""Routine activity, 5 columns: concentration of visits on places and times (Cohen & Felson 1979).

Place is the merchant; time a cell of weekday × 6-hour part (28). A visit is the set of purchases at one instant. All
measures use the latest 256 visits with a known merchant of the last 365 days.

- *Near-repeat rate* (Knox 1964; Townsley, Homel & Chaseling 2003): share of visits followed by another one at the same
  place within 7 days, beyond chance. With o the observed share and e the one expected if the other visits of the 7 days
  chose their place as all visits do, (o − e)/(1 − e): the probability of a triggered repeat. Visits of the last 7 days
  before t do not count, since their 7 days are not over.
- *Hot-spot share* (Sherman, Gartin & Buerger 1989): share of visits in cells of place × weekday that hold more visits
  than the same visits spread evenly over the week allow (Poisson tail below 5 %).
- *Temporal displacement* (Guerette & Bowers 2009): how many hours the mean time of day (circular: Fisher 1993) of the
  last 56 days lies after the one before.
- *Regularity of place* (Song, Qu, Blumm & Barabási 2010): probability that a visit is at the place most visited in its
  time cell, counted over the other visits (leave one out; ties and empty cells: the place most visited overall).
- *Deviation from routine*: share ε of the last 28 days' visits that do not come from the routine, posterior mean under
  a uniform prior in the mixture (1 − ε) P(place | time) + ε uniform over known places and a new one, P the hierarchical
  Dirichlet predictive of the visits before (MacKay & Peto 1995).

Hot spots need one visit (a single one is none), regularity two, near-repeats 2 visits older than 7 days, displacement 2
on either side, deviation 5 before and one recent; null below. Source: FEATURES §3.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.group import Column, FeatureGroup, Inputs, Values

WINDOW, MOST = 365, 256
NEAR = 7  # days
SHIFTED, MIN_SIDE = 56, 2  # days, visits
RECENT, MIN_BEFORE = 28, 5  # days, visits
CELLS, PARTS = 28, 4  # of the week; of each day
TAIL = 0.05
SHARES = (np.arange(16) + 0.5) / 16  # grid of ε


def _column(measure: str, meaning: str, unit: str) -> Column:
    return Column(f"routine_activity__{measure}_365d", meaning, unit, "365 days")


_COLUMNS = (
    _column("near_repeat_rate", "visits repeated at the same merchant within 7 days, beyond chance", "share"),
    _column("hot_spot_share", "visits in cells of merchant × weekday that hold more than chance", "share"),
    _column("temporal_displacement", "shift of the mean time of day: last 56 days against those before", "hours"),
    _column("regularity_of_place", "visits at the merchant that is usual for their weekday and day part", "share"),
    _column("deviation_from_routine", "share of the visits of the last 28 days that leave the routine", "share"),
)


class RoutineActivity(FeatureGroup):
    """Place and time of visits. Nothing is fitted beyond the customer's own series."""

    name = "routine_activity"
    description = "Near-repeat visits, hot spots, temporal displacement, regularity of place, deviation from it"
    columns = _COLUMNS
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        v = inputs.view.visits
        hour, merchant = v.values("hour"), v.codes("merchant_id")
        cell = v.weekday() * PARTS + (hour * PARTS // 24).astype(np.int64)
        codes = int(merchant.max(initial=-1)) + 1
        values = routine(v.start, v.days_ago, hour, cell, merchant, codes, SHARES)
        return Values(values)


@njit(cache=True)
def near_repeats(days_ago: np.ndarray, place: np.ndarray, often: np.ndarray) -> float:
    """(o − e)/(1 − e) of the visits (oldest first; `often`: visits of each place); NaN below 2 visits that are asked
    or where chance alone repeats everything."""
    n, asked, observed, expected = days_ago.size, 0, 0.0, 0.0
    if n < MIN_SIDE:
        return np.nan
    for i in range(n):
        if days_ago[i] <= NEAR:
            break
        asked += 1
        other = 1.0 - (often[place[i]] - 1) / (n - 1)
        missed, repeated = 1.0, False
        for j in range(i + 1, n):
            if days_ago[i] - days_ago[j] > NEAR:
                break
            missed *= other
            repeated |= place[j] == place[i]
        observed += repeated
        expected += 1.0 - missed
    if asked < MIN_SIDE or asked - expected < 1e-9:
        return np.nan
    return (observed - expected) / (asked - expected)


@njit(cache=True)
def hot_share(count: np.ndarray, often: np.ndarray, n: int) -> float:
    """Share of n visits in hot cells of place × weekday: `count` [places, CELLS], `often` [places]."""
    hot = 0
    for p in range(often.size):
        for day in range(7):
            k = count[p, day * PARTS : (day + 1) * PARTS].sum()
            if k >= 2:
                mean = often[p] / 7
                term = np.exp(-mean)
                below = term
                for m in range(1, k):
                    term *= mean / m
                    below += term
                if 1.0 - below < TAIL:
                    hot += k
    return hot / n


@njit(cache=True)
def displacement(days_ago: np.ndarray, hour: np.ndarray) -> float:
    """Hours in (−12, 12] from the mean direction of the older visits to that of the last `SHIFTED` days."""
    old, new = 0.0 + 0.0j, 0.0 + 0.0j
    n_old, n_new = 0, 0
    for i in range(days_ago.size):
        z = np.exp(2j * np.pi * hour[i] / 24)
        if days_ago[i] <= SHIFTED:
            new += z
            n_new += 1
        else:
            old += z
            n_old += 1
    if n_old < MIN_SIDE or n_new < MIN_SIDE:
        return np.nan
    turn = new * np.conj(old)
    return np.arctan2(turn.imag, turn.real) * 12 / np.pi if abs(turn) > 1e-9 else np.nan


@njit(cache=True)
def place_regularity(count: np.ndarray, often: np.ndarray, cell: np.ndarray, place: np.ndarray) -> float:
    """Leave-one-out share of visits whose place is the usual one of their time cell."""
    n, places, right = cell.size, often.size, 0
    for i in range(n):
        c, mine = cell[i], place[i]
        best, best_count, best_often = -1, 0, -1
        for p in range(places):
            k, o = count[p, c] - (p == mine), often[p] - (p == mine)
            if best < 0 or k > best_count or (k == best_count and o > best_often):
                best, best_count, best_often = p, k, o
        right += best == mine
    return right / n


@njit(cache=True)
def deviation(days_ago: np.ndarray, cell: np.ndarray, place: np.ndarray, places: int, shares: np.ndarray) -> float:
    """Posterior mean of ε on the grid `shares`; NaN without a recent visit or with fewer than 5 before."""
    old = 0
    while old < days_ago.size and days_ago[old] > RECENT:
        old += 1
    if old < MIN_BEFORE or old == days_ago.size:
        return np.nan
    count, often, busy = np.zeros((places, CELLS)), np.zeros(places), np.zeros(CELLS)
    for i in range(old):
        count[place[i], cell[i]] += 1
        often[place[i]] += 1
        busy[cell[i]] += 1
    known = 0
    for p in range(places):
        known += often[p] > 0
    weight = np.zeros(shares.size)
    for i in range(old, days_ago.size):
        p, c = place[i], cell[i]
        routine = (count[p, c] + often[p] / old) / (busy[c] + 1.0)
        for k in range(shares.size):
            weight[k] += np.log((1 - shares[k]) * routine + shares[k] / (known + 1.0))
    weight = np.exp(weight - weight.max())
    return (weight * shares).sum() / weight.sum()


@njit(cache=True)
def routine(
    start: np.ndarray,
    days_ago: np.ndarray,
    hour: np.ndarray,
    cell: np.ndarray,
    merchant: np.ndarray,
    codes: int,
    shares: np.ndarray,
) -> np.ndarray:
    """The 5 measures of `_COLUMNS`, float64 [customers, 5]. Merchants −1 are unknown and left out.

    Places are numbered by their first visit, so that no measure depends on the merchants' codes.
    """
    customers = start.size - 1
    result = np.full((customers, 5), np.nan)
    number = np.full(codes, -1, dtype=np.int64)
    for i in range(customers):
        first, kept = start[i + 1], 0
        while first > start[i] and kept < MOST and days_ago[first - 1] <= WINDOW:
            first -= 1
            kept += merchant[first] >= 0
        if kept == 0:
            continue
        place, when = np.zeros(kept, dtype=np.int64), np.zeros(kept, dtype=np.int64)
        ago, at = np.zeros(kept, dtype=np.int64), np.zeros(kept)
        places, k = 0, 0
        for j in range(first, start[i + 1]):
            if merchant[j] < 0:
                continue
            if number[merchant[j]] < 0:
                number[merchant[j]] = places
                places += 1
            place[k], when[k], ago[k], at[k] = number[merchant[j]], cell[j], days_ago[j], hour[j]
            k += 1
        for j in range(first, start[i + 1]):
            if merchant[j] >= 0:
                number[merchant[j]] = -1
        count = np.zeros((places, CELLS), dtype=np.int64)
        often = np.zeros(places, dtype=np.int64)
        for j in range(kept):
            count[place[j], when[j]] += 1
            often[place[j]] += 1
        result[i, 0] = near_repeats(ago, place, often)
        result[i, 1] = hot_share(count, often, kept)
        result[i, 2] = displacement(ago, at)
        if kept >= 2:
            result[i, 3] = place_regularity(count, often, when, place)
        result[i, 4] = deviation(ago, when, place, places, shares)
    return result


GROUP = RoutineActivity()
