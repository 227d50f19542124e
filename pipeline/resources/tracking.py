"""MLflow: runs, model versions and their aliases. The only place that talks to the tracking server.

A registered version is a folder (the bundle): weights, configuration, calibration, feature schema, fitted state. It is
logged as a pyfunc with a loader module, so that loading it runs the logged copy of `ple_model` and unpickles nothing.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dagster as dg

from pipeline.resources.digests import SEAL, broken, file_digest, seal
from pipeline.resources.files import arriving, discard
from pipeline.resources.logged_model import requirements, signature_of
from pipeline.servers.interfaces import addresses
from ple_model.serving.format import FORMAT, is_newer, refusal

if TYPE_CHECKING:
    import matplotlib.figure
    import mlflow
    import polars as pl
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "ple-nightly"
MODEL = "ple"
CHAMPION = "champion"
CHALLENGER = "challenger"
BUNDLE = "bundle"
SEALED = "bundle_seal"
"""Tag of a version: SHA-256 of the seal of its bundle, which holds the digest of every file."""
STATUS = "promotion"
"""Tag of a version and of its run: one of the four below; without it the version was never judged."""
PROMOTED, HELD, REFUSED, ROLLED_BACK = "promoted", "held for a person", "refused", "rolled back"
REPLACED = "replaced"
"""Tag of a version: the one whose place it took as champion."""
TAG_LENGTH, RUN_NOTE_LENGTH = 5_000, 8_000
"""Characters that MLflow's databases keep of a version's tag or description, and of a run's tag."""
NOTE = "mlflow.note.content"
"""Tag that MLflow's UI shows as the description of a run or an experiment."""
EXPERIMENT_TAGS = {
    NOTE: "One run a training: `_headline/` is each task's metric on test rows, `epoch/`, `skill/` and others are the "
    "course of the training, `test/` has all metrics of the model and its baselines. The description of a run is the "
    "model card of the version that it registered.",
    "mlflow.experimentKind": "custom_model_development",
}
"""The description of the experiment, and its kind: MLflow's UI opens it on its runs."""
CLASSIC = "workflowType=machine_learning"
"""Query of a link into MLflow 3, which otherwise takes its reader for one of generative models."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Kinds of address (its scheme) behind which is no server of MLflow."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registered model and the facts by which the pipeline chooses and verifies it."""

    version: str
    run_id: str
    as_of: date
    """The training date: this version knows events before it."""
    state_version: str
    dataset: str
    folder: Path
    """The bundle on this machine."""
    status: str = ""
    """What promotion has said of it (`STATUS`)."""
    replaced: str = ""
    """Number of the version whose place it took; empty where it never did, or took an empty one."""
    bundle_format: Any = FORMAT
    """Format of the bundle (`ple_model.serving.format`)."""


@dataclass(frozen=True)
class Aliased:
    """A version that an alias points at: its number and its training date (YYYY-MM-DD)."""

    version: str
    as_of: str


