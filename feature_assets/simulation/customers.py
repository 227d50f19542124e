"""The customers of a block and their traits, which do not change with time.

The causal order: segment → age, income → wealth, spending, card use; community → region and favourite merchants.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from feature_assets.simulation.chances import gamma_rows, logistic, pick, pick_shared, zipf
from feature_assets.simulation.config import CATEGORIES, OPENABLE, REGIONS, SimulationConfig
from feature_assets.simulation.segments import ROUTINES
from feature_assets.simulation.world import World

EMPLOYED, SELF_EMPLOYED, RETIRED, STUDENT, UNEMPLOYED = range(5)
OCCUPATIONS = ("employed", "self_employed", "retired", "student", "unemployed")
SUBSCRIPTIONS = 2  # at most, a customer
SUBSCRIBED = (CATEGORIES.index("services"), CATEGORIES.index("leisure"))
BRANCH_WEEK = (0.25, 1.5, 1.6, 1.5, 0.2, 1.75, 0.2)
COLD_LIMIT = 20 * 365  # no customer joined earlier than that before day 0


@dataclass(frozen=True)
class Customers:
    """One row a customer, n of them; latent, except for the columns that `frames.py` writes.

    Attributes:
        segment, community, region, routine, journey: int64 [n].
        anonymous: bool [n], a visitor without identity.
        joined: int64 [n], day number, negative before day 0.
        age, income (a year), wealth, digital (0 to 1): float64 [n].
        occupation, referrer: int64 [n], indices into OCCUPATIONS and REFERRERS.
        rate: purchases a day; sessions: sessions a day; level: shift of the log amount.
        mix: float32 [n, 12], category shares. channel: float32 [n, 3].
        weekdays: float32 [n, 7], mean 1. hours: float32 [n, 2, 7, 4], share of each part of the day by weekday,
            before and from the drift on.
        phase: where in the week a loop of behaviour begins, [0, 1).
        salary_day: int64 [n], kind of payday. payday, biweekly, biweekly_phase, elasticity, patience: float64 [n].
        favourite: int64 [n, 12], favourite merchant of each category; favoured: probability of buying at it.
        loyal: int64 [n, 12], maker of each category bought by habit; loyalty: its probability.
        near_repeat, round_share, cash, trips (a month), click (logit), uplift: float64 [n].
        subscription_*: [n, 2]; `subscription_day` (of the month) is 0 without a subscription.
        products: float64 [n, 11], openings a day while not held and steady.
        utilisation: float64 [n], mean logit. credit_limit: float64 [n]. statement_day: int64 [n], in [0, 7).
        limit_raised: int64 [n], day of a higher limit (beyond the data: never).
        caller: float64 [n], contacts a month.
    """

    segment: np.ndarray
    community: np.ndarray
    region: np.ndarray
    routine: np.ndarray
    journey: np.ndarray
    anonymous: np.ndarray
    joined: np.ndarray
    age: np.ndarray
    income: np.ndarray
    wealth: np.ndarray
    digital: np.ndarray
    occupation: np.ndarray
    referrer: np.ndarray
    rate: np.ndarray
    sessions: np.ndarray
    level: np.ndarray
    mix: np.ndarray
    channel: np.ndarray
    weekdays: np.ndarray
    hours: np.ndarray
    phase: np.ndarray
    salary_day: np.ndarray
    payday: np.ndarray
    biweekly: np.ndarray
    biweekly_phase: np.ndarray
    elasticity: np.ndarray
    patience: np.ndarray
    favourite: np.ndarray
    favoured: np.ndarray
    loyal: np.ndarray
    loyalty: np.ndarray
    near_repeat: np.ndarray
    round_share: np.ndarray
    cash: np.ndarray
    trips: np.ndarray
    click: np.ndarray
    uplift: np.ndarray
    subscription_category: np.ndarray
    subscription_merchant: np.ndarray
    subscription_amount: np.ndarray
    subscription_day: np.ndarray
    subscription_start: np.ndarray
    products: np.ndarray
    utilisation: np.ndarray
    credit_limit: np.ndarray
    statement_day: np.ndarray
    limit_raised: np.ndarray
    caller: np.ndarray

    def __len__(self) -> int:
        return len(self.segment)

    def take(self, rows: np.ndarray) -> Customers:
        """The customers `rows`, in that order."""
        return Customers(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def draw_customers(rng: np.random.Generator, world: World, n: int) -> Customers:
    """n customers of the world."""
    config, seg = world.config, world.segments
    z = pick_shared(rng, seg.share, n)
    anonymous = rng.random(n) < config.anonymous_share
    age = np.clip(rng.normal(seg.age[z], 9.0), 18, 92)
    occupation = _occupations(rng, age)
    earning = np.array([0.0, -0.05, -0.45, -1.25, -0.95])[occupation]
    log_income = rng.normal(seg.log_income[z], 0.33) + earning - 0.0004 * (age - 48) ** 2
    richness = log_income - np.log(65_000)
    income = np.exp(log_income)
    digital = logistic(seg.digital[z] - 0.035 * (age - 45) + 0.7 * rng.standard_normal(n))
    rate = np.exp(np.log(config.purchase_rate) + seg.rate[z] + rng.normal(0, config.rate_spread, n) + 0.2 * richness)
    own = np.where(anonymous, 0.3, 0.6) * rng.standard_normal(n)
    sessions = np.exp(np.log(config.session_rate) + seg.sessions[z] + own) * (0.4 + digital)
    referrer = _referrers(rng, age)
    community = pick(rng, seg.communities[z])
    joined = _joined(rng, config, n)
    utilisation = seg.utilisation[z] + 0.35 * (np.log(rate / config.purchase_rate) - richness) + rng.normal(0, 0.6, n)
    wealth = income * np.exp(rng.normal(-0.9, 0.9, n) + 0.025 * (age - 45))
    routine = np.where(rng.random(n) < config.routine_followed, seg.routine[z], rng.integers(0, len(ROUTINES), n))
    phase = rng.random(n)
    subscriptions = _subscriptions(rng, world, community, anonymous)
    payday_kind = np.array([1, 0, 2, 3, 4])[pick_shared(rng, np.array([0.1, 0.1, 0.5, 0.15, 0.15]), n)]
    return Customers(
        segment=z,
        community=community,
        region=pick(rng, seg.regions[z]),
        routine=routine,
        journey=seg.journey[z],
        anonymous=anonymous,
        joined=joined,
        age=age,
        income=income,
        wealth=wealth,
        digital=digital,
        occupation=occupation,
        referrer=referrer,
        rate=np.where(anonymous, config.visitor_rate, np.minimum(rate, 6.0)),
        sessions=np.where(anonymous, sessions * np.array(config.visitor_sessions)[referrer], sessions),
        level=seg.amount[z] + 0.30 * richness + rng.normal(0, 0.22, n),
        mix=_mix(rng, world, z, anonymous),
        channel=gamma_rows(rng, seg.channel[z] * _digital_tilt(digital), 9.0),
        weekdays=_weekdays(rng, seg.weekdays[z], routine),
        hours=_hours(rng, world, z, routine, phase),
        phase=phase,
        salary_day=payday_kind,
        payday=seg.payday[z] * rng.uniform(0.5, 1.5, n),
        biweekly=seg.biweekly[z] * rng.uniform(0.3, 1.0, n),
        biweekly_phase=rng.random(n),
        elasticity=seg.elasticity[z] * rng.uniform(0.5, 1.5, n),
        patience=seg.patience[z],
        favourite=_favourites(rng, world, community),
        favoured=np.clip(rng.normal(seg.favourite[z], 0.12), 0.05, 0.95),
        loyal=pick_shared(rng, world.catalogue.maker_shares, n * len(CATEGORIES)).reshape(n, len(CATEGORIES)),
        loyalty=np.clip(rng.normal(seg.loyalty[z], 0.12) + np.array(config.routine_loyalty)[routine], 0.0, 0.95),
        near_repeat=seg.near_repeat[z],
        round_share=np.clip(rng.normal(seg.round_share[z], 0.08), 0.0, 0.7),
        cash=seg.cash[z] * np.exp(0.5 * rng.standard_normal(n)) * (1.4 - 0.8 * digital),
        trips=np.where(anonymous, 0.0, seg.trips[z] * np.exp(0.4 * richness + rng.normal(0, 0.4, n))) / 12,
        click=seg.click[z] + np.array(config.routine_click)[routine] + rng.normal(0, 0.8, n) + 0.6 * (digital - 0.5),
        uplift=seg.uplift[z] + rng.normal(0, 0.08, n),
        **subscriptions,
        products=_opening_rates(rng, world, z, routine, age, richness, wealth, anonymous),
        utilisation=np.clip(utilisation, -3.5, 2.5),
        credit_limit=np.maximum(np.round(income / 12 * rng.uniform(0.5, 2.0, n), -2), 500.0),
        statement_day=rng.integers(0, 7, n),
        limit_raised=np.where(rng.random(n) < 0.4, rng.integers(60, config.days, n), config.days + 1),
        caller=np.where(anonymous, 0.0, config.contacts_a_month * rng.gamma(1.5, 1 / 1.5, n) * (1.3 - 0.6 * digital)),
    )


def _occupations(rng: np.random.Generator, age: np.ndarray) -> np.ndarray:
    u = rng.random(len(age))
    young, old = age < 25, age > 64
    working = np.where(u < 0.83, EMPLOYED, np.where(u < 0.94, SELF_EMPLOYED, UNEMPLOYED))
    return np.where(old & (u < 0.92), RETIRED, np.where(young & (u < 0.45), STUDENT, working))


def _referrers(rng: np.random.Generator, age: np.ndarray) -> np.ndarray:
    young, old = age < 30, age > 66
    weights = (0.8, 0.55, 0.1 + 0.9 * young, 0.08, 0.3 + 0.15 * old)
    return pick(rng, np.stack([np.broadcast_to(weight, len(age)) for weight in weights], axis=1))


def _joined(rng: np.random.Generator, config: SimulationConfig, n: int) -> np.ndarray:
    """Cold-start customers in the last days, others during the data, most of them before."""
    u = rng.random(n)
    late = rng.integers(config.days - config.cold_days, config.days, n)
    during = rng.integers(0, config.days - config.cold_days, n)
    before = -1 - np.minimum(rng.exponential(4 * 365, n).astype(np.int64), COLD_LIMIT)
    return np.where(u < config.cold_share, late, np.where(u < config.cold_share + config.joining_share, during, before))


def _weekdays(rng: np.random.Generator, habit: np.ndarray, routine: np.ndarray) -> np.ndarray:
    """Factor of the purchase rate by weekday, mean 1, float32 [n, 7]; branches keep to some workdays and a Saturday."""
    drawn = gamma_rows(rng, habit / 7, 18.0)
    drawn *= np.where((routine == 2)[:, None], np.array(BRANCH_WEEK, np.float32), np.float32(1.0))
    return drawn / drawn.mean(axis=1, keepdims=True)


def _mix(rng: np.random.Generator, world: World, z: np.ndarray, anonymous: np.ndarray) -> np.ndarray:
    """Category shares around the segment's, float32 [n, 12]; a visitor comes for two neighbours among them."""
    config, usual = world.config, world.segments.mix[z]
    purpose = pick(rng, usual.reshape(len(z), -1, 2).sum(axis=2))
    wanted = np.arange(usual.shape[1]) // 2 == purpose[:, None]
    usual = usual * np.where(wanted & anonymous[:, None], np.float32(config.visitor_purpose), np.float32(1.0))
    return gamma_rows(rng, usual / usual.sum(axis=1, keepdims=True), config.concentration)


