"""The folder of a deployment (`PLE_HOME`): its layout, and the preparation of an empty one."""

import logging
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline import artifact_locations
from pipeline.locks import Lock

DAGSTER_YAML = """\
# Written once by `ple`; edit it as you like (docs/operating.md). To use PostgreSQL add a `storage:` section.
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
        """Locks of living processes (`pipeline/locks.py`): of the home, and one a run."""
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
            HomeError: the path has a character that no database opens, or a file or a read-only folder is in the way.
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

    def prepare(self) -> None:
        """Create the folders, Dagster's configuration and MLflow's database, if they are not there, and let MLflow's
        locations follow a home that was copied or moved. One process at a time does it, others wait; what a killed one
        left is made anew.

        Raises:
            HomeError: as `refuse_unusable`; or something in the home cannot be created, or is damaged.
        """
        self.refuse_unusable()
        try:
            for folder in (self.lake, self.dagster, self.mlflow / "artifacts", self.reports, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
            with Lock(self.locks / "prepare") as lock:
                while not lock.acquire("the preparation of the home"):
                    pass  # each attempt waits a moment
                self._prepare_alone()
        except OSError as error:
            raise HomeError(f"home {self.root}: {error.filename} cannot be created: {error.strerror}") from error
        except sqlite3.Error as error:
            raise HomeError(f"home {self.root}: {self.database} cannot be opened: {error}") from error

    def _prepare_alone(self) -> None:
        for left in (*self.mlflow.glob(f"{BESIDE}*"), *self.dagster.glob(f"{BESIDE}*")):
            left.unlink(missing_ok=True)  # of a killed preparation; a child of it that goes on harms nobody
        config = self.dagster / "dagster.yaml"
        if not config.exists():
            beside = self.dagster / f"{BESIDE}dagster.yaml"
            beside.write_text(DAGSTER_YAML)
            beside.rename(config)
        if not self.database.exists():
            self._create_database()
        if artifact_locations.follow(self.database, self.mlflow / "artifacts"):
            logging.getLogger(__name__).warning("%s lay elsewhere before; MLflow's locations follow it", self.root)

    def _create_database(self) -> None:
        """Make the database beside its place, in a process of its own, and rename it once it is whole: a killed process
        leaves half of it, which MLflow never opens again."""
        logging.getLogger(__name__).info("preparing %s", self.root)
        beside = self.mlflow / f"{BESIDE}{os.getpid()}-{self.database.name}"
        artifacts = (self.mlflow / "artifacts").as_uri()
        command = [sys.executable, "-c", CREATE_DATABASE, f"sqlite:///{beside}", artifacts]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            beside.unlink(missing_ok=True)
            said = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise HomeError(f"home {self.root}: MLflow's database could not be created: {' '.join(said)}")
        beside.rename(self.database)
