"""What decides the content of the origins and cells of a study of nights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import feature_assets
import pipeline
import ple_model
from feature_assets.data.dataset import load_dataset
from feature_assets.sources import read_delivery
from pipeline.intake import deliveries
from pipeline.resources.digests import code_digest
from pipeline.settings import Settings
from pipeline.training.material import NOT_CONTENT

DATA_SEED = 7
"""Seed of simulations, of the fitted feature state and of the choice of columns: one of each an origin, whatever the
seed of a cell."""
MODEL_SETTINGS = (
    *("preset", "losses", "network", "training", "columns", "column_budget"),
    *("boosting", "tuned_trees", "blend", "refit", "row_spacing_days"),
)
"""Settings that decide nothing about an origin's material."""
JUDGING = (
    *("bootstrap", "breakdown", "classes", "compare", "intervals", "pooled", "ranking", "reliability", "selective"),
    *("totals", "values", "verdict"),
)
"""Modules of `ple_model.evaluation` that judge predictions and make none."""


def content(settings: Settings, *but: str) -> dict[str, Any]:
    """The settings that decide a result, without those named."""
    return settings.model_dump(mode="json", exclude=NOT_CONTENT | {"bootstrap_resamples", "importance_rows", *but})


@cache
def data_digest(description: Path) -> str:
    """Digest of a description of somebody's own and of the files that it reads; computed once a process."""
    dataset = load_dataset(description.stem, description.parent)
    return deliveries.delivery_digest(read_delivery(dataset))


def material_code() -> str:
    """Digest of the code that decides an origin's material."""
    features = Path(feature_assets.__path__[0])
    training = Path(pipeline.__path__[0]) / "training"
    own = [training / f"{name}.py" for name in ("fitting", "material", "training_set")]
    return code_digest([*features.rglob("*.py"), *own, Path(__file__).with_name("origin.py")])[:16]


def model_code() -> str:
    """Digest of the code that decides a cell's predictions, beside that of its material."""
    training = Path(pipeline.__path__[0]) / "training"
    own = [*(training / f"{name}.py" for name in ("columns", "evaluation", "model", "refit", "trees"))]
    own += [*(training.parent / f"{name}.py" for name in ("presets", "settings"))]
    own += [*(training.parents[1] / "data" / "trees").glob("*.yaml"), Path(__file__).with_name("cell.py")]
    return code_digest([*model_files(), *own])[:16]


def model_files() -> list[Path]:
    """The modules of `ple_model` that train and predict."""
    models = Path(ple_model.__path__[0])
    left_out = {models / "evaluation" / f"{name}.py" for name in JUDGING}
    left_out |= set((models / "interpretation").rglob("*.py")) | set((models / "baselines").rglob("*.py"))
    return [file for file in models.rglob("*.py") if file not in left_out]
