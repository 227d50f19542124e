"""The page of a customer: every task's prediction, and what moved each away from the average customer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.reports.pages.meanings import group_of, meaning_of
from pipeline.reports.pages.page import Page, Section, cell
from ple_model.tasks import kind_of

LIKELIEST = 3
"""Classes of a list of probabilities that are shown."""
Rows = Sequence[Mapping[str, Any]]


def customer_page(
    scores: Mapping[str, Any],
    tasks: Rows,
    reasons: Rows,
    values: Mapping[str, Any],
    meanings: Mapping[str, str],
    compared: int,
    history: Sequence[Section] = (),
) -> Page:
    """The page of one customer at one as-of date.

    Args:
        scores: the customer's row of the scores.
        tasks: the bundle's tasks.json.
        reasons: one a task, as `pipeline.scores.reasons.customer_reasons` gives them.
        values: column → the customer's value in its natural unit.
        meanings: column of the scores → meaning (`pipeline.scores.table.score_meanings`).
        compared: customers of the same night that the network's part is compared with.
        history: sections about what is known of the customer before the as-of date.
    """
    by_task = {row["task"]: row for row in reasons}
    lead = f"As of {scores['as_of']}, by version {scores['model_version']} of the model."
    if scores.get("hindsight"):
        lead += " The model was trained on later events: these predictions are hindsight."
    predictions = [{**prediction(scores, task), "meaning": task.get("meaning", "")} for task in tasks]
    sections = [Section("Predictions", "", pl.DataFrame(predictions))]
    sections += [_reasons(task, by_task[task["name"]], values) for task in tasks if task["name"] in by_task]
    own = {f"{task['name']}__": task["name"] for task in tasks}
    kept = [n for n in scores if n in meanings and (n in own.values() or any(n.startswith(p) for p in own))]
    table = [{"column": n, "value": cell_of(scores[n]), "meaning": meanings[n]} for n in kept]
    sections += history
    sections.append(Section("All columns of the scores", "", pl.DataFrame(table) if table else None, folded=True))
    if reasons:
        lead += (
            f" Reasons compare the customer with {compared} others of the same night (network) and with the training "
            "rows (trees)."
        )
    return Page.of(f"Customer {scores['customer_id']}", lead, sections)


def prediction(scores: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, str]:
    """One line about a task: the prediction, how far it can be trusted, and whom it is meant for.

    Args:
        scores: the customer's row of the scores.
        task: its entry of the bundle's tasks.json.
    """
    name, classes = task["name"], task.get("classes") or []
    low, high = scores.get(f"{name}__low"), scores.get(f"{name}__high")
    beside = ""
    if classes and scores.get(f"{name}__p") is not None:
        pairs = sorted(zip(classes, scores[f"{name}__p"], strict=True), key=lambda pair: -pair[1])[:LIKELIEST]
        beside = ", ".join(f"{label} {share:.0%}" for label, share in pairs)
    elif scores.get(f"{name}__top") is not None:
        beside = ", ".join(map(str, scores[f"{name}__top"][:LIKELIEST]))
    elif low is not None and high is not None:
        beside = f"{low:.4g} to {high:.4g}"
    eligible = scores.get(f"{name}__eligible")
    return {
        "task": name,
        "prediction": cell(scores[name]),
        "range or likeliest": beside,
        "unit": task.get("unit", ""),
        "expected": _expected(scores, task),
        "uncertainty": cell(scores.get(f"{name}__u")),
        "base rate stands in": _yes(scores.get(f"{name}__fallback")),
        "eligible": "–" if eligible is None else _yes(eligible),
    }


def _expected(scores: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """The expected value in natural units with the ends of its interval, as far as the scores have them; of a yes or
    no its probability as a percentage."""
    value, low, high = (scores.get(f"{task['name']}__{suffix}") for suffix in ("value", "value_low", "value_high"))
    likely = "kind" in task and kind_of(task["kind"]).is_probability
    if value is None and likely and scores[task["name"]] is not None:
        return f"{scores[task['name']]:.1%} likely"
    if value is None:
        return ""
    ends = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
    return f"{value:.4g} {task.get('natural_unit', '')}".rstrip() + ends


def _reasons(task: Mapping[str, Any], found: Mapping[str, Any], values: Mapping[str, Any]) -> Section:
    of_class = f" of {found['class']!r}" if found["class"] else ""
    unit = found["unit"]
    text = (
        f"The model's own prediction is {_plain(found['explained'], unit)}{of_class}, that of the average customer "
        f"{_plain(found['base'], unit)}; reasons add up in {unit}. Predicted by: "
        f"{task.get('predicted_by') or 'network alone'}."
    )
    table = [
        {
            "reason": row["source"],
            "moves by": f"{row['contribution']:+.3g}" + (f" ± {row['error']:.1g}" if row["error"] else ""),
            "value": cell_of(values.get(row["source"])),
            "group": group_of(row["source"]),
            "meaning": meaning_of(row["source"]),
        }
        for row in found["reasons"]
    ]
    for words, key in (("all other columns and inputs", "rest"), ("left unexplained", "unexplained")):
        table.append({"reason": words, "moves by": f"{found[key]:+.3g}", "value": "", "group": "", "meaning": ""})
    return Section(f"Why: {task['name']}", text, pl.DataFrame(table))


def _plain(value: float, unit: str) -> str:
    """A prediction for people: of log odds and log probabilities also the probability."""
    if not unit.startswith("log "):
        return f"{value:.3g}"
    probability = 1 / (1 + math.exp(-value)) if unit == "log odds" else math.exp(value)
    return f"{probability:.1%} ({value:.3g})"


def cell_of(value: object) -> str:
    """A value for people; of a list its first items."""
    if isinstance(value, (list, tuple)):
        shown = [str(item) if isinstance(item, int) else cell(item) for item in value[:5]]  # a brand's number is a name
        return ", ".join(shown) + (f" … ({len(value)})" if len(value) > 5 else "")
    return cell(value)


def _yes(value: object) -> str:
    return "yes" if value else "no"
