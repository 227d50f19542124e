"""The card of a registered version: what it is, how good, beside whom, on what data, and what it is not for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from pipeline.reports.pages.page import Page, Section
from pipeline.reports.pages.task import LEGEND

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class CardFacts:
    """What a card tells, as plain values.

    decision: what promotion said, in words. blocking, informing: its findings. beside: the challenger beside the
    champion and trees. fits: which fit scores and which one the figures are of. tasks: the bundle's tasks.json.
    evaluation: the bundle's evaluation.json. notes: of the bundle's model.json. off: task → why it has too few labels.
    """

    version: str
    as_of: str
    dataset: Mapping[str, Any]
    decision: str
    fits: Mapping[str, str]
    tasks: Rows
    evaluation: Mapping[str, Any]
    notes: Mapping[str, Any]
    off: Mapping[str, str] = field(default_factory=dict)
    replaced: str = ""
    champion: str = ""
    beside: pl.DataFrame | None = None
    blocking: pl.DataFrame | None = None
    informing: pl.DataFrame | None = None


def card_page(facts: CardFacts) -> Page:
    """The card."""
    title, notice = facts.dataset.get("title", facts.dataset.get("name", "")), facts.dataset.get("notice", "")
    return Page.of(
        f"Version {facts.version}: predictions about every customer",
        f"Trained as of {facts.as_of} on {title}. {notice}",
        [
            Section("Promotion", _promotion(facts), facts.blocking),
            Section("How good", "", comparison_table(facts.evaluation.get("table", [])), LEGEND),
            Section(
                "Beside the champion and boosted trees",
                f"The champion then was version {facts.champion}. "
                if facts.champion
                else "There was no champion then.",
                facts.beside,
                "Evaluation fits on the same test rows, none of which either has learnt from; the difference with its "
                "95 % interval by customer.",
            ),
            Section("Calibration", "", calibration_table(facts.evaluation), CALIBRATION),
            Section("Limits", _limits(facts)),
            Section("Data", _data(facts), _data_table(facts.tasks)),
            Section("What only informs", "", facts.informing),
        ],
    )


CALIBRATION = (
    "Calibration error without bias of the probabilities on test rows; by chance: in what share of cases a calibrated "
    "forecast would show an error as large; total predicted over total observed, of values in natural units."
)


def within(page: Page, characters: int) -> str:
    """The page as Markdown of at most so many characters: whole sections in their order, the left out ones named."""
    kept: tuple[Section, ...] = ()
    left: list[str] = []
    for section in page.sections:
        tried = replace(page, sections=(*kept, section)).markdown()
        if len(tried) + 40 * len(page.sections) > characters:
            left.append(section.heading)
        else:
            kept = (*kept, section)
    text = replace(page, sections=kept).markdown()
    if left:
        text += f"\nNot shown here: {', '.join(left)}. The run has the whole card, `card.md`.\n"
    return text[:characters]


def _promotion(facts: CardFacts) -> str:
    replaced = f"It replaced version {facts.replaced}." if facts.replaced else "It has replaced no version."
    return f"{facts.decision.removesuffix('.')}. {replaced}"


def comparison_table(rows: Rows) -> pl.DataFrame | None:
    """The table of an evaluation for people; None without rows."""
    frame = pl.DataFrame(list(rows), infer_schema_length=None) if rows else None
    return None if frame is None else frame.drop("rows", "customers", strict=False)


def calibration_table(evaluation: Mapping[str, Any]) -> pl.DataFrame | None:
    """Calibration of an evaluation by task; None where no task has any."""
    found: dict[str, dict[str, Any]] = {}
    for row in evaluation.get("metrics", []):
        if row["model"] == "model" and row["metric"] in ("ece_debiased", "calibration_p"):
            found.setdefault(row["task"], {})[row["metric"]] = row["value"]
    totals = {row["task"]: row["ratio"] for row in evaluation.get("totals", [])}
    names = dict.fromkeys([*found, *totals])
    rows = [
        {
            "task": name,
            "calibration error": found.get(name, {}).get("ece_debiased"),
            "by chance": found.get(name, {}).get("calibration_p"),
            "predicted over observed": totals.get(name),
        }
        for name in names
    ]
    kinds = {"task": pl.String} | dict.fromkeys(
        ("calibration error", "by chance", "predicted over observed"), pl.Float64
    )
    return pl.DataFrame(rows, schema=kinds) if rows else None


def _limits(facts: CardFacts) -> str:
    verdicts = facts.evaluation.get("verdicts", {})
    lines = []
    for baseline, by_task in verdicts.items():
        if behind := sorted(task for task, verdict in by_task.items() if verdict == "behind"):
            lines.append(f"Behind {baseline} on {', '.join(behind)}.")
    without = sorted(
        task for task, told in facts.evaluation.get("uncertainty", {}).items() if told.get("selective") is None
    )
    if without:
        lines.append(f"Without an uncertainty that ranks errors: {', '.join(without)}.")
    if facts.off:
        told = "; ".join(f"{task} ({why})" for task, why in facts.off.items())
        lines.append(f"Off for want of labels: {told}.")
    lines += [
        "Predictions mean something for eligible customers only (`<task>__eligible`). They say what is likely, not "
        "what would change a customer.",
        f"Every label that it has learnt from or was judged on lies before {facts.as_of}; behaviour that began later "
        "is unknown to it.",
        str(facts.dataset.get("notice", "")),
    ]
    return "\n\n".join(line for line in lines if line)


def _data(facts: CardFacts) -> str:
    span = f"{facts.dataset.get('covers_from', '?')} to {facts.dataset.get('covers_until', '?')}"
    words = [f"Data set {facts.dataset.get('name', '?')}, described for {span}; events before {facts.as_of} were read."]
    words += [f"{name.capitalize()} {told}." for name, told in facts.fits.items()]
    if until := facts.notes.get("learnt_until"):
        words.append(f"The evaluation fit has learnt from no label that reaches past {until}; test rows are later.")
    return " ".join(words)


def _data_table(tasks: Rows) -> pl.DataFrame | None:
    rows = [
        {
            "task": task["name"],
            "meaning": task.get("meaning", ""),
            "learnt from": task.get("trained_on", "–"),
            "predicted by": task.get("predicted_by", "–"),
        }
        for task in tasks
    ]
    return pl.DataFrame(rows) if rows else None
