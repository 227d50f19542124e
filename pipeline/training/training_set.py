"""The training set: the feature matrix of every snapshot, and one table of labels with roles and masks."""

from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.build import assemble, compute_all
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import LabelState, base_rates, compute_labels, fit_labels, leak_check, with_enough
from feature_assets.snapshots import SnapshotPlan
from pipeline.training.workspace import Workspace

ROLES = ("train", "validation", "test")
REFIT = "refit"
"""The rows of a refit: those of every role and of the dates between, with all labels that have matured."""
SPACED_ROWS = 20_000
"""Rows below which a network learns from all of them, however alike neighbours are."""
LEAK_SNAPSHOTS = 8
"""About so many training snapshots are looked at for leaks, evenly spread."""


def fit_label_state(workspace: Workspace, tables: Tables, plan: SnapshotPlan) -> LabelState:
    """Fit vocabularies and edges of the labels on training windows, and switch off tasks that have too few of them; or
    take up those of an interrupted training.

    Raises:
        NotEnoughLabels: no task is left.
    """
    if not workspace.has_label_state():
        workspace.save_label_state(with_enough(tables, plan, fit_labels(tables, plan)))
    return workspace.label_state()


def build(
    workspace: Workspace, tables: Tables, plan: SnapshotPlan, max_rows: int, log: Callable[[str], None]
) -> pl.DataFrame:
    """Compute features and labels of every snapshot; a label that may not be used in its role is null. Tasks without
    enough labels have no column.

    Snapshots that an interrupted training left are not computed again.

    Returns:
        The labels (`Workspace.labels`).
    """
    label_state, state = fit_label_state(workspace, tables, plan), workspace.state()
    learnt = plan.without(label_state.off)
    frames = []
    for number, day in enumerate(plan.dates, start=1):
        view = view_of(day, tables, plan, max_rows)
        if not workspace.snapshot(day).exists():
            workspace.save_snapshot(day, assemble(view, compute_all(view, state), state))
        labels = compute_labels(tables, day, label_state, known_until=plan.as_of)
        labels = labels.join(view.customers, on="customer_id", how="semi", maintain_order="left")
        usable = [pl.when(plan.usable(task, day)).then(pl.col(task)).alias(task) for task in learnt.windows]
        role = plan.role(labels["customer_id"], day).alias("role")
        frames.append(labels.with_columns(role).select("customer_id", "as_of", "role", *usable))
        if number % 10 == 0 or number == len(plan.dates):
            log(f"{number} of {len(plan.dates)} snapshots ready")
    labels = pl.concat(frames, how="vertical_relaxed")
    workspace.save_labels(labels)
    return labels


def build_refit(
    workspace: Workspace, tables: Tables, plan: SnapshotPlan, max_rows: int, log: Callable[[str], None]
) -> pl.DataFrame:
    """Compute the snapshots that only a refit reads, and the labels of all its rows; one that had not matured by the
    training date is null. Feature state and label state are those of `build`, whose snapshots are read again.

    Returns:
        The labels (`Workspace.refit_labels`), all of the role `REFIT`.
    """
    label_state, state = workspace.label_state(), workspace.state()
    numbers = {day: number for number, day in enumerate((*plan.dates, *plan.gap), start=1)}
    frames = []
    for day in plan.refit_dates:
        if not workspace.snapshot(day).exists():
            view = View(tables, day, shard(numbers[day], day, tables, plan, max_rows))
            workspace.save_snapshot(day, assemble(view, compute_all(view, state), state))
        customers = pl.read_parquet(workspace.snapshot(day), columns=["customer_id"])
        labels = compute_labels(tables, day, label_state, known_until=plan.as_of)
        labels = labels.join(customers, on="customer_id", how="semi", maintain_order="left")
        usable = [pl.when(plan.matured(task, day)).then(pl.col(task)).alias(task) for task in plan.windows]
        frames.append(labels.with_columns(role=pl.lit(REFIT)).select("customer_id", "as_of", "role", *usable))
    labels = pl.concat(frames, how="vertical_relaxed")
    log(f"{labels.height:,} rows of {len(plan.refit_dates)} snapshots to fit again on")
    workspace.save_refit_labels(labels)
    return labels


