"""A sound delivery of all ten contract tables in the form of the bank simulation, and the data set it belongs to."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from feature_assets.data.dataset import DatasetConfig, load_dataset
from tests.conftest import DATA_ROOT
from tests.deliveries import synthetic
from tests.deliveries.makers import Frames

SHIFT = timedelta(days=2 * 365)  # the synthetic tables are of 2017, moved to 2019


def dataset() -> DatasetConfig:
    """The description of the bank simulation, for the days of `sound`."""
    first = synthetic.FIRST + SHIFT
    days = {"covers_from": first, "covers_until": first + timedelta(days=synthetic.DAYS)}
    return load_dataset("bank_simulation", DATA_ROOT).model_copy(update={**days, "zone": synthetic.ZONE})


def sound() -> Frames:
    """Ten tables without a fault, as the contract has them."""
    frames = dict(synthetic.tables(25, seed=1).frames)
    frames["customers"] = frames["customers"].with_columns(joined_on=pl.lit(synthetic.FIRST))
    starts = frames["campaigns"].select("campaign_id", "starts_on")
    sessions = frames["sessions"].join(starts, on="campaign_id", how="left", maintain_order="left")
    led = pl.col("at").dt.convert_time_zone(synthetic.ZONE).dt.date() >= pl.col("starts_on")
    frames["sessions"] = sessions.with_columns(pl.when(led).then("campaign_id").alias("campaign_id")).drop("starts_on")
    names = dict(zip(("shelf", "mailer", "display"), dataset().channels, strict=True))
    channel = pl.col("channel").replace(names)
    frames["transactions"] = frames["transactions"].with_columns(channel, currency=pl.lit("CHF"))
    frames["campaign_events"] = frames["campaign_events"].with_columns(is_control=pl.lit(False))
    moved = {
        name: frame.with_columns(pl.col(c) + SHIFT for c, dtype in frame.schema.items() if dtype.is_temporal())
        for name, frame in frames.items()
    }
    return {name: frame.unique(maintain_order=True) for name, frame in moved.items()}
