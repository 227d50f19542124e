"""Campaign columns against their plain definition; the Beta prior against the truth and its limits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.multi_source.campaign import GROUP, HALF_LIFE, beta_prior
from tests.deliveries import synthetic
from tests.feature_assets import plain_view


@lru_cache(maxsize=1)
def _computed() -> tuple[View, GroupState, pl.DataFrame]:
    tables = synthetic.tables()
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = View(tables, synthetic.AS_OF)
    return view, state, GROUP.compute(view, state, {})


def _by_hand(events: list[dict[str, Any]], silent: set[str], state: GroupState) -> list[float]:
    ages: dict[str, list[int]] = {"impression": [], "click": [], "conversion": []}
    answers: dict[str, set[str]] = {"impression": set(), "click": set(), "conversion": set()}
    shown = {}
    for event in events:
        ages[event["event"]].append(event["age"])
        answers[event["event"]].add(event["campaign_id"])
        if event["event"] == "impression":
            shown[event["campaign_id"]] = event["age"]

    def count(kind: str, days: int) -> int:
        return sum(age <= days for age in ages[kind])

    exposed, telling = answers["impression"], answers["impression"] - silent
    (a, b), (c, d) = state.arrays["click_prior"], state.arrays["conversion_prior"]
    answered = (answers["click"] - silent) | answers["conversion"]
    return [
        *(count("impression", days) for days in (28, 84, 366)),
        *(count("click", days) for days in (28, 84)),
        *(count("conversion", days) for days in (84, 366)),
        (len(telling & answers["click"]) + a) / (len(telling) + a + b),
        (len(exposed & answers["conversion"]) + c) / (len(exposed) + c + d),
        min(ages["impression"], default=np.nan),
        min(ages["click"] + ages["conversion"], default=np.nan),
        sum(0.5 ** (age / HALF_LIFE) for campaign, age in shown.items() if campaign not in answered),
    ]


def test_columns_are_their_definitions() -> None:
    view, state, frame = _computed()
    zone = pl.col("at").dt.convert_time_zone(view.dataset.zone).dt.date()
    known = plain_view.known_frames(synthetic.tables(), synthetic.AS_OF)
    events = known["campaign_events"].with_columns(age=(pl.lit(view.as_of) - zone).dt.total_days())
    kinds = known["campaigns"].filter(pl.col("kind") == "Type A")
    silent = set(kinds["campaign_id"].to_list())
    assert len(silent) >= 2
    expected = [
        _by_hand(events.filter(pl.col("customer_id") == customer).to_dicts(), silent, state)
        for customer in frame["customer_id"]
    ]
    np.testing.assert_allclose(frame.drop("customer_id").to_numpy(), np.array(expected), rtol=1e-5)


def test_a_customer_without_exposure_gets_the_population() -> None:
    _, state, frame = _computed()
    nobody = frame.filter(pl.col("campaign__impressions_366d") == 0)
    assert nobody.height > 0
    for rate, prior in (("click_rate", "click_prior"), ("conversion_rate", "conversion_prior")):
        a, b = state.arrays[prior]
        np.testing.assert_allclose(nobody[f"campaign__{rate}"].to_numpy(), a / (a + b), rtol=1e-6)
    assert nobody["campaign__days_since_impression"].null_count() == nobody.height


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 4.0), (5.0, 5.0), (0.4, 8.0)])
def test_prior_is_found_again(alpha: float, beta: float) -> None:
    rng = np.random.default_rng(1)
    n = rng.integers(1, 15, 40_000).astype(float)
    k = rng.binomial(n.astype(int), rng.beta(alpha, beta, len(n))).astype(float)
    np.testing.assert_allclose(beta_prior(k, n), [alpha, beta], rtol=0.1)


def test_prior_without_heterogeneity_or_trials() -> None:
    rng = np.random.default_rng(2)
    n = np.full(2000, 10.0)
    same = beta_prior(rng.binomial(10, 0.3, 2000).astype(float), n)
    assert same.sum() > 100  # customers that differ by chance only are believed little
    assert same[0] / same.sum() == pytest.approx(0.3, abs=0.02)
    assert beta_prior(np.zeros(0), np.zeros(0)).tolist() == [1.0, 1.0]
    never = beta_prior(np.zeros(10), np.ones(10))
    assert (never > 0).all()
