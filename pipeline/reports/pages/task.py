"""The page of a task: what it predicts and for whom, how well, by whom, and from what."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.reports.pages.meanings import group_of, meaning_of
from pipeline.reports.pages.page import Page, Section, cell

INPUTS, COLUMNS = 10, 10
"""Inputs and columns that the page shows."""
Rows = Sequence[Mapping[str, Any]]


def task_page(
    task: Mapping[str, Any], evaluation: Mapping[str, Any], epochs: Mapping[str, Sequence[int]] | None, version: str
) -> Page:
    """The page of one task of a registered version.

    Args:
        task: its entry of the bundle's tasks.json.
        evaluation: the bundle's evaluation.json.
        epochs: task → (phase, epoch) that answers it; None where all tasks share one.
        version: of the model, in words.
    """
    name = task["name"]
    beside = [row for row in evaluation.get("table", []) if row["task"] == name]
    return Page.of(
        f"Task {name}",
        f"{(task.get('meaning') or name).removesuffix('.')}. {version} All figures are of the fit that was evaluated.",
        [
            Section("For whom", _for_whom(task)),
            Section("What predicts it", _predicted_by(task, epochs)),
            Section("How well", "", _without_task(beside), LEGEND),
            Section("All metrics", "", _metrics(name, evaluation.get("metrics", []))),
            Section("By group of customers", "", _groups(name, evaluation.get("groups", []))),
            Section("Calibration", "", _calibration(evaluation.get("reliability", {}).get(name, []))),
            *_uncertainty(evaluation.get("uncertainty", {}).get(name)),
            Section("Inputs that it needs", "", _inputs(name, evaluation.get("inputs", [])), _SHUFFLED),
            *_reasons(name, evaluation.get("reasons", [])),
            Section("Shares of the experts", "", _experts(name, evaluation.get("experts", [])), _SHARES),
            Section("Examples", "", _examples(name, evaluation.get("examples", [])), _EXAMPLES),
        ],
    )


LEGEND = (
    "On test rows later than every training label, with 95 % intervals by customer. ▲ ahead of, ▼ behind the baseline "
    "beyond the interval of the paired difference; else = level where the difference is within the task's margin, ○ "
    "open where it is not. ↑ higher, ↓ lower is better."
)
_SHUFFLED = (
    "What shuffling an input among the test rows adds to the loss of the network, as a share of that loss. An input "
    "whose information others carry as well costs little alone. Only those beyond two standard errors are shown."
)
_SHARES = (
    "Mean weight of each expert in the gate of this task, over the test rows of a group. An expert with a large share "
    "is read more; whether it is needed is another question (see the inputs above)."
)
_EXAMPLES = (
    "Customers of the sample with the highest and the lowest predictions, and what moved them most from the average "
    "customer."
)


def _for_whom(task: Mapping[str, Any]) -> str:
    who = task.get("eligibility")
    window = task.get("window_days")
    lines = [f"For {who}." if who else "", f"The next {window} days." if window else ""]
    if task.get("classes"):
        names = [str(name) for name in task["classes"]]
        shown = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
        lines.append(f"Classes: {shown}.")
    if task.get("unit"):
        lines.append(f"Unit: {task['unit']}.")
    return " ".join(line for line in lines if line)


def _predicted_by(task: Mapping[str, Any], epochs: Mapping[str, Sequence[int]] | None) -> str:
    words = task.get("predicted_by", "")
    if epochs is None:
        return f"{words}. All tasks of the network share one epoch of its training." if words else ""
    phase, epoch = epochs[task["name"]]
    return (
        f"{words}. The network answers with the weights of epoch {epoch} of phase {phase}, chosen on validation rows."
    )


def _metrics(task: str, rows: Rows) -> pl.DataFrame | None:
    own = [row for row in rows if row["task"] == task]
    models = list(dict.fromkeys(row["model"] for row in own))
    by_metric: dict[str, dict[str, Any]] = {}
    for row in own:
        by_metric.setdefault(row["metric"], {})[row["model"]] = row["value"]
    table = [{"metric": name, **{model: cell(v.get(model)) for model in models}} for name, v in by_metric.items()]
    return pl.DataFrame(table) if table else None


def _groups(task: str, rows: Rows) -> pl.DataFrame | None:
    found = []
    for row in (row for row in rows if row["task"] == task):
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        value = row["note"] if row["value"] is None else f"{row['value']:.3f}"
        found.append(
            {"by": row["by"], "group": row["group"], "rows": row["rows"], "metric of the task": value, "95 %": interval}
        )
    return pl.DataFrame(found) if found else None


def _calibration(bins: Sequence[Sequence[float]]) -> pl.DataFrame | None:
    rows = [{"predicted": float(p), "happened": float(o), "rows": int(n)} for p, o, n in bins]
    return pl.DataFrame(rows) if rows else None


def _uncertainty(found: Mapping[str, Any] | None) -> list[Section]:
    """What its uncertainty is and is worth on test rows."""
    if not found:
        return []
    words = f"u: {found['uncertainty']}. Fallback: {found['fallback']}; {found['fallback_share']:.1%} of the test rows."
    held, worth, rows = found.get("coverage"), found.get("selective"), []
    if held:
        region = f"{_interval(held['held'])}, mean size {held['size']:.3g}"
        rows.append({"measure": f"share of rows whose {held['stated']:.0%} region holds the label", "value": region})
    if worth:
        ranked = _interval(worth["ranking"])
        rows.append({"measure": "rank correlation of u with the error among equal predictions", "value": ranked})
        quarters = ", ".join(f"{value:.3g}" for value in worth["error"])
        rows.append({"measure": "mean error by quarter of u, the most certain rows first", "value": quarters})
    return [Section("Uncertainty", words, pl.DataFrame(rows) if rows else None)]


def _interval(found: Mapping[str, Any]) -> str:
    if found["estimate"] is None or found["low"] is None:
        return str(found.get("reason") or "–")
    return f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _inputs(task: str, rows: Rows) -> pl.DataFrame | None:
    own = [row for row in rows if row["task"] == task and row["increase"] > 2 * row.get("error", 0.0)]
    own = sorted(own, key=lambda row: -row["increase"])[:INPUTS]
    table = [
        {
            "input": row["input"],
            "loss added": f"{row['increase'] / max(abs(row['loss']), 1e-9):.1%}",
            "read by": f"{row['share']:.0%} of rows",
            "meaning": meaning_of(row["input"]),
        }
        for row in own
    ]
    return pl.DataFrame(table) if table else None


def _reasons(task: str, rows: Rows) -> list[Section]:
    own = [row for row in rows if row["task"] == task]
    if not own:
        return []
    named = [row for row in own if row["source"]]
    rest = next(row for row in own if not row["source"])
    text = (
        f"Mean absolute contribution to the prediction in {rest['unit']}, network and trees by their weights, over a "
        f"sample of {rest['rows']} test rows; ± is the standard error over rows. Up: higher values raise the "
        f"prediction. On average {rest['strength']:.2g} of a prediction is left unexplained by the sum of its reasons."
    )
    table = [
        {
            "column": row["source"],
            "moves by": f"{row['strength']:.3g} ± {row['error']:.2g}",
            "share": f"{row['share']:.1%}",
            "direction": _direction(row["direction"]),
            "group": group_of(row["source"]),
            "meaning": meaning_of(row["source"]),
        }
        for row in named[:COLUMNS]
    ]
    groups: dict[str, float] = {}
    for row in named:
        key = group_of(row["source"]) or row["source"]
        groups[key] = groups.get(key, 0.0) + row["share"]
    top = [{"group": key, "share": f"{value:.1%}"} for key, value in sorted(groups.items(), key=lambda x: -x[1])]
    by_group = f"Of all contributions; among the {len(named)} strongest columns."
    return [
        Section("Columns that move it", text, pl.DataFrame(table)),
        Section("The same by feature group", by_group, pl.DataFrame(top[:COLUMNS])),
    ]


def _direction(value: float | None) -> str:
    """Up or down where ranks agree at least halfway; a curve in between."""
    if value is None:
        return "–"
    return "up" if value > 0.5 else "down" if value < -0.5 else "either way"


def _experts(task: str, rows: Rows) -> pl.DataFrame | None:
    return _without_task([row for row in rows if row["task"] == task])


def _without_task(rows: Rows) -> pl.DataFrame | None:
    return pl.DataFrame(rows, infer_schema_length=None).drop("task") if rows else None


def _examples(task: str, rows: Rows) -> pl.DataFrame | None:
    table = []
    for row in (row for row in rows if row["task"] == task):
        reasons = ", ".join(f"{r['source']} {r['contribution']:+.2g}" for r in row["reasons"])
        of_class = {"class": row["class"]} if row["class"] else {}
        table.append(
            {
                "customer": row["customer_id"],
                **of_class,
                f"prediction ({row['unit']})": row["explained"],
                "average customer": row["base"],
                "strongest reasons": reasons,
            }
        )
    return pl.DataFrame(table) if table else None
