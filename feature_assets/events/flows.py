"""Kinds of money flows: which of them a data set tells apart before some dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from feature_assets.data.contract import KINDS

if TYPE_CHECKING:
    from feature_assets.events.view import View


def kinds_in(views: Sequence[View]) -> dict[str, int]:
    """Kind → how many flows of it (refunds, inflows, outflows) lie before the dates of the views, without zeros."""
    counts = np.zeros(len(KINDS), dtype=np.int64)
    for view in views:
        counts += np.bincount(view.flows.ranked("kind", KINDS), minlength=len(KINDS))
    return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True) if count}
