"""Settings of a deployment: typed, closed, read once and passed on as an argument.

`load_settings` reads `$PLE_HOME/settings.yaml` (optional), then the environment, then the options of the command; the
later source wins. No other module of this package reads a setting from the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_assets.data.dataset import DatasetConfig, load_dataset
from pipeline.presets import PRESETS, merged
from ple_model.boosting.budget import BoostingBudget
from ple_model.boosting.choice import ColumnBudget
from ple_model.closed import nearest
from ple_model.config import ClosedModel, NetworkConfig
from ple_model.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = "settings.yaml"
ColumnSet = Literal["reference", "all", "chosen"]
"""Columns that network and trees read."""


class Settings(ClosedModel):
    """Everything an operator may change. Paths are absolute once loaded."""

    home: Path
    dataset: str = "completejourney"
    """Name of a description in `data/`, or the path of a YAML file with a description of your own."""
    data_dir: Path | None = None
    """Folder with the delivered tables; without it the data set reads its own files."""
    customers: int = Field(default=20_000, ge=200)
    """Customers of a simulated data set (bank_simulation); others have their own."""
    tasks_on: tuple[str, ...] = ()
    """Tasks that are off by default and on here, beside those of the data set's description."""
    plugins: tuple[str, ...] = ()
    """Importable modules, each with a function `extend(extensions)` (docs/extending.md)."""
    retrain_after_days: int = Field(default=7, ge=1)
    """A training is due when the champion's training as-of date is at least this many days back."""
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
    """Ticks of the schedules, in the data set's time zone."""
    catch_up_days: int = Field(default=7, ge=1)
    """Past days in which the schedules look for nights that were missed."""
    mlflow_uri: str | None = None
    """Tracking server (default: sqlite under the home). Credentials belong in MLflow's environment variables."""
    seed: int = 7
    preset: str = "default"
    """Where the settings below start from: a name in `pipeline/presets.py`."""
    losses: Literal["task", "plain"] = "task"
    """`task`: each task's own loss and weight (MODEL §2). `plain`: log loss and squared error, all weights 1."""
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    columns: ColumnSet = "chosen"
    """Columns that network and trees read: those of the design, every one, or those that trees gain most from."""
    column_budget: ColumnBudget = ColumnBudget()
    boosting: BoostingBudget = BoostingBudget()
    tuned_trees: bool = True
    """Whether tasks take the searched settings in `data/trees/` of their data set, where it has some."""
    blend: Literal["off", "auto"] = "auto"
    """Whether a task may be predicted by network and trees together, with the weight that validation rows give."""

    refit: Literal["off", "on"] = "off"
    """Whether what gets registered is fitted again, after its evaluation, on every label that has matured."""

    @field_validator("blend", "refit", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false and a bare `on` as true."""
        return {False: "off", True: "on"}[value] if isinstance(value, bool) else value

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        name = data.get("preset", "default")
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; {nearest(str(name), PRESETS)}")
        return merged(PRESETS[name], data)

    def load_dataset(self) -> DatasetConfig:
        """The description of the data set of this deployment: `data/<name>.yaml`, or the file that `dataset` names.

        Raises:
            FileNotFoundError: there is no such description; names the nearest one.
            ValueError: the description is not valid.
        """
        file = Path(self.dataset) if is_file(self.dataset) else REPOSITORY / "data" / f"{self.dataset}.yaml"
        dataset = load_dataset(file.stem, file.parent)
        more = tuple(task for task in self.tasks_on if task not in dataset.tasks_on)
        return dataset.model_copy(update={"tasks_on": (*dataset.tasks_on, *more)}) if more else dataset


class Environment(BaseSettings):
    """The environment variables that this product reads. An empty one counts as not set."""

    model_config = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Field(default=Path(".ple"), validation_alias="PLE_HOME")
    dataset: str | None = Field(default=None, validation_alias="DATASET")
    data_dir: Path | None = Field(default=None, validation_alias="DATA_DIR")
    customers: int | None = Field(default=None, validation_alias="CUSTOMERS")
    as_of: str | None = Field(default=None, validation_alias="AS_OF")
    """No setting: the default of the option `--as-of`."""


def is_file(dataset: str) -> bool:
    """Whether the setting `dataset` is a path rather than a name in `data/`."""
    return dataset.endswith((".yaml", ".yml"))


def load_settings(**options: Any) -> Settings:
    """Settings from the home's file, the environment and `options` (fields of `Settings`; None is not set).

    Relative paths in the file start at the home, those of the environment and the options at the working directory.
    The plug-ins are imported first, so that settings may name what they add.

    Raises:
        pydantic.ValidationError: an unknown key (the message names the nearest known one) or a wrong value.
        ValueError: the file is not a YAML mapping.
    """
    from pipeline.plugins import load_plugins

    environment = Environment()
    home = Path(options.pop("home", None) or environment.home).expanduser().resolve()
    values = _absolute(_file_values(home / FILE), home)
    given = environment.model_dump(exclude={"home", "as_of"}) | {k: v for k, v in options.items() if v is not None}
    values |= _absolute({key: value for key, value in given.items() if value is not None}, Path.cwd())
    plugins = values.get("plugins")
    load_plugins(tuple(plugins) if isinstance(plugins, list | tuple) else ())  # anything else is refused below
    return Settings.model_validate(values | {"home": home})


def _file_values(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds {type(values).__name__}, expected settings as `name: value`")
    return values


def _absolute(values: dict[str, Any], start: Path) -> dict[str, Any]:
    """The values with every path absolute."""
    paths = [key for key in ("data_dir", "dataset") if isinstance(values.get(key), str | Path)]
    return values | {
        key: type(values[key])((start / Path(values[key]).expanduser()).resolve())
        for key in paths
        if key == "data_dir" or is_file(str(values[key]))
    }
