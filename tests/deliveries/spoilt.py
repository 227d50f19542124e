"""A whole delivery with bad rows of several kinds added to its transactions: no other row may change by them."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from tests.deliveries.makers import copied, once_more
from tests.deliveries.sources import COMPLETEJOURNEY, CONTRACT_FILES, Sound

COPIES = 3
_SENTINEL, _LATER = datetime(9999, 12, 31), datetime(2098, 1, 1)
BAD: dict[str, list[dict[str, Any]]] = {
    COMPLETEJOURNEY.name: [
        {"household_id": None},
        {"sales_value": float("nan")},
        {"quantity": -1},
        {"transaction_timestamp": _SENTINEL},
        {"transaction_timestamp": _LATER},
        {"basket_id": 2.0**53},
    ],
    CONTRACT_FILES.name: [
        {"customer_id": None},
        {"customer_id": " "},
        {"customer_id": "nobody"},
        {"amount": float("nan")},
        {"at": _SENTINEL},
        {"at": _LATER},
    ],
}
"""Source → what is wrong with each row that is added."""


def spoil(sound: Sound, delivery: Path, to: Path) -> int:
    """Copy a delivery and add the bad rows and some exact copies; their number."""
    shutil.copytree(delivery, to)
    file = next(to.rglob("transactions*/*.parquet"), to / "transactions.parquet")
    frame = pl.read_parquet(file)
    zone = frame.schema[sound.instant].time_zone  # type: ignore[attr-defined]
    frame = frame.with_columns(pl.col(sound.instant).dt.cast_time_unit("us"))
    if "basket_id" in frame.columns and frame.schema["basket_id"].is_integer():
        frame = frame.with_columns(pl.col("basket_id").cast(pl.Float64))  # so that one may stand for several
    for number, wrong in enumerate(BAD[sound.name]):
        key = {"transaction_id": f"bad {number}"} if "transaction_id" in frame.columns else {"basket_id": 1e12 + number}
        values = {
            c: pl.Series([v]).dt.replace_time_zone(zone).item() if c == sound.instant else v for c, v in wrong.items()
        }
        frame = once_more(0, **key | values)(frame)
    copied(COPIES)(frame).write_parquet(file)
    return len(BAD[sound.name]) + COPIES
