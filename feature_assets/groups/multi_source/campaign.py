"""Campaign group, 12 columns: impressions, clicks and conversions of a customer.

An *exposure* is an impression, one (customer, campaign). It is clicked (converted) when the customer has a click
(conversion) of the same campaign before t. The click rate leaves out campaign kinds whose clicks are uninformative
(`click_kinds_off` of the data set). Rates are Beta-smoothed: (k + α) / (n + α + β), with (α, β) fitted to the exposures
of the training dates by the method of moments of the beta-binomial (Kleinman 1973), so that a customer who was never
exposed gets the population's rate. Source: FEATURES §3.2.
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.campaigns import REACHED
from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

DAYS = (28, 84, 366)
HALF_LIFE = 28.0  # days in which an unanswered impression loses half of its weight in `fatigue`
_MOST_PRIOR = 1_000.0  # strength α + β where the customers differ by no more than chance does
_SOURCES = ("campaign_events",)


def _column(measure: str, meaning: str, unit: str, window: str, *more: str) -> Column:
    return Column(f"campaign__{measure}", meaning, unit, window, (*_SOURCES, *more))


_COLUMNS = (
    *(_column(f"impressions_{d}d", "campaigns that reached the customer", "count", f"{d} days") for d in DAYS),
    *(_column(f"clicks_{d}d", "click events (or the data set's stated proxy)", "count", f"{d} days") for d in (28, 84)),
    _column("conversions_84d", "conversion events", "count", "84 days"),
    _column("conversions_366d", "conversion events", "count", "366 days"),
    _column(
        "click_rate",
        "share of exposures with a click, Beta-smoothed, over campaign kinds with a telling click",
        "share",
        "all history",
        "campaigns",
    ),
    _column("conversion_rate", "share of exposures with a conversion, Beta-smoothed", "share", "all history"),
    _column("days_since_impression", "time since the last impression", "days", "all history"),
    _column("days_since_response", "time since the last click or conversion", "days", "all history"),
    _column(
        "fatigue",
        f"impressions without telling click or conversion, each halved every {HALF_LIFE:.0f} days",
        "weighted count",
        "all history",
    ),
)


class Campaign(FeatureGroup):
    """Impressions, clicks and conversions. Fitted: the priors of the two rates."""

    name = "campaign"
    description = "Campaign impressions, clicks, conversions, smoothed rates, recency and fatigue"
    columns = _COLUMNS
    sources = _SOURCES

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays `click_prior` and `conversion_prior`: (α, β), from each customer's exposures before each date."""
        counts = [_counts(view) for view in training.views]
        clickable, clicked, shown, converted = np.concatenate(counts, axis=1)
        return GroupState(
            {
                "click_prior": beta_prior(clicked[clickable > 0], clickable[clickable > 0]),
                "conversion_prior": beta_prior(converted[shown > 0], shown[shown > 0]),
            }
        )

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        events, exposures = view.campaign_events, view.exposures
        counts = {kind: events.of("event", kind).windows(DAYS).sums() for kind in REACHED}
        clickable, clicked, shown, converted = _counts(view)
        unanswered = ~((_telling(view) & exposures.clicked) | exposures.converted)
        fatigue = sum_at(
            exposures.row[unanswered], np.exp2(-exposures.days_ago[unanswered] / HALF_LIFE), events.customers
        )
        matrix = np.column_stack(
            [
                counts["impression"],
                counts["click"][:, :2],
                counts["conversion"][:, 1:],
                _smoothed(clicked, clickable, state.arrays["click_prior"]),
                _smoothed(converted, shown, state.arrays["conversion_prior"]),
                events.of("event", "impression").days_since(),
                events.of("event", "click", "conversion").days_since(),
                fatigue,
            ]
        )
        return Values(matrix)


def beta_prior(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(α, β) of the beta-binomial of k successes in n ≥ 1 trials each, by moments: float64 [2].

    With p = Σk/Σn and S = Σ n (k/n − p)², the correlation of two trials of one customer is
    ρ = (S − p(1−p)(N−1)) / (p(1−p)(Σn − Σn²/Σn − N + 1)) and α + β = 1/ρ − 1. Where customers differ by no more than
    chance does, α + β is its upper limit; without any trial it is the uniform prior (1, 1).
    """
    trials = n.sum()
    if trials == 0:
        return np.array([1.0, 1.0])
    p = (k.sum() + 0.5) / (trials + 1.0)  # never 0 or 1, so that neither α nor β is 0
    customers, spread = len(n), p * (1 - p)
    between = float((n * (k / n - p) ** 2).sum())
    freedom = trials - (n**2).sum() / trials - customers + 1
    rho = (between - spread * (customers - 1)) / (spread * freedom) if freedom > 0 else 0.0
    strength = _MOST_PRIOR if rho <= 1 / (1 + _MOST_PRIOR) else max(1 / rho - 1, 1e-3)
    return np.array([p * strength, (1 - p) * strength])


def _smoothed(k: np.ndarray, n: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return (k + prior[0]) / (n + prior.sum())


def _telling(view: View) -> np.ndarray:
    """Whether a click on the campaign of each exposure says something, bool [X]."""
    return ~view.exposures.kind.is_in(list(view.dataset.click_kinds_off))


def _counts(view: View) -> np.ndarray:
    """Exposures with a telling click rate, those clicked, all exposures, those converted: float64 [4, customers]."""
    exposures, telling = view.exposures, _telling(view)
    chosen = (telling, telling & exposures.clicked, np.ones(len(telling), dtype=np.bool_), exposures.converted)
    return np.stack([sum_at(exposures.row, mask, view.customers.height) for mask in chosen])


GROUP = Campaign()
