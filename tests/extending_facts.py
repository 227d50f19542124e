"""Loads the plug-ins of a home and prints as one JSON line what the product sees of them. For test_extending.py."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import random_rows
import torch

from feature_assets import registry
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import compute_labels, fit_labels, windows
from feature_assets.labels.registry import get_task
from feature_assets.snapshots import SnapshotPlan, plan
from feature_assets.sources import load_tables
from pipeline.definitions import build_definitions
from pipeline.plugins import Extensions, load_plugins
from pipeline.settings import Settings, load_settings
from pipeline.training.evaluation import Evaluation
from ple_model.config import InputConfig, ModelConfig, TaskConfig
from ple_model.model import PLEClusterAdaTT

ROWS = 64


def group(tables: Tables, planned: SnapshotPlan) -> dict[str, Any]:
    """The feature group, fitted on training dates and computed on the same ones."""
    found = registry.registry()["weekend_share"]
    name = found.columns[0].name
    views = [View(tables, day) for day in planned.train[-3:]]
    state = found.fit(views, [{} for _ in views], seed=0)
    frames = [found.compute(view, state, {}) for view in views]
    values = pl.concat(frames)[name].drop_nulls().to_numpy()
    first, last = registry.ranges()["habits"]
    position = registry.positions()[name]
    return {
        "position": position,
        "normalised": registry.normalised(),
        "section": "habits" if first <= position < last else "",
        "columns": frames[0].columns,
        "mean": float(values.mean()),
        "spread": float(values.std()),
    }


def task(dataset: DatasetConfig, tables: Tables, planned: SnapshotPlan) -> dict[str, Any]:
    """Description and labels of the task."""
    as_of = dataset.covers_until - timedelta(days=dataset.horizon_days)
    labels = compute_labels(tables, as_of, fit_labels(tables, planned), dataset.covers_until)["large_basket"]
    known = labels.drop_nulls()
    return {"described": get_task("large_basket").describe(dataset), "known": len(known), "positive": int(known.sum())}


def model(settings: Settings) -> dict[str, Any]:
    """A step of the configured network on random rows."""
    names = registry.names()
    some = tuple(i for i, name in enumerate(names) if name.startswith("base__"))
    inputs = InputConfig(columns=names, present=some, normalised=registry.normalised(), sides=())
    tasks = (TaskConfig.from_dict(get_task("large_basket").for_model()),)
    config = ModelConfig.from_dict({"inputs": inputs, "tasks": tasks, **settings.network.to_dict()})
    network = PLEClusterAdaTT(config)
    rows = random_rows.inputs(inputs, ROWS)
    network.fit_inputs(rows)
    network(rows).predictions["large_basket"].sum().backward()
    expert = network.experts["spend_line"]
    learns = any(p.grad is not None and bool(p.grad.any()) for p in expert.parameters())
    probability = network.predict(rows)["large_basket"]
    inside = int(((probability > 0) & (probability < 1)).sum())
    return {"names": list(network.expert_names), "width": expert.width, "learns": learns, "probabilities": inside}


def rule(extensions: Extensions) -> dict[str, Any]:
    """Verdicts over an evaluation that is ahead of LightGBM, and one that is behind."""

    def verdict(against: list[str]) -> dict[str, Any]:
        tasks = ("churn", "ltv", "large_basket")
        verdicts = {"constant": dict.fromkeys(tasks, "ahead"), "LightGBM": dict(zip(tasks, against, strict=True))}
        evaluation = Evaluation(table=[], metrics=[], verdicts=verdicts, gates={}, reliability={})
        [found] = [rule(evaluation) for rule in extensions.promotion_rules]
        return {"promote": found.promote, "reason": found.reason}

    return {"ahead": verdict(["ahead", "level", "behind"]), "behind": verdict(["behind", "behind", "level"])}


def main() -> None:
    """Print the facts."""
    settings = load_settings()
    extensions = load_plugins(settings.plugins)
    definitions = build_definitions(settings)
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    nightly = {key.to_user_string() for key in definitions.resolve_job_def("nightly").asset_layer.executable_asset_keys}
    dataset = settings.load_dataset()
    tables = load_tables(dataset)
    planned = plan(dataset.covers_until, dataset.covers_from, windows(tables.dataset))
    torch.manual_seed(0)
    expert = model(settings)
    [fallbacks] = extensions.monitoring_factories[0](dataset, definitions.resolve_job_def("nightly").partitions_def)
    scores = pl.DataFrame({"customer_id": list("abcd"), "churn__fallback": np.array([True, False, False, False])})
    found = {
        "group": group(tables, planned) | {"asset": "features/weekend_share" in keys},
        "task": task(dataset, tables, planned),
        "expert": expert,
        "rule": rule(extensions),
        "asset": {"in_nightly": "fallback_shares" in nightly, "metadata": dict(fallbacks(scores).metadata)},
        "dataset": {"name": dataset.name, "tables": sorted(tables.frames)},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
