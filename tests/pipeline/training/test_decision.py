"""When a training is due."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.resources.tracking import HELD, PROMOTED, REFUSED, ROLLED_BACK, RegisteredVersion
from pipeline.training.decision import decide


@pytest.mark.parametrize(
    ("trained", "due", "hindsight", "word"),
    [
        (None, True, False, "no champion"),
        (date(2017, 12, 25), True, False, "7 days old"),
        (date(2017, 12, 26), False, False, "6 days old"),
        (date(2018, 2, 1), False, True, "hindsight"),
    ],
)
def test_a_training_is_due_where_the_champion_is_missing_or_old(
    trained: date | None, due: bool, hindsight: bool, word: str
) -> None:
    champion = RegisteredVersion("3", "run", trained, "state", "completejourney", Path()) if trained else None
    made = decide(champion, date(2018, 1, 1), retrain_after_days=7)
    assert (made.due, made.hindsight) == (due, hindsight)
    assert word in made.reason
    assert made.champion == ("none" if trained is None else f"version 3, trained as of {trained}")


@pytest.mark.parametrize(
    ("trained", "status", "due"),
    [
        (date(2017, 12, 26), REFUSED, False),
        (date(2017, 12, 26), HELD, False),
        (date(2017, 12, 26), ROLLED_BACK, False),
        (date(2017, 12, 25), REFUSED, True),  # the next training is due
        (date(2017, 12, 26), "", True),  # killed before it was judged
        (date(2017, 12, 26), PROMOTED, True),  # killed before it took over
        (date(2018, 1, 2), REFUSED, False),  # of a later date: one for this date would be older
        (date(2018, 1, 2), ROLLED_BACK, False),
    ],
)
def test_a_young_challenger_that_was_judged_stands_for_the_training(trained: date, status: str, due: bool) -> None:
    champion = RegisteredVersion("3", "run", date(2017, 12, 1), "state", "completejourney", Path())
    challenger = RegisteredVersion("4", "run", trained, "state", "completejourney", Path(), status)
    made = decide(champion, date(2018, 1, 1), 7, challenger)
    assert made.due is due
    assert due or made.reason.startswith(f"version 4, trained as of {trained}, is {status}")
    assert decide(None, date(2018, 1, 1), 7, challenger).due is (status != HELD)
