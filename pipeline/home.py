"""The folder of a deployment (`PLE_HOME`): its layout, and the preparation of an empty one."""

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DAGSTER_YAML = """\
# Written once by `ple`; edit it as you like (docs/operating.md). To use PostgreSQL add a `storage:` section.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
concurrency:
  runs:
    max_concurrent_runs: 1
  pools:
    default_limit: 1
    granularity: op
"""


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

    def simulation(self, customers: int, seed: int) -> Path:
        """A generated delivery; it depends on nothing but its size and its seed."""
        return self.root / "simulations" / f"{customers}-customers-seed-{seed}"

    @property
    def tracking_uri(self) -> str:
        """The default MLflow store: one sqlite file."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"

    def prepare(self) -> None:
        """Create the folders, Dagster's configuration and MLflow's database, if they are not there.

        The database is created here, once and alone: processes that create it together break each other.
        """
        for folder in (self.lake, self.dagster, self.mlflow / "artifacts", self.reports):
            folder.mkdir(parents=True, exist_ok=True)
        config = self.dagster / "dagster.yaml"
        if not config.exists():
            config.write_text(DAGSTER_YAML)
        if not (self.mlflow / "mlflow.db").exists():
            logging.getLogger(__name__).info("preparing %s", self.root)
            command = [sys.executable, "-m", "mlflow", "db", "upgrade", self.tracking_uri]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"MLflow's database in {self.mlflow} could not be created:\n{done.stderr[-2000:]}")
