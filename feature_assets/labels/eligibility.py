"""For which tasks a customer is eligible at t, by what is known before t. Source: DATA §3."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from feature_assets.events.view import View
from feature_assets.labels.past import Past
from feature_assets.labels.registry import get_task


def eligible(view: View, names: Iterable[str], active_days: int | None = None) -> pl.DataFrame:
    """Whether each task is defined at t for each customer of a view.

    Args:
        view: of t. Nothing that happens at t or later is read: a label may look ahead, this may not.
        names: of the tasks.
        active_days: for which whoever bought counts as active; None for those of the view's data set.

    Returns:
        customer_id and one Boolean column a task, sorted by customer_id; never null.
    """
    past = Past(view, active_days)
    return view.customers.select("customer_id", *(get_task(name).eligible(past) for name in names))
