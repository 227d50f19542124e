"""Every parameter of the simulated bank. Their part in the process is described in docs/bank_simulation.md.

Only numbers belong here; drawing from them belongs to `world.py` (once) and to the files of the process.
"""

from __future__ import annotations

from datetime import date

from pydantic import Field

from feature_assets.closed import Closed

CATEGORIES = (
    "groceries",
    "restaurants",
    "transport",
    "fuel",
    "fashion",
    "electronics",
    "home",
    "health",
    "leisure",
    "travel",
    "education",
    "services",
)
REGIONS = ("north", "lakeside", "midland", "east", "alps", "south", "west")
CHANNELS = ("pos", "online", "app")
REFERRERS = ("search", "direct", "social", "partner", "email")
OPENABLE = (
    "savings",
    "term_deposit",
    "fund",
    "stocks",
    "credit_card",
    "personal_loan",
    "life",
    "home",
    "car",
    "health",
    "travel",
)
"""Product kinds that a customer can newly open."""
INHERITED = ("bonds", "pension", "mortgage", "points")
"""Product kinds that are no longer sold: only customers who joined before the first day can hold them."""
HELD = OPENABLE + INHERITED

LIFECYCLE = ("new", "growing", "steady", "declining", "dormant", "returning")
JOURNEY = ("idle", "browsing", "considering", "buying", "resting")
BEHAVIOR = ("frugal", "routine", "family", "leisure", "travelling", "splurging")


class ChainConfig(Closed):
    """A Markov chain and the effects of its states.

    Attributes:
        transition: [S][S] probabilities of the next state (rows sum to 1).
        start: [S] probabilities of the first state.
        purchases: [S] factor of the purchase rate.
        sessions: [S] factor of the session rate.
    """

    transition: tuple[tuple[float, ...], ...]
    start: tuple[float, ...]
    purchases: tuple[float, ...]
    sessions: tuple[float, ...]


LIFECYCLE_CHAIN = ChainConfig(
    transition=(
        (0.30, 0.38, 0.20, 0.08, 0.04, 0.00),
        (0.00, 0.66, 0.27, 0.06, 0.01, 0.00),
        (0.00, 0.07, 0.80, 0.11, 0.02, 0.00),
        (0.00, 0.03, 0.12, 0.60, 0.25, 0.00),
        (0.00, 0.00, 0.00, 0.00, 0.84, 0.16),
        (0.00, 0.24, 0.36, 0.22, 0.18, 0.00),
    ),
    start=(0.00, 0.17, 0.55, 0.15, 0.10, 0.03),
    purchases=(0.75, 1.35, 1.00, 0.45, 0.02, 0.80),
    sessions=(1.40, 1.20, 1.00, 0.60, 0.08, 1.30),
)
JOURNEY_CHAIN = ChainConfig(
    transition=(
        (0.86, 0.10, 0.02, 0.02, 0.00),
        (0.20, 0.55, 0.18, 0.05, 0.02),
        (0.06, 0.16, 0.52, 0.24, 0.02),
        (0.05, 0.05, 0.10, 0.55, 0.25),
        (0.25, 0.04, 0.01, 0.02, 0.68),
    ),
    start=(0.45, 0.20, 0.12, 0.11, 0.12),
    purchases=(0.70, 0.95, 1.30, 2.20, 0.45),
    sessions=(0.45, 1.70, 2.20, 1.10, 0.30),
)
BEHAVIOR_CHAIN = ChainConfig(
    transition=(
        (0.78, 0.14, 0.03, 0.03, 0.01, 0.01),
        (0.06, 0.76, 0.07, 0.07, 0.02, 0.02),
        (0.03, 0.11, 0.78, 0.03, 0.03, 0.02),
        (0.03, 0.14, 0.04, 0.70, 0.05, 0.04),
        (0.04, 0.26, 0.06, 0.14, 0.46, 0.04),
        (0.14, 0.22, 0.04, 0.10, 0.06, 0.44),
    ),
    start=(0.15, 0.38, 0.18, 0.17, 0.06, 0.06),
    purchases=(0.75, 1.00, 1.15, 1.05, 0.85, 1.45),
    sessions=(1.00, 1.00, 0.90, 1.10, 1.20, 1.15),
)


class OpeningRates(Closed):
    """Openings a year of a typical customer who does not hold the product, by kind."""

    savings: float = 0.26
    term_deposit: float = 0.17
    fund: float = 0.18
    stocks: float = 0.15
    credit_card: float = 0.32
    personal_loan: float = 0.18
    life: float = 0.12
    home: float = 0.15
    car: float = 0.17
    health: float = 0.13
    travel: float = 0.18


ROUTINE_OPENING = (
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.9, 0.8, 0.5, -0.6, -0.7, -0.9, 0.8, 0.6, 0.2, 0.6, -0.7),
    (-0.7, -0.7, -0.3, 0.8, 0.9, 0.6, -0.6, -0.4, 0.4, -0.5, 0.9),
)
"""Routine × openable kind: loops save and insure themselves, branches borrow, trade and travel."""


class DriftConfig(Closed):
    """What is different from the day of the drift on. The first four move what customers do, and so covariates and
    labels together; the last one moves covariates alone, and with that what follows from them (concept drift).

    Attributes:
        hours: share of the purchases of a part of the day that moves to the next part.
        channels: factors of the weights of the channels (pos, online, app).
        prices: rise of the log price level, by category.
        sessions: rise of the session rate, as a share of it.
        bursts: mean number of further sessions on the day of each session: many more sessions on as many days, so that
            the same number of them foretells less.
    """

    hours: float = Field(default=1 / 3, ge=0.0, le=1.0)
    channels: tuple[float, float, float] = (0.85, 1.15, 1.15)
    prices: dict[str, float] = Field(default_factory=lambda: {"fuel": 0.12, "travel": 0.15, "services": 0.08})
    sessions: float = Field(default=0.15, ge=-1.0)
    bursts: float = Field(default=0.0, ge=0.0)


