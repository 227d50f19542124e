"""What a night is expected to take: said of a long one alone, and never more memory than a block needs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from feature_assets.sources import Delivery, customers_of
from pipeline.intake import cost
from pipeline.settings import Settings
from tests.deliveries import bank


def delivery(customers: int) -> Delivery:
    frames = {"customers": pl.LazyFrame({"customer_id": [str(i) for i in range(customers)]})}
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


@pytest.mark.parametrize("at_a_time", [10_000, 25_000])
def test_time_grows_with_the_customers_and_memory_with_a_block(at_a_time: int) -> None:
    few, many = cost.of_scoring(at_a_time, at_a_time), cost.of_scoring(20 * at_a_time, at_a_time)
    assert many.minutes > 5 * few.minutes or few.minutes < 2
    assert many.gib < few.gib + 2e-6 * 20 * at_a_time + 0.01
    assert cost.of_scoring(1_000_000, 25_000).gib < 8
