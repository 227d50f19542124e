"""The code location: what is in it, how it is described, and what it must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_assets import registry
from feature_assets.data.contract import CONTRACT
from feature_assets.data.parts import table_of
from pipeline.definitions import build_definitions
from pipeline.scores.table import STATE_VERSION
from pipeline.settings import Settings

GROUPS = {"ingestion", "features", "training", "scoring", "monitoring"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Settings(home=tmp_path_factory.mktemp("home")))


def groups_of(definitions: dg.Definitions, job: str) -> set[str]:
    """Groups of the assets that a job materialises."""
    graph = definitions.resolve_asset_graph()
    selected = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
    return {graph.get(key).group_name for key in selected}


def test_two_jobs_share_the_ingestion_and_nothing_else(definitions: dg.Definitions) -> None:
    assert groups_of(definitions, "training") == {"ingestion", "training"}
    assert groups_of(definitions, "nightly") == {"ingestion", "features", "scoring", "monitoring"}


def test_names_that_scripts_call(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("nightly").name == "nightly"
    assert definitions.resolve_job_def("training").name == "training"
    schedule = definitions.resolve_schedule_def("nightly")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "nightly"


def test_every_asset_is_described_for_a_newcomer(definitions: dg.Definitions) -> None:
    specs = definitions.resolve_all_asset_specs()
    assert {spec.group_name for spec in specs} == GROUPS
    for spec in specs:
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.tags["ple/room"] == spec.group_name, spec.key
        assert spec.partitions_def is not None, spec.key
        assert spec.freshness_policy is not None, spec.key


def test_every_table_and_group_is_checked_and_every_check_described(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert [check.name for check in checks if not check.description] == []
    checked = {check.asset_key for check in checks}
    named = {("tables", table) for table in CONTRACT} | {("features", group) for group in registry.registry()}
    assert {key for key in named if dg.AssetKey(key) not in checked} == set()


def described(metadata: Mapping[str, Any]) -> set[str]:
    """Columns that have a description."""
    return {column.name for column in metadata["dagster/column_schema"].columns if column.description}


def test_every_column_of_tables_groups_and_matrix_is_described(definitions: dg.Definitions) -> None:
    metadata = {spec.key.to_user_string(): spec.metadata for spec in definitions.resolve_all_asset_specs()}
    for name, table in CONTRACT.items():
        assert described(metadata[f"tables/{name}"]) == {column.name for column in table.columns}
    sides = {side.name for side in registry.side_inputs()}
    assert described(metadata["features/matrix"]) == {
        "customer_id", "as_of", STATE_VERSION, *registry.names(), *sides
    }  # fmt: skip
    for name, group in registry.registry().items():
        own = {column.name for column in group.columns} | {side.name for side in group.side_inputs}
        assert described(metadata[f"features/{name}"]) == {"customer_id", *own}


def test_columns_name_the_columns_that_they_are_made_of(definitions: dg.Definitions) -> None:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    known = {
        key: {column.name for column in spec.metadata["dagster/column_schema"].columns}
        for key, spec in specs.items()
        if "dagster/column_schema" in spec.metadata
    }
    matrix = specs["features/matrix"].metadata["dagster/column_lineage"].deps_by_column
    assert set(matrix) >= set(registry.names())
    for key in ("features/matrix", *(f"features/{name}" for name in registry.registry())):
        upstream = {dep.asset_key for dep in specs[key].deps}
        for column, deps in specs[key].metadata["dagster/column_lineage"].deps_by_column.items():
            assert column in known[key]
            assert deps
            for dep in deps:
                assert dep.column_name in known[dep.asset_key.to_user_string()]
                assert dep.asset_key in upstream, (key, column, dep)


def test_edges_are_true(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert dg.AssetKey(["training", "champion"]) in graph.get(dg.AssetKey("scores")).parent_keys
    assert graph.get(dg.AssetKey("quarantine")).parent_keys == {dg.AssetKey(["tables", name]) for name in CONTRACT}


def test_what_the_data_set_lacks_is_said_first(definitions: dg.Definitions) -> None:
    said = {spec.key.to_user_string(): spec.description or "" for spec in definitions.resolve_all_asset_specs()}
    empty = {key for key, words in said.items() if words.startswith("**Empty: ")}
    assert {"features/deposit", "tables/sessions"} <= empty
    assert "has no sessions" in said["features/digital"]
    assert not empty & {"features/base", "features/campaign", "tables/customers"}


def test_each_group_of_the_registry_has_its_asset_and_lineage(definitions: dg.Definitions) -> None:
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    for name, group in registry.registry().items():
        upstream = {dep.asset_key for dep in specs[dg.AssetKey(["features", name])].deps}
        read = {table_of(source) for source in group.sources}
        assert {dg.AssetKey(["tables", table]) for table in read} <= upstream
        assert {dg.AssetKey(["features", need]) for need in group.needs} <= upstream
        assert dg.AssetKey(["training", "champion"]) in upstream


def test_partitions_are_the_as_of_dates_of_the_data(definitions: dg.Definitions) -> None:
    partitions = definitions.resolve_job_def("nightly").partitions_def
    assert partitions is not None
    keys = partitions.get_partition_keys()
    assert keys[0] == "2017-01-02"
    assert keys[-1] == "2018-01-01"
    assert len(keys) == 365


def test_training_holds_the_gpu_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["training", "model"])).pools == {"gpu"}


def test_resources_can_be_replaced(tmp_path: Path) -> None:
    own = object()
    definitions = build_definitions(Settings(home=tmp_path), resources={"tracking": own})
    assert definitions.resources is not None
    assert definitions.resources["tracking"] is own
    assert set(definitions.resources) == {"io_manager", "lake", "tracking", "settings"}


def test_importing_the_code_location_builds_nothing_and_building_it_needs_no_heavy_library(tmp_path: Path) -> None:
    code = """
import os, sys
import pipeline.definitions
print([m for m in sys.modules if m.startswith(("feature_assets.groups", "pipeline.assets"))])
pipeline.definitions.definitions()
print([m for m in ("torch", "mlflow", "lightgbm") if m in sys.modules])
print(os.environ["NUMBA_CACHE_DIR"].startswith(os.environ["PLE_HOME"] + "/kernels/"))
"""
    environment = {"PLE_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:3] == ["[]", "[]", "True"], done.stderr
    assert [f.name for f in tmp_path.rglob("*") if f.is_file()] == [], "loading definitions must write nothing"


def test_every_job_and_what_the_ui_materialises_run_one_at_a_time(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {repository.get_job(name).executor_def.name for name in repository.job_names} == {"one_at_a_time"}
