"""The page of a night: what came out, what needs a look, what ran, what changed, each task, the model, drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.reports.pages.card import CALIBRATION, calibration_table, comparison_table
from pipeline.reports.pages.chart import Chart, bars, histogram
from pipeline.reports.pages.page import Item, Page, Section
from pipeline.reports.pages.task import LEGEND
from ple_model.tasks import kind_of

Described = Mapping[str, Any]
"""A task's entry in the bundle's tasks.json."""
STEPS = {
    "ingest": "reads and checks the delivery",
    "features/matrix": "puts the model's inputs together",
    "scores": "predicts every customer and publishes the scores",
    "shadow/scores": "predicts with the challenger; nobody acts on it",
    "drift": "compares inputs and scores with those of the training",
    "skill": "compares earlier scores with what has happened since",
    "night_summary": "sums the night up",
    "housekeeping": "removes what is no longer kept",
    "training/decision": "decides whether a training is due",
    "training/fitted_state": "learns what the groups of features need to know",
    "training/training_set": "computes inputs and labels of earlier dates",
    "training/columns": "chooses the columns that the model reads",
    "training/model": "trains the network and the trees",
    "training/refit": "learns again from the newest labels, where that is on",
    "training/registered_version": "registers the new version in MLflow",
    "training/evaluation": "compares the model with simpler ones",
    "training/challenge": "compares the new version with the champion",
    "training/champion": "decides whether the new version takes over",
}
"""Step → what it does."""
REASON = 160
"""Characters of a failure's reason in the headline; the list of what needs a look has it whole."""
OF_STEPS = (
    "In the order in which they ended. The groups of features are one line. Rows are those of the table that a step "
    "wrote."
)
OF_SKILL = (
    "Eligible: share of the customers about whom the task is asked. Fallback: share of these whose prediction was too "
    "uncertain, so that the average of their group stands in. Promised: the metric on the test rows of the evaluation. "
    "Realised: the same metric on the newest scores about which the truth is known by now, and their date. ↑ higher, ↓ "
    "lower is better."
)
OF_CHANGES = (
    "Means are over the customers about whom the task is asked; of tasks with classes, the commonest answer and its "
    "share."
)
OF_DRIFT = (
    "How far inputs and scores lie from the customers that the model learnt from, the farthest first. Index: "
    "population stability index, below 0.1 little, from 0.25 much. Distance: Jensen–Shannon, 0 to 1. An alarm needs "
    "several nights in a row that lie farther than any earlier night."
)


@dataclass(frozen=True)
class Scored:
    """The scores of one as-of date."""

    day: date
    scores: pl.DataFrame | pl.LazyFrame

    @cached_property
    def names(self) -> list[str]:
        """Of the columns."""
        return self.scores.collect_schema().names()

    @cached_property
    def customers(self) -> pl.Series:
        """customer_id of everybody who was scored."""
        return self.whole("customer_id")

    @property
    def version(self) -> str:
        """Of the model that scored."""
        return str(self.whole("model_version")[0]) if len(self.customers) else "–"

    def whole(self, name: str) -> pl.Series:
        """A column over all customers."""
        return self.scores.lazy().select(name).collect().to_series()

    def column(self, name: str) -> pl.Series | None:
        """A column over the customers who are eligible for its task; None where the scores have none such."""
        eligible = f"{name.partition('__')[0]}__eligible"
        if not {name, eligible} <= {*self.names}:
            return None
        return self.scores.lazy().filter(pl.col(eligible)).select(name).collect().to_series()


@dataclass(frozen=True)
class NightFacts:
    """What the page tells, as plain values; what is not known is empty.

    failure: why the night failed. looks: what needs a look. tonight, before: the scores of the date, and of the one
    before it. trained: training date of the version that scored. ran: the runs in words. steps: job, step, seconds,
    rows, failed. volumes: table → rows of the delivery tonight, and the night before. quarantine: the same of rows set
    aside. skill: `matured.SCHEMA`, newest scored date first. drift: the table of the asset `drift`. links: where to
    look.
    """

    as_of: date
    dataset: str
    notice: str
    failure: str = ""
    looks: Sequence[Item] = ()
    tonight: Scored | None = None
    before: Scored | None = None
    trained: date | None = None
    tasks: Sequence[Described] = ()
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    ran: str = ""
    steps: pl.DataFrame | None = None
    volumes: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
    quarantine: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
    skill: pl.DataFrame | None = None
    drift: pl.DataFrame | None = None
    links: Sequence[Item] = ()


