"""What a home knows of one customer on one as-of date: the row of the scores, and what moved each prediction.

`ple scores --customer` and `ple explain customer` show it in their own forms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.common import scored_day

if TYPE_CHECKING:
    import polars as pl

    from pipeline.resources.lake import Lake
    from pipeline.resources.tracking import RegisteredVersion, Tracking


@dataclass(frozen=True)
class OneCustomer:
    """One customer.

    Attributes:
        scores: column of the scores → value.
        tasks: the tasks.json of the version that scored.
        reasons: one a task (`pipeline.reasons.customer_reasons`); empty where they cannot be told.
        values: column of the features → value in its natural unit, of all columns that are named as reasons.
        untold: why there are no reasons; empty where there are.
    """

    scores: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    reasons: Sequence[Mapping[str, Any]]
    values: Mapping[str, Any]
    untold: str = ""


def one_customer(tracking: "Tracking", lake: "Lake", customer: str, as_of: str | None) -> OneCustomer:
    """Look a customer up by the text of its id, at a date or the newest one that is scored.

    Raises:
        click.ClickException: the date has no scores, or not of this customer; names the nearest ids.
    """
    from pipeline.scores import of_customer

    day = scored_day(lake.published("scores"), as_of)
    try:
        row = of_customer(lake.published("scores").read(day), customer)
    except ValueError as error:
        raise click.ClickException(f"{error} (as of {day})") from None
    version = tracking.version(row["model_version"])
    tasks = tracking.read_json(version, "tasks.json")
    matrix, untold = _matrix(lake, day, version)
    if matrix is None:
        return OneCustomer(row, tasks, (), {}, untold)
    from pipeline.reasons import customer_reasons

    try:
        reasons = customer_reasons(matrix, version.folder, customer)
    except (KeyError, ValueError) as error:
        return OneCustomer(row, tasks, (), {}, str(error.args[0]))
    named = {reason["source"] for found in reasons for reason in found["reasons"]}
    return OneCustomer(row, tasks, reasons, _natural_values(lake, day, customer, named))


def _matrix(lake: "Lake", day: str, version: "RegisteredVersion") -> "tuple[pl.DataFrame | None, str]":
    """The features that a version scored on a date; None and why not, where they are gone or made by another state."""
    from pipeline.scores import STATE_VERSION

    table = lake.published("features/matrix")
    if day not in table.dates():
        return None, f"the features of {day} are no longer in the lake"
    matrix = table.read(day)
    if matrix[STATE_VERSION][0] != version.state_version:
        return None, f"the features of {day} are not those that version {version.version} scored"
    return matrix, ""


def _natural_values(lake: "Lake", day: str, customer: str, columns: set[str]) -> dict[str, Any]:
    """Column → the customer's value as its feature group computed it, in its natural unit."""
    import polars as pl

    from pipeline.reports.pages.meanings import group_of

    found: dict[str, Any] = {}
    for group in sorted({group_of(column) for column in columns} - {""}):
        table = lake.published(f"features/{group}")
        if day in table.dates():
            frame = table.read(day)
            own = frame.filter(pl.col("customer_id") == customer).select(pl.col(sorted(columns & set(frame.columns))))
            found |= own.row(0, named=True) if own.height else {}
    return found
