"""Serving a home by `ple ui`, and what its user interfaces answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.pipeline.running import PLE

SHOWN = """
{
  runsOrError { ... on Runs { results { jobName status } } }
  assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) { partition } } } }
}
"""


@contextmanager
def served(home: Path, delivery: Path | None) -> Iterator[dict[str, str]]:
    """The addresses of Dagster, MLflow and the scores while `ple ui` serves a home; afterwards nobody listens there."""
    environment = os.environ | {"PLE_HOME": str(home), "DATA_DIR": str(delivery or ""), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*PLE, "ui"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed, addresses = "", {}
    try:
        for line in process.stdout:
            printed += line
            if found := re.match(r"(Dagster|MLflow|Scores) +(http://127\.0\.0\.1:\d+)", line):
                addresses[found[1]] = found[2]
            if len(addresses) == 3:
                break
        assert len(addresses) == 3, printed
        yield addresses
    finally:
        process.terminate()  # a shell's background makes its children deaf to SIGINT
        rest = process.communicate(timeout=120)[0]
    assert process.returncode == 0, printed + rest


def fetched(address: str, path: str, /, **query: str) -> bytes:
    """What a server answers."""
    with urlopen(f"{address}/{path}?{urlencode(query)}", timeout=120) as answer:
        content: bytes = answer.read()
    return content


def mlflow(address: str, path: str, **query: str) -> dict[str, Any]:
    """MLflow's answer by REST."""
    found: dict[str, Any] = json.loads(fetched(address, f"api/2.0/mlflow/{path}", **query))
    return found


def shown_by_dagster(address: str) -> tuple[list[tuple[str, str]], Mapping[str, str | None]]:
    """Job and status of each run, newest first; asset → partition of its newest materialisation."""
    body = json.dumps({"query": SHOWN}).encode()
    sent_as_by_its_pages = {"Content-Type": "application/json", "Origin": address, "Sec-Fetch-Site": "same-origin"}
    request = Request(f"{address}/graphql?op=Shown", data=body, headers=sent_as_by_its_pages)
    with urlopen(request, timeout=120) as answer:
        data = json.loads(answer.read())["data"]
    runs = [(run["jobName"], run["status"]) for run in data["runsOrError"]["results"]]
    assets = {
        "/".join(node["key"]["path"]): node["assetMaterializations"][0]["partition"]
        for node in data["assetsOrError"]["nodes"]
        if node["assetMaterializations"]
    }
    return runs, assets
