"""Groups of test rows by which an evaluation breaks its headline metric down: segment, tenure, cluster."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables

if TYPE_CHECKING:
    from ple_model.training.data import TensorTable

SEGMENTS = ("anonymous", "cold start", "warm")
TENURES = {90: "up to 90 days", 180: "91 to 180 days", 365: "181 to 365 days"}
LONGER = "more than 365 days"

Groups = dict[str, tuple[NDArray[np.str_], tuple[str, ...]]]
"""What the rows are grouped by → label of each row [n], and the order of the labels."""


def row_groups(tables: Tables, rows: pl.DataFrame, table: "TensorTable") -> Groups:
    """The groups of rows (`customer_id`, `as_of`), with the model's inputs of the same rows.

    Segment: the side input of that name, where the data set has it. Tenure: days from joining to the as-of date.
    Cluster: the one with the highest posterior.
    """
    found: Groups = {}
    if "segment" in table.inputs.sides:
        segment = table.inputs.sides["segment"].numpy().reshape(-1).astype(np.int64)
        found["segment"] = (np.asarray(SEGMENTS)[segment], SEGMENTS)
    found["tenure"] = (tenures(tables, rows), (*TENURES.values(), LONGER))
    cluster = table.inputs.cluster_probs.argmax(1).numpy()
    names = np.array([f"cluster {i + 1}" for i in range(table.inputs.cluster_probs.shape[1])])
    found["cluster"] = (names[cluster], tuple(names.tolist()))
    return found


def tenures(tables: Tables, rows: pl.DataFrame) -> NDArray[np.str_]:
    """[n] span of days from joining to the as-of date."""
    joined = tables.frames["customers"].select("customer_id", "joined_on")
    known = rows.join(joined, on="customer_id", how="left", maintain_order="left")
    days = (known["as_of"] - known["joined_on"]).dt.total_days().to_numpy()
    names = np.array([*TENURES.values(), LONGER])
    return names[np.searchsorted(np.array(list(TENURES)), days, side="left")]
