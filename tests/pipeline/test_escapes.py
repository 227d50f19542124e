"""A malicious name, path, file or address leads out of no folder and executes nothing."""

import ast
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import safetensors
import safetensors.torch

from feature_assets.group import StateError
from feature_assets.state import FeatureState
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake, ParquetIOManager
from pipeline.resources.publication import PublicationError, Published
from pipeline.resources.tracking import Tracking
from ple_model.boosting.files import TreesError, load_trees
from ple_model.serving.bundle import FORMAT, BundleError, load_bundle

OUT = ("../x", "/x", "a/../../x", "..", ".", "", "a//b", ".hidden", "a\\b", "a\0b", "x\n")


@pytest.mark.parametrize("table", OUT)
def test_a_table_lies_in_the_lake(table: str, tmp_path: Path) -> None:
    lake = tmp_path / "home" / "lake"
    with pytest.raises(PublicationError, match="no name of a table"):
        Published(lake, table).publish(pl.DataFrame({"x": [1]}), "2018-01-01")
    with pytest.raises(PublicationError, match="no as-of date"):
        Published(lake, "scores").publish(pl.DataFrame({"x": [1]}), table)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_an_asset_of_a_plug_in_lies_in_the_lake(tmp_path: Path) -> None:
    @dg.asset(key=["..", "..", "x"], partitions_def=dg.StaticPartitionsDefinition(["2018-01-01"]))
    def outside() -> pl.DataFrame:
        return pl.DataFrame({"x": [1]})

    manager = ParquetIOManager(root=str(tmp_path / "home" / "lake"))
    result = dg.materialize(
        [outside], partition_key="2018-01-01", resources={"io_manager": manager}, raise_on_error=False
    )
    assert not result.success
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize("digest", ["../../x", "/x", "..", ""])
def test_an_altered_digest_leads_nowhere(digest: str, tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    publish_json({"digest": digest}, lake.partition("tables", "2018-01-01") / "delivery.json")
    with pytest.raises(dg.Failure, match="no path inside the lake"):
        lake.tables("2018-01-01")


@pytest.mark.parametrize("name", ["../x.txt", "/etc/x.txt"])
def test_a_bundle_names_files_of_its_own(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("mine")
    bundle = tmp_path / "bundle"
    publish_json({"format": FORMAT, "files": {name: "0"}}, bundle / "model.json")
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        load_bundle(bundle)
    publish_json({"churn": {"files": {name: "0"}}}, bundle / "trees.json")
    with pytest.raises(TreesError, match="names a file outside the folder"):
        load_trees(bundle)


def test_a_version_outside_the_home_is_refused_and_nothing_outside_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, outside = tmp_path / "home" / "mlflow" / "artifacts", tmp_path / "outside" / "artifacts"
    for folder in (artifacts, outside / "data" / "bundle"):
        folder.mkdir(parents=True)
    server = SimpleNamespace(artifacts=SimpleNamespace(download_artifacts=lambda *_, **__: str(outside)))
    monkeypatch.setattr(Tracking, "_mlflow", server)
    tracking = Tracking(uri="sqlite:////x", artifacts=str(artifacts), dataset="x")
    version: Any = SimpleNamespace(version="3", run_id="r", tags={})
    with pytest.raises(dg.Failure, match="its files lie outside the home"):
        tracking._describe(version)
    for location in (outside.as_uri(), f"{artifacts.as_uri()}/../../../outside/artifacts", "file:///", "s3://b/x/y"):
        assert tracking._own(location) is None, location
    assert tracking._own(f"{artifacts.as_uri()}/1/artifacts") == artifacts / "1"


class Harm:
    """Its pickle leaves a file where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_in_any_file_of_a_model_is_not_loaded(tmp_path: Path) -> None:
    harm = Harm(tmp_path / "harm")
    pickled = pickle.dumps(harm)
    pickle.loads(pickled)  # noqa: S301 (the test's own)
    assert harm.file.exists(), "the harm is real"
    harm.file.unlink()
    with pytest.raises(safetensors.SafetensorError):
        safetensors.torch.load(pickled)
    state = tmp_path / "state"
    state.mkdir()
    publish_json({"groups": {"g": {}}, "schema": "", "version": "", "present": []}, state / "state.json")
    np.savez(state / "state.npz", **{"g/a": np.array([harm], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(StateError, match="allow_pickle"):
        FeatureState.load(state)
    (state / "state.npz").write_bytes(pickled)
    with pytest.raises(StateError, match="cannot be read"):
        FeatureState.load(state)
    with pytest.raises(pl.exceptions.PolarsError):
        pl.read_parquet(pickled)
    assert not harm.file.exists()


FORBIDDEN = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
CALLS = {"eval", "exec", "torch.load", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}


def test_no_code_of_the_product_unpickles_evaluates_or_calls_a_shell() -> None:
    root, found = Path(__file__).parents[2], []
    for file in [f for package in ("pipeline", "feature_assets", "ple_model") for f in (root / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
                found += [f"{file.name}: {name}" for name in names & FORBIDDEN]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                loose = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg in ("shell", "allow_pickle")}
                found += [f"{file.name}: {called}"] if called in CALLS or "True" in loose.values() else []
    assert found == []
