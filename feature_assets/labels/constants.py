"""Look-back lengths and the classes that no data decide, shared by label functions. Source: DATA §3."""

from __future__ import annotations

from itertools import pairwise

from feature_assets.data.dataset import DatasetConfig

ACTIVE_DAYS = int(DatasetConfig.model_fields["active_days"].default)  # where a data set does not say otherwise
FAVOURITE_DAYS = 180  # look-back for the favourite merchant
EFFECT_DAYS = 28  # the effect of a campaign is measured from its start on for so many days

LEAST_CUSTOMERS = 20  # with a training label; of a binary task with either outcome: fewer, and the task is off
LEAST_OF_CLASS = 10  # customers with a training label of a class: fewer teach nothing about it

NBA_CLASSES = 11
NONE = "none"
CATEGORY_CLASSES = 12
BRAND_CLASSES = 500

STAGES = ["new", "growing", "steady", "declining", "dormant", "returning"]
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TIMES = [f"{day} {hour:02d}–{hour + 6:02d}" for day in WEEKDAYS for hour in range(0, 24, 6)]
CYCLE_EDGES = [1, 2, 4, 7, 14, 28]  # first day of the second, third, … class


def cycle_edges(horizon: int) -> list[int]:
    """First day of the second, third, … class of days to the next purchase. Whoever buys within the horizon never is in
    the last class."""
    last = CYCLE_EDGES[-1]
    return [*(edge for edge in CYCLE_EDGES if edge < min(horizon, last)), min(horizon, last)]


def cycles(horizon: int) -> list[str]:
    """Names of these classes."""
    starts = [0, *cycle_edges(horizon)]
    names = []
    for start, after in pairwise(starts):
        span = str(start) if after == start + 1 else f"{start}–{after - 1}"
        names.append(f"{span} day" if span == "1" else f"{span} days")
    return [*names, f"{starts[-1]}+ days"]
