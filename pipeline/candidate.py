"""A candidate: everything between a training date and a registered version, in one working folder.

    material.json     digest of all that the folder was made from; another digest empties the folder
    state/            fitted feature state            snapshots/<date>.parquet   feature matrix of a training date
    label_state.json  vocabularies and edges          labels.parquet             labels, roles and masks of all rows
    checkpoints/      the trainer's                   bundle/                    what gets registered
    run.json          MLflow run                      evaluation.json            the comparison with the baselines

Each step finds what a killed night left and goes on from there.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import feature_assets
import ple_model
from feature_assets import registry
from feature_assets.build import assemble, compute_all, fit_state, groups_of
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import PADDING
from feature_assets.labels import LabelState, base_rates, compute_labels, fit_labels, leak_check, windows
from feature_assets.snapshots import SnapshotPlan, plan
from feature_assets.state import FeatureState
from pipeline.resources.lake import publish, publish_folder, publish_json
from pipeline.resources.tracking import BUNDLE, RegisteredVersion, Tracking
from pipeline.settings import Settings

if TYPE_CHECKING:
    from ple_model.config import InputConfig, ModelConfig, SideConfig
    from ple_model.interpretation.parts import Parts
    from ple_model.training.data import TensorTable
    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult

ROLES = ("train", "validation", "test")
EXAMINED_ROWS = 512
UNITS = {
    "engagement": "log1p days",
    "ltv": "log1p of the currency",
    "balance_util": "share of the limit",
    "spending_bucket": "quantile",
    "merchant_affinity": "share of baskets",
}
"""Units of the regression labels (DATA §3); the other kinds are probabilities."""


def code_digest(*packages: Any) -> str:
    """Digest of the Python files of packages: material made by other code is not taken up."""
    sha = hashlib.sha256()
    for package in packages:
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            sha.update(file.read_bytes())
    return sha.hexdigest()[:16]


def material_digest(settings: Settings, delivery: str, as_of: date) -> str:
    """Digest of what a candidate is made from: delivery, date, settings, code, library and machine kind."""
    import torch

    text = json.dumps(
        {
            "delivery": delivery,
            "as_of": as_of.isoformat(),
            "settings": settings.model_dump(mode="json", exclude={"home", "mlflow_uri", "data_dir"}),
            "code": code_digest(feature_assets, ple_model),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Candidate:
    """One training date's candidate. Steps are methods, in the order of the assets that call them."""

    folder: Path
    tables: Tables
    as_of: date
    settings: Settings
    log: Callable[[str], None]

    @cached_property
    def plan(self) -> SnapshotPlan:
        """Training and evaluation dates. Raises `NotEnoughHistory` with the earliest possible as-of date."""
        dataset = self.tables.dataset
        return plan(
            self.as_of,
            dataset.covers_from,
            self.task_windows,
            step=self.settings.snapshot_step_days,
            min_history=self.settings.min_history_days,
            holdout_weeks=self.settings.holdout_weeks,
        )

    @cached_property
    def task_windows(self) -> dict[str, int]:
        """Task → label window in days, for the tasks that are on."""
        return windows(self.tables.dataset)

    # --- training material ------------------------------------------------------------------------------------
    def prepare(self, digest: str) -> None:
        """Empty the folder unless it was made from the same material."""
        marker = self.folder / "material.json"
        if marker.exists() and json.loads(marker.read_text())["digest"] == digest:
            self.log("taking up the material that an interrupted night left")
            return
        for path in self.folder.iterdir():
            if path.name != "decision.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        publish_json({"digest": digest}, marker)

    def fit_state(self) -> FeatureState:
        """Fit the feature state on the training dates."""
        if (self.folder / "state").exists():
            return self.state
        state = fit_state(self.tables, self.plan.train, seed=self.settings.seed, progress=self.log)
        beside = self.folder / ".state.part"
        shutil.rmtree(beside, ignore_errors=True)
        state.save(beside)
        publish_folder(beside, self.folder / "state")
        return state

    @cached_property
    def state(self) -> FeatureState:
        """The fitted state."""
        return FeatureState.load(self.folder / "state")

    @cached_property
    def label_state(self) -> LabelState:
        """Vocabularies and edges of the labels, fitted on training windows."""
        return LabelState.from_dict(json.loads((self.folder / "label_state.json").read_text()))

    def build_training_set(self) -> None:
        """Features of every snapshot and one table of labels with roles; a label that may not be used is null."""
        if not (self.folder / "label_state.json").exists():
            publish_json(fit_labels(self.tables, self.plan).to_dict(), self.folder / "label_state.json")
        dates = (*self.plan.train, *self.plan.holdout)
        labels = []
        for done, day in enumerate(dates, start=1):
            view = View(self.tables, day, self.shard(done, day))
            file = self.snapshot_file(day)
            if not file.exists():
                publish(assemble(view, compute_all(view, self.state), self.state), file)
            frame = compute_labels(self.tables, day, self.label_state, known_until=self.as_of)
            frame = frame.join(view.customers, on="customer_id", how="semi", maintain_order="left")
            usable = [pl.when(self.plan.usable(task, day)).then(pl.col(task)).alias(task) for task in self.task_windows]
            labels.append(
                frame.with_columns(self.plan.role(frame["customer_id"], day).alias("role")).select(
                    "customer_id", "as_of", "role", *usable
                )
            )
            if done % 10 == 0 or done == len(dates):
                self.log(f"{done} of {len(dates)} snapshots ready")
        publish(pl.concat(labels, how="vertical_relaxed"), self.folder / "labels.parquet")

    def shard(self, number: int, day: date) -> tuple[int, int] | None:
        """The customers that snapshot `number` takes where all of them would be more than `max_training_rows`."""
        share = self.settings.max_training_rows // len(self.plan.dates)
        known = View(self.tables, day).customers.height
        shards = -(-known // max(share, 1))
        return (number % shards, shards) if shards > 1 else None

    def snapshot_file(self, day: date) -> Path:
        """Feature matrix of one snapshot."""
        return self.folder / "snapshots" / f"{day}.parquet"

    @cached_property
    def labels(self) -> pl.DataFrame:
        """Labels of all rows: customer_id, as_of, role, one column a task (null = masked)."""
        return pl.read_parquet(self.folder / "labels.parquet")

    def check_leaks(self) -> pl.DataFrame:
        """A shallow tree a task on a sample of training rows: a task that it solves is a leak (DATA §3)."""
        days = self.plan.train[:: max(1, len(self.plan.train) // 8)]
        features = pl.concat([pl.read_parquet(self.snapshot_file(day), columns=self._flat_columns()) for day in days])
        labels = self.labels.filter(pl.col("as_of").is_in(days))
        return leak_check(features, labels)

    def _flat_columns(self) -> list[str]:
        return ["customer_id", "as_of", *self.state.present]

    def _model_columns(self) -> list[str]:
        """What the model reads of a snapshot."""
        from ple_model.serving.scorer import side_columns

        return ["customer_id", *self.state.present, *side_columns(self.input_config())]

    # --- what the UI shows of it --------------------------------------------------------------------------------
    def state_table(self, state: FeatureState) -> pl.DataFrame:
        """Fitted groups and how much each holds."""
        return pl.DataFrame(
            [
                {"group": name, "arrays": len(g.arrays), "values": sum(a.size for a in g.arrays.values())}
                for name, g in state.groups.items()
            ]
        )

    def role_table(self) -> pl.DataFrame:
        """Rows, customers and dates by role."""
        return self.labels.group_by("role", maintain_order=True).agg(
            rows=pl.len(),
            customers=pl.col("customer_id").n_unique(),
            first=pl.col("as_of").min(),
            last=pl.col("as_of").max(),
        )

    def label_table(self) -> pl.DataFrame:
        """Usable labels by task and role."""
        counts = self.labels.group_by("role").agg(pl.col(self.task_windows).is_not_null().sum())
        wide = counts.sort("role").transpose(include_header=True, header_name="task", column_names="role")
        return wide.with_columns(pl.Series("window in days", list(self.task_windows.values())))

    def base_rates(self) -> pl.DataFrame:
        """Base rates of the usable training labels."""
        return base_rates(self.labels.filter(pl.col("role") == "train").drop("role"))

    # --- model ------------------------------------------------------------------------------------------------
    def input_config(self) -> "InputConfig":
        """What this data set delivers of the model's inputs, from the schema and the fitted state."""
        from ple_model.config import InputConfig

        clusters = next(side for side in registry.side_inputs() if side.name == "cluster_probs")
        return InputConfig(
            columns=registry.names(),
            present=tuple(sorted(registry.positions()[name] for name in self.state.present)),
            normalised=registry.normalised(),
            clusters=clusters.shape[0],
            sides=side_inputs_of(self.state),
        )

    def model_config(self) -> "ModelConfig":
        """The network for this data set's inputs and the tasks that are on."""
        from ple_model.config import ModelConfig
        from ple_model.tasks.config import select

        counts = {task: len(names) for task, names in self.label_state.classes.items()}
        network = self.settings.network.to_dict()
        return ModelConfig.from_dict(
            {"inputs": self.input_config(), "tasks": select(self.task_windows, counts), **network}
        )

    def table(self, role: str) -> "TensorTable":
        """Inputs and targets of all rows of a role, snapshot by snapshot."""
        from ple_model.serving.scorer import inputs_from_frame
        from ple_model.training.data import TensorTable, targets_from_frame

        config = self.model_config()
        parts = []
        for (day,), labels in self.labels.filter(pl.col("role") == role).group_by("as_of", maintain_order=True):
            frame = pl.read_parquet(self.snapshot_file(day), columns=self._model_columns())
            rows = labels.join(frame.select("customer_id"), on="customer_id", how="inner", maintain_order="right")
            frame = frame.join(rows.select("customer_id"), on="customer_id", how="semi", maintain_order="left")
            parts.append(
                TensorTable.of(inputs_from_frame(frame, config.inputs), targets_from_frame(rows, config.tasks))
            )
        return TensorTable.concat(parts)

    def frame(self, role: str, columns: list[str] | None = None) -> pl.DataFrame:
        """Feature matrix rows of a role, in the row order of `table(role)`."""
        parts = []
        for (day,), labels in self.labels.filter(pl.col("role") == role).group_by("as_of", maintain_order=True):
            frame = pl.read_parquet(self.snapshot_file(day), columns=columns)
            parts.append(frame.join(labels.select("customer_id"), on="customer_id", how="semi", maintain_order="left"))
        return pl.concat(parts)

    def train(self, on_epoch: "Callable[[EpochReport], None]") -> "tuple[FitResult, Parts]":
        """Fit the network, see whether all its parts take part, calibrate it on validation rows, write the bundle."""
        from ple_model.experts.base import spread_rows
        from ple_model.interpretation.parts import examine
        from ple_model.training.candidate import build, finish
        from ple_model.training.trainer import fit

        config = self.model_config()
        train, valid = self.table("train"), self.table("validation")
        self.log(f"{len(train):,} training rows, {len(valid):,} validation rows")
        model = build(config, train, seed=self.settings.seed)
        result = fit(
            model,
            train,
            valid,
            self.settings.training.model_copy(update={"seed": self.settings.seed}),
            self.folder / "checkpoints",
            on_epoch=on_epoch,
            progress=True,
        )
        beside = self.folder / ".bundle.part"
        shutil.rmtree(beside, ignore_errors=True)
        classes = {
            task.name: self.label_state.classes[task.name]
            for task in config.tasks
            if task.name in self.label_state.classes
        }
        finish(model, train, valid, beside, classes, self._meta(), units=UNITS)
        self._complete_bundle(beside)
        publish_folder(beside, self.folder / "bundle")
        some = train.batch(spread_rows(len(train), EXAMINED_ROWS), next(model.parameters()).device)
        return result, examine(model, *some)

    def _meta(self) -> dict[str, Any]:
        return {
            "dataset": self.tables.dataset.name,
            "as_of": self.as_of.isoformat(),
            "state_version": self.state.version,
            "seed": self.settings.seed,
        }

    def _complete_bundle(self, folder: Path) -> None:
        """Put the schema, the fitted state, the label vocabularies and the notice beside the weights."""
        present = self.state.present
        digest = registry.digest(present)
        publish_json({"digest": digest, "columns": registry.names(), "present": present}, folder / "schema.json")
        publish_json(self.label_state.to_dict(), folder / "labels.json")
        publish_json(self.tables.dataset.model_dump(mode="json"), folder / "dataset.json")
        self.state.save(folder / "state")

    # --- tracking ---------------------------------------------------------------------------------------------
    def open_run(self, tracking: Tracking, tags: Mapping[str, str]) -> str:
        """The MLflow run of this candidate: opened once, found again by every later step and by a resumed night."""
        file = self.folder / "run.json"
        if file.exists():
            run_id = json.loads(file.read_text())["run_id"]
            if tracking.run_exists(run_id):
                return run_id
        run_id = tracking.start_run(f"night {self.as_of}", {"as_of": self.as_of.isoformat(), **tags})
        publish_json({"run_id": run_id}, file)
        return run_id

    def registered_version(self) -> str:
        """Number of the version that `register` made."""
        return json.loads((self.folder / "registered.json").read_text())["version"]

    def register(self, tracking: Tracking) -> RegisteredVersion:
        """Register the bundle as a version of the model, once."""
        from pipeline.assets.scoring import score_matrix

        run_id = self.open_run(tracking, {})
        found = tracking.version_of_run(run_id)
        if found is None:
            shutil.copy(self.folder / "evaluation.json", self.folder / "bundle" / "evaluation.json")
            columns = [*self._model_columns(), "as_of"]
            example = pl.read_parquet(self.snapshot_file(self.plan.holdout[-1]), columns=columns).head(2)
            found = tracking.register(
                run_id,
                self.folder / BUNDLE,
                example.drop("as_of"),
                score_matrix(example, self.folder / BUNDLE),
                tags={
                    "as_of": self.as_of.isoformat(),
                    "state_version": self.state.version,
                    "dataset": self.tables.dataset.name,
                },
            )
            tracking.finish(run_id)
        publish_json({"version": found.version}, self.folder / "registered.json")
        return found

    def clean_up(self) -> None:
        """Drop what can be made again; labels, bundle and evaluation stay for whoever asks later."""
        for name in ("snapshots", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def side_inputs_of(state: FeatureState) -> "tuple[SideConfig, ...]":
    """The model's side inputs that the data set has, each with the channels that it has."""
    from ple_model.config import DEFAULT_SIDES, SideConfig

    wanted = {side.name for side in DEFAULT_SIDES}
    names = {side.name for side in registry.side_inputs()}
    found = []
    for group in groups_of(state):
        present = state.groups[group].meta.get("channels_present")
        for side in registry.registry()[group].side_inputs:
            kept = [
                i
                for i, channel in enumerate(side.channels)
                if channel != PADDING and (present is None or channel in present)
            ]
            if side.name in wanted and (kept or not side.channels):
                channels = tuple(kept) if 0 < len(kept) < len(side.channels) else None
                described = {"name": side.name, "shape": side.shape, "channels": channels}
                found.append(SideConfig.from_dict({**described, "masked": f"{side.name}_mask" in names}))
    return tuple(found)
