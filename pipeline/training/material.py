"""The material of a training: its dates, and a digest of everything that decides its content.

Files of an interrupted training are taken up only under the same digest.
"""

import hashlib
import json
import platform
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feature_assets.data.dataset import DatasetConfig
from feature_assets.labels import windows
from feature_assets.snapshots import SnapshotPlan, plan
from pipeline.resources.digests import LIBRARIES, code_digest, package_files
from pipeline.settings import Settings
from pipeline.training import trees

NOT_CONTENT = {
    *("home", "dagster_storage", "mlflow_uri", "data_dir", "schedule_cron", "catch_up_days", "retrain_after_days"),
    *("missing_sources", "volume", "promotion", "retention", "drift", "alerts", "training_rendezvous"),
    *("runner", "workers", "ray_address", "lake", "code_location"),
}
"""Settings that decide where and when a training runs, but not its content."""


def training_plan(settings: Settings, dataset: DatasetConfig, as_of: date) -> SnapshotPlan:
    """Training and evaluation dates of a training on `as_of`, for the tasks that are on.

    Raises:
        NotEnoughHistory: with the earliest possible as-of date.
    """
    return plan(
        as_of,
        dataset.covers_from,
        windows(dataset),
        step=settings.snapshot_step_days,
        min_history=settings.min_history_days or dataset.active_days,
        holdout_weeks=settings.holdout_weeks,
    )


def material_digest(settings: Settings, delivery: str, as_of: date, plugin_files: Iterable[Path] = ()) -> str:
    """16 hex digits of the delivery, the date, the settings and the searched ones, all code, the libraries, the threads
    and the machine."""
    return _digest(
        {
            "delivery": delivery,
            "as_of": as_of.isoformat(),
            "settings": settings.model_dump(mode="json", exclude=NOT_CONTENT),
            "trees": trees.budget_of(settings).to_dict(),
            "code": code_digest([*package_files(), *plugin_files]),
            **environment(),
        }
    )


def environment() -> dict[str, Any]:
    """Libraries, threads and kind of machine: with others, sums may round differently."""
    import torch

    return {
        "libraries": {name: version(name) for name in LIBRARIES},
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
