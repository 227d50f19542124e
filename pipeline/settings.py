"""Settings of a deployment: typed, closed, read once and passed on as an argument.

`load_settings` reads `$PLE_HOME/settings.yaml` (optional), then the environment, then the options of the command; the
later source wins. No other module of this package reads a setting from the environment.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_assets.closed import in_words
from feature_assets.data.dataset import DATASET_NAME, DESCRIPTIONS, DatasetConfig, load_dataset
from feature_assets.yaml_file import YamlFileError, read_mapping, truths_for_numbers
from pipeline.home import lake_place, postgres
from pipeline.presets import PRESETS, merged
from ple_model.boosting.budget import BoostingBudget
from ple_model.boosting.choice import ColumnBudget
from ple_model.closed import nearest
from ple_model.config import ClosedModel, NetworkConfig
from ple_model.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]
"""The folder that holds the packages: the clone, or site-packages. Nothing else in it is read."""
WORKSPACE = Path(__file__).with_name("workspace.yaml")
"""Names the code location that Dagster's servers load."""
FILE = "settings.yaml"
_NO_PASSWORD = (
    "a password does not belong in mlflow_uri; give it in the environment, as PGPASSWORD (PostgreSQL) or "
    "MLFLOW_TRACKING_PASSWORD (an MLflow server)"
)
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks")
"""Kinds of tracking servers and stores (the scheme of `mlflow_uri`)."""
DATASET_KEYS = ("dataset", "dataset_file")
"""The two forms of the one choice of a data set."""
ColumnSet = Literal["reference", "all", "chosen"]
"""Columns that network and trees read."""


class SettingsError(ValueError):
    """Settings that cannot be read or are wrong; says which, where and what to do."""


def switch(value: Any) -> Any:
    """YAML reads a bare `off` as false and a bare `on` as true."""
    return {False: "off", True: "on"}[value] if isinstance(value, bool) else value


class VolumeLimits(ClosedModel):
    """How far a delivery may differ from the range of the last good ones before it warns or stops.

    compared: good deliveries that make the range; 0 compares with none. fall_warns, fall_stops: share of rows,
    customers, days or distinct keys by which a table lies below all of them. rise_warns: the same above them.
    unknown_warns, unknown_stops: share of a table's rows with an unknown key, above the largest of theirs. accepted:
    digests of deliveries that pass whatever their size.

    Where deliveries add up, arrivals: earlier ones that make the range of the next, two weeks of days so that every day
    of the week is among them; 0 compares with none. smallest: rows below which a table of an arrival is not compared.
    """

    compared: int = Field(default=5, ge=0)
    arrivals: int = Field(default=14, ge=0)
    smallest: int = Field(default=100, ge=1)
    fall_warns: float = Field(default=0.1, ge=0.0, le=1.0)
    fall_stops: float = Field(default=0.5, ge=0.0, le=1.0)
    rise_warns: float = Field(default=1.0, ge=0.0)
    unknown_warns: float = Field(default=0.002, ge=0.0, le=1.0)
    unknown_stops: float = Field(default=0.02, ge=0.0, le=1.0)
    accepted: tuple[str, ...] = ()


class Retention(ClosedModel):
    """What a home keeps; the rest is removed at the end of each night (`pipeline.upkeep.retention`).

    keep_nights: as-of dates whose scores, quarantine, summary and runs stay: so many of the newest, and so many that
    were made last. keep_features: the same for feature tables, which a night makes again. keep_replaced_hours: how long
    a published version stays after another one took its place. keep_deliveries: validated deliveries. keep_trainings:
    working folders of trainings. keep_versions: versions of the model beside those with an alias and those that scored
    a kept night. keep_runs: runs of one job for one date.
    """

    keep_nights: int = Field(default=180, ge=1)
    keep_features: int = Field(default=14, ge=1)
    keep_replaced_hours: float = Field(default=24.0, ge=0.0)
    keep_deliveries: int = Field(default=5, ge=1)
    keep_trainings: int = Field(default=3, ge=1)
    keep_versions: int = Field(default=12, ge=1)
    keep_runs: int = Field(default=10, ge=1)


