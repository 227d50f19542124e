"""A new data set in contract form is a YAML file and no code: read, features fitted and computed, labels computed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_assets.build import assemble, compute_all, fit_state
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import compute_labels, fit_labels, windows
from feature_assets.snapshots import plan
from feature_assets.sources import load_tables
from tests.conftest import DATA_ROOT
from tests.deliveries import shop
from tests.deliveries.makers import altered, write


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.describe(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def own(description: Path) -> DatasetConfig:
    return load_dataset(str(description), DATA_ROOT)


@pytest.fixture(scope="module")
def bought(own: DatasetConfig) -> Tables:
    return load_tables(own)


def test_a_name_or_a_path_finds_the_description(description: Path, own: DatasetConfig) -> None:
    assert own == load_dataset("shop", description.parent)
    assert own.folder == description.parent / "tables"


def test_the_tables_are_read_as_delivered(own: DatasetConfig, bought: Tables) -> None:
    assert set(bought.frames) == {"customers", "products", "transactions"}
    delivered = shop.tables()
    assert bought.frames["transactions"].height == delivered["transactions"].height
    assert bought.frames["transactions"]["quantity"].sum() == delivered["transactions"]["quantity"].sum()
    assert bought.frames["customers"].columns == ["customer_id", "joined_on", "loyalty_card"]
    assert set(bought.dataset.tasks_off) == {"ctr", "cvr", "balance_util", "merchant_affinity"}
    assert own.tasks_off == {}


def test_a_protected_column_is_kept_beside_the_tables_and_one_that_is_misspelt_is_refused(own: DatasetConfig) -> None:
    hidden = load_tables(own.model_copy(update={"protected": ("loyalty_card",)}))
    assert hidden.frames["customers"].columns == ["customer_id", "joined_on"]
    assert hidden.protected.columns == ["customer_id", "loyalty_card"]
    with pytest.raises(DeliveryError, match="no column 'loyality_card': did you mean 'loyalty_card'"):
        load_tables(own.model_copy(update={"protected": ("loyality_card",)}))


def test_what_a_protected_column_holds_changes_no_input_of_a_model(own: DatasetConfig, bought: Tables) -> None:
    """Neither the fitted state nor a feature nor a label: so no score."""
    hidden = own.model_copy(update={"protected": ("loyalty_card",)})
    planned, version = plan(own.covers_until, own.covers_from, windows(bought.dataset)), set()
    for rotated in (0, 7):
        customers = bought.frames["customers"].with_columns(
            pl.col("loyalty_card").gather(pl.int_range(pl.len()) - rotated)
        )
        tables = Tables(hidden, {**bought.frames, "customers": customers})
        assert tables.protected["loyalty_card"].to_list() == customers["loyalty_card"].to_list()
        state = fit_state(tables, planned.train[-2:], seed=0)
        view = View(tables, own.covers_until)
        matrix = assemble(view, compute_all(view, state), state)
        labels = compute_labels(tables, planned.train[-1], fit_labels(tables, planned), own.covers_until)
        version.add((state.version, str(matrix.hash_rows().sum()), str(labels.hash_rows().sum())))
    assert len(version) == 1


def test_another_folder_may_be_given(own: DatasetConfig, bought: Tables, tmp_path: Path) -> None:
    write(altered(shop.tables(), "products", lambda frame: frame.head(20)), tmp_path)
    fewer = load_tables(own, tmp_path)
    assert (bought.frames["products"].height, fewer.frames["products"].height) == (24, 20)


def test_features_and_labels_are_computed(own: DatasetConfig, bought: Tables) -> None:
    planned = plan(own.covers_until, own.covers_from, windows(bought.dataset))
    labels = fit_labels(bought, planned)
    as_of = own.covers_until - timedelta(days=own.horizon_days)
    computed = compute_labels(bought, as_of, labels, own.covers_until)
    assert computed.height == shop.CUSTOMERS
    assert computed["churn"].null_count() < shop.CUSTOMERS
    assert set(computed["spending_category"].drop_nulls()) <= set(range(len(shop.DEPARTMENTS)))
    assert not {"ctr", "cvr", "balance_util", "merchant_affinity"} & set(computed.columns)

    state = fit_state(bought, planned.train[-2:], seed=0)
    view = View(bought, own.covers_until)
    matrix = assemble(view, compute_all(view, state), state)
    assert matrix["customer_id"].to_list() == [f"n{c:02d}" for c in range(shop.CUSTOMERS)]
    assert len(state.present) > 300
    assert {"base", "txn_seq", "merchant", "gmm"} <= set(state.groups)
    assert not {"deposit", "digital", "campaign"} & set(state.groups)
