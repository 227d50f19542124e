"""Charts: shares of tonight beside those of the night before, in the same bins."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline.reports.pages.chart import CLASSES, WIDTH, bars, histogram


def test_both_nights_are_counted_in_the_same_bins() -> None:
    rng = np.random.default_rng(0)
    nights = {"tonight": pl.Series(rng.random(500)), "before": pl.Series([0.25] * 10)}
    chart = histogram("t", "probability", nights, percent=True)
    assert chart is not None
    assert [sum(shares) for shares in chart.series.values()] == pytest.approx([1.0, 1.0])
    at = chart.series["before"].index(1.0)
    assert chart.edges[at] <= 25.0 <= chart.edges[at + 1]
    assert not chart.open
    assert all(
        chart.bar(0, k)["x"] >= 0 and sum(chart.bar(0, k)[i] for i in ("x", "width")) <= WIDTH for k in range(20)
    )
    assert chart.ticks()[0][1] == "0%"


def test_a_long_tail_shares_the_last_bin_and_says_so() -> None:
    chart = histogram("t", "days", {"tonight": pl.Series([*map(float, range(500)), 1e9])})
    assert chart is not None
    assert chart.open
    assert chart.ticks()[-1][1].startswith("≥ ")
    assert sum(chart.series["tonight"]) == pytest.approx(1.0)


def test_names_beyond_the_commonest_share_a_bar() -> None:
    names = [f"n{at:02d}" for at in range(20) for _ in range(20 - at)]
    chart = bars("t", "class", {"tonight": pl.Series(names), "before": pl.Series(["n00", "other"])})
    assert chart is not None
    assert chart.names == (*(f"n{at:02d}" for at in range(CLASSES)), "all others")
    assert [sum(shares) for shares in chart.series.values()] == pytest.approx([1.0, 1.0])
    assert chart.series["before"][0] == chart.series["before"][-1] == 0.5


@pytest.mark.parametrize("values", [[], [None, None], [float("nan")]])
def test_nothing_to_draw_is_no_chart(values: list[float | None]) -> None:
    assert histogram("t", "", {"tonight": pl.Series(values, dtype=pl.Float64)}) is None
    assert bars("t", "", {"tonight": pl.Series([], dtype=pl.String)}) is None


def test_equal_values_have_a_chart() -> None:
    chart = histogram("t", "", {"tonight": pl.Series([3.0, 3.0])})
    assert chart is not None
    assert sum(chart.series["tonight"]) == 1.0