class SimulationConfig(Closed):
    """The bank and its customers.

    Attributes:
        version: of the process; the same version and seed give the same bytes.
        first_day: first local day of data, in `zone`.
        days: days of data.
        drift_on: first day of the drift. Prices change with the month that begins on it or after.
        drift: what it changes, and by how much.
        block: customers a file; a block is a pure function of (seed, block number).
        segments, communities, merchants: numbers of latent segments, merchant communities and merchants.
        merchant_power, brand_power: exponents of the power laws of popularity.
        cold_share, cold_days: share of customers who joined in the last so many days.
        joining_share: share of customers who joined in the earlier days of data.
        anonymous_share: share of visitors without identity.
        visitor_rate: purchases a day of a visitor. visitor_sessions: factor of the sessions of a
            visitor, by referrer. visitor_purpose: factor of the two categories that a visitor comes for, in its mix.
        purchase_rate, session_rate: purchases and sessions a day of a typical customer.
        rate_spread, segment_spread: standard deviations of the log purchase rate within and between segments.
        concentration: of a customer's category mix around its segment's (Dirichlet).
        routine_followed: share of the customers whose routine is their segment's; the others have any.
        routine_attrition: factor of the attrition; routine_click: logit of a click; routine_loyalty: added to the
            loyalty to a maker; each by routine (plain, loop, branches).
        routine_opening: log factor of the opening rates, by routine and kind.
        epidemic: categories that are adopted through shared merchants (SIR by community).
        contact, recovery: largest monthly adoption hazard by infection pressure, and monthly hazard of losing interest.
        adoption: factor of a category's weight when susceptible, adopted, recovered.
        near_repeat: mean probability of a second purchase at the same merchant within two hours.
        refund_share: share of purchases given back, 1 to 14 days later.
        subscription_share: probability of each of two possible subscriptions.
        trips_a_year: mean number of trips abroad; share of the purchases on them that is made abroad.
        shocks_a_year: mean number of spending peaks; each multiplies the rate by 1 + shock_size, decaying.
        interests_a_year: mean number of interests (in a product, a plan); each multiplies the sessions by
            1 + interest_size, decaying, and raises the logit of a click by interest_click for each unit, two at most.
        payday, payday_days: mean relative rise of purchases on payday and its decay in days.
        utilisation_memory, utilisation_noise: weekly AR(1) of the logit of card utilisation.
        opening_rates: how often the openable kinds are opened.
        closing_rate: monthly hazard of closing a product.
        campaigns, control_share: number of campaigns; share of the targets from which it is withheld.
        click_logit, conversion_logit: of an impression at a neutral customer, and of a click.
        uplift_days: days for which a campaign changes the purchase rate after the first impression.
        contacts_a_month: mean number of contacts.
        dirty_share: share of dirty rows in each table of events.
    """

    version: str = "2"
    zone: str = "Europe/Zurich"
    first_day: date = date(2024, 1, 1)
    days: int = 540
    drift_on: date = date(2025, 3, 1)
    drift: DriftConfig = DriftConfig()
    block: int = Field(default=5_000, ge=1)
    segments: int = 20
    communities: int = 12
    merchants: int = 3_000
    merchant_power: float = 1.05
    brand_power: float = 1.0
    cold_share: float = 0.08
    cold_days: int = 56
    joining_share: float = 0.25
    anonymous_share: float = 0.08
    visitor_rate: float = 0.02
    visitor_sessions: tuple[float, ...] = (0.3, 2.0, 0.1, 0.8, 4.0)
    visitor_purpose: float = 20.0
    purchase_rate: float = 0.220
    rate_spread: float = 0.60
    segment_spread: float = 0.40
    session_rate: float = 0.085
    concentration: float = 14.0
    routine_followed: float = 0.2
    routine_attrition: tuple[float, float, float] = (1.9, 0.35, 1.0)
    routine_click: tuple[float, float, float] = (-0.7, 0.9, -0.1)
    routine_loyalty: tuple[float, float, float] = (-0.05, 0.15, -0.05)
    routine_opening: tuple[tuple[float, ...], ...] = ROUTINE_OPENING
    epidemic: tuple[str, ...] = ("electronics", "health", "leisure", "education")
    contact: float = 0.55
    recovery: float = 0.10
    adoption: tuple[float, float, float] = (0.10, 2.2, 0.6)
    near_repeat: float = 0.10
    refund_share: float = 0.025
    subscription_share: float = 0.30
    trips_a_year: float = 1.1
    foreign_share: float = 0.85
    shocks_a_year: float = 0.8
    shock_size: float = 2.5
    interests_a_year: float = 5.0
    interest_size: float = 4.0
    interest_click: float = 0.5
    payday: float = 0.55
    payday_days: float = 3.0
    utilisation_memory: float = 0.90
    utilisation_noise: float = 0.32
    opening_rates: OpeningRates = OpeningRates()
    closing_rate: float = 0.006
    campaigns: int = 20
    control_share: float = 0.10
    click_logit: float = -2.1
    conversion_logit: float = -0.9
    uplift_days: int = 14
    contacts_a_month: float = 0.19
    dirty_share: float = 0.002
    lifecycle: ChainConfig = LIFECYCLE_CHAIN
    journey: ChainConfig = JOURNEY_CHAIN
    behavior: ChainConfig = BEHAVIOR_CHAIN
