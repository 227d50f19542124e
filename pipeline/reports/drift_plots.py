"""The figure of a night's drift: its columns that moved most, over the nights."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from pipeline.reports.plots import new_figure, nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drift_lines(nights: Sequence[date], index: Mapping[str, Sequence[float]], floor: float) -> "Figure":
    """Population stability index by night; dashed, the floor below which nothing alarms. `index`: column → a value a
    night, NaN where there is none."""
    if not index:
        return nothing("no column is compared")
    figure, (axis,) = new_figure(8, 3.2)
    for name, values in index.items():
        axis.plot(
            np.array(nights, dtype="datetime64[D]"),
            np.asarray(values, dtype=np.float64),
            marker="o",
            ms=3,
            lw=1.2,
            label=name,
        )
    axis.axhline(floor, color="black", lw=1, ls="--", label="floor of an alarm")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("as-of date of the night")
    axis.set_ylabel("stability index (no unit)")
    axis.set_title("columns that are farthest from the training's newest snapshot", fontsize=9)
    axis.tick_params(axis="x", rotation=30, labelsize=8)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axis.grid(alpha=0.3)
    return figure
