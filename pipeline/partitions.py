"""The one partition key of the product: the as-of date."""

from datetime import timedelta

import dagster as dg

from feature_assets.data.dataset import DatasetConfig


def as_of_partitions(dataset: DatasetConfig) -> dg.DailyPartitionsDefinition:
    """One partition a day, from the day after the first day of data to the day after the last."""
    return dg.DailyPartitionsDefinition(
        start_date=(dataset.covers_from + timedelta(days=1)).isoformat(),
        end_date=(dataset.covers_until + timedelta(days=1)).isoformat(),
        timezone=dataset.zone,
        end_offset=1,  # as-of date t can be computed from midnight of t on, not a day later
    )
