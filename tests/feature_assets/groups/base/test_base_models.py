"""BG/NBD and Gamma–Gamma against quadrature over the latent rates, and their fits on simulated customers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta, gamma, roots_genlaguerre, roots_sh_jacobi
from scipy.stats import gamma as gamma_distribution

from feature_assets.groups.base import bgnbd, gamma_gamma

# CDNOW estimates of the paper (per week), a monthly-like set, and an a beyond 1
PARAMETERS = [(0.243, 4.414, 0.793, 2.426), (1.4, 9.3, 0.05, 28.0), (2.0, 30.0, 1.7, 5.0)]
CUSTOMERS = [(0, 0.0, 39.0), (2, 30.43, 38.86), (1, 1.7, 38.9), (26, 240.0, 250.0), (120, 200.0, 273.0)]
Moment = Callable[[np.ndarray, np.ndarray], np.ndarray]


def integrate(parameters: tuple[float, ...], x: int, rate: float, left: bool, moment: Moment) -> float:
    """∫∫ moment(λ, p) · likelihood · prior dλ dp of the part that is still alive at T (`rate` α + T) or has left after
    t_x (`rate` α + t_x), by Gauss–Laguerre and Gauss–Jacobi quadrature."""
    r, alpha, a, b = parameters
    u, weight_u = roots_genlaguerre(60, r + x - 1)
    p, weight_p = roots_sh_jacobi(60, a + b + x - 1, a + left)  # p^(a−1+left) (1−p)^(b+x−1−left)
    grid = moment(u[:, None] / rate, p[None, :])
    return float((weight_u @ grid @ weight_p) * alpha**r / gamma(r) / beta(a, b) / rate ** (r + x))


def one(rates: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    return np.ones(np.broadcast_shapes(rates.shape, leaving.shape))


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(("x", "t_x", "age"), CUSTOMERS)
def test_bgnbd_equals_quadrature(parameters: tuple[float, ...], x: int, t_x: float, age: float) -> None:
    _, alpha, _, _ = parameters
    alive = integrate(parameters, x, alpha + age, False, one)
    left = integrate(parameters, x, alpha + t_x, True, one) if x > 0 else 0.0
    given = (np.array(parameters), np.array([x]), np.array([t_x]), np.array([age]))
    assert bgnbd.log_likelihood(*given)[0] == pytest.approx(np.log(alive + left), rel=1e-9)
    assert bgnbd.p_alive(*given)[0] == pytest.approx(alive / (alive + left), rel=1e-8)

    def purchases(rates: np.ndarray, leaving: np.ndarray) -> np.ndarray:
        return -np.expm1(-rates * leaving * 28.0) / leaving  # E[X(t) | λ, p]

    expected = integrate(parameters, x, alpha + age, False, purchases) / (alive + left)
    given_horizon = (given[0], 28.0, *given[1:])
    assert bgnbd.expected_purchases(*given_horizon)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("periods", [1, 2, 3])
@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize(("x", "t_x", "age"), CUSTOMERS)
def test_chances_of_purchases_equal_quadrature(
    parameters: tuple[float, ...], x: int, t_x: float, age: float, periods: int
) -> None:
    """Of each λ and p by counting: n purchases in a period, none of which is the last but in the last period."""
    _, alpha, _, _ = parameters
    days = 28.0

    def moment(rates: np.ndarray, leaving: np.ndarray) -> np.ndarray:
        stays = np.zeros(np.broadcast_shapes(rates.shape, leaving.shape))
        term = np.exp(-rates * days) * np.ones_like(stays)
        for n in range(1, 400):
            term = term * rates * days * (1 - leaving) / n
            stays += term
        return stays ** (periods - 1) * -np.expm1(-rates * days)

    alive = integrate(parameters, x, alpha + age, False, one)
    left = integrate(parameters, x, alpha + t_x, True, one) if x > 0 else 0.0
    expected = integrate(parameters, x, alpha + age, False, moment) / (alive + left)
    found = bgnbd.chance_of_purchases(
        np.array(parameters), days, periods, np.array([x]), np.array([t_x]), np.array([age])
    )[0]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_chances_come_true_for_simulated_customers() -> None:
    """20,000 customers of one process go on for three periods: mean chances equal shares, by quarter of the chance."""
    rng = np.random.default_rng(3)
    truth, age, days = np.array([0.8, 8.0, 1.2, 4.0]), 60.0, 20.0
    customers = 20_000
    rate, leaving = rng.gamma(truth[0], 1 / truth[1], customers), rng.beta(truth[2], truth[3], customers)
    x, t_x, bought = np.zeros(customers), np.zeros(customers), np.zeros((customers, 3), dtype=bool)
    now, active = np.zeros(customers), np.ones(customers, dtype=bool)
    while active.any():
        now = now + rng.exponential(1 / rate)
        active &= now < age + 3 * days
        early, late = active & (now <= age), active & (now > age)
        x[early] += 1
        t_x[early] = now[early]
        bought[np.flatnonzero(late), ((now[late] - age) // days).astype(int)] = True
        active &= rng.random(customers) >= leaving
    for periods in (1, 2, 3):
        chance = bgnbd.chance_of_purchases(truth, days, periods, x, t_x, np.full(customers, age))
        happened = bought[:, :periods].all(axis=1)
        for part in np.array_split(np.argsort(chance), 4):
            error = np.sqrt(max(chance[part].mean() * (1 - chance[part].mean()), 1e-4) / len(part))
            assert happened[part].mean() == pytest.approx(chance[part].mean(), abs=4 * error)


def test_chances_of_nobody_and_of_everybody() -> None:
    parameters, known = np.array(PARAMETERS[0]), (np.array([4.0]), np.array([30.0]), np.array([38.0]))
    assert bgnbd.chance_of_purchases(parameters, 0.0, 1, *known)[0] == 0.0
    soon, later = (bgnbd.chance_of_purchases(parameters, days, 1, *known)[0] for days in (7.0, 7e9))
    assert soon < later <= bgnbd.p_alive(parameters, *known)[0]
    assert np.isnan(bgnbd.chance_of_purchases(parameters, 7.0, 3, np.full(1, np.nan), known[1], known[2])).all()


def test_bgnbd_is_smooth_where_its_formula_has_a_hole() -> None:
    x, t_x, age = np.array([3.0]), np.array([20.0]), np.array([40.0])
    at = [bgnbd.expected_purchases(np.array([1.0, 8.0, a, 3.0]), 28.0, x, t_x, age)[0] for a in (0.999, 1.0, 1.001)]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2, rel=1e-5)


def test_bgnbd_more_recent_is_more_alive_and_unknown_stays_unknown() -> None:
    parameters = np.array(PARAMETERS[0])
    alive = bgnbd.p_alive(parameters, np.full(4, 5.0), np.array([10.0, 20.0, 30.0, np.nan]), np.full(4, 38.0))
    assert alive[0] < alive[1] < alive[2] < 1
    assert np.isnan(alive[3])
    assert np.isnan(bgnbd.p_alive(np.full(4, np.nan), np.zeros(1), np.zeros(1), np.ones(1)))


def test_bgnbd_reproduces_the_published_cdnow_estimates() -> None:
    """Fader, Hardie & Lee 2005, table 1: r .243, α 4.414, a .793, b 2.426 on the 2,357 customers of the sample, with a
    log-likelihood of −9582.4."""
    _, x, t_x, age = cdnow("cdnow_customers_summary.csv")
    assert x.size == 2357
    fitted = bgnbd.fit(x, t_x, age)
    np.testing.assert_allclose(fitted, PARAMETERS[0], rtol=2e-3)
    assert bgnbd.log_likelihood(fitted, x, t_x, age).sum() == pytest.approx(-9582.4, abs=0.05)


def test_gamma_gamma_reproduces_the_published_cdnow_estimates() -> None:
    """Fader & Hardie 2013: p 6.25, q 3.74, γ 15.44 on the 946 customers who bought again."""
    _, x, _, _, mean = cdnow("cdnow_customers_summary_with_transactions.csv")
    again = x > 0
    assert again.sum() == 946
    np.testing.assert_allclose(gamma_gamma.fit(x[again], mean[again]), (6.25, 3.74, 15.44), rtol=2e-3)


def cdnow(name: str) -> np.ndarray:
    """Columns of the CDNOW sample of Fader & Hardie, as the package lifetimes carries it."""
    data = Path(str(distribution("lifetimes").locate_file(f"lifetimes/datasets/{name}")))
    return np.loadtxt(data.read_text(encoding="utf-8").splitlines(), delimiter=",", skiprows=1, unpack=True)


def simulate(rng: np.random.Generator, customers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers of BG/NBD with r .8, α 8, a 1.2, b 4, seen for 50 to 200 days."""
    age = rng.uniform(50, 200, customers)
    x, t_x = np.zeros(customers), np.zeros(customers)
    for i in range(customers):
        rate, leaving, now = rng.gamma(0.8, 1 / 8), rng.beta(1.2, 4), 0.0
        while True:
            now += rng.exponential(1 / rate)
            if now > age[i]:
                break
            x[i], t_x[i] = x[i] + 1, now
            if rng.random() < leaving:
                break
    return x, t_x, age


