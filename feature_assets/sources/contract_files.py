"""A delivery in the contract's own tables, of any data set: opened, validated, mapped.

A column that may be missing in every row may be absent from a delivery, numbers may have any width and instants any
zone. The tables themselves are declared in `data/contract.py`. Source: DATA §1, §4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError, refuse_lookalikes, require_columns
from feature_assets.data.contract import CONTRACT, SPEND, conform
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import TEXT, Column, Rule, Table
from feature_assets.data.records import UNKNOWN
from feature_assets.sources.delivery import Delivery
from feature_assets.sources.files import opened
from feature_assets.sources.finding import find
from feature_assets.sources.reader import Frames, Reader, Rows, expected

UPLIFT = ("uplift", "category_uplift")  # tasks that compare with a control group


class ContractFiles(Reader):
    """Parquet files of contract tables, found as `finding.py` says."""

    tables = CONTRACT
    in_blocks = True

    def read(self, dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
        """Open the tables in `data_dir`, or in the folder that the data set names. Reads schemas only.

        Raises:
            DeliveryError: there is no folder; or as `find` and `opened`.
        """
        folder = data_dir or dataset.folder
        if folder is None:
            raise DeliveryError(
                f"data set {dataset.name} names no folder of its own: give the folder of its tables as DATA_DIR"
                + (f", simulated with the generator {dataset.generator}" if dataset.generator else "")
            )
        found = find(folder, expected(dataset, CONTRACT))
        declared = {name: table.delivered for name, table in CONTRACT.items()}
        return Delivery(dataset, found.files, opened(found, declared), found.notes)

    def declared(self, delivery: Delivery) -> list[Table]:
        """The contract tables as delivered; the channels are those of the data set, and further text columns of a
        table with static columns are declared as they come."""
        tables = []
        for name, table in CONTRACT.items():
            if name not in delivery.frames:
                continue
            table = table.delivered
            if name == "transactions":
                table = replace(table, rules={**table.rules, "known_channel": _known_channel(delivery.dataset)})
            if table.static:
                schema = delivery.frames[name].collect_schema()
                more = [Column(c, TEXT, nullable=True) for c, t in schema.items() if c not in table.types and _text(t)]
                table = replace(table, columns=(*table.columns, *more))
            tables.append(table)
        return tables

    def rows(self, table: Table, delivery: Delivery, good: Frames) -> Rows:
        """Collect a delivered table; a column that may be missing in every row is null where it is absent."""
        lazy = delivery.frames[table.name]
        absent = _absent(table, lazy)
        schema = lazy.collect_schema()
        require_columns(table.name, schema, {c: dtype for c, dtype in table.types.items() if c not in absent})
        refuse_lookalikes(table.name, schema, absent)
        lazy = lazy.with_columns(pl.lit(None, table.types[c]).alias(c) for c in absent)
        return super().rows(table, replace(delivery, frames={table.name: lazy}), good)

    def to_contract(self, good: Frames, delivery: Delivery) -> dict[str, pl.DataFrame]:
        """The contract tables of validated rows, without the optional columns that were not delivered."""
        return {name: _to_contract(name, frame, delivery.frames[name]) for name, frame in good.items()}

    def unanswerable(
        self, _delivered: Collection[str], contract: Mapping[str, pl.LazyFrame], dataset: DatasetConfig
    ) -> dict[str, str]:
        """Task → why these contract tables have no honest label for it. Source: DATA §1, §3."""
        off: dict[str, str] = {}
        both = "campaigns" in contract and "campaign_events" in contract
        for task, event in (("ctr", "click"), ("cvr", "conversion")):
            if not both or not _any(contract["campaign_events"], pl.col("event") == event):
                off[task] = f"no {event} of a campaign was delivered"
        if "balances" not in contract or not _any(contract["balances"], pl.col("limit") > 0):
            off["balance_util"] = "no balance with a limit was delivered"
        lines = contract["transactions"].filter(pl.col("kind").is_in(SPEND))
        stated = lines.filter(pl.col("channel").is_in(dataset.channels)).select(pl.col("channel").unique())
        channels = stated.collect(engine="streaming")["channel"].to_list()
        if not channels:
            named = f" ({', '.join(dataset.channels)})" if dataset.channels else ""
            off["channel"] = f"no transaction states its channel{named}"
        elif len(channels) == 1:
            off["channel"] = f"every transaction is of one channel, {channels[0]}"
        if lines.select(pl.col("merchant_id").n_unique()).collect(engine="streaming").item() < 2:
            off["merchant_affinity"] = "all purchases are at one merchant"
        if dataset.categories_from not in contract:
            off["spending_category"] = f"table {dataset.categories_from} was not delivered"
        source = dataset.categories_from if dataset.nba_from == "categories" else "holdings"
        if source not in contract:
            off["nba"] = f"table {source} was not delivered"
        described = [contract[table] for table in ("products", "merchants") if table in contract]
        if not any(_any(things, pl.col("brand").is_not_null()) for things in described):
            off["brand_prediction"] = "no brand was delivered"
        controls = both and "is_control" in contract["campaign_events"].collect_schema()
        if not (controls and _any(contract["campaign_events"], pl.col("is_control"))):
            off |= {task: "no control group of a campaign was delivered" for task in dataset.tasks_on if task in UPLIFT}
        elif "category_uplift" in dataset.tasks_on and dataset.categories_from not in contract:
            off["category_uplift"] = f"table {dataset.categories_from} was not delivered"
        return off


def _any(rows: pl.LazyFrame, condition: pl.Expr) -> bool:
    return bool(rows.select(condition.any()).collect(engine="streaming").item())


def _known_channel(dataset: DatasetConfig) -> Rule:
    channels = dataset.channels
    return Rule(
        pl.col("channel").is_in(channels) | ~pl.col("kind").is_in(SPEND),
        f"channel of a purchase is none of {', '.join(channels)}",
        without="channel",
    )


def _text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _absent(table: Table, delivered: pl.LazyFrame) -> list[str]:
    """Columns that may be missing in every row and are absent from the delivery."""
    schema = delivered.collect_schema()
    return [c.name for c in table.columns if c.may_lack and not c.told_by_events and c.name not in schema]


def _to_contract(name: str, good: pl.DataFrame, delivered: pl.LazyFrame) -> pl.DataFrame:
    optional = CONTRACT[name].optional
    absent = [c for c in _absent(CONTRACT[name], delivered) if c in optional]
    flags = {c: c.removesuffix(UNKNOWN) for c in good.columns if c.endswith(UNKNOWN)}
    instants = [c for c, dtype in good.schema.items() if isinstance(dtype, pl.Datetime)]
    frame = good.with_columns(
        *(pl.when(~pl.col(flag)).then(pl.col(c)).alias(c) for flag, c in flags.items() if c in good.columns),
        pl.col(instants).dt.replace_time_zone("UTC"),
    ).drop(*flags, *absent)
    return conform(name, frame.cast({c: dtype for c, dtype in optional.items() if c in frame.columns}))
