"""Gamma–Gamma model of the amount of a purchase, shrunk towards the population for customers with few purchases.

Amounts of a customer are Gamma(p, ν) with ν ~ Gamma(q, γ). Parameters are `[p, q, gamma]`; x is the number of
purchases, `mean` the mean amount of them. Source: Fader & Hardie (2013), The Gamma-Gamma Model of Monetary Value.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from feature_assets.groups.base.bgnbd import OPTIONS

LOWEST, HIGHEST = 1e-3, 1e6  # of each parameter, as in `bgnbd`


def log_likelihood(parameters: np.ndarray, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Log density of the mean amount of x purchases, shape of `x`. Source: Fader & Hardie (2013) eq. 1a."""
    p, q, gamma = parameters
    return (
        gammaln(p * x + q)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(gamma)
        + (p * x - 1.0) * np.log(mean)
        + p * x * np.log(x)
        - (p * x + q) * np.log(gamma + x * mean)
    )


def fit(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Maximum-likelihood `[p, q, gamma]`, float64, over customers with a positive mean; NaN without any."""
    some = (x > 0) & (mean > 0)
    if not some.any():
        return np.full(3, np.nan)
    x, mean = x[some], mean[some]
    scale = float(np.mean(mean))  # amounts in units of their mean: the search does not depend on the currency

    def loss(logs: np.ndarray) -> float:
        return -float(np.mean(log_likelihood(np.exp(logs), x, mean / scale)))

    bounds = [(np.log(LOWEST), np.log(HIGHEST))] * 3
    found = minimize(loss, np.log([2.0, 3.0, 2.0]), jac="3-point", method="L-BFGS-B", bounds=bounds, options=OPTIONS)
    return np.exp(found.x) * np.array([1.0, 1.0, scale])


def expected_spend(parameters: np.ndarray, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """E[amount of a purchase | x, mean] = p (γ + x·mean) / (p x + q − 1), shape of `x`; NaN where the mean of ν⁻¹ does
    not exist. Source: Fader & Hardie (2013) eq. 5."""
    p, q, gamma = parameters
    below = p * x + q - 1.0
    return np.where(below > 0, p * (gamma + x * mean) / np.where(below > 0, below, 1.0), np.nan)
