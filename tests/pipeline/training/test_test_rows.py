"""Nothing that a training settles saw a test row: spoilt ones change neither weights nor what lies beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.settings import Settings
from pipeline.training import columns, model
from tests.pipeline.small_training import Material, fill


def _settings(made: Material) -> Settings:
    """All that is fitted beside the weights: chosen columns, epochs of tasks, a blend, uncertainty and intervals."""
    values = made.settings.model_dump(mode="json")
    values["training"] |= {"phase1_epochs": 3, "phase2_epochs": 0, "best_epoch": "task", "average": 0.9}
    values["network"] |= {"members": 2, "experts": [{"name": "wide", "hidden": [16], "width": 16}]}
    values |= {"columns": "chosen", "column_budget": {"per_task": 2}}
    return Settings.model_validate(values)


def _spoil(made: Material, role: str) -> None:
    """Other features and labels for the customers of one role of the holdout."""
    rng, plan, work = np.random.default_rng(1), made.plan, made.workspace
    labels = work.labels()
    for day in plan.holdout:
        frame = pl.read_parquet(work.snapshot(day))
        chosen = plan.role(frame["customer_id"], day) == role
        noise = pl.DataFrame({n: rng.normal(size=frame.height).astype(np.float32) + 5 for n in made.state.present})
        work.save_snapshot(
            day,
            frame.with_columns(pl.when(chosen).then(noise[name]).otherwise(name).alias(name) for name in noise.columns),
        )
    hit = pl.col("role") == role
    work.save_labels(
        labels.with_columns(
            churn=pl.when(hit).then(1 - pl.col("churn")).otherwise("churn").cast(pl.Int8),
            engagement=pl.when(hit).then(99.0).otherwise("engagement"),
            channel=pl.when(hit).then((pl.col("channel") + 1) % 3).otherwise("channel").cast(pl.Int16),
        )
    )


def _settled(folder: Path, dataset: DatasetConfig, spoilt: str | None, monkeypatch: pytest.MonkeyPatch) -> dict:
    """File → bytes of everything that a training settles."""
    monkeypatch.setattr("ple_model.boosting.fit.MIN_ROWS", 20)
    made = fill(folder / "training")
    if spoilt is not None:
        _spoil(made, spoilt)
    settings, work = _settings(made), made.workspace
    (work.folder / "columns.json").unlink()
    columns.choose(work, made.plan, settings, lambda _: None)
    model.train(work, made.plan, dataset, settings, lambda _: None, lambda _: None)
    names = ["columns.json", "found.json"]
    files = [work.folder / name for name in names] + [p for p in (work.folder / "trees").rglob("*") if p.is_file()]
    files += [p for p in work.bundle.rglob("*") if p.is_file()]
    return {str(p.relative_to(work.folder)): p.read_bytes() for p in files}


def test_spoilt_test_rows_change_nothing_that_is_settled(
    tmp_path: Path, dataset: DatasetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = _settled(tmp_path / "sound", dataset, None, monkeypatch)
    spoilt = _settled(tmp_path / "spoilt", dataset, "test", monkeypatch)
    assert {"columns.json", "found.json", "trees/trees.json", "bundle/calibration.json"} <= set(sound)
    differing = sorted(name for name in sound.keys() | spoilt.keys() if sound.get(name) != spoilt.get(name))
    assert differing == []
    other = _settled(tmp_path / "other", dataset, "validation", monkeypatch)
    assert {name for name in sound if sound[name] != other[name]} >= {"bundle/calibration.json", "found.json"}, (
        "the comparison would see what validation rows settle"
    )
