"""A damaged delivery of either source ends alike in a night that scores and in one that trains: as `ingest` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from dagster._core.storage.defs_state.base import set_defs_state_storage

from feature_assets.data.coercion import DeliveryError
from feature_assets.sources import ingest, read_delivery
from pipeline.assets.ingestion import CONTRACT_TABLES, QUARANTINE, table_key
from pipeline.definitions import build_definitions
from pipeline.home.folder import Home
from pipeline.runs.in_process import NIGHTLY, TRAINING
from pipeline.settings import Settings
from tests.deliveries import places
from tests.deliveries.makers import Change, altered, columns, copied, emptied, first_rows, write
from tests.deliveries.sources import Sound, both_sources

TABLE = "transactions"
LOOSE = 0.05
"""Limit of the transactions: the few bad rows below are several percent of so small a table."""


@pytest.fixture(autouse=True)
def _no_storage_of_an_earlier_test() -> Iterator[None]:
    with set_defs_state_storage(None):
        yield


def in_rows(change: Callable[[Sound], Change]) -> Callable[[Sound, Path], None]:
    """A delivery with its transactions changed."""

    def damage(sound: Sound, folder: Path) -> None:
        write(altered(sound.frames(), TABLE, change(sound)), folder)

    return damage


def in_folder(place: places.Place, number: int) -> Callable[[Sound, Path], None]:
    """A delivery whose folder is damaged."""
    return lambda _, folder: place(folder, TABLE, np.random.default_rng(number))


def _of_floats(sound: Sound) -> Change:
    frame = sound.frames()[TABLE]
    many = pl.when(pl.int_range(pl.len()) < 2).then(2.0**53)
    key = "quantity" if frame.schema[sound.customer] == pl.String else sound.customer
    return columns(**{key: many.otherwise(pl.col(key).cast(pl.Float64))})


def _sentinel(sound: Sound) -> Change:
    coarse = pl.col(sound.instant).dt.cast_time_unit("us")
    zone = sound.frames()[TABLE].schema[sound.instant].time_zone  # type: ignore[attr-defined]
    end = pl.lit(datetime(9999, 12, 31)).dt.replace_time_zone(zone)
    return columns(**{sound.instant: pl.when(pl.int_range(pl.len()) < 1).then(end).otherwise(coarse)})


FAULTS: dict[str, Callable[[Sound, Path], None]] = {
    "nothing": lambda _sound, _folder: None,
    "floats that stand for several": in_rows(_of_floats),
    "a sentinel": in_rows(_sentinel),
    "no customer": in_rows(lambda sound: first_rows(2, **{sound.customer: None})),
    "copies": in_rows(lambda _: copied(3)),
    "many bad rows": in_rows(lambda sound: first_rows(sound.frames()[TABLE].height // 8, **{sound.customer: None})),
    "no row": in_rows(lambda _: emptied),
    "a column is gone": in_rows(lambda sound: lambda frame: frame.drop(sound.instant)),
    "a hidden part": in_folder(places.hidden, 0),
    "capitals": in_folder(places.capitals, 0),
    "a link to nothing": in_folder(places.dangling, 0),
    "two places": in_folder(places.two_places, 0),
    "store=008": in_folder(places.part_in_value, 2),
}

STOPPING = {"many bad rows", "no row", "a column is gone", "a link to nothing", "two places", "store=008"}
OFTEN = {"floats that stand for several", "copies", "many bad rows", "a hidden part", "two places"}
"""Tried in every run of the tests; the others are trials."""


def _ended(folder: Path, sound: Sound, limits: dict[str, float]) -> tuple[str, dict[str, int]]:
    """What stops a night, "" where nothing does, and reason → rows of the quarantine."""
    try:
        found = ingest(read_delivery(sound.dataset().model_copy(update={"quarantine_limits": limits}), folder))
        reasons = {count.reason: count.rows for result in found.validated.values() for count in result.counts}
    except DeliveryError as error:
        return str(error), {}
    try:
        found.check_limits()
    except DeliveryError as error:
        return str(error), reasons
    return "", reasons


@both_sources
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault in OFTEN else pytest.mark.trial) for fault in FAULTS]
)
def test_both_jobs_end_as_ingestion_says(fault: str, sound: Sound, tmp_path: Path) -> None:
    folder, limits = tmp_path / "delivery", {TABLE: LOOSE}
    write(sound.frames(), folder)
    FAULTS[fault](sound, folder)
    why, reasons = _ended(folder, sound, limits)
    assert bool(why) == (fault in STOPPING)
    described: dict[str, Any] = sound.dataset().model_dump(mode="json") | {"quarantine_limits": limits}
    description = tmp_path / f"{sound.dataset().name}.yaml"
    description.write_text(yaml.safe_dump(described))
    ingestion = [QUARANTINE, *(table_key(name) for name in CONTRACT_TABLES)]
    for job in (NIGHTLY, TRAINING):
        settings = Settings(home=tmp_path / job, dataset_file=description, data_dir=folder)
        run = build_definitions(settings).resolve_job_def(job)
        as_of = str(sound.dataset().covers_until)
        result = run.execute_in_process(partition_key=as_of, asset_selection=ingestion, raise_on_error=False)
        lake = Home(settings.home).lake
        assert result.success == (not why)
        if why:
            error = result.failure_data_for_node("ingest").error
            assert why in (error.message if error.cause is None else error.cause.message)
            assert not (lake / "tables").exists(), "a partition of a refused delivery was published"
        rows = [pl.read_parquet(file) for file in lake.glob(f"quarantine/*/as_of={as_of}/*.parquet")]
        assert {r: n for frame in rows for r, n in frame.group_by("reason").len().iter_rows()} == reasons