def test_bgnbd_fit_finds_the_simulated_process() -> None:
    data = simulate(np.random.default_rng(11), 4000)
    truth = np.array([0.8, 8.0, 1.2, 4.0])
    fitted = bgnbd.fit(*data)
    assert bgnbd.log_likelihood(fitted, *data).sum() >= bgnbd.log_likelihood(truth, *data).sum()
    np.testing.assert_allclose(fitted, truth, rtol=0.35)
    assert fitted[0] / fitted[1] == pytest.approx(0.1, rel=0.1)  # mean rate
    for i in range(4):  # a maximum: every step away is worse
        for factor in (0.98, 1.02):
            other = fitted * np.where(np.arange(4) == i, factor, 1.0)
            assert bgnbd.log_likelihood(other, *data).sum() < bgnbd.log_likelihood(fitted, *data).sum()


def test_fits_without_anything_to_learn_from_are_unknown() -> None:
    assert np.isnan(bgnbd.fit(np.zeros(5), np.zeros(5), np.ones(5))).all()
    assert np.isnan(gamma_gamma.fit(np.ones(3), np.zeros(3))).all()


@pytest.mark.parametrize(("x", "mean"), [(1, 12.0), (4, 35.0), (80, 60.0)])
def test_gamma_gamma_equals_quadrature(x: int, mean: float) -> None:
    p, q, scale = parameters = np.array([6.25, 3.74, 15.44])  # CDNOW estimates of the note

    def joint(nu: float) -> float:
        of_mean = gamma_distribution.pdf(mean, p * x, scale=1 / (nu * x))
        return float(of_mean * gamma_distribution.pdf(nu, q, scale=1 / scale))

    total = quad(joint, 0, 3, points=[p / mean], limit=400)[0]
    expected = quad(lambda nu: p / nu * joint(nu), 1e-12, 3, points=[p / mean], limit=400)[0] / total
    x_, mean_ = np.array([x]), np.array([mean])
    assert np.exp(gamma_gamma.log_likelihood(parameters, x_, mean_)[0]) == pytest.approx(total, rel=1e-7)
    assert gamma_gamma.expected_spend(parameters, x_, mean_)[0] == pytest.approx(expected, rel=1e-7)


def test_gamma_gamma_fit_is_a_maximum_in_any_currency_and_shrinks() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(1, 30, 5000).astype(np.float64)
    mean = rng.gamma(5.0 * x, 1 / (rng.gamma(4.0, 1 / 60.0, 5000) * x))
    fitted = gamma_gamma.fit(x, mean)
    truth = np.array([5.0, 4.0, 60.0])
    np.testing.assert_allclose(fitted, truth, rtol=0.3)
    assert gamma_gamma.log_likelihood(fitted, x, mean).sum() >= gamma_gamma.log_likelihood(truth, x, mean).sum()
    in_cents = gamma_gamma.fit(x, 100 * mean)
    np.testing.assert_allclose(in_cents, fitted * [1, 1, 100], rtol=1e-4)
    population = fitted[0] * fitted[2] / (fitted[1] - 1)
    few, many = gamma_gamma.expected_spend(fitted, np.array([1.0, 50.0]), np.full(2, 3 * population))
    assert population < few < many < 3 * population
