"""The Complete Journey: facts of the embedded data, and altered deliveries, each with its reason or its one error."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.sources import ingest, load_tables, read_delivery
from tests.deliveries.completejourney import HOUSEHOLDS, LINES, small
from tests.deliveries.makers import (
    Change,
    Frames,
    altered,
    columns,
    copied,
    deliver,
    emptied,
    first_rows,
    once_more,
    same,
    shuffled,
    without,
    write,
)
from tests.feature_assets import plain_view


def test_a_sound_delivery_loses_nothing(tmp_path: Path, dataset: DatasetConfig) -> None:
    result = deliver(small(), tmp_path, dataset)
    assert {name: v.quarantine.height for name, v in result.validated.items()} == dict.fromkeys(small(), 0)
    assert result.notes == ()
    frames = result.tables.frames
    assert {name: frame.height for name, frame in frames.items() if name != "campaign_events"} == {
        "customers": HOUSEHOLDS,
        "transactions": LINES,
        "products": 10,
        "campaigns": 2,
    }
    lines = frames["transactions"]
    assert lines.filter(pl.col("quantity").is_null()).height == LINES // 20
    product = pl.col("product_id").cast(pl.Int64)
    expected = pl.when(product % 4 == 0).then(pl.lit("mailer")).when(product % 3 == 0).then(pl.lit("display"))
    assert lines.filter(pl.col("channel") != expected.otherwise(pl.lit("shelf"))).is_empty()
    assert frames["products"].sort(pl.col("product_id").cast(pl.Int64))["brand"].to_list()[:3] == [None, None, "100"]
    events = frames["campaign_events"]
    assert events.filter(event="impression").sort("customer_id")["at"].to_list() == [
        datetime(2017, 2, 1, 5, tzinfo=UTC),
        datetime(2017, 2, 1, 5, tzinfo=UTC),
        datetime(2016, 12, 1, 5, tzinfo=UTC),
    ]
    assert events.filter(event="conversion")["at"].dt.date().to_list() == [date(2017, 2, 3), date(2017, 1, 20)]


def test_a_click_is_a_targets_purchase_of_a_couponed_product_in_the_campaigns_days(
    tmp_path: Path, dataset: DatasetConfig
) -> None:
    tables = deliver(small(), tmp_path, dataset).tables
    frames = small()
    bought = frames["transactions"].with_columns(
        day=pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(dataset.zone).dt.date()
    )
    expected = {
        (str(line["household_id"]), str(target["campaign_id"]), line["transaction_timestamp"].replace(tzinfo=UTC))
        for line in bought.iter_rows(named=True)
        for target in frames["campaigns"].iter_rows(named=True)
        for coupon in frames["coupons"].iter_rows(named=True)
        for campaign in frames["campaign_descriptions"].iter_rows(named=True)
        if line["household_id"] == target["household_id"]
        and target["campaign_id"] == coupon["campaign_id"] == campaign["campaign_id"]
        and line["product_id"] == coupon["product_id"]
        and campaign["start_date"].date() <= line["day"] <= campaign["end_date"].date()
    }
    clicks = tables.frames["campaign_events"].filter(event="click")
    assert set(clicks.select("customer_id", "campaign_id", "at").rows()) == expected
    assert expected


ROW_FAULTS: list[tuple[str, Change, str, int, str]] = [
    ("transactions", first_rows(quantity=-1), "transactions.quantity is below 0", 2, "dropped"),
    ("transactions", first_rows(sales_value=-1.0), "transactions.sales_value is below 0", 2, "dropped"),
    (
        "transactions",
        first_rows(sales_value=float("nan")),
        "transactions.sales_value is not a number (NaN)",
        2,
        "dropped",
    ),
    ("transactions", first_rows(retail_disc=float("inf")), "transactions.retail_disc is infinite", 2, "dropped"),
    ("transactions", first_rows(household_id=None), "transactions.household_id is missing", 2, "dropped"),
    ("transactions", first_rows(product_id=None), "transactions.product_id is missing", 2, "dropped"),
    ("transactions", copied(3), "transactions: exact copy of another row", 3, "collapsed"),
    (
        "transactions",
        once_more(-1, sales_value=99.0),
        "transactions: same key (household_id, basket_id, product_id) with different contents",
        2,
        "dropped",
    ),
    (
        "transactions",
        once_more(-1, basket_id=1, transaction_timestamp=datetime(2018, 3, 1)),
        "transactions.transaction_timestamp is in the future of the delivery",
        1,
        "dropped",
    ),
    (
        "transactions",
        once_more(-1, basket_id=1, transaction_timestamp=datetime(1970, 1, 1)),
        "transactions.transaction_timestamp is before the first day of the delivery (2017-01-01)",
        1,
        "dropped",
    ),
    (
        "transactions",
        first_rows(product_id=999_999),
        "transactions.product_id: unknown product",
        2,
        "kept without product_id",
    ),
    ("products", once_more(-1), "products: exact copy of another row", 1, "collapsed"),
    (
        "products",
        once_more(-1, department="FUEL"),
        "products: same key (product_id) with different contents",
        2,
        "dropped",
    ),
    ("products", first_rows(department=None), "products.department is missing", 2, "dropped"),
    ("promotions", first_rows(mailer_location=None), "promotions.mailer_location is missing", 2, "dropped"),
    (
        "demographics",
        once_more(-1, household_id=77),
        "demographics.household_id: unknown household (table transactions has no purchase of it)",
        1,
        "dropped",
    ),
    (
        "campaign_descriptions",
        first_rows(1, end_date=datetime(2015, 1, 1)),
        "campaign_descriptions: end_date is before start_date",
        1,
        "dropped",
    ),
    (
        "campaign_descriptions",
        once_more(-1, campaign_id=3, start_date=datetime(2019, 1, 1), end_date=datetime(2019, 2, 1)),
        "campaign_descriptions.start_date is in the future of the delivery",
        1,
        "dropped",
    ),
    (
        "campaign_descriptions",
        first_rows(1, start_date=datetime(2016, 12, 1, 7)),
        "campaign_descriptions.start_date has a time of day where a date is expected",
        1,
        "dropped",
    ),
    ("campaigns", once_more(-1, campaign_id=9), "campaigns.campaign_id: unknown campaign", 1, "dropped"),
    ("coupons", once_more(-1, campaign_id=9), "coupons.campaign_id: unknown campaign", 1, "dropped"),
    ("coupons", once_more(-1, product_id=999), "coupons.product_id: unknown product", 1, "dropped"),
    (
        "coupon_redemptions",
        once_more(-1, campaign_id=9),
        "coupon_redemptions.campaign_id: unknown campaign",
        1,
        "dropped",
    ),
    (
        "coupon_redemptions",
        once_more(-1, campaign_id=1),
        "coupon_redemptions.household_id+campaign_id: the household is not a target of this campaign",
        1,
        "dropped",
    ),
    (
        "coupon_redemptions",
        once_more(-1, redemption_date=datetime(2018, 1, 1)),
        "coupon_redemptions.redemption_date is in the future of the delivery",
        1,
        "dropped",
    ),
]


@pytest.mark.parametrize(
    ("table", "change", "reason", "rows", "action"), ROW_FAULTS, ids=[r[2][:50] for r in ROW_FAULTS]
)
def test_bad_rows_end_in_quarantine_with_reason_and_count(
    table: str,
    change: Change,
    reason: str,
    rows: int,
    action: str,
    tmp_path: Path,
    dataset: DatasetConfig,
) -> None:
    result = deliver(altered(small(), table, change), tmp_path, dataset)
    validated = result.validated[table]
    assert [(c.reason, c.rows, c.action) for c in validated.counts] == [(reason, rows, action)]
    assert validated.quarantine.height == rows
    assert validated.quarantine["table"].unique().to_list() == [table]
    assert validated.dropped == (rows if action == "dropped" else 0)
    gone = rows if table == "transactions" and action in ("dropped", "collapsed") else 0
    delivered = altered(small(), table, change)["transactions"].height
    assert result.tables.frames["transactions"].height == delivered - gone
    assert result.tables.dataset.covers_until == dataset.covers_until


def test_one_per_cent_of_bad_rows_is_under_the_limit_and_five_per_cent_is_over(
    tmp_path: Path, dataset: DatasetConfig
) -> None:
    write(altered(small(), "transactions", first_rows(LINES // 100, quantity=-3)), tmp_path / "one")
    assert load_tables(dataset, tmp_path / "one").frames["transactions"].height == LINES - LINES // 100
    write(altered(small(), "transactions", first_rows(LINES // 20, quantity=-3)), tmp_path / "five")
    with pytest.raises(DeliveryError) as caught:
        load_tables(dataset, tmp_path / "five")
    message = str(caught.value)
    for part in ("table transactions", "10 of 200 rows (5.00%)", "transactions.quantity is below 0", '"quantity":-3'):
        assert part in message


@pytest.mark.parametrize(
    ("frames", "parts"),
    [
        (without(small(), "products"), ["required table products", "found neither"]),
        (
            altered(small(), "transactions", lambda f: f.rename({"sales_value": "sales"})),
            ["table transactions", "missing column transactions.sales_value", "did you mean 'sales'"],
        ),
        (
            altered(small(), "transactions", columns(quantity=pl.col("quantity").cast(pl.String))),
            ["transactions.quantity", "expected type Int64", "found String", "'5000'"],
        ),
        (
            altered(
                small(), "transactions", columns(transaction_timestamp=pl.col("transaction_timestamp").dt.to_string())
            ),
            ["transactions.transaction_timestamp", "Datetime", "found String", "2017-01-02 12:00:00"],
        ),
        (
            altered(small(), "promotions", columns(store_id=pl.col("store_id").cast(pl.String))),
            ["promotions.store_id", "expected type Int64", "found String", "'300'"],
        ),
        (altered(small(), "transactions", emptied), ["table transactions", "has no rows"]),
        (altered(small(), "products", emptied), ["table products", "has no rows"]),
        (
            altered(small(), "transactions", columns(household_id=pl.lit(None, pl.Int64))),
            ["none of its 200 rows can be used", "transactions.household_id is missing (200 rows"],
        ),
    ],
)
def test_a_delivery_that_cannot_be_read_is_one_clear_error(
    frames: Frames, parts: list[str], tmp_path: Path, dataset: DatasetConfig
) -> None:
    with pytest.raises(DeliveryError) as caught:
        deliver(frames, tmp_path, dataset)
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_not_parquet_and_a_missing_folder(tmp_path: Path, dataset: DatasetConfig) -> None:
    write(small(), tmp_path)
    (tmp_path / "coupons.parquet").write_text("coupon_upc,product_id\n", encoding="utf-8")
    with pytest.raises(DeliveryError, match=r"table coupons: .*coupons\.parquet .*cannot be read as Parquet"):
        read_delivery(dataset, tmp_path)
    with pytest.raises(DeliveryError, match="is not a folder"):
        read_delivery(dataset, tmp_path / "nowhere")


def test_a_damaged_file_is_one_clear_error(tmp_path: Path, dataset: DatasetConfig) -> None:
    path = write(small(), tmp_path) / "transactions.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(bytes(content))
    with pytest.raises(DeliveryError, match=r"table transactions: .* cannot be read as Parquet"):
        ingest(read_delivery(dataset, tmp_path))


@pytest.mark.parametrize(
    ("table", "off"),
    [
        ("promotions", {"channel"}),
        ("campaigns", {"ctr", "cvr"}),
        ("campaign_descriptions", {"ctr", "cvr"}),
        ("coupons", {"ctr"}),
        ("coupon_redemptions", {"cvr"}),
        ("demographics", set()),
    ],
)
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_an_optional_table_that_is_missing_switches_its_tasks_off(
    table: str, off: set[str], empty: bool, tmp_path: Path, dataset: DatasetConfig
) -> None:
    frames = altered(small(), table, emptied) if empty else without(small(), table)
    result = deliver(frames, tmp_path, dataset)
    assert set(result.tables.dataset.tasks_off) == off | {"balance_util"}
    assert any(note.startswith(f"table {table} ") for note in result.notes)
    assert result.tables.has("campaign_events") == (table not in ("campaigns", "campaign_descriptions"))
    if table == "promotions":
        assert result.tables.frames["transactions"]["channel"].is_null().all()


def test_the_order_of_a_delivery_does_not_matter(tmp_path: Path, dataset: DatasetConfig) -> None:
    plain = deliver(small(), tmp_path / "plain", dataset).tables
    assert same(plain, deliver(shuffled(small(), 1), tmp_path / "shuffled", dataset).tables)


def test_lossless_types_give_the_same_tables(tmp_path: Path, dataset: DatasetConfig) -> None:
    plain = deliver(small(), tmp_path / "plain", dataset).tables
    frames = small()
    frames["transactions"] = frames["transactions"].with_columns(
        pl.col("household_id", "store_id").cast(pl.Int32),
        pl.col("quantity").cast(pl.Float64),
        pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.cast_time_unit("ms"),
    )
    frames["promotions"] = frames["promotions"].with_columns(pl.col("store_id").cast(pl.Float64))
    frames["products"] = frames["products"].with_columns(pl.col("department").cast(pl.Categorical))
    assert same(plain, deliver(frames, tmp_path / "other", dataset).tables)


def test_facts_of_the_embedded_data(tables: Tables) -> None:
    lines = tables.frames["transactions"]
    assert lines.height == 1_469_307
    assert tables.frames["customers"].height == 2_469
    assert lines["product_id"].null_count() == 4_836
    assert lines["quantity"].null_count() == 13_494
    assert tables.frames["campaigns"].height == 27
    assert tables.frames["campaign_events"].filter(event="impression").height == 6_589
    assert tables.frames["campaign_events"].filter(event="conversion").height <= 2_102
    basket = ["customer_id", "basket_id", "day"]
    baskets = plain_view.every_line(tables).unique(basket, keep="first", maintain_order=True)
    hours = baskets.group_by(pl.col("hour").floor()).len().sort("len", descending=True)
    assert hours["hour"][0] == 17.0  # the shops' evening peak in their own zone
    assert dict(lines["channel"].value_counts().iter_rows()) == {
        "mailer": 240_301,
        "display": 86_740,
        "shelf": 1_142_266,
    }
    assert not set(tables.frames["products"]["brand"].drop_nulls()) & {"69", "2"}
    assert tables.frames["customers"]["age"].is_not_null().sum() == 801
    assert "simulated" in tables.dataset.notice.lower()
