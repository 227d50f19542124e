"""Groups of test rows by protected columns: the commonest values, spans of numbers and dates, what is not known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from pipeline.training.row_groups import BANDS, MOST_GROUPS, OTHERS, UNKNOWN, value_groups


def test_the_commonest_values_are_groups_and_the_others_one() -> None:
    everybody = pl.Series("region", [f"r{i:02d}" for i in range(12) for _ in range(12 - i)] + [None, None])
    shown, order = value_groups(pl.Series("region", ["r00", "r11", None, "r07", "r08"]), everybody)
    assert order == (*(f"r{i:02d}" for i in range(MOST_GROUPS)), OTHERS, UNKNOWN)
    assert shown.tolist() == ["r00", OTHERS, UNKNOWN, "r07", OTHERS]


def test_numbers_and_dates_with_many_values_are_spans_of_as_many_customers() -> None:
    years = pl.Series("born", np.random.default_rng(0).permutation(np.arange(1930, 2010)).tolist())
    shown, order = value_groups(years, years)
    assert order == ("1930 to below 1950", "1950 to below 1970", "1970 to below 1990", "from 1990", UNKNOWN)
    for name, count in zip(*np.unique(shown, return_counts=True), strict=True):
        assert count == len(years) // BANDS
        kept = years.filter(pl.Series(shown) == name)
        assert kept.max() - kept.min() == 19
    days = pl.Series("since", [date(2020, 1, 1 + i) for i in range(20)])
    shown, order = value_groups(pl.Series("since", [date(2019, 1, 1), None, date(2020, 1, 20)]), days)
    assert shown.tolist() == ["2020-01-01 to below 2020-01-06", UNKNOWN, "from 2020-01-16"]


def test_few_numbers_are_values_and_of_a_column_without_any_nothing_is_known() -> None:
    shown, order = value_groups(pl.Series("children", [0, 2, None]), pl.Series("children", [0, 0, 1, 2]))
    assert (shown.tolist(), order) == (["0", "2", UNKNOWN], ("0", "1", "2", OTHERS, UNKNOWN))
    empty = pl.Series("gender", [None, None], dtype=pl.String)
    assert value_groups(empty, empty)[0].tolist() == [UNKNOWN] * 2
