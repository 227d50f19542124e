"""The rules of promotion."""

from __future__ import annotations

import pytest

from pipeline.training.evaluation import Evaluation
from pipeline.training.promotion import RULES, Verdict, judge
from tests.pipeline.small_training import some_evaluation


@pytest.mark.parametrize(
    ("verdicts", "promote", "word"),
    [
        ({"churn": "ahead", "ltv": "level"}, True, "ahead of the constant on 1 of 2 tasks, behind on 0"),
        ({"churn": "ahead", "ltv": "behind"}, False, "(ltv)"),
        ({"churn": "level"}, False, "on 0 of 1"),
        ({"churn": "ahead", "ltv": "ahead", "nba": "behind"}, True, "behind on 1 (nba)"),
    ],
)
def test_better_than_the_constant_on_more_tasks_than_worse(verdicts: dict[str, str], promote: bool, word: str) -> None:
    verdict = judge(some_evaluation(**verdicts))
    assert verdict.promote is promote
    assert word in verdict.reason


def test_one_rule_that_refuses_is_enough_and_says_why() -> None:
    def never(_: Evaluation) -> Verdict:
        return Verdict(False, "never on a Friday")

    verdict = judge(some_evaluation(churn="ahead"), (*RULES, never))
    assert verdict == Verdict(False, "never on a Friday")
