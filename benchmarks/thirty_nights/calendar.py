"""What happens in which of the thirty weeks, and the bank that it happens to."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from feature_assets.simulation.config import DriftConfig, SimulationConfig

FIRST, NIGHTS = date(2024, 6, 7), 30
CUSTOMERS, SEED = 800, 11
TASK, WINDOW_WEEKS = "timing", 4
"""The task whose skill is followed, one of classes, and its label window."""

BAD = 6
"""The delivery of this night is bad at first: a tenth of its transactions names an unknown customer."""
DRIFT = 10
"""The drift begins with the first day of the week before this night."""
TRAININGS = (1, 8, 15, 22, 29)
SABOTAGED, BETTER = 15, 22
"""Of these trainings: one learns from shuffled labels; one is the first that learns from rows after the drift."""
BAD_SHARE = 0.1


def day_of(night: int) -> date:
    """The as-of date of night 1 … 30."""
    return FIRST + timedelta(weeks=night - 1)


BANK = SimulationConfig(
    days=366,
    drift_on=day_of(DRIFT - 1),
    drift=DriftConfig(hours=1.0, channels=(1.0, 1.0, 1.0), prices={}, sessions=0.5, bursts=5.0),
)
"""Customers come half as often again, each session is followed by five more on the same day, and every purchase moves
to the next part of the day: what is known of a customer's hours foretells the wrong ones."""

DATASET: dict[str, Any] = {
    "name": "small_bank",
    "title": "Bank simulation of a few customers, 2024",
    "notice": "Made by a generator with a known process (docs/bank_simulation.md), to test with. A benchmark, never "
    "evidence about people: no customer, merchant or bank in it exists.",
    "source": "contract_files",
    "zone": "Europe/Zurich",
    "covers_from": "2024-01-01",
    "covers_until": "2025-01-01",
    "channels": ["pos", "online", "app"],
    "channel_label": "modal",
    "categories_from": "merchants",
    "nba_from": "holdings",
    "horizon_days": 28,
    "campaign_horizon_days": 28,
    "control_share": 0.1,
    "tasks_off": dict.fromkeys(("ltv", "retention"), "a label needs twelve weeks: too long for thirty"),
    "quarantine_limits": {"campaigns": 0.1, "campaign_events": 0.1},
}
"""Without the two tasks of twelve weeks, a training learns from labels that are five weeks old instead of thirteen."""

RETENTION = {
    "keep_nights": 14,
    "keep_features": 3,
    "keep_replaced_hours": 0,
    "keep_deliveries": 2,
    "keep_trainings": 2,
    "keep_versions": 3,
    "keep_runs": 3,
}
_TREE = {"rounds": 60, "leaves": 15}
SETTINGS: dict[str, Any] = {
    "dataset_file": "small_bank.yaml",
    "preset": "trunk",
    "retrain_after_days": 49,
    "bootstrap_resamples": 100,
    "importance_rows": 100,
    "tuned_trees": False,
    "training": {"phase1_epochs": 3},
    "boosting": {
        "single": _TREE,
        "multiclass": {"rounds": 20, "leaves": 15},
        "brand": {"rounds": 2, "leaves": 7},
        "brands": 2,
    },
    "promotion": {"critical": [TASK], "margins": {TASK: 0.05}},  # a few hundred test customers
    "retention": RETENTION,
}
SABOTAGE = "benchmarks.thirty_nights.shuffled_labels"
"""The plug-in that shuffles the labels of a training."""


def plugins(night: int) -> list[str]:
    """The plug-ins of a night."""
    return [SABOTAGE] if night == SABOTAGED else []


def work(folder: Path) -> dict[str, Path]:
    """The places of the story in its folder."""
    return {name: folder / name for name in ("home", "delivery", "notes", "kept")}
