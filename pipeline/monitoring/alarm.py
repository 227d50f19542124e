"""When a distance is an alarm. What is usual is what earlier nights had: a weekly wave, the noise of few customers.

A column is *over* on a night where its index exceeds all of
- the floor of effect size (`floor`),
- what sampling alone reaches in any column on the share `false_alarms` of nights (`distances.noise`),
- the largest index of the earlier nights that were not over, by the share `margin`; with fewer than `least_nights` of
  them nothing is over.
It *alarms* where it is over for `nights_in_a_row` nights.

The family-wise rate, over all columns together: by sampling alone no column is over on more than the share
`false_alarms` of the nights (the bound is divided by the number of columns), and asking that it lasts lowers that. With
a weekly wave as well, single nights are over more often, since a peak and chance add up before a few weeks have shown
the largest of both; that alarms are false on at most `false_alarms` of the nights then rests on `nights_in_a_row` of 2
or more, and is measured on simulated nights (tests/pipeline/monitoring/test_alarm.py).
A change that grows by less than `margin` from the largest earlier night to the next never alarms: it is in the table,
and the next training learns it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.settings import DriftLimits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Of the newest night, for each of C columns.

    earlier: [C] largest index of the earlier nights that were not over, NaN without any. in_a_row: [C] nights up to
    this one on which the column was over. alarms: [C] bool.
    """

    earlier: Floats
    in_a_row: NDArray[np.int64]
    alarms: NDArray[np.bool_]


def judge(index: Floats, noise: Floats, known: NDArray[np.bool_], limits: DriftLimits) -> Judged:
    """Judge the newest of N nights by those before it.

    Args:
        index: [N, C] population stability index, oldest night first; NaN where a night has none for a column.
        noise: [N, C] of `distances.noise`.
        known: [N, C] whether an operator accepted what the column did that night: it then counts as usual.
        limits: of the settings.
    """
    columns = index.shape[1]
    earlier, usual = np.full(columns, np.nan), np.zeros(columns, dtype=np.int64)
    in_a_row, before = np.zeros(columns, dtype=np.int64), earlier
    for tonight, chance, accepted in zip(index, noise, known, strict=True):
        before = earlier
        above = tonight > (1 + limits.margin) * np.nan_to_num(earlier)
        enough = usual >= limits.least_nights
        over = enough & above & (tonight > limits.floor) & (tonight > chance) & ~accepted
        in_a_row = np.where(over, in_a_row + 1, 0)
        joins = ~over & ~np.isnan(tonight)
        earlier = np.where(joins, np.fmax(earlier, tonight), earlier)
        usual = usual + joins
    return Judged(before, in_a_row, in_a_row >= limits.nights_in_a_row)


def accepted(nights: Sequence[date], columns: Sequence[str], until: Mapping[str, date]) -> NDArray[np.bool_]:
    """[N, C] nights up to the date that the settings name for a column."""
    last = np.array([until.get(name, date.min).toordinal() for name in columns], dtype=np.int64)
    return np.array([night.toordinal() for night in nights], dtype=np.int64)[:, None] <= last
