"""Epidemic, 5 columns: adoption of categories as SIR contagion through the merchants that customers share.

For each customer a category of level 2 is *susceptible* until first bought, *infectious* from each purchase on for 56
days, then *recovered*, until bought again (Kermack & McKendrick 1927; Bass 1969 for adoption). A visit to a merchant is
a contact with its other customers; the share of them in whom a category is infectious is fitted on the training dates
(shrunk to the population's share with the weight of 10 customers; merchants that were not seen there have the
population's). The 64 categories are those whose numbers of adopters and others are most balanced.

- Contact rate: infectious contacts of a susceptible category in a week.
- Adoption rate β: adoptions per infectious contact; recovery γ: recoveries per infectious week, from the purchases of
  an episode that span it. Both are Poisson rates with a gamma prior fitted to the training customers by the method of
  moments (Robbins 1956), so (a + k) / (b + exposure). What was bought on the first day is given, not adopted.
- R = β κ / γ, κ the customer's contacts (visits) in a week.
- Time to peak: of the SIR equations ds/dt = −βκ s i, di/dt = βκ s i − γ i from the susceptible and infectious shares at
  the customer's merchants; t = ∫ ds / (βκ s i(s)) with i(s) = i₀ + s₀ − s + ln(s/s₀)/R (Kermack & McKendrick) by
  Gauss–Legendre quadrature; negative where the peak is past (at s = 1 at the earliest).

Null without a purchase. Source: FEATURES §3.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit

from feature_assets.events.ragged import Runs
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

INFECTIOUS = 56  # days
CATEGORIES, MERCHANTS = 64, 4096
SHRINK = 10.0  # customers
MOST_WEEKS = 260.0
_STRONGEST = 100.0  # shape of a gamma prior where customers differ by no more than chance does
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def _column(measure: str, meaning: str, unit: str) -> Column:
    return Column(f"epidemic__{measure}", meaning, unit, "all history")


_COLUMNS = (
    _column("contact_rate", "contacts of a category not yet bought with buyers of it, at shared merchants", "per week"),
    _column("adoption_rate", "categories adopted per contact with a buyer", "per contact"),
    _column("recovery_rate", "rate at which adopted categories are given up", "per week"),
    _column("reproduction_number", "R of category adoption: adoption rate × contacts / recovery rate", "ratio"),
    _column("time_to_peak", "time to the peak of adoption around the customer's merchants, negative if past", "weeks"),
)


class Epidemic(FeatureGroup):
    """SIR of category adoption. Fitted: prevalence at merchants, and the priors of β and γ."""

    name = "epidemic"
    description = "Category adoption as SIR: contact rate, adoption rate, recovery, R, time to peak"
    columns = _COLUMNS
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays `prevalence` float32 [merchants + 1, categories] (last row: the population), `shares` [merchants + 1,
        2] susceptible and infectious over all categories, `priors` [2, 2] (a, b) of β and γ.

        One customer at one training date counts once a merchant that it visited before."""
        views = training.views
        categories, merchants = _balanced(views), _visited(views)
        width = len(categories)
        count = np.zeros(len(merchants) + 1)
        ill, free = np.zeros((len(merchants) + 1, width)), np.zeros((len(merchants) + 1, width))
        for view in views:
            v, place, category = _coded(view, merchants, categories)
            _prevalence(v.start, v.days_ago, v.line, place, category, count, ill, free)
        everyone = max(count[-1], 1.0)
        prevalence = (ill + SHRINK * ill[-1] / everyone) / (count + SHRINK)[:, None]
        susceptible = (free + SHRINK * free[-1] / everyone) / (count + SHRINK)[:, None]
        prevalence[-1], susceptible[-1] = ill[-1] / everyone, free[-1] / everyone
        arrays = {"prevalence": prevalence.astype(np.float32), "shares": np.zeros((len(merchants) + 1, 2))}
        for c in range(width):
            arrays["shares"][:, 0] += susceptible[:, c] / width
            arrays["shares"][:, 1] += arrays["prevalence"][:, c] / width
        names = {"categories": categories, "merchants": merchants}
        raw = np.concatenate([_histories(view, names, arrays) for view in views])
        arrays["priors"] = np.stack([gamma_prior(raw[:, 0], raw[:, 1]), gamma_prior(raw[:, 3], raw[:, 4])])
        return GroupState(arrays, names)

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        if not state.meta["categories"]:  # the data set has no category
            return Values(np.full((view.customers.height, 5), np.nan))
        raw = _histories(view, state.meta, state.arrays)
        (a, b), (c, d) = state.arrays["priors"]
        known = np.where(raw[:, 5] > 0, 1.0, np.nan)
        beta = known * (a + raw[:, 0]) / (b + raw[:, 1])
        gamma = known * (c + raw[:, 3]) / (d + raw[:, 4])
        contact = raw[:, 1] / np.where(raw[:, 2] > 0, raw[:, 2], np.nan)
        transmission = beta * raw[:, 5]
        peak = time_to_peak(transmission, gamma, raw[:, 6], raw[:, 7], _NODES, _WEIGHTS)
        values = [known * contact, beta, gamma, transmission / gamma, peak]
        return Values(np.column_stack(values))


