"""BG/NBD model of repeat purchases: purchase rate while active, probability of being still active and of purchases.

Purchases follow a Poisson process of rate λ ~ Gamma(r, α); after each, the customer leaves with probability p ~ Beta(a,
b). Parameters are `[r, alpha, a, b]`; x, t_x, T are repeat purchases, time of the last and age, in days.
Source: Fader, Hardie & Lee (2005), "Counting your customers" the easy way, Marketing Science 24(2).
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, gammaln, hyp2f1

LOWEST, HIGHEST = 1e-4, 1e5  # of each parameter: keeps a likelihood without a maximum inside (few customers) finite
OPTIONS = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8}


def log_likelihood(parameters: np.ndarray, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Log-likelihood of each customer, shape of `x`. Source: Fader, Hardie & Lee (2005) eq. 6."""
    r, alpha, a, b = parameters
    shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    shared += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    alive = -(r + x) * np.log(alpha + age)
    left = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
    return shared + np.where(x > 0, np.logaddexp(alive, left), alive)


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Maximum-likelihood `[r, alpha, a, b]`, float64; NaN where nobody bought again."""
    if not np.any(x > 0):
        return np.full(4, np.nan)

    def loss(logs: np.ndarray) -> float:
        return -float(np.mean(log_likelihood(np.exp(logs), x, t_x, age)))

    start = np.log([1.0, max(float(np.mean(age) / np.mean(x)), 1e-2), 0.5, 5.0])
    bounds = [(np.log(LOWEST), np.log(HIGHEST))] * 4
    found = minimize(loss, np.clip(start, *bounds[0]), jac="3-point", method="L-BFGS-B", bounds=bounds, options=OPTIONS)
    return np.exp(found.x)


def p_alive(parameters: np.ndarray, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """P(alive | x, t_x, T), shape of `x`; 1 without a repeat purchase, since leaving needs one.
    Source: Fader, Hardie & Lee (2008), Computing P(alive) using the BG/NBD model."""
    r, alpha, a, b = parameters
    odds = np.log(a) - np.log(b + np.maximum(x, 1) - 1) + (r + x) * (np.log(alpha + age) - np.log(alpha + t_x))
    return np.where(np.isfinite(odds), np.where(x > 0, expit(-odds), 1.0), np.nan)


def expected_purchases(
    parameters: np.ndarray, horizon: float, x: np.ndarray, t_x: np.ndarray, age: np.ndarray
) -> np.ndarray:
    """E[purchases in (T, T + horizon] | x, t_x, T], shape of `x`.

    Eq. 10 of Fader, Hardie & Lee (2005); its ₂F₁(r + x, b + x; a + b + x − 1; z) overflows for frequent buyers, so it
    is written by Euler's transformation as (1 − z)^(a − 1 − r − x) ₂F₁(a + b − 1 − r, a − 1; a + b + x − 1; z), whose
    power cancels the one before it but for (1 − z)^(a − 1). The limit at a = 1 is taken just beside it.
    """
    r, alpha, a, b = parameters
    if abs(a - 1.0) < 1e-6:
        a = 1.0 + 1e-6
    z = horizon / (alpha + age + horizon)
    c = a + b + x - 1.0
    lived = c / (a - 1.0) * (1.0 - (1.0 - z) ** (a - 1.0) * hyp2f1(a + b - 1.0 - r, a - 1.0, c, z))
    return np.maximum(lived, 0.0) * p_alive(np.array([r, alpha, a, b]), x, t_x, age)


def chance_of_purchases(
    parameters: np.ndarray, days: float, periods: int, x: np.ndarray, t_x: np.ndarray, age: np.ndarray
) -> np.ndarray:
    """P(a purchase in each of `periods` periods of `days` from T on | x, t_x, T), shape of `x`.

    Whoever is alive at T has λ ~ Gamma(r + x, α + T) and p ~ Beta(a, b + x), independent of each other, and buys in a
    period without leaving in it with probability u − v, u = exp(−λ p days), v = exp(−λ days); in the last one with
    1 − v. The mean of (u − v)^(periods − 1) (1 − v) is a sum of `_mean_power`s; of one period it is
    1 − ((α + T) / (α + T + days))^(r + x).
    """
    total = np.zeros(np.shape(x))
    for k in range(periods):
        u, weight = periods - 1 - k, comb(periods - 1, k) * (-1.0) ** k
        total += weight * (
            _mean_power(parameters, days, u, k, x, age) - _mean_power(parameters, days, u, k + 1, x, age)
        )
    return np.clip(total, 0.0, 1.0) * p_alive(parameters, x, t_x, age)


def _mean_power(parameters: np.ndarray, days: float, u: int, v: int, x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """E[exp(−λ days (u p + v)) | alive at T, x, T], shape of `x`.

    Over λ it is (A / (B + u days p))^(r + x) with A = α + T, B = A + v days; over p that is a ₂F₁ at −u days / B, which
    Pfaff's transformation brings to w = u days / (B + u days), where all terms are positive.
    """
    r, alpha, a, b = parameters
    known = alpha + age
    reached = known + days * (u + v)
    power = (known / reached) ** (r + x)
    if u == 0:
        return power
    return power * hyp2f1(r + x, b + x, a + b + x, days * u / reached)
