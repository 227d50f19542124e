"""The folder of a deployment (`PLE_HOME`): its layout, and the preparation of an empty one."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import faults
from pipeline.home import artifact_locations, home_format, lake_place, postgres
from pipeline.home.locks import Lock

DAGSTER_YAML = """\
# Written once by `ple`; edit it as you like (docs/operating.md). For PostgreSQL set `dagster_storage` in settings.yaml.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  max_runtime_seconds: 86400  # a run that hangs is ended after a day; raise it if a training takes longer
  poll_interval_seconds: 60
  free_slots_after_run_end_seconds: 60
freshness:
  enabled: true
code_servers:
  local_startup_timeout: 1200  # Dagster's own 180 s are too few on a busy machine: no schedule would find its code
concurrency:
  runs:
    max_concurrent_runs: 1
  pools:
    default_limit: 1
    granularity: op
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days: {skipped: 7, failure: 30, success: 90}
"""
BESIDE = ".part-"
"""Beginning of the name of a file that is not whole yet; the next preparation deletes those of a killed one."""
FORBIDDEN = "%?"
"""Characters that the addresses of sqlite databases do not carry through MLflow and Dagster."""
CREATE_DATABASE = """\
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(sys.argv[1], sys.argv[2])
"""
CREATE_DAGSTER = """\
import sys
from dagster import DagsterInstance
with DagsterInstance.from_config(sys.argv[1]) as instance:
    instance.get_runs_count()
    instance.event_log_storage.get_concurrency_keys()
    instance.all_instigator_state()
