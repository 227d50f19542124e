"""The oracle as files: one row a customer, one column a task, and the names of the classes in a JSON beside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.labels.constants import NONE, STAGES, TIMES, cycles
from feature_assets.simulation.config import CATEGORIES, CHANNELS, OPENABLE
from feature_assets.simulation.oracle.constants import H, OracleConstants
from feature_assets.simulation.world import World

CLASSES: dict[str, list[str]] = {
    "life_stage": STAGES,
    "channel": list(CHANNELS),
    "timing": TIMES,
    "nba": [*OPENABLE, NONE],
    "spending_category": list(CATEGORIES),
    "consumption_cycle": cycles(H),
}
"""Task → classes, in the order of the oracle's probabilities."""


def oracle_frame(world: World, result: dict[str, np.ndarray], ids: pl.Series) -> pl.DataFrame:
    """customer_id and one column a task: Float64 (null without a label), List(Float64) of class probabilities, and
    `brand_prediction__top` List(String), likeliest first.

    Args:
        result: of `oracle_block`. ids: of all customers of the block.
    """
    columns = {"customer_id": ids.gather(result["row"].astype(np.uint32))}
    for task, values in result.items():
        if task == "row":
            continue
        if task == "brand_prediction__top":
            brands = pl.Series(world.catalogue.brands).gather(values.ravel().astype(np.uint32))
            columns[task] = brands.reshape(values.shape).arr.to_list()
        elif values.ndim == 2:
            columns[task] = pl.Series(np.ascontiguousarray(values)).arr.to_list()
        else:
            columns[task] = pl.Series(values, dtype=pl.Float64, nan_to_null=True)
    return pl.DataFrame(columns).sort("customer_id")


def describe(world: World, constants: OracleConstants, draws: int, path: Path) -> None:
    """Write the classes, the dates, and the constants that were measured on the population."""
    fitted = constants.model_dump(mode="json", exclude={"days"})
    dates = [str(d) for d in world.calendar.dates(np.array(constants.days))]
    text = {"classes": CLASSES, "horizon_days": H, "draws": draws, "dates": dates, **fitted}
    path.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
