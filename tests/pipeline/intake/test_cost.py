"""What a delivery is expected to take: said of a long night alone, and by the capacity model alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from feature_assets.sources import Delivery, customers_of, events_of
from pipeline.capacity.measured import measured
from pipeline.capacity.night import Load, memory, seconds
from pipeline.intake import cost
from pipeline.settings import Settings
from tests.deliveries import bank


def delivery(customers: int, events: int | None = None) -> Delivery:
    frames = {"customers": pl.LazyFrame({"customer_id": [str(i) for i in range(customers)]})}
    if events is not None:
        frames["transactions"] = pl.LazyFrame({"transaction_id": range(events)})
    return Delivery(bank.dataset(), {}, frames)


def test_a_long_night_is_foretold_and_a_short_one_is_not() -> None:
    settings = Settings(home=Path())
    assert cost.foretold(delivery(1_000), settings) == ""
    words = cost.foretold(delivery(400_000), settings)
    assert words.startswith("expected: about ")
    assert "400,000 customers" in words
    without = Delivery(bank.dataset(), {}, {})
    assert customers_of(without) is None
    assert cost.foretold(without, settings) == ""


@pytest.mark.parametrize("events", [0, 4_000_000, None])
def test_it_is_what_the_capacity_model_says(events: int | None) -> None:
    found = delivery(200_000, events)
    assert events_of(found) == events
    load = Load(200_000, measured().usual_events if events is None else events / 200_000)
    minutes, gib = sum(seconds(load).values()) / 60, max(memory(load).values()) / 2**30
    assert f"about {minutes:.0f} min and {gib:.1f} GiB" in cost.foretold(found, Settings(home=Path()))