def headline(facts: NightFacts) -> str:
    """What came out of the night, in one sentence."""
    tonight = facts.tonight
    if facts.failure:
        kept = f"the scores of an earlier run (version {tonight.version}) stay published" if tonight else ""
        reason = " ".join(facts.failure.split())
        reason = reason if len(reason) <= REASON else f"{reason[: REASON - 1]}…"
        return f"The night of {facts.as_of} failed and {kept or 'no scores were published'}: {reason}"
    if tonight is None:
        return f"There are no scores of {facts.as_of}."
    trained = f", which was trained as of {facts.trained}" if facts.trained else ""
    return (
        f"Scores of {len(tonight.customers):,} customers as of {facts.as_of} are published, by version "
        f"{tonight.version} of the model{trained}."
    )


def night_page(facts: NightFacts) -> Page:
    """The page."""
    count = len(facts.looks)
    needs = f"{count} thing{'s need' if count != 1 else ' needs'} a look." if count else "Nothing needs a look."
    return Page.of(
        headline(facts),
        f"{needs}\n\n{facts.dataset}. {facts.notice}",
        [
            Section("What needs a look", "" if count else "Nothing tonight.", items=tuple(facts.looks)),
            Section("What ran", facts.ran, _grouped(facts.steps), OF_STEPS),
            Section("What changed since the night before", *_changes(facts), OF_CHANGES),
            Section("Rows of the delivery", "", _deliveries(facts), _OF_ROWS, under=True, folded=True),
            Section("The tasks", "", _skill(facts), OF_SKILL),
            *(_task(task, facts) for task in facts.tasks),
            Section(
                "The model beside simpler ones", "", comparison_table(facts.evaluation.get("table", [])), _OF_MODEL
            ),
            Section("Calibration", "", calibration_table(facts.evaluation), CALIBRATION, under=True),
            Section("Drift", "", facts.drift, OF_DRIFT, folded=True),
            Section("Where to look further", "", items=tuple(facts.links)),
            Section("About the data", facts.notice),
        ],
    )


_OF_ROWS = "Good rows of each table, and rows that were set aside because they break a rule (asset quarantine)."
_OF_MODEL = (
    "Model: what scored. Constant: one answer for everybody. Network and LightGBM: the two halves of the model alone "
    f"(LightGBM: boosted trees). Own past: what the customer did before. {LEGEND}"
)


def _grouped(steps: pl.DataFrame | None) -> pl.DataFrame | None:
    """Steps for people: the groups of features in one line."""
    if steps is None or steps.is_empty():
        return None
    group = pl.col("step").str.starts_with("features/") & (pl.col("step") != "features/matrix") & ~pl.col("failed")
    named = steps.with_columns(pl.when(group).then(pl.lit("features")).otherwise("step").alias("line"))
    lines = named.group_by("job", "line", maintain_order=True).agg(
        pl.len().alias("steps"), pl.col("seconds").sum(), pl.col("rows").max(), pl.col("failed").any()
    )
    rows = []
    for line in lines.to_dicts():
        does = (
            f"computes {line['steps']} groups of inputs" if line["line"] == "features" else STEPS.get(line["line"], "")
        )
        rows.append(
            {
                "job": line["job"],
                "step": line["line"] + (" (failed)" if line["failed"] else ""),
                "seconds": round(line["seconds"], 1),
                "rows": line["rows"],
                "what it does": does,
            }
        )
    return pl.DataFrame(rows, schema_overrides={"rows": pl.Int64})


def _changes(facts: NightFacts) -> tuple[str, pl.DataFrame | None]:
    tonight, before = facts.tonight, facts.before
    if tonight is None:
        return "", None
    if before is None:
        return "There is no earlier night to compare with.", None
    now, then = (set(night.customers) for night in (tonight, before))
    version = (
        f"Both nights were scored by version {tonight.version}."
        if tonight.version == before.version
        else f"The night before was scored by version {before.version}, tonight by version {tonight.version}."
    )
    text = (
        f"The night before is {before.day}. {version} Customers: {len(tonight.customers):,} scored "
        f"({len(before.customers):,} then), {len(now - then):,} new, {len(then - now):,} gone."
    )
    rows = [
        {
            "task": task["name"],
            "tonight": _average(tonight, task),
            "night before": _average(before, task),
            "unit": _unit(task),
        }
        for task in facts.tasks
    ]
    return text, pl.DataFrame(rows) if rows else None


def _deliveries(facts: NightFacts) -> pl.DataFrame | None:
    (now, then), (aside, aside_then) = facts.volumes, facts.quarantine
    names = list(dict.fromkeys([*now, *then, *aside, *aside_then]))
    rows = [
        {
            "table": name,
            "rows": now.get(name),
            "night before": then.get(name),
            "set aside": aside.get(name, 0),
            "set aside the night before": aside_then.get(name, 0) if aside_then or then else None,
        }
        for name in names
    ]
    kinds = dict.fromkeys(("rows", "night before", "set aside", "set aside the night before"), pl.Int64)
    return pl.DataFrame(rows, schema_overrides=kinds) if rows else None


