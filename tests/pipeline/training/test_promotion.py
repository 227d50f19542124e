"""The gate: what blocks, what informs, and each way in which a challenger passes or fails."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.settings import PromotionSettings
from pipeline.training.challenge import CHAMPION, Beside, Challenge
from pipeline.training.evaluation import Evaluation
from pipeline.training.promotion import Evidence, Judgement, Verdict, judge
from pipeline.training.rehearsal import Rehearsal
from tests.pipeline.small_training import some_evaluation

LIMITS = PromotionSettings()
SOUND = Rehearsal(100, 100, [], {"churn": 0.0}, "", 0.1)


def beside(task: str, low: float, high: float, verdict: str, better: int = 1, margin: float = 0.02) -> Beside:
    difference = {"estimate": (low + high) / 2, "low": low, "high": high, "reason": ""}
    return Beside(task, "AUC", better, 500, 100, 0.8, 0.8, difference, margin, verdict)


def unmeasured(task: str, comparable: bool = True) -> Beside:
    nothing = {"estimate": 0.1, "low": None, "high": None, "reason": "one class only"}
    return replace(beside(task, 0.0, 0.0, "unknown"), difference=nothing, note="one class only", comparable=comparable)


def evidence(*champion: Beside, age: int | None = 7, **changes: Any) -> Evidence:
    """A sound challenger, ahead of the constant, beside a champion."""
    against = {"LightGBM": [beside("churn", -0.05, -0.01, "behind")]} | ({CHAMPION: list(champion)} if champion else {})
    made = Evidence(
        some_evaluation(churn="ahead", ltv="ahead"), Challenge("6", "2017-12-25", "", against), SOUND, (), age
    )
    return replace(made, **changes)


def refused(found: Judgement) -> list[str]:
    return [finding.about for finding in found.findings if finding.refuses]


def worse(*tasks: str) -> list[Beside]:
    return [beside(task, -0.09, -0.03, "behind") for task in tasks]


OF_CHURN, MOST = ["churn beside the champion"], "tasks beside the champion"
LEVEL = beside("churn", -0.01, 0.01, "level")
AHEAD = beside("churn", 0.001, 0.02, "ahead")


def test_the_first_version_needs_skill_and_soundness_only() -> None:
    found = judge(evidence(age=None), LIMITS)
    assert found.promote
    assert "there is no champion yet" in found.reason


@pytest.mark.parametrize(
    ("rows", "age", "blocked"),
    [
        ([LEVEL], 7, ["a reason to change"]),  # as good, and the champion is young
        ([LEVEL], 29, []),  # as good and fresher
        ([AHEAD], 7, []),  # better
        ([LEVEL, beside("nba", -0.02, -0.001, "ahead", better=-1)], 7, []),  # better on a task that is not critical
        ([LEVEL, *worse("nba")], 29, []),  # behind on one that is not
        ([AHEAD, *worse("ltv")], 29, ["ltv beside the champion"]),
        ([AHEAD, beside("cvr", -0.021, 0.03, "open")], 29, ["cvr beside the champion"]),  # too few rows to say
        ([AHEAD, beside("cvr", -0.021, 0.03, "open", margin=0.03)], 29, []),  # a margin of its own
        ([beside("churn", 0.01, 0.03, "behind", better=-1)], 29, [*OF_CHURN, MOST]),  # lower is better
        ([beside("churn", -0.03, 0.01, "level", better=-1)], 29, []),
        ([AHEAD, unmeasured("cvr")], 29, ["cvr beside the champion"]),
        ([AHEAD, unmeasured("cvr", comparable=False)], 29, []),
        ([AHEAD, unmeasured("nba")], 29, []),
        ([AHEAD, *worse("nba", "timing"), unmeasured("engagement")], 29, [MOST]),  # it learnt little but churn
        ([AHEAD, *worse("nba"), unmeasured("engagement")], 29, []),  # half of what compares
    ],
)
def test_no_worse_where_it_matters_and_a_reason(rows: list[Beside], age: int, blocked: list[str]) -> None:
    found = judge(evidence(*rows, age=age), LIMITS)
    assert refused(found) == blocked
    assert found.promote is not blocked or not blocked
    assert all(word in found.reason for about in blocked for word in about.split()[:1] if about.endswith("champion"))


def test_a_champion_that_cannot_be_run_is_no_obstacle() -> None:
    found = judge(evidence(challenge=Challenge("6", "2017-12-25", "", {}, "its files were altered")), LIMITS)
    assert found.promote
    assert "its files were altered" in found.reason


@pytest.mark.parametrize(
    ("verdicts", "passes", "word"),
    [
        ({"churn": "ahead", "ltv": "level"}, True, "ahead of the constant on 1 of 2 tasks, behind on 0"),
        ({"nba": "ahead", "timing": "behind"}, False, "(timing)"),
        ({"churn": "level"}, False, "on 0 of 1"),
        ({"churn": "open", "ltv": "open"}, False, "behind on 0, and on 2 the test rows are too few to say"),
        ({"churn": "ahead", "nba": "ahead", "timing": "behind"}, True, "behind on 1 (timing)"),
        ({"nba": "ahead", "timing": "ahead", "ltv": "behind"}, False, "(ltv)"),  # critical
    ],
)
def test_the_constant_blocks(verdicts: dict[str, str], passes: bool, word: str) -> None:
    found = judge(evidence(AHEAD, evaluation=some_evaluation(**verdicts)), LIMITS)
    assert refused(found) == ([] if passes else ["skill"])
    assert word in str(found.table(blocks=True)["finding"].to_list())


def calibrated(task: str, error: float, p: float) -> Evaluation:
    values = {"ece_debiased": error, "calibration_p": p}
    rows = [{"task": task, "model": "model", "metric": name, "value": value} for name, value in values.items()]
    return replace(some_evaluation(churn="ahead"), metrics=rows)


@pytest.mark.parametrize(
    ("found", "blocked"),
    [
        (calibrated("churn", 0.2, 0.01), ["calibration of churn"]),
        (calibrated("churn", 0.2, 0.5), []),  # as a calibrated forecast on so few rows
        (calibrated("churn", 0.05, 0.01), []),  # too small to matter
        (calibrated("ctr", 0.2, 0.01), []),  # informs
    ],
)
def test_calibration(found: Evaluation, blocked: list[str]) -> None:
    judgement = judge(evidence(AHEAD, evaluation=found), LIMITS)
    assert refused(judgement) == blocked
    [finding] = [finding for finding in judgement.findings if finding.about.startswith("calibration of")]
    assert re.search(r"\(limit 0\.1\); chance alone would give as much in (1|50)% of cases$", finding.words)


@pytest.mark.parametrize(
    ("changes", "about", "word"),
    [
        ({"rehearsal": replace(SOUND, scored=99)}, "coverage of customers", "99 of 100"),
        ({"rehearsal": replace(SOUND, problems=["ltv has 3 nulls"])}, "coverage of customers", "3 nulls"),
        ({"rehearsal": replace(SOUND, fallback={"churn": 0.95})}, "coverage of customers", "base rates stand in"),
        ({"rehearsal": replace(SOUND, mismatch="the schema of the bundle is a")}, "schema", "schema of the bundle"),
        ({"rehearsal": replace(SOUND, seconds_per_1000=61.0)}, "latency", "limit 60"),
        ({"leaks": ["rfm__has_nba → nba"]}, "leaks", "rfm__has_nba"),
        ({"leaks": None}, "leaks", "nobody looked"),
        ({"rolled_back": True}, "a person's word", "rolled it back"),
    ],
)
def test_soundness_blocks(changes: dict[str, Any], about: str, word: str) -> None:
    found = judge(evidence(AHEAD, **changes), LIMITS)
    assert refused(found) == [about]
    assert word in found.reason


def test_trees_inform_and_never_block() -> None:
    found = judge(evidence(AHEAD), LIMITS)
    assert found.promote
    assert "churn: behind" in found.table(blocks=False)["finding"].to_list()
    assert "LightGBM" not in str(found.table(blocks=True))


def test_a_rule_of_a_plug_in_blocks_and_says_why() -> None:
    def never(_: Evaluation) -> Verdict:
        return Verdict(False, "never on a Friday")

    found = judge(evidence(AHEAD), LIMITS, [never])
    assert not found.promote
    assert found.reason == "never on a Friday"
    assert Judgement.from_dict(found.to_dict()) == found


def test_what_is_critical_is_a_setting() -> None:
    behind = beside("ltv", -0.09, -0.03, "behind")
    assert not judge(evidence(AHEAD, behind), LIMITS).promote
    assert judge(evidence(AHEAD, behind), PromotionSettings(critical=("churn",))).promote
    assert not judge(evidence(AHEAD, beside("nba", -1, 0.5, "open")), PromotionSettings(critical=("nba",))).promote


def test_the_settings_of_promotion() -> None:
    read = PromotionSettings.model_validate({"shadow": False, "mode": "held"})  # YAML reads `off` as false
    assert (read.shadow, read.mode, read.margins) == ("off", "held", {"cvr": 0.03})
    for wrong in ({"mode": "maybe"}, {"margins": {"churn": 0.0}}, {"max_age_day": 3}):
        with pytest.raises(ValidationError):
            PromotionSettings.model_validate(wrong)