class PromotionSettings(ClosedModel):
    """When a trained version takes over as champion.

    mode: `automatic`, or `held` until a person promotes it (`ple promote`). critical: tasks on which it may not be
    worse than the champion, as far as the data set has them. margins: task → what it may be worse by, in the unit of
    the task's headline metric (log loss: as a share of the champion's); others take twice the margin within which two
    models are level. max_age_days: a champion older than this gives way to a version that is no worse; a younger one
    only to a version that is better somewhere. max_calibration_error: calibration error without bias of a critical
    task's probabilities. max_fallback_share: share of a critical task's predictions that are base rates.
    max_seconds_per_1000: processor time of scoring 1,000 customers. shadow: whether each night scores the challenger
    too, beside the scores.
    """

    mode: Literal["automatic", "held"] = "automatic"
    critical: tuple[str, ...] = ("churn", "cvr", "ltv")
    margins: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default_factory=lambda: {"cvr": 0.03})
    max_age_days: int = Field(default=28, ge=1)
    max_calibration_error: float = Field(default=0.1, gt=0.0, le=1.0)
    max_fallback_share: float = Field(default=0.9, gt=0.0, le=1.0)
    max_seconds_per_1000: float = Field(default=60.0, gt=0.0)
    shadow: Literal["off", "on"] = "off"

    @field_validator("shadow", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, value: Any) -> Any:
        return switch(value)


class DriftLimits(ClosedModel):
    """When the distribution of a column or of a score is an alarm (`pipeline.monitoring.alarm`).

    floor: population stability index below which nothing alarms. margin: share by which a night must exceed the largest
    index of earlier nights. nights_in_a_row: nights for which that must last; with 1 a weekly wave alarms too often.
    compared: earlier nights that are looked at. least_nights: earlier nights without which nothing alarms (a week of
    nights shows the weekly wave). false_alarms: share of the nights without a change on which any column at all may
    alarm. accepted: column → date up to which whatever it did is right and counts as usual.
    """

    floor: float = Field(default=0.1, gt=0.0)
    margin: float = Field(default=0.5, ge=0.0)
    nights_in_a_row: int = Field(default=2, ge=1)
    compared: int = Field(default=60, ge=1)
    least_nights: int = Field(default=7, ge=1)
    false_alarms: float = Field(default=0.01, gt=0.0, lt=1.0)
    accepted: dict[str, date] = Field(default_factory=dict)


class AlertSettings(ClosedModel):
    """Whom to tell of a night that failed or has something that must not be overlooked (`pipeline.monitoring.alerts`).

    mail_to: addresses; without any no e-mail is sent. mail_from: sender. smtp_host, smtp_port, smtp_user: of the mail
    server; the password comes from the environment (PLE_SMTP_PASSWORD), as the webhook's address does
    (PLE_ALERT_WEBHOOK). smtp_security: `off` sends no password. repeat_after_days: days after which a cause that lasts
    is told again. late_after_hours: hours after a tick of `schedule_cron` after which its date must have scores.
    expected: when a night is expected at these ticks: where the `schedule` is on; `always`, where a timer of yours
    starts the nights at the times of `schedule_cron`; or `never`.
    """

    mail_to: tuple[str, ...] = ()
    mail_from: str = "ple@localhost"
    smtp_host: str = "localhost"
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_user: str = ""
    smtp_security: Literal["starttls", "tls", "off"] = "starttls"
    repeat_after_days: int = Field(default=7, ge=1)
    late_after_hours: float = Field(default=6.0, gt=0.0)
    expected: Literal["schedule", "always", "never"] = "schedule"

    @field_validator("smtp_security", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, value: Any) -> Any:
        return switch(value)

    @field_validator("mail_to", "mail_from")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        """A line break would begin another header."""
        for address in value if isinstance(value, tuple) else (value,):
            if "@" not in address or len(address.splitlines()) != 1:
                raise ValueError(f"{address!r} is no e-mail address")
        return value

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> "AlertSettings":
        if self.smtp_user and self.smtp_security == "off":
            raise ValueError("smtp_user needs smtp_security starttls or tls: its password would be sent in the clear")
        return self


