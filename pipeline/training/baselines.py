"""The baselines of an evaluation: predictions for the test rows by models that a candidate has to beat.

The constant of the training rows, the network and the boosted trees of the candidate each alone, a model of repeat
buying (`repeat_buying.py`), and for brands the customer's own past purchases.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.events.view import View

CONSTANT, NETWORK, BOOSTING, OWN_PAST = "constant", "network", "LightGBM", "own past"
REPEAT_BUYING = "BG/NBD"
PAST_DAYS = 180
"""Days in which the customer's own purchases of a brand count."""


def past_brands(tables: Tables, rows: pl.DataFrame, brands: Sequence[str]) -> NDArray[np.float64]:
    """[n, brands] lines of each brand that a customer bought in the `PAST_DAYS` before the row's as-of date."""
    counts = np.zeros((rows.height, len(brands)))
    index = pl.DataFrame({"brand": list(brands)}, schema={"brand": pl.String}).with_row_index("column")
    for (day,), part in rows.with_row_index("at").group_by("as_of", maintain_order=True):
        assert isinstance(day, date)
        view = View(tables, day)
        where = view.customers.select("customer_id").with_row_index("row").join(part, on="customer_id")
        lines = view.events("transactions", ("brand",), longest=PAST_DAYS).frame("brand")
        bought = lines.join(index, on="brand").group_by("row", "column").len().join(where, on="row")
        counts[bought["at"].to_numpy(), bought["column"].to_numpy()] = bought["len"].to_numpy()
    return counts
