"""Thirty nights of a simulated bank, a week apart (`benchmarks/thirty_nights`): what they must show holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.thirty_nights import report
from benchmarks.thirty_nights.claims import judge
from benchmarks.thirty_nights.story import Story

pytestmark = pytest.mark.trial


def test_thirty_nights_show_what_they_must(trial_folder: Path) -> None:
    folder = trial_folder / "thirty_nights"
    story = Story(folder, print)
    notes = story.run()
    claims = judge(story, notes)
    report.write(story, notes, claims, folder)
    assert claims
    assert [claim.line for claim in claims if not claim.holds] == []