"""
STORAGE = re.compile(r"\n# From `dagster_storage`.*?# End of `dagster_storage`\.\n", re.DOTALL)
"""What `ple` writes into dagster.yaml, and replaces."""
OWN_STORAGE = re.compile(r"^(storage|run_storage|event_log_storage|schedule_storage):", re.MULTILINE)


class HomeError(ValueError):
    """A folder that cannot be a home; says why and what to do."""


@dataclass(frozen=True)
class Home:
    """All state of a deployment lies under `root`; nothing is written elsewhere."""

    root: Path

    @property
    def lake(self) -> Path:
        """Parquet tables, features, training material and scores."""
        return self.root / "lake"

    @property
    def dagster(self) -> Path:
        """Dagster's instance (`DAGSTER_HOME`)."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    @property
    def reports(self) -> Path:
        """Summaries and reports for people, one folder an as-of date."""
        return self.root / "reports"

    @property
    def kernels(self) -> Path:
        """Compiled kernels, one folder a state of their code."""
        return self.root / "kernels"

    @property
    def logs(self) -> Path:
        """Output of the servers, and tracebacks of faults of this program."""
        return self.root / "logs"

    @property
    def locks(self) -> Path:
        """Locks of living processes (`pipeline/home/locks.py`): of the home, and one a run."""
        return self.root / "locks"

    def simulation(self, customers: int, seed: int) -> Path:
        """A generated delivery; it depends on nothing but its size and its seed."""
        return self.root / "simulations" / f"{customers}-customers-seed-{seed}"

    @property
    def tracking_uri(self) -> str:
        """The default MLflow store: one sqlite file."""
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        """The file of the default MLflow store."""
        return self.mlflow / "mlflow.db"

    def refuse_unusable(self) -> None:
        """Nothing is written; a home that does not exist yet is judged by the folder that would hold it.

        Raises:
            HomeError: the path has a character that no database opens; a file or a read-only folder is in the way; or a
                newer release made the home.
        """
        for character in FORBIDDEN:
            if character in str(self.root):
                raise HomeError(
                    f"home {self.root}: MLflow and Dagster open no database below a path with {character!r}; "
                    "name another folder (PLE_HOME)"
                )
        folder = next(path for path in (self.root, *self.root.parents) if os.path.lexists(path))
        if not os.path.isdir(folder):
            raise HomeError(f"home {self.root}: {folder} is no folder; remove it or name another folder (PLE_HOME)")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HomeError(f"home {self.root}: {folder} cannot be written; change its rights or name another folder")
        if why := home_format.refusal(self.root):
            raise HomeError(f"home {self.root}: {why}")

    def settle_lake(self, url: str | None) -> None:
        """Note where the published tables lie: under a URL, or (None) in this home; a home keeps to it.

        Raises:
            HomeError: they lie elsewhere.
        """
        if why := lake_place.refusal(self.lake, url):
            raise HomeError(f"home {self.root}: {why}")
        if url is not None:
            lake_place.note(self.lake, url)

    @property
    def lake_url(self) -> str | None:
        """Where the published tables lie; None where that is this home."""
        return lake_place.url_of(self.lake)

    def prepare(self, dagster_storage: str | None = None, mlflow_uri: str | None = None) -> None:
        """Create the folders, Dagster's configuration and the databases, if they are not there, note the format of a
        new home, and let MLflow's locations follow one that was copied or moved. One process at a time does it, others
        wait; what a killed one left is made anew. `upgrade.py` brings a home of an earlier release up to date.

        Args:
            dagster_storage: address of a PostgreSQL database for Dagster; without one it has sqlite files in the home.
            mlflow_uri: address of MLflow's database or server; without one it has a sqlite file in the home.

        Raises:
            HomeError: as `refuse_unusable`; or something in the home cannot be created, or is damaged.
            DatabaseError: a database cannot be used (`pipeline.home.postgres`).
        """
        from sqlalchemy.exc import DBAPIError

        self.refuse_unusable()
        try:
            for folder in (self.lake, self.dagster, self.mlflow / "artifacts", self.reports, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
            with self.alone():
                for left in (*self.mlflow.glob(f"{BESIDE}*"), *self.dagster.glob(f"{BESIDE}*")):
                    left.unlink(missing_ok=True)  # of a killed preparation; a child of it that goes on harms nobody
                if not self.database.exists() and not {path.name for path in self.lake.iterdir()} - {lake_place.FILE}:
                    home_format.note(self.root)
                self._prepare_dagster(dagster_storage)
                self._prepare_mlflow(mlflow_uri)
        except OSError as error:
            why = faults.in_words(error) or f"{error.filename} cannot be created: {error.strerror}"
            raise HomeError(f"home {self.root}: {why}") from error
        except DBAPIError as error:
            why = faults.in_words(error) or str(error.orig)
            raise HomeError(f"home {self.root}: {self.database} cannot be opened: {why}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the one process that prepares or upgrades this home; waits for another."""
        with Lock(self.locks / "prepare") as lock:
            while not lock.acquire("the preparation of the home"):
                pass  # each attempt waits a moment
            yield

    def _prepare_dagster(self, storage: str | None) -> None:
        config = self.dagster / "dagster.yaml"
        before = config.read_text() if config.exists() else None
        own = STORAGE.sub("", before if before is not None else DAGSTER_YAML)
        if storage and (found := OWN_STORAGE.search(own)):
            raise HomeError(f"home {self.root}: {config} has its own `{found[1]}:`; remove it, or `dagster_storage`")
        text = own + (storage_section(storage) if storage else "")
        if text != before:
            beside = self.dagster / f"{BESIDE}dagster.yaml"
            beside.write_text(text)
            beside.rename(config)
        if storage:
            postgres.prepare(
                storage, "Dagster", self.root, lambda: self._create("Dagster", CREATE_DAGSTER, str(self.dagster))
            )

    def _prepare_mlflow(self, uri: str | None) -> None:
        if uri is not None and not postgres.is_postgres(uri):
            return  # a server or a database that others prepare
        if uri is not None:
            make = (CREATE_DATABASE, uri, (self.mlflow / "artifacts").as_uri())
            postgres.prepare(uri, "MLflow", self.root, lambda: self._create("MLflow", *make))
        elif not self.database.exists():
            self._create_database()
        self.follow(uri)

    def follow(self, mlflow_uri: str | None) -> None:
        """Let MLflow's locations follow a home that was copied or moved, where MLflow has a database of this home. Each
        run does so, too: a daemon of Dagster's own prepares nothing.

        Args:
            mlflow_uri: as `prepare`.
        """
        if mlflow_uri is None and self.database.exists():
            engine = artifact_locations.sqlite(self.database)
        elif mlflow_uri is not None and postgres.is_postgres(mlflow_uri):
            engine = postgres.engine(mlflow_uri)
        else:
            return
        if artifact_locations.follow(engine, self.mlflow / "artifacts"):
            logging.getLogger(__name__).warning("%s lay elsewhere before; MLflow's locations follow it", self.root)

    def _create_database(self) -> None:
        """Make the database beside its place and rename it once it is whole: a killed process leaves half of it, which
        MLflow never opens again."""
        logging.getLogger(__name__).info("preparing %s", self.root)
        beside = self.mlflow / f"{BESIDE}{os.getpid()}-{self.database.name}"
        try:
            self._create("MLflow", CREATE_DATABASE, f"sqlite:///{beside}", (self.mlflow / "artifacts").as_uri())
        except HomeError:
            beside.unlink(missing_ok=True)
            raise
        beside.rename(self.database)

    def _create(self, whose: str, code: str, *arguments: str) -> None:
        """Make a database in a process of its own."""
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise HomeError(f"home {self.root}: {whose}'s database could not be created: {' '.join(said)}")


def storage_section(uri: str) -> str:
    """What dagster.yaml says about a database of PostgreSQL."""
    return (
        "\n# From `dagster_storage` in settings.yaml: change it there.\nstorage:\n  postgres:\n"
        f"    postgres_url: {json.dumps(uri)}\n# End of `dagster_storage`.\n"
    )
