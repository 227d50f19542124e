"""Each model of the multidisciplinary and economics groups recovers the parameters that a simulation of it had, and
equals an independent computation (scipy, numpy's FFT, brute force) where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import integrate, optimize, special

from feature_assets.data.contract import SPEND, conform
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.groups.domain import financial_behaviour, income_decomposition
from feature_assets.groups.multidisciplinary import epidemic, interference, reaction_kinetics, routine_activity
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

FIRST = date(2020, 1, 1)


def simulated(days: int, events: dict[str, Any], customers: int | None = None, **more: pl.DataFrame) -> Tables:
    """Tables of `days` days of events: `who`, `day` (from 0) and optionally hour, amount, merchant, category, kind,
    quantity, each an array of one value an event. Every customer joined on the first day."""
    n = len(events["who"])
    who = np.asarray(events["who"])
    category = events.get("category", np.zeros(n, dtype=int))
    seconds = np.asarray(events["day"]) * 86400 + np.round(np.asarray(events.get("hour", np.full(n, 12.0))) * 3600)
    at = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=float(s)) for s in seconds]
    kinds_of_lines = list(events.get("kind", ["purchase"] * n))
    transactions = pl.DataFrame(
        {
            "transaction_id": [f"x{i:07d}" for i in range(n)],
            "basket_id": [f"b{i:07d}" for i in range(n)],
            "customer_id": [f"c{i:04d}" for i in who],
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "amount": np.asarray(events.get("amount", np.ones(n)), dtype=float),
            "discount": np.zeros(n),
            "quantity": pl.Series(events.get("quantity", [None] * n), dtype=pl.Int64),
            "merchant_id": pl.Series(
                [
                    f"m{shop}" if kind in SPEND else None
                    for shop, kind in zip(events.get("merchant", np.zeros(n, dtype=int)), kinds_of_lines, strict=True)
                ],
                dtype=pl.String,
            ),
            "product_id": [f"p{i:03d}" for i in category],
            "channel": ["a"] * n,
            "kind": kinds_of_lines,
        }
    )
    kinds = np.arange(int(np.max(category, initial=0)) + 1)
    products = pl.DataFrame(
        {
            "product_id": [f"p{i:03d}" for i in kinds],
            "category_l1": ["all"] * len(kinds),
            "category_l2": [f"g{i:03d}" for i in kinds],
            "category_l3": pl.Series([None] * len(kinds), dtype=pl.String),
            "brand": pl.Series([None] * len(kinds), dtype=pl.String),
        }
    )
    ids = [f"c{i:04d}" for i in range(customers or int(who.max()) + 1)]
    frames = {
        "customers": pl.DataFrame({"customer_id": ids, "joined_on": [FIRST] * len(ids)}),
        "transactions": transactions,
        "products": products,
        **more,
    }
    dataset = DatasetConfig(
        name="simulated",
        title="made by a test",
        notice="made by a test",
        source="contract_files",
        channels=("a", "b", "c"),
        zone="UTC",
        covers_from=FIRST,
        covers_until=FIRST + timedelta(days=days),
    )
    return Tables(dataset, {name: conform(name, frame) for name, frame in frames.items()})


def computed(group: Any, tables: Tables, days: int) -> dict[str, np.ndarray]:
    """Columns of a group at the end of `days` days, fitted on the same view; measure → float64, NaN = null."""
    view = View(tables, FIRST + timedelta(days=days))
    frame = group.compute(view, group.fit([view], [{}], 0), {})
    assert frame.columns == ["customer_id", *(c.name for c in group.columns)]
    return {c.name.split("__")[1]: frame[c.name].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in group.columns}


def spending(series: np.ndarray, first_day: int = 0) -> dict[str, np.ndarray]:
    """One purchase for each positive value of [customers, days]."""
    who, day = np.nonzero(series > 0)
    return {"who": who, "day": day + first_day, "amount": series[who, day]}


# reaction kinetics


@pytest.mark.parametrize(("order", "rate"), [(0.0, 0.25), (0.5, 0.4), (1.0, 0.4), (1.5, 0.8), (2.0, 2.4)])
def test_rate_law_recovers_order_rate_and_half_life(order: float, rate: float) -> None:
    """Bursts every 26 weeks that decay by dx/dt = −k xⁿ, with 3 % noise; integrated by scipy, not by our formula."""
    solved = integrate.solve_ivp(
        lambda _, x: -rate * np.maximum(x, 0) ** order, (0, 26), [1.0], t_eval=np.arange(26.0), rtol=1e-9, atol=1e-12
    )
    rng = np.random.default_rng(1)
    weekly = np.tile(np.maximum(solved.y[0], 0.0), 2) * 100
    series = np.zeros((20, 364))
    series[:, 3::7] = np.roll(weekly, 4) * np.exp(0.03 * rng.standard_normal((20, 52)))
    found = computed(reaction_kinetics.GROUP, simulated(364, spending(series)), 364)
    assert np.median(found["order_365d"]) == pytest.approx(order, abs=0.25)
    assert np.median(found["rate_constant_365d"]) == pytest.approx(rate, rel=0.12)
    half = float(reaction_kinetics.half_life(np.array(order), np.array(rate)))
    assert np.median(found["half_life_365d"]) == pytest.approx(half, rel=0.12)


def test_integrated_rate_law_is_the_solution_of_its_equation() -> None:
    for order in reaction_kinetics.ORDERS:
        solved = integrate.solve_ivp(
            lambda _, x, n=order: -0.3 * np.maximum(x, 1e-12) ** n, (0, 2), [1.0], t_eval=[1.0, 2.0], rtol=1e-9
        )
        ours = reaction_kinetics.decay(np.array(order), np.array(0.3), np.array([1.0, 2.0]))
        np.testing.assert_allclose(ours, solved.y[0], rtol=1e-5)
        half = reaction_kinetics.half_life(np.array(order), np.array(0.3))
        assert reaction_kinetics.decay(np.array(order), np.array(0.3), half) == pytest.approx(0.5)


def test_relaxation_recovers_equilibrium_and_approach_rate() -> None:
    rng = np.random.default_rng(2)
    for rate in (0.15, 0.6):
        stay, series = np.exp(-rate), np.zeros((300, 364))
        x = 3.0 + 0.5 * rng.standard_normal(300)
        for week in range(52):
            x = 3.0 + stay * (x - 3.0) + 0.5 * np.sqrt(1 - stay**2) * rng.standard_normal(300)
            series[:, 7 * week] = np.expm1(np.maximum(x, 0.01))
        found = computed(reaction_kinetics.GROUP, simulated(364, spending(series)), 364)
        assert np.median(found["approach_rate_365d"]) == pytest.approx(rate, rel=0.25)
        assert found["equilibrium_365d"].mean() == pytest.approx(3.0, abs=0.03)


def test_relaxation_is_the_mean_of_the_exact_gaussian_posterior() -> None:
    """Multivariate normal density by scipy, integrated over mean and log variance numerically."""
    x = np.log1p(np.array([3.0, 5.0, 0.0, 8.0, 4.0, 4.0, 9.0, 1.0, 0.0, 2.0]))
    days_ago = 7 * np.arange(10, 0, -1)
    grid_mu, grid_s = np.linspace(-40, 43, 1661), np.linspace(-3, 4, 121)
    weights, levels = [], []
    for rate in reaction_kinetics.APPROACH:
        cov = np.exp(-rate) ** np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
        inverse, log_det = np.linalg.inv(cov), np.linalg.slogdet(cov)[1]
        r = x[None, :] - grid_mu[:, None]
        squares = ((r @ inverse) * r).sum(axis=1)
        # scale of the innovations: var x = s² / (1 − b²), flat prior on log s
        s2 = np.exp(2 * grid_s)[None, :] / (1 - np.exp(-2 * rate))
        density = np.exp(-0.5 * squares[:, None] / s2 - 5 * np.log(s2) - 0.5 * log_det)
        weights.append(density.sum())
        levels.append((density.sum(axis=1) * grid_mu).sum() / density.sum())
    weight = np.array(weights) / np.sum(weights)
    ours = reaction_kinetics.relaxation(
        np.array([0, 10]),
        days_ago,
        np.expm1(x),
        np.array([10]),
        reaction_kinetics._STAY,
        reaction_kinetics._LOG_APPROACH,
    )
    assert np.log(ours[0, 1]) == pytest.approx((weight * reaction_kinetics._LOG_APPROACH).sum(), abs=0.02)
    assert ours[0, 0] == pytest.approx((weight * np.array(levels)).sum(), abs=0.05)


def test_activation_recovers_the_response_to_price() -> None:
    """Waiting times of rate A e^(−E p); prices of four categories whose references are 1, 5, 20 and 80."""
    rng = np.random.default_rng(3)
    for energy in (-0.8, 0.0, 1.0):
        who, day, amount, category = [], [], [], []
        for c in range(60):
            t = 0.0
            while t < 360:
                p, g = 0.6 * rng.standard_normal(), int(rng.integers(0, 4))
                who.append(c)
                day.append(int(t))
                amount.append((1, 5, 20, 80)[g] * np.exp(p) * 3)
                category.append(g)
                t += 1 + np.floor(rng.exponential(np.exp(energy * p) / 0.25))
        events = {"who": who, "day": day, "amount": amount, "category": category, "quantity": [3] * len(who)}
        found = computed(reaction_kinetics.GROUP, simulated(365, events), 365)["activation_365d"]
        # days are whole: waiting times of at least one day flatten the response a little
        assert np.median(found) == pytest.approx(energy, abs=0.2)


def test_activation_is_the_maximum_of_its_posterior() -> None:
    rng = np.random.default_rng(4)
    days_ago = np.sort(rng.choice(300, 30, replace=False) + 1)[::-1].copy()
    price = rng.standard_normal(30)
    wait = np.append(days_ago[:-1] - days_ago[1:], days_ago[-1])

    def loss(theta: np.ndarray) -> float:
        rate = np.exp(theta[0] - theta[1] * price)
        return -np.log(rate[:-1]).sum() + (rate * wait).sum() + theta[1] ** 2 / 2

    best = optimize.minimize(loss, np.array([-2.0, 0.0]), method="BFGS", options={"gtol": 1e-8}).x
    ours = reaction_kinetics.activation(np.array([0, 30]), days_ago, price)
    assert ours[0] == pytest.approx(best[1], abs=1e-5)


# epidemic


def test_time_to_peak_is_that_of_the_differential_equations() -> None:
    cases = [(1.2, 0.3, 0.9, 0.01), (0.8, 0.5, 0.8, 0.1), (2.0, 0.2, 0.5, 0.3), (0.6, 0.3, 0.95, 0.001)]
    b, g, s, i = (np.array(v) for v in zip(*cases, strict=True))
    ours = epidemic.time_to_peak(b, g, s, i, epidemic._NODES, epidemic._WEIGHTS)
    for k, (beta, gamma, s0, i0) in enumerate(cases):
        solved = integrate.solve_ivp(
            lambda _, y, a=beta, c=gamma: [-a * y[0] * y[1], a * y[0] * y[1] - c * y[1]],
            (0, 200),
            [s0, i0],
            rtol=1e-10,
            atol=1e-12,
            events=lambda _, y, a=beta, c=gamma: a * y[0] - c,
        )
        assert ours[k] == pytest.approx(solved.t_events[0][0], rel=1e-3)
    # a peak that is past: from there the same time leads to the given state
    past = epidemic.time_to_peak(*(np.array([v]) for v in (1.2, 0.6, 0.3, 0.3)), epidemic._NODES, epidemic._WEIGHTS)[0]
    solved = integrate.solve_ivp(
        lambda _, y: [1.2 * y[0] * y[1], -1.2 * y[0] * y[1] + 0.6 * y[1]],
        (0, 50),
        [0.3, 0.3],
        rtol=1e-10,
        atol=1e-12,
        events=lambda _, y: 1.2 * y[0] - 0.6,
    )
    assert past == pytest.approx(-solved.t_events[0][0], rel=1e-3)


def _outbreak(beta: Sequence[float], gamma: Sequence[float], days: int) -> tuple[np.ndarray, ...]:
    """Customers who visit a shop every second day, adopt its infectious categories and give them up."""
    rng = np.random.default_rng(5)
    shops, width = 6, 40
    prevalence = rng.uniform(0.02, 0.3, (shops + 1, width)).astype(np.float32)
    owner, ago, line, place, category = [], [], [0], [], []
    for c, (b, g) in enumerate(zip(beta, gamma, strict=True)):
        state = np.zeros(width, dtype=int)  # 0 susceptible, 1 infectious, 2 recovered
        for day in range(0, days, 2):
            m = int(rng.integers(0, shops))
            if day > 0:
                state[(state == 0) & (rng.random(width) < 1 - np.exp(-b * prevalence[m]))] = 1
            bought = np.flatnonzero((state == 1) & (rng.random(width) < 0.7))
            state[(state == 1) & (rng.random(width) < 1 - np.exp(-g * 2 / 7))] = 2
            owner.append(c)
            ago.append(days - day)
            place.append(m)
            category += bought.tolist() or [width]
            line.append(len(category))
    return (
        np.searchsorted(np.array(owner), np.arange(len(beta) + 1)),
        *(np.array(v) for v in (ago, line, place, category)),
        prevalence,
        np.full((shops + 1, 2), 0.5),
    )


def test_adoption_and_recovery_rates_are_recovered() -> None:
    beta, gamma = np.repeat([0.02, 0.06, 0.15], 60), np.tile(np.repeat([0.05, 0.2], 30), 3)
    history = epidemic.histories(*_outbreak(beta, gamma, 500))
    found = history[:, 0] / history[:, 1], history[:, 3] / history[:, 4]
    for value in np.unique(beta):
        assert np.mean(found[0][beta == value]) == pytest.approx(value, rel=0.1)
    for value in np.unique(gamma):
        assert np.mean(found[1][gamma == value]) == pytest.approx(value, rel=0.2)
    np.testing.assert_allclose(history[:, 5], 250 / (500 / 7))


def test_gamma_prior_recovers_its_parameters() -> None:
    rng = np.random.default_rng(6)
    exposure = rng.uniform(5, 50, 20_000)
    k = rng.poisson(rng.gamma(3.0, 1 / 12.0, 20_000) * exposure)
    np.testing.assert_allclose(epidemic.gamma_prior(k, exposure), [3.0, 12.0], rtol=0.07)
    assert epidemic.gamma_prior(np.zeros(0), np.zeros(0)).tolist() == [1.0, 1.0]


def test_prevalence_is_that_of_the_customers_of_a_merchant() -> None:
    whole = synthetic.tables()
    view = View(whole, synthetic.AS_OF)
    state = epidemic.GROUP.fit([view], [{}], 0)
    lines = plain_view.purchases(whole, synthetic.AS_OF).select("row", "at", "merchant_id", "category_l2", "days_ago")
    at_merchant = lines.group_by(
        "row", "at", maintain_order=True
    ).first()  # a visit is at the merchant of its first line
    ill = {
        (r, c) for r, c, d in lines.select("row", "category_l2", "days_ago").iter_rows() if c is not None and d <= 56
    }
    population = lines["row"].n_unique()
    for m, merchant in enumerate(state.meta["merchants"]):
        customers = at_merchant.filter(pl.col("merchant_id") == merchant)["row"].unique().to_list()
        for c, category in enumerate(state.meta["categories"]):
            everyone = sum((r, category) in ill for r in lines["row"].unique()) / population
            here = sum((r, category) in ill for r in customers)
            expected = (here + epidemic.SHRINK * everyone) / (len(customers) + epidemic.SHRINK)
            assert state.arrays["prevalence"][m, c] == pytest.approx(expected, rel=1e-5)


def test_epidemic_columns_by_brute_force() -> None:
    """Every column of some customers, from the lines one by one and the fitted state."""
    view = View(synthetic.tables(), synthetic.AS_OF)
    state = epidemic.GROUP.fit([view], [{}], 0)
    frame = epidemic.GROUP.compute(view, state, {})
    places = {m: i for i, m in enumerate(state.meta["merchants"])}
    (a, b), (c, d) = state.arrays["priors"]
    bought = plain_view.purchases(synthetic.tables(), synthetic.AS_OF)
    for row in range(5, 85, 7):
        lines = bought.filter(pl.col("row") == row)
        began, seen = lines["days_ago"][0], {category: [] for category in state.meta["categories"]}
        contacts, adopted, n = 0.0, 0, 0
        for _, visit in lines.group_by("at", maintain_order=True):
            ago, n = visit["days_ago"][0], n + 1
            if ago < began:
                prevalence = state.arrays["prevalence"][places[visit["merchant_id"][0]]]
                contacts += sum(p for p, past in zip(prevalence, seen.values(), strict=True) if not past)
            for category in visit["category_l2"].to_list():
                if category in seen:
                    adopted += not seen[category] and ago < began
                    seen[category].append(ago)
        waiting = sum(began - (past[0] if past else 0) for past in seen.values()) / 7
        recovered, spell = 0, 0
        for past in filter(None, seen.values()):
            jumps = [(x, y) for x, y in zip(past, [*past[1:], 0], strict=True) if x - y > epidemic.INFECTIOUS]
            recovered += len(jumps)
            spell += past[0] - sum(x - y for x, y in jumps)
        beta, gamma = (a + adopted) / (b + contacts), (c + recovered) / (d + spell / 7)
        expected = [contacts / waiting, beta, gamma, beta * n / max(began / 7, 1) / gamma]
        assert frame.row(row)[1:5] == pytest.approx(expected, rel=1e-5), row


# interference


def _amplitudes(x: np.ndarray) -> np.ndarray:
    """Complex amplitudes [3, blocks] of the weekly, bi-weekly and 28-day wave by numpy's FFT of each block of 28 days,
    turned to the phase at the first day."""
    blocks = []
    for first in range(0, len(x) - 27, 7):
        spectrum = np.fft.fft(x[first : first + 28])
        blocks.append([spectrum[k] * np.exp(-2j * np.pi * k * first / 28) for k in (4, 2, 1)])
    return np.array(blocks).T


def test_waves_equal_those_of_the_fft() -> None:
    rng = np.random.default_rng(7)
    series = np.where(rng.random((30, 182)) < 0.4, rng.gamma(2.0, 20.0, (30, 182)), 0.0)
    tables = simulated(182, spending(series))
    found = computed(interference.GROUP, tables, 182)
    days = View(tables, FIRST + timedelta(days=182)).purchase_days
    raw = interference.waves(
        days.start, days.days_ago, np.log1p(days.amount), np.full(30, 26), interference._WAVES, interference.BEATS
    )
    for i in range(30):
        z = _amplitudes(np.log1p(series[i]))
        phase = np.angle(z)
        for k, (n, a, b) in enumerate(((2, 1, 0), (4, 2, 0), (2, 2, 1))):
            expected = np.abs(np.exp(1j * (n * phase[a] - phase[b])).mean())
            assert raw[i, k] == pytest.approx(expected, abs=1e-9)
        for k, name in enumerate(("weekly", "biweekly", "monthly")):
            expected = np.angle((z[k, 4:] * np.conj(z[k, :-4])).sum())
            assert found[f"phase_drift_{name}_182d"][i] == pytest.approx(expected, abs=1e-4)
        intensity = np.abs(z[0]) ** 2
        explained, depth = {}, {}
        for f in interference.BEATS[interference.BEATS * 7 * len(intensity) >= 0.8]:
            angle = 2 * np.pi * f * 7 * np.arange(len(intensity))
            design = np.column_stack([np.ones_like(angle), np.cos(angle), np.sin(angle)])
            fit, *_ = np.linalg.lstsq(design, intensity, rcond=None)
            explained[f] = -((intensity - design @ fit) ** 2).sum()
            depth[f] = min(np.hypot(fit[1], fit[2]) / fit[0], 1.0) if fit[0] > 0 else 1.0
        best = max(explained, key=lambda f: explained[f])
        assert abs(found["beat_frequency_182d"][i] - best) <= 0.51 / 728
        assert found["beat_depth_182d"][i] == pytest.approx(depth[best], abs=1e-4)


def test_planted_waves_are_recovered() -> None:
    """Locked and unlocked waves, a calendar month, a beat of 1/70 a day, a period of 7.2 days."""
    t = np.arange(182)
    rng = np.random.default_rng(8)

    def wave(period: float, phase: float = 0.0) -> np.ndarray:
        return np.cos(2 * np.pi * t / period + phase)

    locked = wave(7) + wave(14, 1.0) + wave(28, 0.5)
    monthly = wave(365.25 / 12)
    beat = wave(7) + 0.4 * np.cos(2 * np.pi * t * (1 / 7 + 1 / 70))
    slow = wave(7.2)
    series = np.expm1(4 + np.stack([locked, monthly, beat, slow]) + 0.05 * rng.standard_normal((4, 182)))
    found = computed(interference.GROUP, simulated(182, spending(series)), 182)
    assert min(found[f"coherence_{n}_182d"][0] for n in ("weekly_biweekly", "weekly_monthly")) > 0.6  # of 1 less chance
    assert found["coherence_weekly_biweekly_182d"][1] < 0.4  # noise only
    assert found["phase_drift_monthly_182d"][1] == pytest.approx(2 * np.pi * (28 / (365.25 / 12) - 1), abs=0.05)
    assert found["phase_drift_weekly_182d"][3] == pytest.approx(2 * np.pi * (28 / 7.2 - 4), abs=0.05)
    assert abs(found["phase_drift_weekly_182d"][0]) < 0.05
    assert found["beat_frequency_182d"][2] == pytest.approx(1 / 70, rel=0.08)
    # visibility 2r/(1+r²) of r = .4 after the block's transfer of the second wave, a Dirichlet kernel at 1/70
    offset = 1 / 70
    r = 0.4 * abs(np.sin(np.pi * 28 * offset) / (28 * np.sin(np.pi * offset)))
    assert found["beat_depth_182d"][2] == pytest.approx(2 * r / (1 + r * r), abs=0.08)


def test_coherence_of_random_purchases_is_that_of_chance() -> None:
    """Whatever the number of purchases: isolated ones are coherent by construction, and that is taken out."""
    rng = np.random.default_rng(20)
    rate = np.repeat([0.03, 0.1, 0.5], 150)
    series = np.where(rng.random((450, 182)) < rate[:, None], rng.gamma(2.0, 20.0, (450, 182)), 0.0)
    found = computed(interference.GROUP, simulated(182, spending(series), 450), 182)
    for name in ("weekly_biweekly", "weekly_monthly", "biweekly_monthly"):
        for value in np.unique(rate):
            assert np.nanmean(found[f"coherence_{name}_182d"][rate == value]) == pytest.approx(0, abs=0.04)


# routine activity


def test_near_repeats_are_recovered() -> None:
    rng = np.random.default_rng(9)
    for rate, tolerance in ((0.0, 0.02), (0.2, 0.03), (0.5, 0.06)):  # repeats make their places look more common
        who, day, merchant = [], [], []
        for c in range(60):
            for d in np.flatnonzero(rng.random(365) < 0.15):
                m = int(rng.integers(0, 40))
                queue = [(int(d), m)]
                while queue:
                    at, m = queue.pop()
                    if at < 365:
                        who.append(c)
                        day.append(at)
                        merchant.append(m)
                        if rng.random() < rate:
                            queue.append((at + int(rng.integers(1, 8)), m))
        events = {"who": who, "day": day, "merchant": merchant, "hour": rng.uniform(8, 20, len(who))}
        found = computed(routine_activity.GROUP, simulated(365, events), 365)["near_repeat_rate_365d"]
        assert found.mean() == pytest.approx(rate, abs=tolerance)


def test_routine_measures_recover_what_was_planted() -> None:
    """A share of the visits is at the place of the weekday, others anywhere; the last 56 days come 3 hours later."""
    rng = np.random.default_rng(10)
    n, days = 150, 364
    for share in (0.3, 0.6, 0.9):
        who, day = np.nonzero(rng.random((n, days)) < 0.5)
        merchant = np.where(rng.random(len(who)) < share, day % 7, 10 + rng.integers(0, 30, len(who)))
        hour = rng.normal(8, 0.5, len(who)).clip(6.1, 8.9) + 3 * (day >= days - 56)  # the same part of the day
        events = {"who": who, "day": day, "merchant": merchant, "hour": hour}
        found = computed(routine_activity.GROUP, simulated(days, events), days)
        assert found["temporal_displacement_365d"].mean() == pytest.approx(3.0, abs=0.1)
        assert found["hot_spot_share_365d"].mean() == pytest.approx(share, abs=0.08)
        assert found["regularity_of_place_365d"].mean() == pytest.approx(share, abs=0.05)


def test_deviation_recovers_the_share_that_leaves_the_routine() -> None:
    """What leaves is at any of the 4 known places or at a new one, each as likely."""
    rng = np.random.default_rng(11)
    routine = (0.5, 0.35, 0.1, 0.05)
    ago = np.concatenate([np.full(150, 100), np.full(60, 5)])
    for gone in (0.1, 0.5, 0.9):
        found = []
        for _ in range(200):
            place = rng.choice(4, 210, p=routine)
            place[150:] = np.where(rng.random(60) < gone, rng.integers(0, 5, 60), place[150:])
            found.append(routine_activity.deviation(ago, np.zeros(210, dtype=int), place, 5, routine_activity.SHARES))
        assert np.mean(found) == pytest.approx(gone, abs=0.09)  # the posterior mean stays away from 0 and 1


def test_near_repeats_by_brute_force() -> None:
    rng = np.random.default_rng(12)
    ago = np.sort(rng.integers(1, 200, 60))[::-1].copy()
    place = rng.integers(0, 5, 60)
    often = np.bincount(place)
    asked = [i for i in range(60) if ago[i] > 7]
    o = [any(place[j] == place[i] for j in range(i + 1, 60) if ago[i] - ago[j] <= 7) for i in asked]
    e = [1 - (1 - (often[place[i]] - 1) / 59) ** sum(ago[i] - ago[j] <= 7 for j in range(i + 1, 60)) for i in asked]
    expected = (np.mean(o) - np.mean(e)) / (1 - np.mean(e))
    assert routine_activity.near_repeats(ago, place, often) == pytest.approx(expected)


# income decomposition


def _local_level(y: np.ndarray, q: float) -> tuple[float, float]:
    """Filtered level at the end and log-likelihood (constants apart) of a local level with a flat start, by the density
    of the differences and generalised least squares: no Kalman filter."""
    n = len(y)
    cov = q * np.minimum.outer(np.arange(n), np.arange(n)) + np.eye(n)  # level(0) is free, the rest relative to it
    inverse, one = np.linalg.inv(cov), np.ones(n)
    start = (one @ inverse @ y) / (one @ inverse @ one)
    # E[level(n − 1) | y] = start + Cov(level, y) inverse (y − start)
    level = start + q * np.arange(n) @ inverse @ (y - start)
    d = np.diff(y)
    cov_d = np.eye(n - 1) * (q + 2) - np.eye(n - 1, k=1) - np.eye(n - 1, k=-1)
    rss = d @ np.linalg.inv(cov_d) @ d
    return level, -0.5 * ((n - 1) * np.log(rss + 1e-6) + np.linalg.slogdet(cov_d)[1])


def test_permanent_income_equals_generalised_least_squares() -> None:
    rng = np.random.default_rng(13)
    y = np.zeros((5, income_decomposition.MONTHS))
    months = np.array([4, 7, 12, 18, 24])
    for i, n in enumerate(months):
        y[i, :n] = 3000 + rng.normal(0, 200, n).cumsum() + rng.normal(0, 300, n)
    ours = income_decomposition.permanent(y, months, income_decomposition.RATIOS)
    for i, n in enumerate(months):
        x = y[i, :n] / y[i, :n].mean()
        fits = np.array([_local_level(x, q) for q in income_decomposition.RATIOS])
        weight = np.exp(fits[:, 1] - fits[:, 1].max())
        weight /= weight.sum()
        q = income_decomposition.RATIOS
        assert ours[i, 0] == pytest.approx((weight * fits[:, 0]).sum() * y[i, :n].mean(), rel=1e-6)
        assert ours[i, 2] == pytest.approx((weight * q / (q + 2)).sum(), rel=1e-6)
        assert ours[i, 1] == pytest.approx(x[-1] - (weight * fits[:, 0]).sum(), abs=1e-6)
        arc = 2 * np.diff(x) / (x[1:] + x[:-1])
        assert ours[i, 3] == pytest.approx(arc.std(), rel=1e-6)


def _paid(monthly: np.ndarray, kind: str, day: float = 10.0) -> dict[str, Any]:
    """One inflow a month (1/12 of a year), on the same day of each."""
    who, month = np.nonzero(monthly > 0)
    at = np.minimum(np.round(month * 365.25 / 12 + day), monthly.shape[1] * 365.25 / 12 - 1).astype(int)
    return {"who": who, "day": at, "amount": monthly[who, month], "kind": [kind] * len(who)}


def test_permanent_and_transitory_parts_are_recovered() -> None:
    rng = np.random.default_rng(14)
    days, n = 731, 400
    for q in (0.02, 1.0, 5.0):
        level = 3000 + np.sqrt(q) * rng.normal(0, 50, (n, 24)).cumsum(axis=1)
        tables = simulated(days, _paid(level + rng.normal(0, 50, (n, 24)), "salary"))
        found = computed(income_decomposition.GROUP, tables, days)
        share = q / (q + 2)
        assert found["permanent_share"].mean() == pytest.approx(share, abs=0.1)
        error = found["permanent_income"] - level[:, -1]
        assert error.std() < 52  # the month itself would have an error of 50 whatever q, the filter has
        if q < 0.1:
            assert error.std() < 30
        assert abs(error.mean()) < 6


def test_regularity_shares_and_volatility_of_income() -> None:
    rng = np.random.default_rng(15)
    n, days = 300, 731
    events: dict[str, list] = {"who": [], "day": [], "amount": [], "kind": []}
    for kappa, first in ((0.5, 0), (2.0, 100), (8.0, 200)):
        for c in range(first, first + 100):
            for month in range(12):
                start = (date(2021 + month // 12, month % 12 + 1, 1) - FIRST).days
                angle = rng.vonmises(0.0, kappa) % (2 * np.pi)
                events["who"].append(c)
                events["day"].append(min(start + int(angle / (2 * np.pi) * 30), days - 1))
                events["amount"].append(1000.0)
                events["kind"].append("salary")
    for kind, amount in (("benefit", 300.0), ("transfer_in", 500.0), ("interest", 200.0)):
        events["who"] += list(range(n))
        events["day"] += rng.integers(400, days, n).tolist()
        events["amount"] += [amount * 12] * n
        events["kind"] += [kind] * n
    found = computed(income_decomposition.GROUP, simulated(days, events), days)
    for kappa, first in ((0.5, 0), (2.0, 100), (8.0, 200)):
        expected = (special.ive(1, kappa) / special.ive(0, kappa)) ** 2  # of the von Mises distribution
        assert np.nanmean(found["salary_regularity_365d"][first : first + 100]) == pytest.approx(expected, abs=0.06)
    np.testing.assert_allclose(found["salary_share_365d"], 0.5, atol=0.02)
    np.testing.assert_allclose(found["benefit_share_365d"], 0.15, atol=0.02)
    np.testing.assert_allclose(found["transfer_share_365d"], 0.25, atol=0.02)


def test_income_is_missing_where_the_data_has_no_inflow() -> None:
    tables = simulated(300, {"who": np.arange(50) % 5, "day": np.arange(50) * 5})
    view = View(tables, FIRST + timedelta(days=300))
    state = income_decomposition.GROUP.fit([view], [{}], 0)
    assert state.meta == {"inflows": {}}
    frame = income_decomposition.GROUP.compute(view, state, {})
    assert frame.drop("customer_id").null_count().sum_horizontal()[0] == 5 * 8
    behaviour = computed(financial_behaviour.GROUP, tables, 300)
    assert [name for name, values in behaviour.items() if np.isfinite(values).any()] == ["round_number_share_365d"]


# financial behaviour


def _together(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: np.concatenate([np.asarray(part[key]) for part in parts]) for key in ("who", "day", "amount", "kind")}


def _bought(series: np.ndarray, first_day: int = 0) -> dict[str, Any]:
    events = spending(series, first_day)
    return {**events, "kind": np.array(["purchase"] * len(events["who"]))}


def test_propensity_and_smoothing_are_recovered() -> None:
    rng = np.random.default_rng(16)
    n, weeks = 100, 52
    for propensity in (0.1, 0.4, 0.8):
        income = np.where(np.arange(weeks) % 4 == 1, rng.gamma(20, 100, (n, weeks)), 0.0)
        before = np.concatenate([np.zeros((n, 1)), income[:, :-1]], axis=1)
        weekly = 200 + propensity * (0.7 * income + 0.3 * before) + rng.normal(0, 40, (n, weeks))
        series, paid = np.zeros((n, 364)), np.zeros((n, 364))
        series[:, 3::7], paid[:, 2::7] = np.maximum(weekly, 0.01), income
        events = _together(_bought(series), {**spending(paid), "kind": ["salary"] * int((paid > 0).sum())})
        found = computed(financial_behaviour.GROUP, simulated(364, events), 364)
        assert np.nanmean(found["marginal_propensity_364d"]) == pytest.approx(propensity, abs=0.03)
    for sensitivity in (0.0, 0.5, 1.0):
        income = 3000 * np.exp(rng.normal(0, 0.4, (n, 18)))
        spend = 2000 * np.exp(sensitivity * np.log(income / 3000) + rng.normal(0, 0.05, (n, 18)))
        bought = _paid(spend, "purchase")
        found = computed(financial_behaviour.GROUP, simulated(548, _together(bought, _paid(income, "salary"))), 548)
        assert np.nanmean(found["smoothing_548d"]) == pytest.approx(1 - sensitivity, abs=0.08)


def test_payday_effect_is_recovered() -> None:
    rng = np.random.default_rng(17)
    for effect in (-0.5, 0.0, 1.0):
        series, paid = rng.gamma(2.0, 10.0, (100, 365)), np.zeros((100, 365))
        paid[:, 10::30] = 1000
        for k in range(4):
            series[:, 10 + k :: 30] *= np.exp(effect)
        events = _together(_bought(series), {**spending(paid), "kind": ["salary"] * int((paid > 0).sum())})
        found = computed(financial_behaviour.GROUP, simulated(365, events), 365)
        assert np.nanmean(found["payday_effect_365d"]) == pytest.approx(effect, abs=0.05)


def test_rates_and_shares_are_what_was_spent_and_received() -> None:
    """Planted rates: consumption 70 % of inflows, repayments 10 %, cash a fifth, 30 % whole amounts, refunds."""
    rng = np.random.default_rng(18)
    n, days = 60, 360
    bought, paid = np.zeros((n, days)), np.zeros((n, days))
    bought[:, 1::2] = np.where(rng.random((n, 180)) < 0.3, 20.0, 20.07)
    paid[:, 5::30] = 30 * 20.0

    def flow(kind: str, share: float) -> dict[str, Any]:
        who, day = np.nonzero(paid > 0)
        sign = -1 if kind == "refund" else 1
        return {"who": who, "day": day + 1, "amount": sign * share * paid[who, day], "kind": [kind] * len(who)}

    salary = {**flow("salary", 1.0)}
    events = _together(
        _bought(bought),
        salary,
        flow("withdrawal", 0.25 / 2),
        flow("fee", 0.1),
        flow("refund", 0.025),
        flow("repayment", 0.1),
        flow("transfer_out", 0.3),
    )
    at = [FIRST + timedelta(days=int(d)) for d in (170, 230, 290, 350)]
    balances = pl.DataFrame(
        {
            "customer_id": [f"c{c:04d}" for c in range(n) for _ in range(8)],
            "account_id": [f"a{c}{kind}" for c in range(n) for kind in "xy" for _ in range(4)],
            "on": at * (2 * n),
            "balance": [1.0, 700.0, 300.0, 500.0, 50.0, 900.0, 900.0, 1000.0] * n,
            "limit": pl.Series([None] * 8 * n, dtype=pl.Float64),
            "kind": (["current"] * 4 + ["savings"] * 4) * n,
        }
    )
    found = computed(financial_behaviour.GROUP, simulated(days, events, balances=balances), days)
    consumption = 0.5 + 0.125 + 0.1 - 0.025

    def mean(name: str) -> float:
        return float(np.mean(found[name]))

    assert mean("savings_rate_182d") == pytest.approx(1 - consumption, abs=0.02)
    assert mean("debt_service_182d") == pytest.approx(0.1, abs=1e-6)
    assert mean("cash_share_182d") == pytest.approx(0.2, abs=0.01)
    assert mean("round_number_share_365d") == pytest.approx((0.3 - 0.01) / 0.99, abs=0.02)
    monthly = consumption * 600 * 365.25 / 12 / 30
    assert mean("buffer_months_182d") == pytest.approx((500 + 1000) / monthly, rel=0.03)
    assert mean("liquidity_182d") == pytest.approx((300 + 900) / (monthly / 2), rel=0.03)


# what all six keep

GROUPS = (
    reaction_kinetics.GROUP,
    epidemic.GROUP,
    interference.GROUP,
    routine_activity.GROUP,
    income_decomposition.GROUP,
    financial_behaviour.GROUP,
)


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_sparse_customers_get_nulls_and_others_values(group: Any) -> None:
    """No event, one, two on one instant, refunds only; then 12 purchases, months of income."""
    rng = np.random.default_rng(19)
    who, day, kind, amount = [1, 2, 2, 3, 3], [10, 20, 20, 30, 40], ["purchase"] * 3 + ["refund"] * 2, [5, 0, 0, -3, -4]
    merchant = [0, 1, 1, 2, 2]
    for c in range(4, 60):
        n = 12 if c < 30 else 120
        who += [c] * (n + 12)
        day += [*rng.integers(0, 364, n).tolist(), *range(20, 356, 28)]
        kind += ["purchase"] * n + ["salary"] * 12
        amount += [*np.round(rng.gamma(2, 20, n), 2).tolist(), *(1000 + 50 * rng.random(12)).tolist()]
        merchant += [*rng.integers(0, 5, n).tolist(), *[0] * 12]
    events = {"who": who, "day": day, "kind": kind, "amount": amount, "merchant": merchant, "category": merchant}
    found = computed(group, simulated(364, events), 364)
    for name, values in found.items():
        # nothing is known of a customer without any event but that it had no inflow
        assert values[0] == 0 if name == "permanent_income" else np.isnan(values[0]), name
        assert not np.isinf(values).any(), name
    wanted = {"buffer_months_182d", "liquidity_182d", "debt_service_182d", "cash_share_182d"}  # no such table or kind
    known = [np.isfinite(values[4:]).mean() for name, values in found.items() if name not in wanted]
    assert min(known) > 0.5


def test_events_of_a_customer_lie_between_its_offsets() -> None:
    view = View(synthetic.tables(), synthetic.AS_OF)
    lines = plain_view.purchases(synthetic.tables(), synthetic.AS_OF)
    days, seen = view.purchase_days, view.visits
    expected = (
        lines.group_by("row", "days_ago").agg(pl.col("amount").sum()).sort("row", "days_ago", descending=[False, True])
    )
    np.testing.assert_array_equal(days.days_ago, expected["days_ago"].to_numpy())
    np.testing.assert_allclose(days.amount, expected["amount"].to_numpy())
    np.testing.assert_array_equal(np.repeat(np.arange(view.customers.height), np.diff(days.start)), expected["row"])
    assert len(seen.days_ago) == lines.select("row", "at").unique().height
    assert seen.line[-1] == lines.height == days.line[-1]
