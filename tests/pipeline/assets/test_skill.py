"""What the asset `skill` shows of tonight's scores."""

from __future__ import annotations

import polars as pl

from pipeline.assets.skill import fallbacks, first_experts

SCORES = pl.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "churn__fallback": [True, False, True],
        "churn__eligible": [True, True, False],
        "top_experts": [["deepfm", "causal"], ["causal"], ["deepfm"]],
    }
)


def test_fallbacks_are_those_of_eligible_customers() -> None:
    assert fallbacks(SCORES).row(0) == ("churn", 0.5)


def test_experts_are_counted_by_whom_they_lead() -> None:
    assert first_experts(SCORES).rows() == [("deepfm", 2 / 3), ("causal", 1 / 3)]
    assert first_experts(SCORES.clear()).is_empty()
