"""The table of scores: computed from a feature matrix and a bundle, described for readers, checked before publication.

Training and the assets both use it. Where and when scores are published belongs to `assets/scoring.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl

#: Columns of a task that may be null in every row: it publishes no uncertainty, or has no region of stated coverage.
WHOLE_OR_NULL = ("u", "low", "high", "value_low", "value_high", "set")
STATE_VERSION = "state_version"
"""Column of a feature matrix that names the fitted state behind it; scoring refuses any but the champion's."""
MISSING_SOURCES = "missing_sources"
"""Column of the scores that names the sources that the delivery lacked."""
NEAREST_IDS, COMPARED_IDS = 3, 5_000
"""Ids that an unknown one is answered with, and that it is compared with letter by letter."""
ASKED = "__asked"
TOP_ROWS = 5
"""Customers of a list of the highest predictions."""
Described = Mapping[str, Any]
"""A task's entry in the bundle's tasks.json."""
Scores = pl.DataFrame | pl.LazyFrame
"""In memory, or in files, of which only the columns are read that are asked for."""


class UnknownCustomer(ValueError):
    """Nobody of this id was scored; names the ids that are `near`."""

    def __init__(self, customer: str, scored: int, near: Sequence[str]) -> None:
        hint = f"; the nearest known ids: {', '.join(map(repr, near))}" if near else ""
        super().__init__(f"no customer {customer!r} among the {scored:,} that were scored{hint}")
        self.near = tuple(near)


def score_matrix(matrix: pl.DataFrame, bundle: Path) -> pl.DataFrame:
    """Scores of a feature matrix with the bundle in a folder."""
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    return Scorer(load_bundle(bundle)).score(matrix)


def with_eligibility(scores: pl.DataFrame, eligible: pl.DataFrame, tasks: Sequence[Described]) -> pl.DataFrame:
    """The scores with `<task>__eligible` behind each `<task>__fallback`.

    What a task withholds from customers who are not eligible becomes null: prediction and uncertainty. Their fallback
    is false, since nothing stands in.

    Args:
        scores: of a bundle.
        eligible: customer_id and a Boolean column a task (`feature_assets.labels.eligible`).
        tasks: the bundle's tasks.json.
    """
    rows = scores.select("customer_id").join(eligible, on="customer_id", how="left", maintain_order="left")
    columns: list[pl.Series] = []
    for column in scores.iter_columns():
        name, _, suffix = column.name.partition("__")
        task = next((task for task in tasks if task["name"] == name), None)
        if task is None:
            columns.append(column)
            continue
        own = rows[name].alias(f"{name}__eligible")
        if task.get("withheld"):
            blank = pl.lit(False if suffix == "fallback" else None)
            column = pl.select(pl.when(own).then(column).otherwise(blank).alias(column.name)).to_series()
        columns += [column, own] if suffix == "fallback" else [column]
    return pl.DataFrame(columns)


def stamped(
    scores: Scores, missing: Sequence[str], hindsight: bool, version: str, state_version: str, run_id: str
) -> Scores:
    """The scores with the columns that say where they come from, the same in every row (`score_meanings`)."""
    return scores.with_columns(
        pl.lit(pl.Series([list(missing)], dtype=pl.List(pl.String))).first().alias(MISSING_SOURCES),
        pl.lit(hindsight).alias("hindsight"),
        pl.lit(version).alias("model_version"),
        pl.lit(state_version).alias(STATE_VERSION),
        pl.lit(run_id).alias("run_id"),
    )


def score_meanings(tasks: Sequence[Described]) -> dict[str, str]:
    """Column → meaning, for the UI and the README. `tasks`: the bundle's tasks.json."""
    from ple_model.tasks import kind_of

    meanings = {"customer_id": "customer", "as_of": "as-of date: the prediction knows events before it"}
    for task in tasks:
        meanings |= kind_of(task["kind"]).score_meanings(task)
        for_others = "; for others the prediction is null" if task.get("withheld") else ""
        who = task.get("eligibility") or "customers for whom the task is defined"
        meanings[f"{task['name']}__eligible"] = f"true for {who}, by what is known before the as-of date{for_others}"
    return meanings | {
        "top_experts": "the three experts with most weight in the gates, heaviest first",
        "missing_sources": "sources of the model that the delivery lacked: what depends on them is masked",
        "hindsight": "true where the model was trained on events at or after the as-of date",
        "model_version": "version of the registered model `ple`",
        "state_version": "version of the fitted feature state that travelled with the model",
        "run_id": "Dagster run that wrote these rows",
    }