class Settings(ClosedModel):
    """Everything an operator may change. Paths are absolute once loaded."""

    home: Path
    dataset: str = "completejourney"
    """Name of a description in `data/`; without meaning where `dataset_file` is given."""
    dataset_file: Path | None = None
    """YAML file with a description of your own."""
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
    row_spacing_days: int = Field(default=14, ge=1)
    """Days at least between two rows of a customer that the network learns from, where enough rows are left
    (docs/decisions/0018); trees learn from every row."""
    min_history_days: int | None = Field(default=None, ge=1)
    """History a customer base must have before its first training snapshot. By default the days for which a customer
    counts as active: 56, or less where the data are too short (docs/own_data.md)."""
    max_training_rows: int = Field(default=100_000, ge=1_000)
    """Rows (customer × snapshot) of a training set, about: above it each snapshot takes another shard of customers."""
    customers_at_a_time: int = Field(default=25_000, ge=1)
    """Customers whose data a step of a night holds in memory together; with more of them it works block by block."""
    runner: Literal["local", "ray"] = "local"
    """Who computes the blocks of features and scores: processes of this machine, or a Ray cluster (the extra `ray`)."""
    workers: int = Field(default=1, ge=1)
    """Blocks that are computed at the same time, each with a core and a block's memory; 1 with `runner: local` is the
    process of the run itself."""
    ray_address: str | None = None
    """Ray cluster, `host:port` (default: one on this machine for the time of a step)."""
    holdout_weeks: int = Field(default=2, ge=1)
    """Snapshots that even the task with the longest window keeps for evaluation."""
    bootstrap_resamples: int = Field(default=200, ge=20)
    """Resamples of customers behind each interval of the evaluation."""
    importance_rows: int = Field(default=2_000, ge=1)
    """Test rows at most over which the evaluation shuffles each input, to say what it is worth."""
    schedule_cron: str = "0 3 * * *"
    """Ticks of the schedules, in the data set's time zone."""
    catch_up_days: int = Field(default=7, ge=1)
    """Past days in which the schedules look for nights that were missed."""
    missing_sources: Literal["stop", "mask"] = "stop"
    """A night whose delivery lacks a table that the champion was trained with stops; or what depends on the table is
    masked, and the scores are marked."""
    volume: VolumeLimits = VolumeLimits()
    """How far a delivery may fall behind the last good ones."""
    retention: Retention = Retention()
    """What is kept, and for how long."""
    drift: DriftLimits = DriftLimits()
    """How far columns and scores may move from the rows that the champion learnt from."""
    alerts: AlertSettings = AlertSettings()
    """Whom to tell when something is wrong."""
    dagster_storage: str | None = None
    """PostgreSQL database of Dagster, `postgresql://user@host:5432/database` (default: sqlite under the home). The
    password comes from the environment (PGPASSWORD, PGPASSFILE)."""
    code_location: str | None = None
    """Address `host:port` of the process that holds the code and executes the runs of the daemon and of the pages
    (`ple ui --only code-location`). Default: each of them starts one of its own."""
    mlflow_uri: str | None = None
    """Tracking server or database (default: sqlite under the home). Passwords come from the environment (PGPASSWORD,
    PGPASSFILE, MLFLOW_TRACKING_PASSWORD)."""
    lake: str | None = None
    """URL of an object store under which published tables lie, such as `s3://bucket/prefix` (default: in the home).
    Credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL)."""
    seed: int = 7
    preset: str = "default"
    """Where the settings below start from: a name in `pipeline/presets.py`."""
    losses: Literal["task", "plain"] = "task"
    """`task`: each task's own loss and weight (MODEL §2). `plain`: log loss and squared error, all weights 1."""
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    training_processes: int = Field(default=1, ge=1)
    """Processes on a machine that train the network together, on a GPU each where there are some."""
    training_machines: int = Field(default=1, ge=1)
    """Machines that do; they meet at `training_rendezvous` and see the home under the same path."""
    training_rendezvous: str = ""
    """`host:port` of the machine that runs the night, in a network that only these machines share."""
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
    promotion: PromotionSettings = PromotionSettings()
    """When a trained version takes over as champion."""

    @field_validator("blend", "refit", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, value: Any) -> Any:
        return switch(value)

    @field_validator("dataset")
    @classmethod
    def _bare_name(cls, name: str) -> str:
        """A path would name files anywhere."""
        if re.fullmatch(DATASET_NAME, name) is None:
            raise ValueError(
                f"{name!r} is no name of a description in data/; a file of your own is dataset_file "
                "(--dataset-file, $DATASET_FILE)"
            )
        return name

    @field_validator("dataset_file")
    @classmethod
    def _ends_in_yaml(cls, file: Path | None) -> Path | None:
        if file is not None and file.suffix != ".yaml":
            raise ValueError(f"{str(file)!r} does not end in .yaml; a name in data/ is dataset (--dataset, $DATASET)")
        return file

    @field_validator("schedule_cron")
    @classmethod
    def _cron_of_dagster(cls, cron: str) -> str:
        """Only a cron that is given is looked at: Dagster takes seconds to import."""
        import dagster as dg

        try:
            dg.ScheduleDefinition(job_name="any", cron_schedule=cron)
        except dg.DagsterError as error:
            raise ValueError(
                f"{cron!r} is no cron expression of five parts, such as '0 3 * * *' (every day at 03:00)"
            ) from error
        return cron

    @field_validator("lake")
    @classmethod
    def _url_of_an_object_store(cls, url: str | None) -> str | None:
        return None if url is None else lake_place.checked(url)

    @field_validator("code_location")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        if address is not None and re.fullmatch(r"[\w.-]+:[1-9]\d{0,4}", address) is None:
            raise ValueError(f"{address!r} is no address, such as 127.0.0.1:4266")
        return address

    @field_validator("mlflow_uri")
    @classmethod
    def _absolute_uri(cls, uri: str | None) -> str | None:
        """A relative path would start at the folder that a command happens to be called in."""
        scheme, separator, rest = (uri or "").partition("://")
        user = rest.partition("@")[0] if "@" in rest else ""
        if ":" in user or "password=" in rest:  # it would be shown wherever the address is
            raise ValueError(_NO_PASSWORD)
        if uri is not None and (not separator or not rest):
            raise ValueError(f"{uri!r} is no address, such as http://host:5000 or sqlite:////absolute/path/mlflow.db")
        if uri is not None and scheme.partition("+")[0] not in STORES:
            raise ValueError(f"{uri!r} is of no kind that MLflow has; {nearest(scheme, STORES)}")
        if scheme.startswith("sqlite") and not rest.startswith("//"):
            raise ValueError(f"{uri!r} is a relative path; write sqlite:////absolute/path/mlflow.db")
        return postgres.normal(uri) if uri is not None and postgres.is_postgres(uri) else uri

    @field_validator("dagster_storage")
    @classmethod
    def _postgres_only(cls, uri: str | None) -> str | None:
        if uri is not None and not postgres.is_postgres(uri):
            raise ValueError("write postgresql://user@host:5432/database; without it Dagster keeps sqlite files")
        return None if uri is None else postgres.normal(uri)

    @model_validator(mode="after")
    def _two_databases(self) -> "Settings":
        """Both have a table `runs`."""
        uris = [uri for uri in (self.dagster_storage, self.mlflow_uri) if uri is not None and postgres.is_postgres(uri)]
        if len(uris) == 2 and postgres.database_of(uris[0]) == postgres.database_of(uris[1]):
            raise ValueError("dagster_storage and mlflow_uri name one database; each needs one of its own")
        return self

    @model_validator(mode="after")
    def _machines_meet_somewhere(self) -> "Settings":
        if self.training_machines > 1 and re.fullmatch(r"[^:\s]+:\d+", self.training_rendezvous) is None:
            raise ValueError(
                f"training_machines: {self.training_machines} need training_rendezvous, host:port of the machine that "
                f"runs the night, not {self.training_rendezvous!r}"
            )
        return self

    @model_validator(mode="after")
    def _kept_as_long_as_caught_up(self) -> "Settings":
        """A night that is removed would count as missed, and be made again."""
        if self.retention.keep_nights < self.catch_up_days:
            raise ValueError(
                f"retention: keep_nights ({self.retention.keep_nights}) must be at least catch_up_days "
                f"({self.catch_up_days})"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        name = data.get("preset", "default")
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; {nearest(str(name), PRESETS)}")
        return merged(PRESETS[name], data)

    @property
    def dataset_name(self) -> str:
        """Name of the data set of this deployment."""
        return self.dataset if self.dataset_file is None else self.dataset_file.stem

    def load_dataset(self) -> DatasetConfig:
        """The description of the data set of this deployment: `data/<dataset>.yaml`, or `dataset_file`.

        Raises:
            FileNotFoundError: there is no such description; names the nearest one.
            ValueError: the description is not valid.
        """
        folder = DESCRIPTIONS if self.dataset_file is None else self.dataset_file.parent
        dataset = load_dataset(self.dataset_name, folder)
        more = tuple(task for task in self.tasks_on if task not in dataset.tasks_on)
        return dataset.model_copy(update={"tasks_on": (*dataset.tasks_on, *more)}) if more else dataset


class Environment(BaseSettings):
    """The environment variables that this product reads. An empty one counts as not set."""

    model_config = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Field(default=Path(".ple"), validation_alias="PLE_HOME")
    dataset: str | None = Field(default=None, validation_alias="DATASET")
    dataset_file: Path | None = Field(default=None, validation_alias="DATASET_FILE")
    data_dir: Path | None = Field(default=None, validation_alias="DATA_DIR")
    customers: int | None = Field(default=None, validation_alias="CUSTOMERS")
    lake: str | None = Field(default=None, validation_alias="PLE_LAKE")
    ray_address: str | None = Field(default=None, validation_alias="RAY_ADDRESS")
    """Ray's own variable."""
    as_of: str | None = Field(default=None, validation_alias="AS_OF")
    """No setting: the default of the option `--as-of`."""
    smtp_password: SecretStr | None = Field(default=None, validation_alias="PLE_SMTP_PASSWORD")
    alert_webhook: SecretStr | None = Field(default=None, validation_alias="PLE_ALERT_WEBHOOK")
    """No settings: secrets, which stand in no file and on no page."""


def read_environment() -> Environment:
    """The environment's variables.

    Raises:
        SettingsError: one has a wrong value.
    """
    try:
        return Environment()
    except ValidationError as error:
        raise SettingsError(f"environment: {in_words(error)}") from error


def load_settings(**options: Any) -> Settings:
    """Settings from the home's file, the environment and `options` (fields of `Settings`; None is not set).

    Relative paths in the file start at the home, those of the environment and the options at the working directory.
    `dataset` and `dataset_file` are one choice: a later source that makes it drops the other of an earlier one.
    The plug-ins are imported first, so that settings may name what they add.

    Raises:
        SettingsError: the file cannot be read as one mapping, or has a key twice; an unknown key (the message names the
            nearest known one) or a wrong value; a path that leads nowhere.
        PluginError: a plug-in cannot be loaded.
    """
    from pipeline.plugins import load_plugins

    environment = read_environment()
    home = _resolved(Path(options.pop("home", None) or environment.home), Path.cwd(), "PLE_HOME")
    file = home / FILE
    own = _absolute(_file_values(file), home)
    no_settings = {"home", "as_of", "smtp_password", "alert_webhook"}
    surroundings = _absolute(_set(environment.model_dump(exclude=no_settings)), Path.cwd())
    options = _absolute(_set(options), Path.cwd())
    values: dict[str, Any] = {}
    for source, name in ((own, str(file)), (surroundings, "environment"), (options, "options")):
        values = _chosen(values, source, name) | source
    plugins = values.get("plugins")
    names = plugins if isinstance(plugins, list | tuple) else ()  # anything else is refused below
    load_plugins([name for name in names if isinstance(name, str)])
    try:
        settings = Settings.model_validate(values | {"home": home})
    except ValidationError as error:
        raise SettingsError(f"settings{f' ({file})' if own else ''}: {in_words(error)}") from error
    if wrong := truths_for_numbers(own, settings.model_dump()):
        raise SettingsError(f"{file}: {', '.join(wrong)}: expected a number, not yes or no")
    return settings


def _file_values(file: Path) -> dict[str, Any]:
    """What the home's file sets. A home that is no folder is refused where it is prepared."""
    if not os.path.lexists(file):
        return {}
    try:
        values = read_mapping(file)
    except YamlFileError as error:
        raise SettingsError(str(error)) from error
    if "home" in values:
        raise SettingsError(f"{file}: home: a home does not say where it lies; set PLE_HOME instead")
    return values


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _chosen(before: dict[str, Any], source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of earlier sources without the data set that this one replaces."""
    given = [key for key in DATASET_KEYS if key in source]
    if len(given) > 1:
        raise SettingsError(f"{name}: {' and '.join(given)} are given; a deployment has one data set, so drop one")
    return {key: value for key, value in before.items() if not given or key not in DATASET_KEYS}


def _absolute(values: dict[str, Any], start: Path) -> dict[str, Any]:
    """The values with every path absolute."""
    paths = [key for key in ("data_dir", "dataset_file") if isinstance(values.get(key), str | Path)]
    return values | {key: _resolved(Path(values[key]), start, key) for key in paths}


def _resolved(path: Path, start: Path, name: str) -> Path:
    """The path without ~, from `start` on if it is relative, with its links followed."""
    try:
        return (start / path.expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, links in a circle, a NUL
        raise SettingsError(f"{name}: {str(path)!r} is no usable path: {error}") from error