def gamma_prior(k: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """(a, b) of the gamma distribution of customers' rates from counts k ~ Poisson(rate · exposure), by moments.

    Mean μ = Σk / Σe, variance σ² = Σ((k − μe)² − k) / Σe²; a = μ²/σ², at most `_STRONGEST`, b = a/μ.
    """
    some = exposure > 0
    k, exposure = k[some], exposure[some]
    if not len(k):
        return np.array([1.0, 1.0])
    mean = (k.sum() + 0.5) / (exposure.sum() + 0.5)
    variance = ((k - mean * exposure) ** 2 - k).sum() / (exposure**2).sum()
    shape = min(mean**2 / variance, _STRONGEST) if variance > 0 else _STRONGEST
    return np.array([shape, shape / mean])


def _balanced(views: Sequence[View]) -> list[str]:
    """The categories whose share of adopters s at the training dates has the largest s (1 − s), ties by name."""
    names = views[0].purchases.names("category_l2")
    adopters, customers = np.zeros(len(names)), 0
    for view in views:
        part = view.purchases
        pairs = np.unique(part.row * (len(names) + 1) + part.codes("category_l2") + 1) % (len(names) + 1)
        adopters += np.bincount(pairs, minlength=len(names) + 1)[1:]
        customers += len(np.unique(part.row))
    share = adopters / max(customers, 1)
    ranked = sorted((-s * (1 - s), name) for s, name in zip(share.tolist(), names, strict=True) if 0 < s < 1)
    return [name for _, name in ranked[:CATEGORIES]]


def _visited(views: Sequence[View]) -> list[str]:
    """The most visited merchants before the training dates, ties by name."""
    names = views[0].purchases.names("merchant_id")
    count = np.zeros(len(names) + 1, dtype=np.int64)
    for view in views:
        count += np.bincount(view.visits.codes("merchant_id") + 1, minlength=len(count))
    ranked = sorted((-int(n), name) for n, name in zip(count[1:], names, strict=True) if n > 0)
    return [name for _, name in ranked[:MERCHANTS]]


def _coded(view: View, merchants: Sequence[str], categories: Sequence[str]) -> tuple[Runs, np.ndarray, np.ndarray]:
    """Visits, the place of each one's merchant in `merchants`, the place of each line's category in `categories`;
    one past the last for any other."""
    v, part = view.visits, view.purchases
    return v, part.ranked("merchant_id", merchants)[v.line[:-1]], part.ranked("category_l2", categories)


def _histories(view: View, names: Mapping[str, Sequence[str]], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    v, place, category = _coded(view, names["merchants"], names["categories"])
    return histories(v.start, v.days_ago, v.line, place, category, arrays["prevalence"], arrays["shares"])


@njit(cache=True)
def _prevalence(
    start: np.ndarray,
    days_ago: np.ndarray,
    line: np.ndarray,
    place: np.ndarray,
    category: np.ndarray,
    count: np.ndarray,
    ill: np.ndarray,
    free: np.ndarray,
) -> None:
    """Add each customer to `count` [M + 1], its infectious and its susceptible categories to `ill` and `free`
    [M + 1, C], at each of its merchants once and in the last row."""
    width, everyone = ill.shape[1], count.size - 1
    last = np.zeros(width, dtype=np.int64)
    been = np.zeros(count.size, dtype=np.bool_)
    for i in range(start.size - 1):
        if start[i] == start[i + 1]:
            continue
        last[:] = 0
        for k in range(start[i], start[i + 1]):
            for j in range(line[k], line[k + 1]):
                if category[j] < width:
                    last[category[j]] = days_ago[k]
        for k in range(start[i], start[i + 1] + 1):
            m = everyone if k == start[i + 1] else place[k]
            if been[m] or (m == everyone and k < start[i + 1]):
                continue
            been[m] = True
            count[m] += 1
            for c in range(width):
                ill[m, c] += last[c] > 0 and last[c] <= INFECTIOUS
                free[m, c] += last[c] == 0
        for k in range(start[i], start[i + 1]):
            been[place[k]] = False
        been[everyone] = False


@njit(cache=True)
def histories(
    start: np.ndarray,
    days_ago: np.ndarray,
    line: np.ndarray,
    place: np.ndarray,
    category: np.ndarray,
    prevalence: np.ndarray,
    shares: np.ndarray,
) -> np.ndarray:
    """Each customer's epidemic: float64 [customers, 8].

    0 adoptions after the first day, 1 infectious contacts of susceptible categories, 2 susceptible category-weeks,
    3 recoveries, 4 infectious category-weeks, 5 visits a week since the first, 6 and 7 mean susceptible and infectious
    share at the visited merchants.
    """
    customers, width = start.size - 1, prevalence.shape[1]
    result = np.zeros((customers, 8))
    first, last = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)  # of the episode, days ago; 0 none
    for i in range(customers):
        visits_ = start[i + 1] - start[i]
        if visits_ == 0:
            continue
        first[:] = 0
        last[:] = 0
        left, began, previous = width, days_ago[start[i]], days_ago[start[i]]
        adopted, contacts, waiting, recovered, spell, near_free, near_ill = 0, 0.0, 0, 0, 0, 0.0, 0.0
        for k in range(start[i], start[i + 1]):
            now, m = days_ago[k], place[k]
            waiting += left * (previous - now)
            previous = now
            near_free += shares[m, 0]
            near_ill += shares[m, 1]
            if now < began:
                for c in range(width):
                    if last[c] == 0:
                        contacts += prevalence[m, c]
            for j in range(line[k], line[k + 1]):
                c = category[j]
                if c >= width:
                    continue
                if last[c] == 0:
                    left -= 1
                    adopted += now < began
                    first[c] = now
                elif last[c] - now > INFECTIOUS:
                    recovered += 1
                    spell += first[c] - last[c]
                    first[c] = now
                last[c] = now
        waiting += left * previous
        for c in range(width):
            if last[c] > INFECTIOUS:
                recovered += 1
                spell += first[c] - last[c]
            elif last[c] > 0:
                spell += first[c]
        result[i, 0], result[i, 1], result[i, 2] = adopted, contacts, waiting / 7.0
        result[i, 3], result[i, 4], result[i, 5] = recovered, spell / 7.0, visits_ / max(began / 7.0, 1.0)
        result[i, 6], result[i, 7] = near_free / visits_, near_ill / visits_
    return result


@njit(cache=True)
def time_to_peak(
    transmission: np.ndarray,
    recovery: np.ndarray,
    susceptible: np.ndarray,
    infectious: np.ndarray,
    nodes: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Time from (s₀, i₀) to the largest i of the SIR equations, within ± `MOST_WEEKS`; NaN where a rate or share is not
    positive. With u = ln s the integral is ∫ du / (βκ i(eᵘ)) from ln(1/R) (at most 0) to ln s₀."""
    result = np.full(transmission.size, np.nan)
    for i in range(transmission.size):
        b, g, s0, i0 = transmission[i], recovery[i], susceptible[i], infectious[i]
        if not (b > 0 and g > 0 and s0 > 0 and i0 > 0):
            continue
        low, high = min(np.log(g / b), 0.0), np.log(s0)
        total = 0.0
        for k in range(nodes.size):
            u = 0.5 * (high + low) + 0.5 * (high - low) * nodes[k]
            total += weights[k] / (i0 + s0 - np.exp(u) + (u - high) * g / b)
        time = total * 0.5 * (high - low) / b
        result[i] = min(max(time, -MOST_WEEKS), MOST_WEEKS)
    return result


GROUP = Epidemic()