def _skill(facts: NightFacts) -> pl.DataFrame | None:
    if facts.tonight is None:
        return None
    rows = []
    for task in facts.tasks:
        name, metric = task["name"], _headline(facts, task["name"])
        rows.append(
            {
                "task": name,
                "eligible": _share(facts.tonight, name, "eligible"),
                "fallback": _share(facts.tonight, name, "fallback"),
                "metric": metric.get("metric", "–"),
                "promised": metric.get("model", "–"),
                "realised": _realised(facts, name) or "not yet",
            }
        )
    return pl.DataFrame(rows) if rows else None


def _task(task: Described, facts: NightFacts) -> Section:
    name, tonight = task["name"], facts.tonight
    if tonight is None or f"{name}__eligible" not in tonight.names:
        return Section(name, "")
    meaning = (task.get("meaning") or name).removesuffix(".")
    asked = int(tonight.whole(f"{name}__eligible").sum())
    who = task.get("eligibility") or "those for whom the task is defined"
    text = [f"{meaning}.", f"Asked about {asked:,} of {len(tonight.customers):,} customers: {who}."]
    if asked:
        before = f" (night before: {_average(facts.before, task)})" if facts.before else ""
        unit = f" {task['natural_unit']}" if task.get("natural_unit") else ""
        words = kind_of(task["kind"]).summed_up_as
        text.append(f"{words}: {_average(tonight, task)}{unit}{before}.")
    if metric := _headline(facts, name):
        realised = _realised(facts, name) or _not_yet(task, facts)
        text.append(f"Promised {metric['metric']}: {metric['model']}. Realised: {realised}.")
    chart = _chart(task, facts) if asked else None
    return Section(name, "\n\n".join(text), charts=(chart,) if chart else (), under=True)


def _shown(task: Described) -> str:
    """The column that people understand: the value in its natural unit where there is one."""
    return f"{task['name']}__value" if task.get("natural_unit") else task["name"]


def _unit(task: Described) -> str:
    return "probability" if kind_of(task["kind"]).is_probability else task.get("natural_unit") or task.get("unit") or ""


def _average(night: Scored | None, task: Described) -> str:
    """The mean of a task's predictions, or their commonest with its share, as text; – without any."""
    column = night.column(_shown(task)) if night else None
    some = column.drop_nulls() if column is not None else None
    if some is None or some.is_empty():
        return "–"
    if some.dtype.is_numeric():
        mean = float(some.cast(pl.Float64).mean())  # type: ignore[arg-type]  # it has values
        return f"{mean:.1%}" if kind_of(task["kind"]).is_probability else f"{mean:,.4g}"
    counted = some.cast(pl.String).rename("name").value_counts().sort("count", "name", descending=[True, False])
    return f"{counted['name'][0]} ({counted['count'][0] / len(some):.0%})"


def _chart(task: Described, facts: NightFacts) -> Chart | None:
    nights: dict[str, pl.Series] = {}
    for words, night in (
        ("tonight", facts.tonight),
        (f"night of {facts.before.day}" if facts.before else "", facts.before),
    ):
        column = night.column(_shown(task)) if night else None
        if column is not None and not column.drop_nulls().is_empty():
            nights[words] = column
    if "tonight" not in nights:
        return None
    title = f"{task['name']}: predictions of the customers asked about"
    if not nights["tonight"].dtype.is_numeric():
        return bars(title, "likeliest answer", nights)
    share = kind_of(task["kind"]).is_probability
    return histogram(title, f"predicted {_unit(task)}" if share else f"prediction, {_unit(task)}", nights, share, True)


def _share(night: Scored, task: str, suffix: str) -> str:
    """Share of customers as text: of the eligible ones, and of these the ones for whom a base rate stands in."""
    name = f"{task}__{suffix}"
    read = night.whole if suffix == "eligible" else night.column
    column = read(name) if name in night.names else None
    mean = None if column is None else column.cast(pl.Float64).mean()
    return f"{mean:.1%}" if isinstance(mean, float) else "–"


def _headline(facts: NightFacts, task: str) -> Mapping[str, str]:
    return next((row for row in facts.evaluation.get("table", []) if row["task"] == task), {})


def _realised(facts: NightFacts, task: str) -> str:
    """The newest realised headline metric in words; empty where there is none."""
    if facts.skill is None:
        return ""
    found = facts.skill.filter((pl.col("task") == task) & (pl.col("metric") != "ece_debiased"))
    if found.is_empty() or found["realised"][0] is None:
        return ""
    row = found.row(0, named=True)
    return f"{row['realised']:.4f} ({row['scored']}, {row['rows']:,} customers)"


def _not_yet(task: Described, facts: NightFacts) -> str:
    if not kind_of(task["kind"]).judged_by_scores:
        return "not measured for this kind of task"
    days = task.get("window_days")
    return f"not known yet; for tonight's scores on {facts.as_of + timedelta(days=days)}" if days else "not known yet"
