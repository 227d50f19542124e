"""The customers of a list, with the columns of one task: filtered and ordered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from feature_assets.closed import nearest
from pipeline.browser.asked import ListAsked, NotAllowed
from pipeline.browser.night import Night
from pipeline.scores.table import order_of, tasks_in
from ple_model.tasks import kind_of


@dataclass(frozen=True)
class Column:
    """A column of a list: its name in the scores, its heading, and whether a list can be ordered by it."""

    name: str
    heading: str
    ordered: bool = True


@dataclass(frozen=True)
class Listing:
    """A list.

    Attributes:
        columns: those of the frame, in order; the first is customer_id.
        frame: all customers of the list, ordered.
        order: the column that orders it; None where the predictions have no order.
    """

    columns: Sequence[Column]
    frame: pl.DataFrame
    order: str | None


def listing(night: Night, asked: ListAsked, tasks: Sequence[Mapping[str, Any]]) -> Listing:
    """The list that is asked for.

    Args:
        night: the date.
        asked: the list.
        tasks: the tasks.json of the version that scored; empty where it is gone.

    Raises:
        NotAllowed: a task, an order or a filter that these scores do not have.
    """
    schema, traits = night.schema, night.known
    if asked.task not in tasks_in(schema):
        raise NotAllowed(f"task: no {asked.task!r} in these scores: {nearest(asked.task, tasks_in(schema))}")
    task = next((task for task in tasks if task["name"] == asked.task), {"name": asked.task})
    columns = [*_columns(schema, task), *(Column(name, name) for name in traits)]
    order = asked.order or order_of(schema, asked.task)
    allowed = [column.name for column in columns if column.ordered]
    if order is not None and order not in allowed:
        raise NotAllowed(f"order: no {order!r} in this list: {nearest(order, allowed)}")
    scores = night.scores.join(night.traits, on="customer_id", how="left") if traits else night.scores
    frame = scores.filter(_kept(asked, {*schema, *traits})).select(column.name for column in columns)
    down = asked.direction == "highest"
    by = [order] if order and order != "customer_id" else []
    falling = [down] * len(by) + [down if order == "customer_id" else False]
    ordered = frame.sort(*by, "customer_id", descending=falling, nulls_last=True)
    return Listing(columns, ordered.collect(), order)


def _kept(asked: ListAsked, names: set[str]) -> pl.Expr:
    """The rows of a list."""
    kept, task = pl.lit(True), asked.task
    wanted: list[tuple[str, str, pl.Expr]] = []
    if asked.who == "eligible":
        kept &= pl.col(f"{task}__eligible")
    if asked.segment is not None:
        wanted.append(("segment", "segment", pl.col("segment") == asked.segment))
    if asked.cluster is not None:
        wanted.append(("cluster", "cluster", pl.col("cluster") == asked.cluster))
    if asked.uncertainty is not None:
        wanted.append(("uncertainty", f"{task}__u", pl.col(f"{task}__u") <= asked.uncertainty))
    if asked.fallback is not None:
        wanted.append(("fallback", f"{task}__fallback", pl.col(f"{task}__fallback") == (asked.fallback == "yes")))
    for key, column, condition in wanted:
        if column not in names:
            raise NotAllowed(f"{key}: nothing to filter by: {column} is not known for this date. Leave it out.")
        kept &= condition
    return kept


def _columns(schema: pl.Schema, task: Mapping[str, Any]) -> list[Column]:
    """The columns of a task: its value in natural units with its interval, and how far it can be trusted."""
    name, unit = task["name"], task.get("unit") or ""
    natural = task.get("natural_unit") or ""
    of_unit, of_natural = f" ({unit})" if unit else "", f" ({natural})" if natural else ""
    likely = "kind" in task and kind_of(task["kind"]).is_probability  # of a version that is gone nothing is known
    probable = "probability" if likely else f"prediction{of_unit}"
    in_natural = f"{name}__value_low" in schema
    headings = {
        "customer_id": "customer",
        f"{name}__value": f"expected{of_natural}",
        f"{name}__value_low": f"90% from{of_natural}",
        f"{name}__value_high": f"90% to{of_natural}",
        name: probable,
        **({} if in_natural else {f"{name}__low": f"90% from{of_unit}", f"{name}__high": f"90% to{of_unit}"}),
        f"{name}__probability": "probability",
        f"{name}__next": "likeliest change",
        f"{name}__lift": "lift over base rate",
        f"{name}__top": "likeliest, in order",
        f"{name}__u": "uncertainty (0 to 1)",
        f"{name}__fallback": "base rate stands in",
        f"{name}__eligible": "eligible",
    }
    found = {key: heading for key, heading in headings.items() if key in schema}
    return [Column(key, heading, not schema[key].is_nested()) for key, heading in found.items()]
