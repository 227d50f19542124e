"""Settings of a deployment: typed, closed, and each one read somewhere.

They come from `$PLE_HOME/settings.yaml` (optional) and then from the environment (`PLE_HOME`, `DATASET`, `DATA_DIR`,
`CUSTOMERS`), which wins. An unknown key is an error that names the nearest known one.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from feature_assets.data.dataset import DatasetConfig, load_dataset
from ple_model.config import DEFAULT_EXPERTS, AdaTTConfig, ClosedModel, NetworkConfig, RawScaleConfig
from ple_model.evaluation.boosting import BoostingBudget
from ple_model.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(ClosedModel):
    """What an operator may change. Paths are absolute once loaded."""

    home: Path
    dataset: str = "completejourney"
    data_dir: Path | None = None
    customers: int = Field(default=20_000, ge=200)
    """Customers of a data set that is generated (bank_simulation); others have their own."""
    retrain_after_days: int = Field(default=7, ge=1)
    """A champion whose training as-of date is at least this many days back is trained anew."""
    snapshot_step_days: int = Field(default=7, ge=1)
    """Distance between two training snapshots."""
    min_history_days: int = Field(default=56, ge=1)
    """History a customer base must have before its first training snapshot."""
    max_training_rows: int = Field(default=100_000, ge=1_000)
    """Rows (customer × snapshot) of a training set, about: above it each snapshot takes another shard of customers."""
    holdout_weeks: int = Field(default=2, ge=1)
    """Snapshots that even the task with the longest window keeps for evaluation."""
    bootstrap_resamples: int = Field(default=200, ge=20)
    """Resamples of customers behind each interval of the evaluation."""
    schedule_cron: str = "0 3 * * *"
    """When the schedule ticks, in the data set's time zone."""
    catch_up_days: int = Field(default=7, ge=1)
    """How many past days the schedule looks back for nights that were missed."""
    mlflow_uri: str | None = None
    """Tracking server (default: sqlite under the home). Credentials belong in MLflow's environment variables."""
    seed: int = 7
    network: NetworkConfig = NetworkConfig(
        experts=(*DEFAULT_EXPERTS, RawScaleConfig()), adatt=AdaTTConfig(warmup_epochs=1, freeze_epoch=3)
    )
    """All eight experts; the phases of adaTT fit the few epochs below."""
    training: TrainingConfig = TrainingConfig(
        phase1_epochs=3,
        phase2_epochs=1,
        warmup_epochs=1,
        phase2_warmup_epochs=0,
        restart_epochs=2,
        batch_size_cpu=256,
        learning_rate=2e-3,
    )
    """Not MODEL §13's numbers: docs/decisions/0005-training-on-two-cores.md says why."""
    boosting: BoostingBudget = BoostingBudget()

    def load_dataset(self) -> DatasetConfig:
        """The description of the data set this deployment runs on (`data/<name>.yaml`)."""
        return load_dataset(self.dataset, REPOSITORY / "data")


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the home's file, overridden by the environment.

    Raises `pydantic.ValidationError` for an unknown key or a value of the wrong type.
    """
    home = Path(environment.get("PLE_HOME") or ".ple").expanduser().resolve()
    values: dict[str, Any] = {}
    file = home / "settings.yaml"
    if file.exists():
        values.update(yaml.safe_load(file.read_text()) or {})
    values["home"] = home
    if environment.get("DATASET"):
        values["dataset"] = environment["DATASET"]
    if environment.get("DATA_DIR"):
        values["data_dir"] = Path(environment["DATA_DIR"]).expanduser().resolve()
    if environment.get("CUSTOMERS"):
        values["customers"] = environment["CUSTOMERS"]
    return Settings.model_validate(values)
