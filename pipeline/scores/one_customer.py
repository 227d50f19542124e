"""What a home knows of one customer on one as-of date: the row of the scores, and what moved each prediction.

`ple scores --customer`, `ple explain customer` and the browser of scores show it in their own forms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        reasons: one a task (`pipeline.scores.reasons.customer_reasons`); empty where they cannot be told.
        values: column of the features → value in its natural unit, of all columns that are named as reasons.
        untold: why there are no reasons; empty where there are.
    """

    scores: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    reasons: Sequence[Mapping[str, Any]]
    values: Mapping[str, Any]
    untold: str = ""


def known_tasks(tracking: "Tracking", number: str) -> Sequence[Mapping[str, Any]]:
    """The tasks.json of a version; empty where MLflow does not know it any more."""
    return _known(tracking, number)[1]


def _known(tracking: "Tracking", number: str) -> "tuple[RegisteredVersion | None, Sequence[Mapping[str, Any]]]":
    """A version with its tasks.json; None and nothing where MLflow does not know it any more."""
    from mlflow.exceptions import MlflowException

    try:
        version = tracking.version(number)
        return version, tracking.read_json(version, "tasks.json")
    except (MlflowException, FileNotFoundError):
        return None, ()


def one_customer(tracking: "Tracking", lake: "Lake", customer: str, day: str, explained: bool = True) -> OneCustomer:
    """Look a customer up by the text of its id, at a date that is scored, and compute the reasons, if they are asked
    for: that takes seconds.

    Raises:
        PublicationError: the date has no scores, or they cannot be read.
        pipeline.scores.table.UnknownCustomer: they have no such customer; names the nearest ids.
    """
    from pipeline.scores.table import of_customer, tasks_in

    row = of_customer(lake.published("scores").scan(day), customer)
    version, tasks = _known(tracking, row["model_version"])
    if version is None:
        untold = f"version {row['model_version']} of the model is no longer in MLflow"
        return OneCustomer(row, [{"name": name} for name in tasks_in(row)], (), {}, untold)
    if not explained:
        return OneCustomer(row, tasks, (), {})
    matrix, untold = _matrix(lake, day, version)
    if matrix is None:
        return OneCustomer(row, tasks, (), {}, untold)
    from pipeline.scores.reasons import customer_reasons

    try:
        reasons = customer_reasons(matrix, version.folder, customer)
    except (KeyError, ValueError) as error:
        return OneCustomer(row, tasks, (), {}, str(error.args[0]))
    named = {reason["source"] for found in reasons for reason in found["reasons"]}
    return OneCustomer(row, tasks, reasons, _natural_values(lake, day, customer, named))


def _matrix(lake: "Lake", day: str, version: "RegisteredVersion") -> "tuple[pl.DataFrame | None, str]":
    """The features that a version scored on a date; None and why not, where they are gone or made by another state."""
    from pipeline.scores.table import STATE_VERSION

    table = lake.published("features/matrix")
    if not table.has(day):
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
        if table.has(day):
            frame = table.scan(day)
            named = sorted(columns & {*frame.collect_schema().names()})
            own = frame.filter(pl.col("customer_id") == customer).select(named).collect()
            found |= own.row(0, named=True) if own.height else {}
    return found
