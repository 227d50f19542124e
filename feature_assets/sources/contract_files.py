"""A delivery in the contract's own tables, as the bank simulation writes it: opened, validated, mapped.

The simulation's oracle lies beside the tables; nothing here opens it. What the tables must look like belongs to
`declared.py`. Source: DATA §1, §4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dataframely as dy
import polars as pl

from feature_assets.data.coercion import require_columns
from feature_assets.data.contract import OPTIONAL, Declared, DeliveryError, Validated, conform
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.quarantine import validate
from feature_assets.data.tables import Tables
from feature_assets.sources.contract_declared import DECLARED
from feature_assets.sources.delivery import Delivery, Ingested
from feature_assets.sources.files import collect, find_parts, scan_parts

UNKNOWN = "__unknown"  # ends the name of the flag by which validation marks a reference that points at nothing


def read(dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
    """Open `<data_dir>/tables/<table>/*.parquet` or `<data_dir>/<table>.parquet`. Reads schemas only.

    Raises:
        DeliveryError: there is no folder, a required table is missing, a file is not Parquet, or the parts of a table
            differ in their columns.
    """
    if data_dir is None:
        raise DeliveryError(
            f"data set {dataset.name} has no files of its own: simulate them first, and give their folder as DATA_DIR"
        )
    required = [name for name, declared in DECLARED.items() if declared.required]
    optional = [name for name, declared in DECLARED.items() if not declared.required]
    parts, absent = find_parts(data_dir, required, optional)
    frames = {name: scan_parts(name, paths) for name, paths in parts.items()}
    files = {name if len(paths) == 1 else f"{name}/{p.name}": p for name, paths in parts.items() for p in paths}
    return Delivery(dataset, files, frames, tuple(f"table {name} was not delivered" for name in absent))


def ingest(delivery: Delivery) -> Ingested:
    """Validate every delivered table against its declaration and map the good rows to contract tables.

    Raises:
        DeliveryError: a missing column, a wrong type, an empty required table or a damaged file.
    """
    dataset, notes = delivery.dataset, list(delivery.notes)
    frames: dict[str, pl.DataFrame] = {}
    validated: dict[str, Validated] = {}
    for name, declared in DECLARED.items():
        if name not in delivery.frames:
            continue
        rows, declared, absent = _collect(declared, delivery)
        if rows.is_empty():
            if declared.required:
                raise DeliveryError(f"table {name} has no rows. Deliver at least one day.")
            notes.append(f"table {name} has no rows and counts as not delivered")
            continue
        result = validate(declared, rows, dataset, frames)
        if declared.required and result.good.is_empty():
            worst = result.counts[0]
            raise DeliveryError(
                f"table {name}: none of its {rows.height:,} rows can be used; most frequent reason: {worst.reason} "
                f"({worst.rows:,} rows; first: {worst.first})."
            )
        frames[name] = _to_contract(name, result.good, absent)
        validated[name] = replace(result, good=result.good.clear())
    off = unanswerable(frames, dataset)
    notes += [f"task {task} is off: {reason}" for task, reason in off.items() if task not in dataset.tasks_off]
    dataset = dataset.model_copy(update={"tasks_off": {**off, **dataset.tasks_off}})
    return Ingested(Tables(dataset, frames), validated, tuple(notes))


def _collect(declared: Declared, delivery: Delivery) -> tuple[pl.DataFrame, Declared, list[str]]:
    """The delivered rows, their declaration, and the columns that are absent from the delivery.

    A column that may be missing in every row may be absent and counts as missing then; a customers table may have
    further String columns, which are declared as they come.
    """
    lazy = delivery.frames[declared.name]
    found = lazy.collect_schema()
    if declared.name == "customers":
        static = {c: dy.String(nullable=True) for c, dtype in found.items() if c not in declared.types and _text(dtype)}
        declared = replace(declared, schema=type("customers", (declared.schema,), static))
    absent = [c for c, column in declared.schema.columns().items() if column.nullable and c not in found]
    lazy = lazy.with_columns(pl.lit(None, declared.types[c]).alias(c) for c in absent)
    require_columns(declared.name, lazy.collect_schema(), declared.types)
    path = next(p for name, p in delivery.files.items() if name.partition("/")[0] == declared.name)
    folder = path if declared.name in delivery.files else path.parent
    return collect(declared.name, folder, lazy.select(list(declared.types))), declared, absent


def _text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _to_contract(name: str, good: pl.DataFrame, absent: list[str]) -> pl.DataFrame:
    """The contract table of validated rows, without the optional columns that were not delivered."""
    optional = OPTIONAL.get(name, {})
    flags = {c: c.removesuffix(UNKNOWN) for c in good.columns if c.endswith(UNKNOWN)}
    instants = [c for c, dtype in good.schema.items() if isinstance(dtype, pl.Datetime)]
    frame = good.with_columns(
        *(pl.when(~pl.col(flag)).then(pl.col(c)).alias(c) for flag, c in flags.items() if c in good.columns),
        pl.col(instants).dt.replace_time_zone("UTC"),
    ).drop(*flags, *(c for c in absent if c in optional))
    return conform(name, frame.cast({c: dtype for c, dtype in optional.items() if c in frame.columns}))


def unanswerable(frames: Mapping[str, pl.DataFrame], dataset: DatasetConfig) -> dict[str, str]:
    """Task → why these contract tables have no honest label for it. Source: DATA §1, §3."""
    off: dict[str, str] = {}
    events = frames["campaign_events"]["event"] if "campaigns" in frames and "campaign_events" in frames else None
    for task, event in (("ctr", "click"), ("cvr", "conversion")):
        if events is None or not bool((events == event).any()):
            off[task] = f"no {event} of a campaign was delivered"
    if "balances" not in frames or not bool((frames["balances"]["limit"] > 0).any()):
        off["balance_util"] = "no balance with a limit was delivered"
    if not bool(frames["transactions"]["channel"].is_in(dataset.channels).any()):
        off["channel"] = f"no transaction states its channel ({', '.join(dataset.channels)})"
    if dataset.categories_from not in frames:
        off["spending_category"] = f"table {dataset.categories_from} was not delivered"
    source = dataset.categories_from if dataset.nba_from == "categories" else "holdings"
    if source not in frames:
        off["nba"] = f"table {source} was not delivered"
    if all(frames[table]["brand"].is_null().all() for table in ("products", "merchants") if table in frames):
        off["brand_prediction"] = "no brand was delivered"
    return off
