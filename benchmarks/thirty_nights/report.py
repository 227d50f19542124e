"""The thirty nights as Markdown: what they must show, and a row a night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.thirty_nights import calendar, claims, skill
from benchmarks.thirty_nights.calendar import BAD, BETTER, DRIFT, NIGHTS, SABOTAGED, TASK, TRAININGS, day_of
from benchmarks.thirty_nights.claims import Claim
from benchmarks.thirty_nights.skill import SKILL, shown
from benchmarks.thirty_nights.story import Notes, Story
from pipeline.settings import REPOSITORY

FOLDER = REPOSITORY / "docs" / "results"
EVENTS = {
    BAD: "bad delivery first",
    DRIFT: "first night after the drift",
    SABOTAGED: "training on shuffled labels",
    BETTER: "training; rollback and back afterwards",
}


def write(story: Story, notes: dict[str, Notes], judged: Sequence[Claim], folder: Path = FOLDER) -> Path:
    """Write `thirty_nights.md`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "thirty_nights.md"
    file.write_text("\n\n".join([*_head(notes), _claims(judged), *_skill(story, notes), _nights(story, notes)]) + "\n")
    return file


def _head(notes: dict[str, Notes]) -> list[str]:
    drift, minutes = calendar.BANK.drift, sum(step["seconds"] for step in notes.values()) / 60
    return [
        "# Thirty nights",
        f"`python -m benchmarks.thirty_nights --folder F`: {NIGHTS} nights of `ple nightly`, a week apart, on the bank "
        f"simulation with {calendar.CUSTOMERS} customers, one delivery a night, one thread. {minutes:.0f} minutes of "
        "wall time on a shared machine. Figures of a simulation, no evidence about people.",
        f"The drift, from {calendar.BANK.drift_on} on: sessions × {1 + drift.sessions:g} (covariates and labels), and "
        f"{drift.bursts:g} further sessions on the day of each (covariates alone), and {drift.hours:.0%} of the "
        "purchases in the next part of the day (labels: what is known of a customer's hours foretells the wrong ones). "
        f"A training is due every {calendar.SETTINGS['retrain_after_days']} days (nights "
        f"{', '.join(map(str, TRAININGS))}). Intervals: 95 %, customers resampled.",
    ]


def _claims(judged: Sequence[Claim]) -> str:
    rows = [f"| {claim.what} | {'yes' if claim.holds else '**no**'} | {_cell(claim.figure)} |" for claim in judged]
    return "\n".join(["| must show | holds | measured |", "|---|---|---|", *rows])


def _skill(story: Story, notes: dict[str, Notes]) -> list[str]:
    measured, nights = skill.measure(story, notes), skill.spans(notes)
    rows = [
        f"| {name} | {nights[name][0]}–{nights[name][-1]} | {shown(interval)} |"
        for name, interval in measured.spans.items()
    ]
    rows += [f"| {name} | | {shown(interval)} |" for name, interval in measured.differences.items()]
    head = [f"| | nights | {SKILL} |", "|---|---|---|"]
    return [f"## Mean {SKILL} of {TASK} on matured labels", "\n".join([*head, *rows])]


def _nights(story: Story, notes: dict[str, Notes]) -> str:
    measured, alarming = skill.measure(story, notes), claims.alarms(notes)
    lines = [
        "## Night by night",
        "",
        f"| night | as of | version | {SKILL} of {TASK} | farthest column (index) | alarms | home, MiB | s | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for night in range(1, NIGHTS + 1):
        note = notes[f"night {night}"]
        (column, index), *_ = note["farthest"]
        realised = shown(measured.nights[night]) if night in measured.nights else "not matured"
        event = EVENTS.get(night, "training" if night in TRAININGS else "")
        lines.append(
            f"| {night} | {day_of(night)} | {note['version']} | {realised} | {column} ({index:.2f}) "
            f"| {len(alarming.get(night, []))} | {note['MiB']['home']:.0f} | {note['seconds']:.0f} | {event} |"
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
