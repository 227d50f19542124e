"""Hand-made material of one training: 3 tasks, 6 columns, 120 customers, 4 snapshots, a network of one expert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets import registry
from feature_assets.group import GroupState
from feature_assets.labels import LabelState
from feature_assets.snapshots import SnapshotPlan
from feature_assets.state import FeatureState
from pipeline.settings import Settings
from pipeline.training import columns
from pipeline.training.columns import ColumnChoice
from pipeline.training.evaluation import Evaluation
from pipeline.training.workspace import Workspace

AS_OF = date(2017, 10, 1)
CUSTOMERS = 120
WINDOWS = {"churn": 28, "engagement": 28, "channel": 28, "brand_prediction": 28}
CLASSES = {"channel": ["mailer", "display", "shelf"], "brand_prediction": ["a", "b", "c"]}


def plan_of() -> SnapshotPlan:
    """Three training snapshots and one for validation and test, 28 days apart."""
    days = [AS_OF - timedelta(days=28 * k) for k in (5, 4, 3, 1)]
    return SnapshotPlan(AS_OF, WINDOWS, tuple(days[:3]), tuple(days[3:]), days[3])


def settings_of(home: Path) -> Settings:
    """Settings of a network and a budget that fit in seconds."""
    tree = {"rounds": 3, "leaves": 4}
    return Settings.model_validate(
        {
            "home": home,
            "bootstrap_resamples": 20,
            "network": {"experts": [{"name": "deepfm"}], "autoencoder": {"enabled": True}},
            "training": {"phase1_epochs": 1, "phase2_epochs": 1, "warmup_epochs": 0, "phase2_warmup_epochs": 0},
            "columns": "all",
            "boosting": {"single": tree, "multiclass": tree, "brand": tree, "brands": 1},
            "tuned_trees": False,
        }
    )


@dataclass(frozen=True)
class Material:
    """Everything that the steps behind the training set read."""

    workspace: Workspace
    plan: SnapshotPlan
    settings: Settings
    state: FeatureState
    label_state: LabelState
    columns: ColumnChoice


def fill(folder: Path) -> Material:
    """Write state, snapshots and labels. Churn follows the first column, engagement the second."""
    work, plan = Workspace(folder), plan_of()
    work.take_up("made by hand")
    names = list(registry.names()[:6])
    state = FeatureState({"normalise": GroupState(meta={"columns": names})}, names)
    label_state = LabelState(
        fitted_until=plan.holdout_start,
        classes=CLASSES,
        category_shares=[],
        channel_shares=[],
        brand_frequency=[0.5, 0.3, 0.2],
        spend_knots=[0.0, 1.0],
        spend_levels=[0.0, 1.0],
        stage_edges=(0.5, 1.5),
    )
    work.save_state(state)
    work.save_label_state(label_state)
    rng = np.random.default_rng(0)
    ids = pl.Series("customer_id", [f"c{i:03d}" for i in range(CUSTOMERS)])
    labels = []
    for day in plan.dates:
        x = rng.normal(size=(CUSTOMERS, len(names))).astype(np.float32)
        clusters = np.eye(20, dtype=np.float32)[rng.integers(0, 20, CUSTOMERS)]
        matrix = pl.DataFrame({name: x[:, i] for i, name in enumerate(names)}).with_columns(
            ids, pl.lit(day).alias("as_of"), pl.Series("cluster_probs", clusters.tolist(), dtype=pl.List(pl.Float32))
        )
        work.save_snapshot(day, matrix.select("customer_id", "as_of", *names, "cluster_probs"))
        labels.append(
            pl.DataFrame(
                {
                    "customer_id": ids,
                    "churn": (x[:, 0] + rng.normal(size=CUSTOMERS) > 0).astype(np.int8),
                    "engagement": (x[:, 1] + rng.normal(size=CUSTOMERS)).astype(np.float64),
                    "channel": rng.integers(0, 3, CUSTOMERS).astype(np.int16),
                    "brand_prediction": [[int(i)] for i in rng.integers(0, 3, CUSTOMERS)],
                },
                schema_overrides={"brand_prediction": pl.List(pl.Int32)},
            ).select("customer_id", pl.lit(day).alias("as_of"), plan.role(ids, day).alias("role"), *WINDOWS)
        )
    work.save_labels(pl.concat(labels))
    settings = settings_of(folder.parent)
    choice = columns.choose(work, plan, settings, lambda _: None)
    return Material(work, plan, settings, state, label_state, choice)


def some_evaluation(**verdicts: str) -> Evaluation:
    """An evaluation with the model's verdicts against the constant, by task."""
    return Evaluation(
        table=[{"task": task, "metric": "AUC ↑", "model": ".7", "constant": ".5 ▲"} for task in verdicts],
        metrics=[{"task": task, "model": "model", "metric": "auc", "value": 0.7} for task in verdicts],
        verdicts={"constant": verdicts},
        gates={task: {"deepfm": 1.0} for task in verdicts},
        reliability={"churn": [(0.1, 0.2, 10), (0.7, 0.6, 10)]},
    )