class Tracking(dg.ConfigurableResource):
    """Access to one MLflow server. Safe to use from several steps: nothing global but the tracking address."""

    uri: str
    artifacts: str
    dataset: str

    @cached_property
    def _mlflow(self) -> Any:
        # Switches that MLflow and its git client read when they are imported; they have no other form.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        mlflow.set_tracking_uri(self.uri)
        return mlflow

    @property
    def client(self) -> "mlflow.MlflowClient":
        """A client of the configured server."""
        return self._mlflow.MlflowClient(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment `ple-nightly`, created if it is missing."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            location = Path(self.artifacts).as_uri() if self._is_database else None
            return self.client.create_experiment(EXPERIMENT, artifact_location=location, tags=EXPERIMENT_TAGS)
        for key, value in EXPERIMENT_TAGS.items():
            if experiment.tags.get(key) != value:
                self.client.set_experiment_tag(experiment.experiment_id, key, value)
        return experiment.experiment_id

    @property
    def _is_database(self) -> bool:
        """Whether the address is that of a database: it has no place for files, which lie in the home."""
        return self.uri.partition("://")[0].partition("+")[0] in DATABASES

    # --- runs -------------------------------------------------------------------------------------------------
    def start_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Open a run and return its id."""
        return self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags)).info.run_id

    def run_exists(self, run_id: str) -> bool:
        """Whether the server knows the run (a home may have been copied without its MLflow folder)."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_run(run_id)
        except MlflowException:
            return False
        return True

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters, flattened by the caller; those that the run has already stay as they are."""
        from mlflow.entities import Param

        have = set(self.client.get_run(run_id).data.params)
        new = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in have]
        for start in range(0, len(new), 100):
            self.client.log_batch(run_id, params=new[start : start + 100])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Finite metrics of one step. A step that is logged already is skipped: a resumed run repeats nothing."""
        from mlflow.entities import Metric

        finite = {k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)}
        if not finite:
            return
        probe = next(iter(finite))
        if any(metric.step == step for metric in self.client.get_metric_history(run_id, probe)):
            return
        now = int(time.time() * 1000)
        batch = [Metric(key, value, now, step) for key, value in finite.items()]
        for start in range(0, len(batch), 1000):
            self.client.log_batch(run_id, metrics=batch[start : start + 1000])

    def log_dataset(self, run_id: str, frame: "pl.DataFrame", name: str, digest: str, context: str) -> None:
        """A data set's name, digest, schema and size, as an input of the run."""
        from mlflow.data.polars_dataset import from_polars

        with self._run(run_id):
            dataset = from_polars(frame, name=name, digest=digest[:36])
            self._mlflow.log_input(dataset, context=context)

    def log_figures(self, run_id: str, figures: Mapping[str, "matplotlib.figure.Figure"]) -> None:
        """Figures by artifact path."""
        for path, figure in figures.items():
            self.client.log_figure(run_id, figure, path)

    def log_json(self, run_id: str, content: Any, path: str) -> None:
        """A JSON document as an artifact."""
        self.client.log_dict(run_id, content, path)

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """A text as an artifact."""
        self.client.log_text(run_id, text, path)

    def run_json(self, run_id: str, path: str) -> Any:
        """A JSON artifact of a run; None where it has none of that name."""
        if not any(found.path == path for found in self.client.list_artifacts(run_id)):
            return None
        return json.loads(self._mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))

    def describe_run(self, run_id: str, text: str) -> None:
        """The description (Markdown) that the UI shows of a run."""
        self.client.set_tag(run_id, NOTE, text[:RUN_NOTE_LENGTH])

    def finish(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run."""
        self.client.set_terminated(run_id, status)

    @contextmanager
    def _run(self, run_id: str) -> Iterator[None]:
        """MLflow's fluent calls need an active run; it is left running when the block ends."""
        while self._mlflow.active_run() is not None:
            self._mlflow.end_run()
        with self._mlflow.start_run(run_id=run_id):
            yield
        self.client.update_run(run_id, status="RUNNING")

    # --- models -----------------------------------------------------------------------------------------------
    def register(
        self,
        run_id: str,
        bundle: Path,
        example: "pl.DataFrame",
        outputs: "pl.DataFrame",
        tags: Mapping[str, str],
        metrics: Mapping[str, float | None] | None = None,
        about: str = "",
    ) -> RegisteredVersion:
        """Log the bundle with its signature and make it the newest version of the model `ple`.

        `example` is two or more rows of the feature matrix with all of its columns, `outputs` their scores; `metrics`
        stand on the page of the logged model; `about` describes the registered model as a whole. The bundle is sealed,
        and the version carries the digest of the seal.
        """
        import ple_model

        seal(bundle)
        tags = {**tags, SEALED: file_digest(bundle / SEAL)}
        with self._run(run_id):
            info = self._mlflow.pyfunc.log_model(
                name="model",
                loader_module="ple_model.serving.scorer",
                data_path=str(bundle),
                code_paths=[str(Path(ple_model.__file__).parent)],
                signature=signature_of(example, outputs),
                input_example=example.to_pandas(),
                pip_requirements=requirements(),
            )
            self._log_model_metrics(run_id, info.model_id, metrics or {})  # what has a version is not logged again
            from mlflow.exceptions import MlflowException
            from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

            try:
                self.client.update_registered_model(MODEL, description=about)
            except MlflowException:
                self.client.create_registered_model(MODEL, description=about)
            version = self.client.create_model_version(
                MODEL, info.model_uri, run_id, tags=dict(tags), model_id=info.model_id
            )
            # By this tag the page of the logged model names its version instead of "Not registered".
            named = json.dumps([{"name": MODEL, "version": str(version.version)}])
            self.client.set_logged_model_tags(info.model_id, {MLFLOW_MODEL_VERSIONS: named})
        return self._describe(version)

    def _log_model_metrics(self, run_id: str, model_id: str, metrics: Mapping[str, float | None]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {key: float(value) for key, value in metrics.items() if value is not None and math.isfinite(value)}
        batch = [Metric(key, value, now, 0, model_id=model_id, run_id=run_id) for key, value in finite.items()]
        if batch:
            self.client.log_batch(run_id, metrics=batch)

    def version_of_run(self, run_id: str) -> RegisteredVersion | None:
        """The version that a run registered, if it did."""
        versions = self.client.search_model_versions(f"name = '{MODEL}' and run_id = '{run_id}'")
        return self._describe(versions[0]) if versions else None

    def version(self, number: str) -> RegisteredVersion:
        """The version of that number.

        Raises:
            MlflowException: there is none.
            FileNotFoundError: its files are gone.
        """
        return self._describe(self.client.get_model_version(MODEL, number))

    def numbers(self) -> list[str]:
        """Numbers of all versions, oldest first."""
        return sorted((str(version.version) for version in self._versions()), key=int)

    def aliased(self) -> list[Aliased]:
        """The versions that an alias points at: they are in use."""
        from mlflow.exceptions import MlflowException

        try:
            aliases = self.client.get_registered_model(MODEL).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise
        numbers = sorted({str(number) for number in aliases.values()}, key=int)
        return [Aliased(number, self.client.get_model_version(MODEL, number).tags["as_of"]) for number in numbers]

    def model_files(self, number: str) -> Path | None:
        """The folder of a version's files; None where they do not lie among the home's artifacts."""
        source = self.client.get_model_version(MODEL, number).source
        return self._own(self.client.get_logged_model(_model_id(source)).artifact_location)

    def sealed_bundle(self, number: str) -> tuple[Path | None, str]:
        """The folder of a version's bundle, None where it does not lie among the home's artifacts, and the digest of
        its seal that the registry holds (empty for a version of a release that sealed none)."""
        files = self.model_files(number)
        found = None if files is None else sorted(path for path in files.glob("artifacts/data/[!.]*") if path.is_dir())
        return found[0] if found else None, self.version_tags(number).get(SEALED, "")

    def renew_seal(self, number: str, digest: str) -> None:
        """Note that a version's bundle was changed on purpose, and has another seal."""
        self.client.set_model_version_tag(MODEL, number, SEALED, digest)

    def remove_version(self, number: str) -> None:
        """Delete a version, its run and, where they lie in the home, their files. The version goes last: after a kill
        it is found again. A server of your own keeps the files until its `mlflow gc`."""
        from mlflow.exceptions import MlflowException

        version = self.client.get_model_version(MODEL, number)
        with suppress(MlflowException):  # deleted before a kill
            if (folder := self.model_files(number)) is not None:
                discard(folder)
            discard(self._copy(version))
            self.client.delete_logged_model(_model_id(version.source))
        if version.run_id is not None:
            self.remove_run(version.run_id)
        self.client.delete_model_version(MODEL, number)

    def runs_without_version(self) -> list[str]:
        """Runs that registered nothing, oldest first, but for the newest run, which may be a training under way."""
        registered = {version.run_id for version in self._versions()}
        runs = self.client.search_runs([self.experiment_id], max_results=10_000, order_by=["start_time ASC"])
        return [run.info.run_id for run in runs[:-1] if run.info.run_id not in registered]

    def remove_run(self, run_id: str) -> None:
        """Delete a run and, where they lie in the home, its files. One that is deleted already stays so."""
        info = self.client.get_run(run_id).info
        if info.lifecycle_stage == "active":
            if (folder := self._own(info.artifact_uri)) is not None:
                discard(folder)
            self.client.delete_run(run_id)

    def _versions(self) -> "Sequence[ModelVersion]":
        return self.client.search_model_versions(f"name = '{MODEL}'", max_results=10_000)

    def _own(self, location: str) -> Path | None:
        """The folder of one run or logged model (`<artifacts>/…/artifacts`), where it lies below the home's own."""
        folder, own = Path(url2pathname(urlsplit(location).path)).parent.resolve(), Path(self.artifacts).resolve()
        return folder if folder.is_relative_to(own) and folder != own else None

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(MODEL, alias, version)

    def describe_version(self, version: str, text: str) -> None:
        """The description (Markdown) that the UI shows of a version."""
        self.client.update_model_version(MODEL, version, description=text[:TAG_LENGTH])

    def version_tags(self, version: str) -> dict[str, str]:
        """Tags of a version."""
        return dict(self.client.get_model_version(MODEL, version).tags)

    def tag_version(self, version: RegisteredVersion, tags: Mapping[str, str]) -> None:
        """Tags of a version and of the run that registered it; an empty value takes the tag away."""
        had = self.version_tags(version.version), self.client.get_run(version.run_id).data.tags
        for key, value in tags.items():
            if value:
                self.client.set_model_version_tag(MODEL, version.version, key, value[:TAG_LENGTH])
                self.client.set_tag(version.run_id, key, value[:TAG_LENGTH])
                continue
            if key in had[0]:
                self.client.delete_model_version_tag(MODEL, version.version, key)
            if key in had[1]:
                self.client.delete_tag(version.run_id, key)

    def _by_alias(self, alias: str) -> "ModelVersion | None":
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise

    def numbered(self, alias: str) -> str:
        """Number of the version that an alias points at, whether or not its files are there; empty where none."""
        found = self._by_alias(alias)
        return "" if found is None else str(found.version)

    def challenger(self) -> RegisteredVersion | None:
        """The version that was trained last, unless it is the champion, of another data set, or without its files."""
        found, champion = self._by_alias(CHALLENGER), self._by_alias(CHAMPION)
        if found is None or found.tags.get("dataset") != self.dataset:
            return None
        if champion is not None and champion.version == found.version:
            return None
        try:
            return self._describe(found)
        except FileNotFoundError as error:  # no night depends on it
            logging.getLogger(__name__).warning("%s: it counts as no challenger", error)
            return None

    def champion(self) -> RegisteredVersion | None:
        """The version that scores tonight, or None where none was ever promoted, or an earlier release trained it in a
        format that is no longer read: then a training is due.

        Raises `dg.Failure` when the champion was trained on another data set than this deployment's, or by a newer
        release.
        """
        found = self._by_alias(CHAMPION)
        if found is None:
            return None
        champion = self._describe(found)
        if champion.dataset != self.dataset:
            raise dg.Failure(
                f"The champion (version {champion.version}) was trained on the data set {champion.dataset!r}, but this "
                f"deployment runs on {self.dataset!r}. Use another PLE_HOME for another data set.",
                allow_retries=False,
            )
        if why := refusal(champion.bundle_format):
            words = f"version {champion.version}, the champion: {why}"
            if is_newer(champion.bundle_format):
                raise dg.Failure(f"{words}, or promote another version.", allow_retries=False)
            logging.getLogger(__name__).warning("%s; until then there is no champion", words)
            return None
        return champion

    def _describe(self, version: "ModelVersion") -> RegisteredVersion:
        from mlflow.exceptions import MlflowException

        try:
            folder = self._fetched(version)
        except (MlflowException, OSError) as error:  # a version without its files is not the same as no version
            raise FileNotFoundError(f"the files of version {version.version} are gone from MLflow: {error}") from error
        if self.uri.startswith("sqlite") and not folder.resolve().is_relative_to(Path(self.artifacts).resolve()):
            raise dg.Failure(
                f"version {version.version} of the model is refused: its files lie outside the home, in {folder}. "
                "Restore mlflow/mlflow.db from a backup, or promote another version.",
                allow_retries=False,
            )
        bundle = _bundle(folder)
        if why := _altered(bundle, version.tags.get(SEALED)):
            raise dg.Failure(
                f"version {version.version} of the model is refused: {why}. Restore the folder from a backup, or "
                "promote another version.",
                allow_retries=False,
            )
        return RegisteredVersion(
            version=str(version.version),
            run_id=str(version.run_id),
            as_of=date.fromisoformat(version.tags["as_of"]),
            state_version=version.tags["state_version"],
            dataset=version.tags["dataset"],
            folder=bundle,
            status=version.tags.get(STATUS, ""),
            replaced=version.tags.get(REPLACED, ""),
            bundle_format=_format_of(bundle),
        )

    def _fetched(self, version: "ModelVersion") -> Path:
        """The folder of a version's files: where they lie, or this home's copy of what a server holds, which is fetched
        once."""
        source, copy = f"models:/{MODEL}/{version.version}", self._copy(version)
        if self._is_database:
            return Path(self._mlflow.artifacts.download_artifacts(source, tracking_uri=self.uri))
        if copy.is_dir():
            if not _altered(_bundle(copy), version.tags.get(SEALED)):
                return copy
            discard(copy)
        with arriving(copy) as beside:
            self._mlflow.artifacts.download_artifacts(source, dst_path=str(beside), tracking_uri=self.uri)
        return copy

    def _copy(self, version: "ModelVersion") -> Path:
        """Where this home keeps its copy."""
        return Path(self.artifacts).parent / "copies" / f"{version.version}-{version.run_id}"

    # --- addresses --------------------------------------------------------------------------------------------
    @property
    def ui(self) -> str:
        """Where people look at this server: its own address, or the one at which `ple ui` serves a database."""
        return self.uri if self.uri.startswith("http") else addresses()["MLflow"]

    def run_url(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{run_id}?{CLASSIC}"

    def version_url(self, version: str) -> str:
        """The page of a version of the model."""
        return f"{self.ui}/#/models/{MODEL}/versions/{version}?{CLASSIC}"

    def read_json(self, version: RegisteredVersion, name: str) -> Any:
        """A JSON document of the version's bundle."""
        return json.loads((version.folder / name).read_text())


def _model_id(source: str | None) -> str:
    """The logged model that a version was made from (`models:/<id>`)."""
    return (source or "").rpartition("/")[2]


def _bundle(folder: Path) -> Path:
    """The bundle among a version's files."""
    return next((path for path in sorted((folder / "data").glob("*")) if path.is_dir()), folder / "data" / BUNDLE)


def _altered(bundle: Path, sealed: str | None) -> str:
    """Why a bundle is not what was registered, in words. Versions of releases that sealed none have no digest: of those
    only what `load_bundle` and `FeatureState.load` verify is known."""
    if sealed is None:
        return "" if bundle.is_dir() else f"{bundle} is not there"
    if why := broken(bundle):
        return why
    return "" if file_digest(bundle / SEAL) == sealed else f"{bundle} was altered: {SEAL}"


def _format_of(bundle: Path) -> Any:
    """The format that the manifest of a bundle states; that of today where there is no manifest to ask."""
    file = bundle / "model.json"
    return json.loads(file.read_text()).get("format") if file.is_file() else FORMAT
