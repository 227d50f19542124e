"""Campaigns that reached a customer, and whether the customer answered them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.data.codes import Codes
from feature_assets.events.ragged import Events

REACHED = ("impression", "click", "conversion")
"""Campaign events of which the customer takes part; being targeted is not one."""


@dataclass(frozen=True)
class Exposures:
    """X exposures: the campaigns of which a customer had an impression before t, by customer and campaign.

    Attributes:
        row: customer, int64 [X] ascending.
        days_ago: age of the first impression, int32 [X] ≥ 1.
        kind: kind of the campaign [X].
        clicked, converted: whether there is such an event of the campaign before t, bool [X].
        answered_ago: age of the first conversion, float64 [X], NaN without one.
    """

    row: np.ndarray
    days_ago: np.ndarray
    kind: Codes
    clicked: np.ndarray
    converted: np.ndarray
    answered_ago: np.ndarray


def exposures(events: Events, campaigns: pl.DataFrame | None) -> Exposures:
    """The exposures among campaign events.

    Args:
        events: campaign events with the columns campaign_id and event.
        campaigns: `campaign_id`, `kind`; None where the data set has no such table.
    """
    names = events.names("campaign_id")
    width = len(names) + 1
    key = events.row * width + events.codes("campaign_id") + 1  # 0: campaign unknown
    shown = events.is_in("event", "impression")
    exposed, first = np.unique(key[shown], return_index=True)  # the oldest one: events stand in time
    campaign = exposed % width - 1
    answer = events.is_in("event", "conversion")
    answered, first_answer = np.unique(key[answer], return_index=True)
    ages = np.append(events.days_ago[answer][first_answer], 0).astype(np.float64)
    place = np.searchsorted(answered, exposed)
    converted = np.isin(exposed, answered)
    return Exposures(
        exposed // width,
        events.days_ago[shown][first],
        _kinds(names, campaigns).at(campaign),
        np.isin(exposed, key[events.is_in("event", "click")]),
        converted,
        np.where(converted, ages[np.where(converted, place, -1)], np.nan),
    )


def _kinds(names: Sequence[str], campaigns: pl.DataFrame | None) -> Codes:
    """Kind of each campaign in the order of `names`, and last of an unknown one."""
    ids = pl.DataFrame({"campaign_id": pl.Series(names, dtype=pl.String)})
    if campaigns is None:
        kinds = pl.Series("kind", [None] * len(ids), dtype=pl.String)
    else:
        described = campaigns.select("campaign_id", pl.col("kind").cast(pl.String))
        kinds = ids.join(described, on="campaign_id", how="left", maintain_order="left")["kind"]
    codes = Codes.of(kinds)
    return Codes(np.append(codes.numbers, np.int32(-1)), codes.names)