def of_eligible(scores: Scores, task: str, *columns: str) -> pl.DataFrame:
    """Some columns of the customers who are eligible for a task."""
    return scores.lazy().filter(pl.col(f"{task}__eligible")).select(columns).collect()


def find_problems(scores: Scores, customers: pl.Series, tasks: Sequence[Described]) -> list[str]:
    """Problems of a table of scores in words; empty if it may be published.

    Null are only: what a task withholds from customers who are not eligible (tasks.json says which tasks do), and the
    uncertainty of a task as a whole, where it ranks no errors.
    """
    problems = []
    names = scores.collect_schema().names()
    scored = scores.lazy().select("customer_id").collect().to_series()
    if scored.n_unique() != len(scored):
        problems.append("a customer has more than one row")
    missing = set(customers.to_list()) ^ set(scored.to_list())
    if missing:
        problems.append(f"{len(missing)} customers are missing or unknown, e.g. {sorted(missing)[:3]}")
    lacking = [f"{task['name']}__eligible" for task in tasks if f"{task['name']}__eligible" not in names]
    problems += [f"{name} is missing" for name in lacking]
    withheld = {task["name"] for task in tasks if task.get("withheld")}
    for name in names:
        task, _, suffix = name.partition("__")
        of_task = suffix not in ("fallback", "eligible") and task in withheld and f"{task}__eligible" in names
        given = pl.col(f"{task}__eligible").fill_null(False) if of_task else pl.lit(True)
        told, asked = scores.lazy().select(name, pl.repeat(True, pl.len()).and_(given).alias(ASKED)).collect()
        problems += _of_column(told, suffix, asked)
    return problems


def _of_column(column: pl.Series, suffix: str, given: pl.Series) -> list[str]:
    """Problems of one column, which must have a value exactly where `given` is true [R]."""
    name, some = column.name, column.drop_nulls()
    without = suffix in WHOLE_OR_NULL and not len(some)
    if nulls := 0 if without else column.filter(given).null_count():
        return [f"{name} has {nulls} nulls"]
    if extra := column.filter(~given).is_not_null().sum():
        return [f"{name} has {extra} values for customers who are not eligible"]
    if column.dtype.is_float() and not some.is_finite().all():
        return [f"{name} has values that are not finite"]
    if suffix == "p":
        off = (some.list.sum() - 1.0).abs().max()
        if len(some) and (not isinstance(off, float) or not off <= 1e-6):
            return [f"{name} does not sum to 1 (off by {off!r})"]
    if suffix in ("u", "probability") and not some.is_between(0.0, 1.0).all():
        return [f"{name} leaves [0, 1]"]
    if suffix == "lift" and not (some >= 0.0).all():
        return [f"{name} is negative"]
    return []


def of_customer(scores: pl.LazyFrame, customer: str) -> dict[str, Any]:
    """The row of one customer. Ids are text: `00123` is not `123`.

    Raises:
        UnknownCustomer: nobody of this id was scored.
    """
    row = scores.filter(pl.col("customer_id") == customer).collect()
    if row.is_empty():
        ids = scores.select("customer_id").collect()["customer_id"]
        raise UnknownCustomer(customer, len(ids), nearest_ids(ids, customer))
    return row.row(0, named=True)


