"""Values that no column may have."""

from __future__ import annotations

import polars as pl
import pytest

from feature_assets.group import GroupState
from feature_assets.state import FeatureState
from pipeline.intake.lost_sources import Lost
from pipeline.monitoring.inputs import uninformative, unsound


def test_infinite_and_absent_values_are_found_in_words() -> None:
    frame = pl.DataFrame(
        {
            "customer_id": ["1", "2"],
            "good": [1.0, None],
            "infinite": [float("inf"), 1.0],
            "empty": [None, None],
            "sequence": [[1.0], []],
        },
        schema_overrides={"empty": pl.Float32},
    )
    assert unsound(frame) == {"infinite": "infinite: 1 infinite values", "empty": "empty: no value at all"}
    assert unsound(frame.head(0)) == {}
    assert unsound(frame.select("customer_id")) == {}


@pytest.mark.parametrize(("channels", "blocks"), [([], False), (["product_0"], True)])
def test_a_side_input_without_any_source_in_the_fit_stops_no_night(channels: list[str], blocks: bool) -> None:
    state = FeatureState({"poincare": GroupState({}, {"channels_present": channels})}, [])
    matrix = pl.DataFrame({"hierarchy": [[], []]}, schema={"hierarchy": pl.List(pl.Float32)})
    assert uninformative(matrix, state, Lost())["blocks"].any() == blocks