def _digital_tilt(digital: np.ndarray) -> np.ndarray:
    tilt = np.stack([1.3 - 0.6 * digital, 0.5 + digital, 0.3 + 1.4 * digital], axis=1)
    return (tilt / tilt.sum(axis=1, keepdims=True) * 3).astype(np.float32)


def _hours(rng: np.random.Generator, world: World, z: np.ndarray, routine: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Share of each part of the day by weekday, float32 [n, 2, 7, 4].

    A loop moves through the day as the week goes by; plain habits have the hours of a whole loop on every day; branches
    shop at one time on workdays and at another at weekends.
    From the drift on, a share of the purchases of a part moves to the next part.
    """
    seg = world.segments
    habit = gamma_rows(rng, seg.parts[z], 7.0)[:, None, :].repeat(7, axis=1)
    angle = np.arange(4)[None, None, :] / 4 - np.arange(7)[None, :, None] / 7 - phase[:, None, None]
    loop = np.exp(2.2 * np.cos(2 * np.pi * angle)).astype(np.float32)
    branch = np.ones((7, 4), np.float32)
    branch[:5, :3], branch[:5, 3], branch[5:, 1] = 0.35, 4.0, 4.0
    before = habit * np.where((routine == 2)[:, None, None], branch[None], loop)
    before = before / before.sum(axis=2, keepdims=True)
    before = np.where((routine == 0)[:, None, None], before.mean(axis=1, keepdims=True), before)
    moved = world.config.drift.hours
    after = (1 - moved) * before + moved * np.roll(before, 1, axis=2)
    return np.stack([before, after], axis=1).astype(np.float32)


def _favourites(rng: np.random.Generator, world: World, community: np.ndarray) -> np.ndarray:
    """The favourite merchant of each category, mostly one of the own community, int64 [n, 12]."""
    n, k = len(community), len(CATEGORIES)
    category = np.tile(np.arange(k), n)
    own = world.catalogue.within(rng, community.repeat(k), category)
    other = world.catalogue.anywhere(rng, category)
    return np.where(rng.random(n * k) < 0.8, own, other).reshape(n, k)


def _subscriptions(
    rng: np.random.Generator, world: World, community: np.ndarray, anonymous: np.ndarray
) -> dict[str, np.ndarray]:
    n = len(community)
    shape = (n, SUBSCRIPTIONS)
    category = np.broadcast_to(np.array(SUBSCRIBED), shape)
    merchant = world.catalogue.within(rng, community.repeat(SUBSCRIPTIONS), category.ravel()).reshape(shape)
    has = (rng.random(shape) < world.config.subscription_share) & ~anonymous[:, None]
    prices = np.array([4.9, 9.9, 12.9, 14.9, 19.9, 29.0, 39.0, 59.0])
    return {
        "subscription_category": np.array(category),
        "subscription_merchant": merchant,
        "subscription_amount": prices[pick_shared(rng, zipf(len(prices), 0.4), n * SUBSCRIPTIONS)].reshape(shape),
        "subscription_day": np.where(has, rng.integers(1, 29, shape), 0),
        "subscription_start": rng.integers(-400, world.config.days, shape),
    }


def _opening_rates(
    rng: np.random.Generator,
    world: World,
    z: np.ndarray,
    routine: np.ndarray,
    age: np.ndarray,
    richness: np.ndarray,
    wealth: np.ndarray,
    anonymous: np.ndarray,
) -> np.ndarray:
    """Openings a day of each kind while not held and steady, float64 [n, 11], by income, wealth, age and routine."""
    log = np.log([getattr(world.config.opening_rates, kind) / 365 for kind in OPENABLE]) + world.segments.products[z]
    rich = np.log(wealth / 30_000)
    effect = {
        "savings": 0.2 * rich,
        "term_deposit": 0.5 * rich + 0.02 * (age - 50),
        "fund": 0.6 * rich + 0.3 * richness,
        "stocks": 0.5 * rich + 0.4 * richness - 0.02 * (age - 45),
        "credit_card": 0.5 * richness,
        "personal_loan": -0.4 * rich,
        "life": -0.0015 * (age - 38) ** 2,
        "home": 0.3 * richness + 0.01 * (age - 40),
        "car": 0.2 * richness - 0.0010 * (age - 40) ** 2,
        "health": 0.01 * (age - 45),
        "travel": 0.5 * richness,
    }
    for k, kind in enumerate(OPENABLE):
        log[:, k] += np.clip(effect[kind], -1.5, 1.5)
    log += np.array(world.config.routine_opening)[routine]
    log += 0.35 * rng.standard_normal((len(z), len(OPENABLE)))
    return np.where(anonymous[:, None], 0.0, np.exp(log - 0.35))


assert len(REGIONS) == 7, "communities take their home region modulo seven"
