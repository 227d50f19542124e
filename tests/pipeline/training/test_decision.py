"""When a training is due."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.resources.tracking import RegisteredVersion
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
