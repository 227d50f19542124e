"""Groups of test rows by which an evaluation breaks its headline metric down: segment, tenure, cluster, and the columns
that a data set protects, which nothing else reads."""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables

if TYPE_CHECKING:
    from ple_model.training.data import TensorTable

Segment = Literal["anonymous", "cold start", "warm"]
SEGMENTS: tuple[str, ...] = get_args(Segment)
"""By the numbers of the group `segment`."""
TENURES = {90: "up to 90 days", 180: "91 to 180 days", 365: "181 to 365 days"}
LONGER = "more than 365 days"
MOST_GROUPS = 8
"""Of a protected column: the commonest values, and the others together."""
BANDS = 4
"""Of a protected column of numbers or dates with more values than `MOST_GROUPS`: as many customers in each."""
UNKNOWN, OTHERS = "not known", "other values"

Groups = dict[str, tuple[NDArray[np.str_], tuple[str, ...]]]
"""What the rows are grouped by → label of each row [n], and the order of the labels."""


def row_groups(tables: Tables, rows: pl.DataFrame, table: "TensorTable") -> Groups:
    """The groups of rows (`customer_id`, `as_of`), with the model's inputs of the same rows.

    Segment: the side input of that name, where the data set has it. Tenure: days from joining to the as-of date.
    Cluster: the one with the highest posterior. Each protected column by its values (`value_groups`), whatever its
    name, under "<column> (protected)".
    """
    found: Groups = {}
    if "segment" in table.inputs.sides:
        segment = table.inputs.sides["segment"].numpy().reshape(-1).astype(np.int64)
        found["segment"] = (np.asarray(SEGMENTS)[segment], SEGMENTS)
    found["tenure"] = (tenures(tables, rows), (*TENURES.values(), LONGER))
    cluster = table.inputs.cluster_probs.argmax(1).numpy()
    names = np.array([f"cluster {i + 1}" for i in range(table.inputs.cluster_probs.shape[1])])
    found["cluster"] = (names[cluster], tuple(names.tolist()))
    if tables.protected.width:
        theirs = rows.join(tables.protected, on="customer_id", how="left", maintain_order="left")
        for column in tables.protected.columns[1:]:
            found[f"{column} (protected)"] = value_groups(theirs[column], tables.protected[column])
    return found


def value_groups(values: pl.Series, among: pl.Series) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Label of each row [n] and the order of the labels: the column's commonest values among all customers, or spans of
    a column of numbers or dates with many values.

    Args:
        values: [n] of the rows.
        among: one of each customer, from which groups are made: they are the same whatever rows are asked for.
    """
    known = among.drop_nulls()
    if (known.dtype.is_numeric() or known.dtype.is_temporal()) and known.n_unique() > MOST_GROUPS:
        return _spans(values, known)
    counts = known.cast(pl.String).value_counts(sort=False).sort(["count", known.name], descending=[True, False])
    common = counts[known.name].head(MOST_GROUPS).to_list()
    text = values.cast(pl.String)
    shown = pl.Series([UNKNOWN if v is None else v if v in common else OTHERS for v in text.to_list()], dtype=pl.String)
    order = dict.fromkeys([*common, OTHERS, UNKNOWN])
    return shown.to_numpy().astype(str), tuple(order)


def _spans(values: pl.Series, known: pl.Series) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    starts = known.sort().gather([len(known) * band // BANDS for band in range(BANDS)]).unique(maintain_order=True)
    after = [*starts.to_list()[1:], None]
    names = [
        f"from {start}" if end is None else f"{start} to below {end}" for start, end in zip(starts, after, strict=True)
    ]
    edges, at = starts.to_physical().to_numpy(), values.fill_null(starts[0]).to_physical().to_numpy()
    band = np.maximum(np.searchsorted(edges, at, side="right") - 1, 0)
    return np.where(values.is_null().to_numpy(), UNKNOWN, np.array(names)[band]), (*names, UNKNOWN)


def tenures(tables: Tables, rows: pl.DataFrame) -> NDArray[np.str_]:
    """[n] span of days from joining to the as-of date."""
    joined = tables.frames["customers"].select("customer_id", "joined_on")
    known = rows.join(joined, on="customer_id", how="left", maintain_order="left")
    days = (known["as_of"] - known["joined_on"]).dt.total_days().to_numpy()
    names = np.array([*TENURES.values(), LONGER])
    return names[np.searchsorted(np.array(list(TENURES)), days, side="left")]
