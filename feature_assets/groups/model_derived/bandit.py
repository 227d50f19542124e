"""Bandit, 4 columns: how the customer explores and exploits categories, as a Bernoulli bandit.

Arms are the 12 categories of level 1 with the most training spend and all others together. Each purchase day of the
last 365 days is one choice: the category with most spend. It pays if the customer chooses the category again within 28
days. The chance p_k that arm k pays has a Beta posterior; the prior has its mode at the training customers' share of
choices that paid and the weight of two choices, α = 1 + 2 p, β = 1 + 2 (1 − p).

- exploration share: choices of an arm that was not greedy, i.e. did not have the largest posterior mean given the data
  of that day. Source: Sutton & Barto (2018), Reinforcement Learning, §2.2.
- regret: posterior mean of the customer's best arm minus that of the arms chosen, mean over choices (pseudo-regret).
  Source: Bubeck & Cesa-Bianchi (2012), Regret analysis of stochastic and nonstochastic multi-armed bandits, §1.
- posterior entropy: entropy of the arm that a Thompson sampler would draw, P(k is best) = ∫ f_k Π F_j by quadrature.
  Source: Thompson (1933); Russo & Van Roy (2016), An information-theoretic analysis of Thompson sampling.
- switch rate: successive choices that differ. Source: Robbins (1952) (stay or switch).

Source: FEATURES §3.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.events.purchases import top_by_spend
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.kernels.bandit import MEASURES, bandit_measures, day_choices, pays

DAYS = 365
ARMS = 12
STRENGTH = 2.0  # choices that the prior is worth
_MEANINGS = {
    "exploration_share": ("share of category choices that were not the best by what was known on the day", "share"),
    "regret": ("chance of coming back: customer's best category minus the chosen ones, mean over choices", "share"),
    "posterior_entropy": ("entropy of the category that a Thompson sampler would draw, over its maximum", "ratio"),
    "switch_rate": ("share of successive choices that differ, over the main categories and all others", "share"),
}


class Bandit(FeatureGroup):
    """The group `bandit`. Fitted: the categories that are arms, and the prior of each."""

    name = "bandit"
    description = "Exploration and regret of category choice, as a Bernoulli bandit with Beta posteriors"
    columns = tuple(Column(f"bandit__{measure}_{DAYS}d", *_MEANINGS[measure], f"{DAYS} days") for measure in MEASURES)
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """`prior` [K, 2]; the arms' names are in the meta, the others together are the last arm."""
        views = training.views
        categories = top_by_spend(views, "category_l1", ARMS)
        counts = np.zeros((len(categories) + 1, 2))
        for view in views:
            counts += pays(*_choices(view, categories), len(categories) + 1)
        paid = (counts[:, 0] + 1) / (counts.sum(axis=1) + 2)  # Laplace: an arm that was never chosen has one half
        prior = np.stack([1 + STRENGTH * paid, 1 + STRENGTH * (1 - paid)], axis=1)
        return GroupState({"prior": prior}, {"categories": categories})

    def _values(self, inputs: Inputs) -> Values:
        """4 columns; null without a choice in the window (switch rate: without two)."""
        view, state = inputs.view, inputs.state
        values = bandit_measures(*_choices(view, state.meta["categories"]), state.arrays["prior"])
        return Values(values)


def _choices(view: View, categories: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, days ago and arm of the choices of the last 365 days; unknown categories are no choice."""
    part = view.recent_purchases(DAYS)
    arm = np.where(part.codes("category_l1") >= 0, part.ranked("category_l1", categories), -1)
    start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(part.row, minlength=part.customers))])
    return day_choices(start, part.days_ago, arm, np.nan_to_num(part.values("amount")), len(categories) + 1)


GROUP = Bandit()
