"""The user's own files and databases as contract tables: what the section `tables` of a description says of them.

After the mapping the rows are a delivery in the contract's tables, and validated like one. Source: DATA §1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.local_time import local_day
from feature_assets.sources.contract_files import ContractFiles
from feature_assets.sources.delivery import Delivery
from feature_assets.sources.own.finished import finish, told, unread
from feature_assets.sources.own.mapped import LEFT_OUT, RAW, mapped
from feature_assets.sources.own.places import place_of
from feature_assets.sources.own.text_files import unreadable
from feature_assets.sources.reader import Frames, Rows


class OwnFiles(ContractFiles):
    """Files, and what was read from databases, that a description maps to contract tables."""

    in_blocks = False  # forms of keys, versions and numbers of lines are told by all rows of a table

    def read(self, dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
        """Open the files in `data_dir`, or in the folder of the description. Reads schemas only.

        Raises:
            DeliveryError: a file or a column is missing, or a file cannot be read.
        """
        folder = data_dir or dataset.folder or Path()
        files: dict[str, Path] = {}
        frames: dict[str, pl.LazyFrame] = {}
        for name, mapping in dataset.tables.items():
            place = place_of(name, dataset, folder)
            found = place.files()
            if not found and dataset.delivery == "append":
                continue  # a delivery that adds to others need not have every table
            if not found:
                raise DeliveryError(place.nothing())
            if dataset.delivery == "append" and (outside := [f for f in found if not f.is_relative_to(folder)]):
                raise DeliveryError(
                    f"table {name}: {outside[0]} lies outside of {folder}, and deliveries that add up are kept as they "
                    f"came. Name files inside of the delivery's folder."
                )
            files |= {f"{name}/{i}" if len(found) > 1 else name: file for i, file in enumerate(found)}
            frame = mapped(name, mapping, place.parts(), dataset.zone)
            frames[name] = frame if mapping.rows_of is None else _distinct(name, frame)
        if "customers" in frames and "joined_on" not in dataset.mapped("customers") and dataset.delivery == "full":
            frames["customers"] = _joined(frames["customers"], _customers(frames["transactions"], dataset.zone))
        if "customers" not in dataset.tables and "transactions" in frames:
            frames["customers"] = _customers(frames["transactions"], dataset.zone)
            files |= {
                f"customers/{i}": files[n] for i, n in enumerate(n for n in files if n.startswith("transactions"))
            }
        absent = [name for name in CONTRACT if name not in frames]
        return Delivery(dataset, files, frames, tuple(f"table {name} was not delivered" for name in absent))

    def declared(self, delivery: Delivery) -> list[Table]:
        """The contract tables that the files give."""
        frames = {name: frame.select(_contract(frame)) for name, frame in delivery.frames.items()}
        return super().declared(replace(delivery, frames=frames))

    def rows(self, table: Table, delivery: Delivery, good: Frames) -> Rows:
        """The mapped rows that count, where a value could not be read, and notes of what was left out."""
        name = table.name
        try:
            frame = delivery.frames[name].collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise unreadable(name, delivery.place(name), error) from error
        mapping = delivery.dataset.tables.get(name)
        notes: tuple[str, ...] = ()
        if mapping is not None:
            frame, notes = finish(name, mapping, frame)
        rows = super().rows(table, replace(delivery, frames={name: frame.select(_contract(frame.lazy())).lazy()}), good)
        if mapping is None:
            return rows
        return replace(rows, frame=rows.frame.hstack(told(frame)), unread=unread(name, mapping, frame), notes=notes)


def _contract(frame: pl.LazyFrame) -> list[str]:
    return [name for name in frame.collect_schema() if not name.endswith(RAW) and name != LEFT_OUT]


def _distinct(name: str, frame: pl.LazyFrame) -> pl.LazyFrame:
    """One row a key, with the values that are the commonest among its rows."""
    key = list(CONTRACT[name].key)
    columns = _contract(frame)
    counted = frame.filter(~pl.col(LEFT_OUT)).drop_nulls(key).group_by(columns).agg(rows=pl.len())
    ranked = counted.sort("rows", *columns, descending=[True, *([False] * len(columns))], nulls_last=True)
    return ranked.unique(key, keep="first", maintain_order=True).drop("rows")


def _joined(customers: pl.LazyFrame, first: pl.LazyFrame) -> pl.LazyFrame:
    """Customers of whom no file says when they joined: by their first transaction, and left out without one."""
    told = customers.drop("joined_on").join(first, on="customer_id", how="left", maintain_order="left")
    return told.with_columns(pl.col(LEFT_OUT) | pl.col("joined_on").is_null())


def _customers(transactions: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """Whoever has a transaction, from the local day of the first one on."""
    day = local_day(pl.col("at").dt.replace_time_zone("UTC").min(), zone)
    known = transactions.filter(~pl.col(LEFT_OUT)).drop_nulls("customer_id")
    return known.group_by("customer_id").agg(joined_on=day).sort("customer_id")
