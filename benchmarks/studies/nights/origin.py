"""An origin's material, prepared once for all its cells: what a night of that date would fit and train on, the labels
of the rows to judge, and the predictions that need no training.

The data set is read whole, but a training of an origin sees what was known on that date: features end before their
snapshot, and a label that had not matured by the origin is masked. The rows of the role `later` are for judging only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks.studies.nights.files import NightFiles
from benchmarks.studies.store import Judged, Store, save_arrays
from benchmarks.studies.study import Log
from feature_assets.build import assemble, compute_all
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import compute_labels, get_task
from feature_assets.snapshots import STEP, SnapshotPlan
from feature_assets.sources import load_tables
from pipeline.intake import deliveries
from pipeline.training import baselines, fitting, material, repeat_buying, training_set
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from benchmarks.studies.nights.study import NightStudy
    from ple_model.tasks import TaskConfig

LATER = "later"


def roles_of(study: NightStudy) -> tuple[str, ...]:
    """Roles whose rows the cells of a study predict."""
    return ("validation", "test", LATER) if study.later_weeks else ("validation", "test")


def prepare(study: NightStudy, as_of: date, store: Store, log: Log) -> NightFiles:
    """Fit the feature state, compute the training set, and write the rows to judge; what is there is not made again."""
    files = NightFiles.of(store.origin(study, str(as_of)))
    if files.prepared:
        return files
    started = time.monotonic()
    files.folder.mkdir(parents=True, exist_ok=True)
    settings = study.origin_settings(store.root)
    delivery = deliveries.data_folder(settings, log)
    tables = load_tables(settings.load_dataset(), delivery)
    plan = material.training_plan(settings, tables.dataset, as_of)
    work = files.workspace
    files.describe(tables.dataset)
    state = fitting.fit(work, tables, plan, settings.seed, log)
    labels = training_set.build(work, tables, plan, settings.max_training_rows, log)
    plan = plan.without(work.label_state().off)
    if study.later_weeks:
        work.save_labels(pl.concat([labels, *_later(study, files, tables, plan)], how="vertical_relaxed"))
        training_set.build_refit(work, tables, plan, settings.max_training_rows, log)
    tasks = tasks_of(work, plan)
    rows = {}
    for role in roles_of(study):
        keys, judged = save_judged(files, role, tasks)
        rows[role] = len(keys)
        brands = work.label_state().classes.get("brand_prediction")
        if brands:
            past = baselines.past_brands(tables, keys, brands)[judged.mask["brand_prediction"]]
            save_arrays(files.extra(role, baselines.OWN_PAST), {"brand_prediction": past.astype(np.float32)})
        buying, _ = repeat_buying.answers(work, tables, keys, tasks)
        if buying:
            answers = {task: told[judged.mask[task]].astype(np.float32) for task, told in buying.items()}
            save_arrays(files.extra(role, baselines.REPEAT_BUYING), answers)
        if study.oracle and delivery is not None:
            from benchmarks.studies.nights.oracle import oracle_predictions

            known = oracle_predictions(delivery, keys, judged, work.label_state(), log)
            save_arrays(files.extra(role, "oracle"), known)
        log(f"{role}: {len(keys):,} rows to judge")
    rows["train"] = labels.filter(pl.col("role") == "train").height
    files.finish(about(tasks, plan, rows, len(state.present), time.monotonic() - started))
    return files


def tasks_of(work: Workspace, plan: SnapshotPlan) -> list[TaskConfig]:
    """The tasks that are on, for the classes of the origin's labels."""
    from ple_model.tasks import TaskConfig

    counts = {task: len(names) for task, names in work.label_state().classes.items()}
    return [TaskConfig.from_dict(get_task(name).for_model(counts.get(name))) for name in plan.windows]


def save_judged(files: NightFiles, role: str, tasks: Sequence[TaskConfig]) -> tuple[pl.DataFrame, Judged]:
    """Write the labels of the rows of a role; their customer_id and as_of, and the labels."""
    from ple_model.tasks import kind_of

    parts = list(training_set.rows_of(files.workspace, role, ["customer_id", "as_of"]))
    keys, labels = pl.concat([part for part, _ in parts]), pl.concat([part for _, part in parts])
    targets = {task.name: kind_of(task).targets(task, labels[task.name]) for task in tasks}
    judged = Judged(
        keys["customer_id"].cast(pl.String).to_numpy().astype(np.str_),
        keys["as_of"].cast(pl.String).to_numpy().astype(np.str_),
        {task: values for task, (values, _) in targets.items()},
        {task: mask for task, (_, mask) in targets.items()},
    )
    judged.save(files.judged(role))
    return keys, judged


def about(
    tasks: Sequence[TaskConfig], plan: SnapshotPlan, rows: Mapping[str, int], columns: int, seconds: float
) -> dict[str, Any]:
    """What is noted of a prepared origin."""
    return {
        "tasks": {task.name: task.kind for task in tasks},
        "rows": dict(rows),
        "training dates": [str(day) for day in plan.train],
        "judged dates": [str(day) for day in plan.holdout],
        "columns": columns,
        "seconds": seconds,
    }


def _later(study: NightStudy, files: NightFiles, tables: Tables, plan: SnapshotPlan) -> list[pl.DataFrame]:
    """Labels of all customers at the snapshots from the origin on, as far as the data tell them; their features are
    written beside those of the training set."""
    work, until = files.workspace, tables.dataset.covers_until
    frames = []
    for week in range(study.later_weeks):
        day = plan.as_of + timedelta(days=STEP * week)
        usable = [task for task, window in plan.windows.items() if day + timedelta(days=window) <= until]
        if not usable:
            break
        view = View(tables, day)
        if not work.snapshot(day).exists():
            work.save_snapshot(day, assemble(view, compute_all(view, work.state()), work.state()))
        labels = compute_labels(tables, day, work.label_state(), known_until=until)
        labels = labels.join(view.customers, on="customer_id", how="semi", maintain_order="left")
        kept = [pl.when(task in usable).then(pl.col(task)).alias(task) for task in plan.windows]
        frames.append(labels.with_columns(role=pl.lit(LATER)).select("customer_id", "as_of", "role", *kept))
    if not frames:
        raise ValueError(f"no label of any snapshot from {plan.as_of} on matures before {until}")
    return frames
