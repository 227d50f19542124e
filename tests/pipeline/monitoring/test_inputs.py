"""Values that no column may have."""

from __future__ import annotations

import polars as pl

from pipeline.monitoring.inputs import unsound


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
