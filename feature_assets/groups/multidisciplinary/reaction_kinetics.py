"""Reaction kinetics, 6 columns: spend as the concentration of a substance that decays, relaxes and is activated.

Three models, each fitted to the customer's own purchases.

- *Rate law* (order, rate constant, half-life): dx/dt = −k xⁿ after a peak, in its integrated form
  y(j) = (1 + (n − 1) k j)^(−1/(n − 1)) for y = x / x(peak), e^(−kj) at n = 1 (van 't Hoff 1884, Études de dynamique
  chimique). y is the mean over peaks of the weekly spend above the customer's median week.
- *Relaxation* (equilibrium level, approach rate): dx = λ (x* − x) dt + noise, whose weekly values are an AR(1) with
  coefficient e^(−λ) (Eigen 1954; Uhlenbeck & Ornstein 1930); x is log1p of weekly spend, the likelihood is exact.
- *Activation*: the rate of the next purchase is A e^(−E p) (Arrhenius 1889, price level p in the place of 1/T), fitted
  to the waiting times after each purchase day by exponential regression (Cox & Oakes 1984, ch. 6), the last one
  censored at t. p is the log price of the purchases relative to the fitted reference price of their category.

Rate law and relaxation are averaged over a grid of their parameters with weight proportional to the likelihood and a
uniform prior on order, log rate constant and log approach rate: a short series gives a moderate estimate. Rate law:
from 8 known weeks, 3 weeks with a purchase and one peak on; relaxation: 4 known weeks and a purchase (an empty series
has level 0 and no rate); activation: 4 purchase days of different price. Source: FEATURES §3.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.events.numbers import sum_at
from feature_assets.events.ragged import Events
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

WEEKS, MIN_WEEKS, MIN_ACTIVE = 52, 8, 3
MIN_RELAXED = 4  # weeks
AFTER = 6  # weeks of the profile after a peak
ORDERS = np.arange(0.0, 3.01, 0.25)
RATES = np.geomspace(0.05, 3.0, 28)  # a week
APPROACH = np.geomspace(0.05, 4.0, 24)  # a week
MIN_DAYS, PRICE_WINDOW = 4, 365
MOST_CATEGORIES, MIN_LINES = 512, 30
PRICE_PRIOR = 1.0  # standard deviation of the normal prior of E around 0, which keeps separable series finite
_NOISE = 0.01  # root mean square below which two profiles are the same


def _column(measure: str, meaning: str, unit: str) -> Column:
    return Column(f"reaction_kinetics__{measure}_365d", meaning, unit, "365 days")


_COLUMNS = (
    _column("order", "order n of the decay dx/dt = −k xⁿ of weekly spend after a peak", "order"),
    _column("rate_constant", "rate constant k of the decay of weekly spend after a peak", "per week"),
    _column("half_life", "time in which spend above the median week halves after a peak", "weeks"),
    _column("activation", "fall of the log rate of the next purchase for one unit of log price (Arrhenius)", "ratio"),
    _column("equilibrium", "level that log1p of weekly spend relaxes to", "log(1 + currency)"),
    _column("approach_rate", "rate at which weekly spend relaxes to its equilibrium", "per week"),
)


def decay(order: np.ndarray, rate: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Integrated rate law y(t) for y(0) = 1; zero once an order below 1 has used everything up."""
    n = np.asarray(order, dtype=np.float64)
    first = np.abs(n - 1.0) < 1e-9
    m = np.where(first, 1.0, n - 1.0)
    left = np.maximum(1.0 + m * rate * time, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(first, np.exp(-rate * time), np.where(left > 0, left ** (-1.0 / m), 0.0))


def half_life(order: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Time to y = ½: (2^(n−1) − 1) / ((n − 1) k), ln 2 / k at n = 1."""
    n = np.asarray(order, dtype=np.float64)
    first = np.abs(n - 1.0) < 1e-9
    m = np.where(first, 1.0, n - 1.0)
    return np.where(first, np.log(2.0), (2.0**m - 1.0) / m) / rate


_PROFILES = decay(ORDERS[:, None, None], RATES[None, :, None], np.arange(1.0, AFTER + 1))  # [orders, rates, AFTER]
_HALF = np.log(half_life(ORDERS[:, None], RATES[None, :]))
_LOG_RATES, _LOG_APPROACH = np.log(RATES), np.log(APPROACH)
_STAY = np.exp(-APPROACH)


class ReactionKinetics(FeatureGroup):
    """Decay, relaxation and activation of spend. Fitted: the reference price of each category."""

    name = "reaction_kinetics"
    description = "Order, rate and half-life of spend decay after a peak, activation by price, equilibrium"
    columns = _COLUMNS
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Array `reference` [C + 1]: mean log unit price of the most bought level-2 categories, and of everything."""
        views = training.views
        names = views[0].purchases.names("category_l2")
        count, total = np.zeros(len(names) + 1), np.zeros(len(names) + 1)
        for view in views:
            part = view.purchases
            price, place = _log_price(part), part.codes("category_l2") + 1
            known = np.isfinite(price)
            count += np.bincount(place[known], minlength=len(count))
            total += sum_at(place[known], price[known], len(total))
        everything = total.sum() / max(count.sum(), 1.0)
        often = sorted((-count[i + 1], name) for i, name in enumerate(names) if count[i + 1] >= MIN_LINES)
        chosen = [name for _, name in often[:MOST_CATEGORIES]]
        place_of = {name: i + 1 for i, name in enumerate(names)}
        reference = [total[place_of[name]] / count[place_of[name]] for name in chosen]
        return GroupState({"reference": np.array([*reference, everything])}, {"categories": chosen})

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        days, part = view.purchase_days, view.purchases
        weeks = np.minimum(view.observed_days // 7, WEEKS)
        relative = _log_price(part) - state.arrays["reference"][part.ranked("category_l2", state.meta["categories"])]
        known = np.isfinite(relative)
        number = np.repeat(np.arange(len(days.days_ago)), np.diff(days.line))[known]
        lines = np.bincount(number, minlength=len(days.days_ago))
        price = sum_at(number, np.clip(relative[known], -3.0, 3.0), len(days.days_ago))
        price = np.where(lines > 0, price / np.maximum(lines, 1), np.nan)
        law = rate_law(days.start, days.days_ago, days.amount, weeks, _PROFILES, _LOG_RATES, _HALF, ORDERS)
        relaxed = relaxation(days.start, days.days_ago, days.amount, weeks, _STAY, _LOG_APPROACH)
        energy = activation(days.start, days.days_ago, price)
        return Values(np.column_stack([law, energy, relaxed]))


def _log_price(part: Events) -> np.ndarray:
    """Log of what was paid for one unit (of the line where no quantity is stated), NaN where nothing was paid."""
    amount, quantity = part.values("amount"), part.values("quantity")
    unit = amount / np.where(quantity > 0, quantity, 1.0)
    return np.log(np.where(unit > 0, unit, np.nan))


@njit(cache=True)
def _weekly(days_ago: np.ndarray, amount: np.ndarray, weeks: int) -> np.ndarray:
    """Spend of the last `weeks` whole weeks before t, oldest first."""
    series = np.zeros(weeks)
    for j in range(days_ago.size):
        w = (days_ago[j] - 1) // 7
        if w < weeks:
            series[weeks - 1 - w] += amount[j]
    return series


@njit(cache=True)
def rate_law(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    weeks: np.ndarray,
    profiles: np.ndarray,
    log_rates: np.ndarray,
    log_half: np.ndarray,
    orders: np.ndarray,
) -> np.ndarray:
    """Posterior mean order, rate constant and half-life (the last two of the logarithm): float64 [customers, 3].

    A peak is a week above both neighbours and above mean + standard deviation, with `AFTER` known weeks behind it.
    """
    customers, after = start.size - 1, profiles.shape[2]
    result = np.full((customers, 3), np.nan)
    y = np.zeros(after)
    for i in range(customers):
        n = weeks[i]
        if n < max(MIN_WEEKS, after + 2) or start[i + 1] - start[i] < MIN_ACTIVE:
            continue
        x = _weekly(days_ago[start[i] : start[i + 1]], amount[start[i] : start[i + 1]], n)
        base = np.sort(x)[(n - 1) // 2]
        mean, active = 0.0, 0
        for w in range(n):
            mean += x[w]
            active += x[w] > 0
        mean /= n
        spread = 0.0
        for w in range(n):
            spread += (x[w] - mean) ** 2
        limit = mean + np.sqrt(spread / n)
        top = 0.0
        y[:] = 0.0
        for w in range(1, n - after):
            if x[w] > x[w - 1] and x[w] >= x[w + 1] and x[w] >= limit:
                top += x[w] - base
                for j in range(after):
                    y[j] += x[w + 1 + j] - base
        if active < MIN_ACTIVE or top <= 0.0:
            continue
        total, order, rate, half = 0.0, 0.0, 0.0, 0.0
        for a in range(orders.size):
            for b in range(log_rates.size):
                rss = after * _NOISE * _NOISE
                for j in range(after):
                    rss += (y[j] / top - profiles[a, b, j]) ** 2
                weight = rss ** (-0.5 * after)
                total += weight
                order += weight * orders[a]
                rate += weight * log_rates[b]
                half += weight * log_half[a, b]
        result[i, 0], result[i, 1], result[i, 2] = order / total, np.exp(rate / total), np.exp(half / total)
    return result


@njit(cache=True)
def relaxation(
    start: np.ndarray,
    days_ago: np.ndarray,
    amount: np.ndarray,
    weeks: np.ndarray,
    stay: np.ndarray,
    log_approach: np.ndarray,
) -> np.ndarray:
    """Posterior mean of the equilibrium of log1p weekly spend, and approach rate: float64 [customers, 2].

    For each b = e^(−λ) the mean μ and the variance of the stationary AR(1) are integrated out of the exact likelihood.
    """
    customers = start.size - 1
    result = np.full((customers, 2), np.nan)
    score, level = np.zeros(stay.size), np.zeros(stay.size)
    for i in range(customers):
        n = weeks[i]
        if n < MIN_RELAXED or start[i + 1] == start[i]:
            continue
        x = _weekly(days_ago[start[i] : start[i + 1]], amount[start[i] : start[i + 1]], n)
        centre = 0.0
        for w in range(n):
            x[w] = np.log1p(x[w])
            centre += x[w]
        centre /= n
        s0, s1, s00, s11, s01 = 0.0, 0.0, 0.0, 0.0, 0.0
        for w in range(n):
            x[w] -= centre
            if w > 0:
                s0 += x[w - 1]
                s1 += x[w]
                s00 += x[w - 1] ** 2
                s11 += x[w] ** 2
                s01 += x[w] * x[w - 1]
        if s00 + s11 < 1e-12:
            result[i, 0] = centre
            continue
        m, best = n - 1, -np.inf
        for k in range(stay.size):
            b = stay[k]
            mu = ((1 + b) * x[0] + s1 - b * s0) / (1 + b + m * (1 - b))
            shift = (1 - b) * mu
            rss = s11 + b * b * s00 - 2 * b * s01 + m * shift * shift - 2 * shift * (s1 - b * s0)
            rss = max(rss + (1 - b * b) * (x[0] - mu) ** 2, 1e-12)
            precision = (1 - b * b) + m * (1 - b) ** 2
            score[k] = 0.5 * (np.log(1 - b * b) - np.log(precision) - m * np.log(rss))
            level[k] = mu
            best = max(best, score[k])
        total, mu, rate = 0.0, 0.0, 0.0
        for k in range(stay.size):
            weight = np.exp(score[k] - best)
            total += weight
            mu += weight * level[k]
            rate += weight * log_approach[k]
        result[i, 0], result[i, 1] = centre + mu / total, np.exp(rate / total)
    return result


@njit(cache=True)
def activation(start: np.ndarray, days_ago: np.ndarray, price: np.ndarray) -> np.ndarray:
    """E of the waiting-time model rate = A e^(−E p), days of the last `PRICE_WINDOW` days: float64 [customers].

    Maximum of the exponential likelihood with a normal prior on E, by Newton's method; A is eliminated.
    """
    customers = start.size - 1
    result = np.full(customers, np.nan)
    for i in range(customers):
        events, known, mean, square = 0, 0, 0.0, 0.0
        for j in range(start[i], start[i + 1]):
            if days_ago[j] <= PRICE_WINDOW and np.isfinite(price[j]):
                known += 1
                mean += price[j]
                square += price[j] ** 2
                events += j + 1 < start[i + 1]
        if known < MIN_DAYS:
            continue
        mean /= known
        if square / known - mean * mean < 1e-8:
            continue
        energy = 0.0
        for _ in range(25):
            w0, w1, w2, seen = 0.0, 0.0, 0.0, 0.0
            for j in range(start[i], start[i + 1]):
                if days_ago[j] <= PRICE_WINDOW and np.isfinite(price[j]):
                    last = j + 1 == start[i + 1]
                    wait = days_ago[j] if last else days_ago[j] - days_ago[j + 1]
                    p = price[j] - mean
                    weight = wait * np.exp(-energy * p)
                    w0 += weight
                    w1 += weight * p
                    w2 += weight * p * p
                    if not last:
                        seen += p
            # log posterior: −E Σp − N log Σ wait e^(−E p) − E² / (2 prior²)
            slope = -seen + events * w1 / w0 - energy / PRICE_PRIOR**2
            curve = events * (w2 / w0 - (w1 / w0) ** 2) + 1.0 / PRICE_PRIOR**2
            step = min(max(slope / curve, -1.0), 1.0)
            energy += step
            if abs(step) < 1e-9:
                break
        result[i] = energy
    return result


GROUP = ReactionKinetics()