def nearest_ids(ids: pl.Series, wanted: str) -> list[str]:
    """At most three ids that a slip could have turned into `wanted`, nearest first: the same one but for zeros in
    front, letter case, blanks or `.0`; then those that share one half with it, which a single slip leaves as it is."""
    known = ids.rename("id").to_frame()
    bare = pl.col("id").str.to_lowercase().str.strip_chars().str.replace(r"\.0$", "").str.strip_chars_start("0")
    like = wanted.lower().strip().removesuffix(".0").lstrip("0")
    same = known.filter(bare == like)["id"].sort().to_list() if like else []
    middle = len(like) // 2
    front, back = like[:middle], like[len(like) - middle :]
    near = bare.str.starts_with(front) if front else pl.lit(True)
    near |= bare.str.ends_with(back) if back else pl.lit(True)
    close = known.filter(near & bare.str.len_chars().is_between(len(like) - 1, len(like) + 1))["id"].sort()
    ranked = get_close_matches(wanted, close.head(COMPARED_IDS).to_list(), n=NEAREST_IDS, cutoff=0.5)
    return list(dict.fromkeys([*same, *ranked]))[:NEAREST_IDS]


def highest(scores: Scores, task: str, rows: int) -> pl.DataFrame:
    """The rows of the eligible customers with the highest prediction of a task, highest first, ties by customer_id.

    Those of a task with classes are ordered by the probability of the likeliest one, or by the lift where there is one.

    Raises:
        ValueError: no such task in these scores, or its predictions are not ordered.
    """
    order = order_of(scores.collect_schema(), task)
    if order is None:
        raise ValueError(f"predictions of {task!r} are names, which have no order")
    eligible = scores.lazy().filter(pl.col(f"{task}__eligible"))
    return eligible.sort(order, "customer_id", descending=[True, False]).head(rows).collect()


def tasks_in(columns: Iterable[str]) -> list[str]:
    """The tasks that scores with these columns have."""
    return [name.removesuffix("__eligible") for name in columns if name.endswith("__eligible")]


def order_of(schema: Mapping[str, pl.DataType], task: str) -> str | None:
    """The column by which the predictions of a task are ordered; None where they are names, which have no order.

    Raises:
        ValueError: no such task in these scores.
    """
    if f"{task}__eligible" not in schema:
        raise ValueError(f"no task {task!r} in these scores: they have {', '.join(tasks_in(schema))}")
    column = next(name for name in (f"{task}__lift", f"{task}__probability", task) if name in schema)
    return column if schema[column].is_numeric() else None


def top_lists(scores: Scores, tasks: Iterable[str]) -> pl.DataFrame:
    """Of each task whose prediction is a number: the eligible customers with the highest ones, in natural units."""
    rows = []
    schema = scores.collect_schema()
    for task in tasks:
        if schema[task].is_numeric():
            shown = f"{task}__value" if f"{task}__value" in schema else task
            read = ("customer_id", shown, order_of(schema, task) or task, f"{task}__eligible")
            own = highest(scores.lazy().select(*dict.fromkeys(read)), task, TOP_ROWS)
            customers = zip(own["customer_id"].to_list(), own[shown].to_list(), strict=True)
            rows.append({"task": task, "highest": ", ".join(f"{who} ({value:.4g})" for who, value in customers)})
    return pl.DataFrame(rows, schema={"task": pl.String, "highest": pl.String})


def distribution(scores: Scores, tasks: Sequence[str]) -> pl.DataFrame:
    """Share of eligible customers of each task, and the distribution of its prediction over them."""
    rows = []
    height = scores.lazy().select(pl.len()).collect().item()
    for task in tasks:
        eligible = of_eligible(scores, task, task, f"{task}__u", f"{task}__fallback")
        column = eligible[task]
        numeric = column.dtype.is_numeric()
        common = None if numeric or not len(column) else column.value_counts(sort=True).row(0)
        rows.append(
            {
                "task": task,
                "eligible": eligible.height / max(height, 1),
                "5 %": column.quantile(0.05) if numeric else None,
                "median": column.median() if numeric else None,
                "95 %": column.quantile(0.95) if numeric else None,
                "most common": f"{common[0]!s} ({common[1] / eligible.height:.0%})" if common else None,
                "mean uncertainty": eligible[f"{task}__u"].mean(),
                "fallback share": eligible[f"{task}__fallback"].mean(),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)
