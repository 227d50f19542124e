"""MLflow's own server with its files in an S3-compatible store: what one home registers, another finds and verifies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.resources.tracking import CHALLENGER, Tracking
from pipeline.training.registration import register
from tests.pipeline.object_server import Server
from tests.pipeline.small_training import AS_OF, Material, some_evaluation

BUCKET = "models"


@pytest.fixture
def address(object_store: Server, tmp_path: Path) -> Iterator[str]:
    """MLflow's server, which hands files on to the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    where += ["--artifacts-destination", f"{object_store.bucket(BUCKET)}/mlflow"]
    command = [sys.executable, "-m", "mlflow", "server", *where, "--host", "127.0.0.1", "--port", str(port)]
    endpoint = {"MLFLOW_S3_ENDPOINT_URL": object_store.environment["AWS_ENDPOINT_URL"]}
    log = tmp_path / "server.log"
    with log.open("w") as lines:
        server = subprocess.Popen(
            [*command, "--workers", "1"],
            env={**os.environ, **object_store.environment, **endpoint},
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _ready(f"http://127.0.0.1:{port}", server, log)
    finally:
        server.terminate()
        server.wait(60)


def _ready(address: str, server: subprocess.Popen, log: Path) -> str:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def test_a_version_is_registered_found_elsewhere_verified_and_removed(
    address: str, object_store: Server, trained: Material, dataset: DatasetConfig, tmp_path: Path
) -> None:
    here, elsewhere, third = (
        Tracking(uri=address, artifacts=str(tmp_path / name / "mlflow" / "artifacts"), dataset=dataset.name)
        for name in ("here", "elsewhere", "third")
    )
    some_evaluation(churn="ahead").save(trained.workspace.evaluation)
    register(trained.workspace, here, here.start_run("training", {}), dataset, AS_OF)
    weights = [key for key in object_store.keys(BUCKET) if key.endswith(".safetensors")]
    assert weights
    assert all(key.startswith("mlflow/") for key in weights)

    found = elsewhere.challenger()
    assert found is not None
    assert found.folder.is_relative_to(tmp_path / "elsewhere" / "mlflow" / "copies")
    assert elsewhere.numbered(CHALLENGER) == found.version
    assert elsewhere.run_json(found.run_id, "card.json")["sections"]

    object_store.overwrite(BUCKET, weights[0], b"other bytes")
    assert elsewhere.version(found.version) == found, "a copy is fetched once"
    with pytest.raises(dg.Failure, match=r"is refused: .*was altered: .*safetensors"):
        third.version(found.version)
    next(found.folder.glob("*.safetensors")).write_bytes(b"other bytes, too")
    with pytest.raises(dg.Failure, match=r"is refused: .*was altered"):  # and fetched again where it was altered
        elsewhere.version(found.version)
    elsewhere.remove_version(found.version)
    assert elsewhere.numbers() == []
    assert not found.folder.exists()
