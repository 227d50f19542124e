"""What must never be published."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.assets.scoring import find_problems

GOOD = pl.DataFrame(
    {
        "customer_id": ["a", "b"],
        "churn": [0.2, 0.7],
        "churn__u": [0.5, 0.8],
        "life_stage": ["new", "steady"],
        "life_stage__p": [[0.25, 0.75], [0.5, 0.5]],
    }
)
KNOWN = pl.Series(["a", "b"])


def test_a_sound_table_has_no_problem() -> None:
    assert find_problems(GOOD, KNOWN) == []


def test_an_uncertainty_that_is_not_published_is_null_in_every_row() -> None:
    none = GOOD.with_columns(churn__u=pl.lit(None, dtype=pl.Float64))
    assert find_problems(none, KNOWN) == []
    some = GOOD.with_columns(churn__u=pl.Series([0.2, None]))
    assert find_problems(some, KNOWN) == ["churn__u has 1 nulls"]


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (GOOD.with_columns(churn=pl.Series([0.2, None])), "churn has 1 nulls"),
        (GOOD.with_columns(churn=pl.Series([0.2, float("inf")])), "not finite"),
        (GOOD.with_columns(churn__u=pl.Series([0.2, 1.2])), "leaves"),
        (GOOD.with_columns(life_stage__p=pl.Series([[0.25, 0.7], [0.5, 0.5]])), "does not sum to 1"),
        (GOOD.head(1), "missing or unknown"),
        (pl.concat([GOOD, GOOD.head(1)]), "more than one row"),
    ],
)
def test_what_is_wrong_is_named(broken: pl.DataFrame, word: str) -> None:
    problems = find_problems(broken, KNOWN)
    assert any(word in problem for problem in problems), problems