def shard(number: int, day: date, tables: Tables, plan: SnapshotPlan, max_rows: int) -> tuple[int, int] | None:
    """The shard of customers that snapshot `number` takes where all customers would be more than `max_rows` rows."""
    share = max_rows // len(plan.dates)
    known = View(tables, day).customers.height
    shards = -(-known // max(share, 1))
    return (number % shards, shards) if shards > 1 else None


def view_of(day: date, tables: Tables, plan: SnapshotPlan, max_rows: int) -> View:
    """The customers of one of the plan's snapshots."""
    number = plan.dates.index(day) + 1
    return View(tables, day, shard(number, day, tables, plan, max_rows))


def rows_of(
    workspace: Workspace, role: str, columns: list[str] | None = None
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """(features, labels) of the rows of a role, snapshot by snapshot, both in the row order of the snapshot.

    `columns` of the feature matrix; `customer_id` must be among them.
    """
    known = workspace.refit_labels() if role == REFIT else workspace.labels()
    for (day,), labels in known.filter(pl.col("role") == role).group_by("as_of", maintain_order=True):
        assert isinstance(day, date)
        features = pl.read_parquet(workspace.snapshot(day), columns=columns)
        rows = labels.join(features.select("customer_id"), on="customer_id", how="inner", maintain_order="right")
        yield features.join(rows.select("customer_id"), on="customer_id", how="semi", maintain_order="left"), rows


def customers_of(workspace: Workspace, role: str) -> NDArray:
    """[R] customer of each row of a role, in the order of `rows_of`."""
    return pl.concat([features for features, _ in rows_of(workspace, role, ["customer_id"])])["customer_id"].to_numpy()


def spaced(workspace: Workspace, role: str, days: int) -> NDArray[np.int64]:
    """Positions, in the order of `rows_of`, of the rows of a role that the network learns from.

    Neighbouring rows of a customer say nearly the same, so one row in every `days` days stands for all of them; in
    which of these days it falls differs between customers, so every date is learnt from. All rows where fewer than
    `SPACED_ROWS` would be left.
    """
    rows = pl.concat([part.select("customer_id", "as_of") for _, part in rows_of(workspace, role, ["customer_id"])])
    phase = stable_shard("spacing:" + rows["customer_id"].cast(pl.String), days)
    period = (rows["as_of"].to_physical().cast(pl.Int64) + phase.cast(pl.Int64)) // days
    first = (
        rows.with_columns(period=period).with_row_index("at").group_by("customer_id", "period").agg(pl.col("at").min())
    )
    kept = first["at"].sort().to_numpy().astype(np.int64)
    return kept if len(kept) >= SPACED_ROWS else np.arange(rows.height)


def check_leaks(workspace: Workspace, plan: SnapshotPlan) -> pl.DataFrame:
    """A shallow tree a task on a sample of training rows: a task that it solves is a leak (DATA §3)."""
    days = plan.train[:: max(1, len(plan.train) // LEAK_SNAPSHOTS)]
    columns = ["customer_id", "as_of", *workspace.state().present]
    features = pl.concat([pl.read_parquet(workspace.snapshot(day), columns=columns) for day in days])
    return leak_check(features, workspace.labels().filter(pl.col("as_of").is_in(days)))


def role_table(labels: pl.DataFrame) -> pl.DataFrame:
    """Rows, customers and dates by role."""
    return labels.group_by("role", maintain_order=True).agg(
        rows=pl.len(),
        customers=pl.col("customer_id").n_unique(),
        first=pl.col("as_of").min(),
        last=pl.col("as_of").max(),
    )


def label_table(labels: pl.DataFrame, plan: SnapshotPlan) -> pl.DataFrame:
    """Usable labels by task and role."""
    counts = labels.group_by("role").agg(pl.col(list(plan.windows)).is_not_null().sum())
    wide = counts.sort("role").transpose(include_header=True, header_name="task", column_names="role")
    return wide.with_columns(pl.Series("window in days", list(plan.windows.values())))


def training_base_rates(labels: pl.DataFrame, state: LabelState) -> pl.DataFrame:
    """Base rates of the usable training labels."""
    return base_rates(labels.filter(pl.col("role") == "train").drop("role"), state).drop("classes")
