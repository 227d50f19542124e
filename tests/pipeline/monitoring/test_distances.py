"""Binned counts and their distances, against a plain loop and scipy."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from pipeline.monitoring.bins import CLASSES, count, reference_of
from pipeline.monitoring.distances import jensen_shannon, noise, stability_index, table_of

RNG = np.random.default_rng(3)


def frame(rows: int = 1_000, shift: float = 0.0) -> pl.DataFrame:
    normal = RNG.normal(shift, 1, rows)
    return pl.DataFrame(
        {
            "normal": np.where(RNG.random(rows) < 0.1, np.nan, normal),
            "mostly_one": (RNG.random(rows) < 0.95).astype(float),
            "mostly_zero": np.where(RNG.random(rows) < 0.9, 0.0, RNG.exponential(1, rows)),
            "constant": np.full(rows, 7.0),
            "truth": RNG.random(rows) < 0.3,
            "name": RNG.choice([f"class {i}" for i in range(30)], rows),
            "nested": [[1.0, 2.0]] * rows,
        }
    ).with_columns(pl.col("normal").fill_nan(None))


def plain_counts(values: list[float | None], edges: list[float]) -> list[int]:
    found = [0] * (len(edges) + 2)
    for value in values:
        found[-1 if value is None else sum(value > edge for edge in edges)] += 1
    return found


def test_counts_are_those_of_a_plain_loop_and_every_row_is_in_one_bin() -> None:
    bins, other = reference_of(frame()), frame(777, 0.4)
    assert "nested" not in bins["column"].to_list()
    for row, counted in zip(bins.to_dicts(), count(other, bins), strict=True):
        assert sum(counted) == 777
        if row["edges"] is not None:
            assert counted == plain_counts(other[row["column"]].to_list(), row["edges"]), row["column"]
    by_name = {row["column"]: row for row in bins.to_dicts()}
    assert len(by_name["normal"]["edges"]) == 9
    assert np.ptp(by_name["normal"]["counts"][:-1]) <= 2, "deciles hold a tenth each"
    assert by_name["mostly_one"]["edges"] == [0.0], "the rare zeros are not lost in the bin of the ones"
    assert by_name["mostly_zero"]["edges"][0] == 0.0
    assert by_name["constant"]["edges"] == []
    assert len(by_name["name"]["classes"]) == CLASSES
    assert by_name["name"]["counts"][CLASSES] > 0, "the rarest names share a bin"
    assert len(by_name["truth"]["classes"]) == 2


def test_a_column_that_is_gone_counts_as_missing() -> None:
    bins = reference_of(frame())
    for counted in count(frame().select("nested"), bins):
        assert counted[-1] == 1_000
        assert sum(counted) == 1_000


def test_distances_are_those_of_a_plain_loop_and_of_scipy() -> None:
    lengths = RNG.integers(2, 13, 40)
    counts, reference = ([RNG.integers(0, 50, n).tolist() for n in lengths] for _ in range(2))
    index = stability_index(table_of(counts), table_of(reference))
    distance = jensen_shannon(table_of(counts), table_of(reference))
    for at, (own, other) in enumerate(zip(counts, reference, strict=True)):
        used = [(a, b) for a, b in zip(own, other, strict=True) if a + b]
        p, q = ([(pair[i] + 0.5) for pair in used] for i in (0, 1))
        p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
        assert index[at] == pytest.approx(sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True)))
        assert distance[at] == pytest.approx(jensenshannon(own, other, base=2), abs=1e-7)


def test_equal_shares_have_no_distance_and_disjoint_ones_the_largest() -> None:
    same, apart = table_of([[10, 20, 5]]), table_of([[0, 0, 5]])
    assert stability_index(same, same)[0] == 0
    assert jensen_shannon(same, 3 * same)[0] == pytest.approx(0, abs=1e-7)
    assert jensen_shannon(apart, table_of([[7, 0, 0]]))[0] == pytest.approx(1)


def test_noise_is_what_sampling_alone_reaches_in_any_column_at_the_stated_rate() -> None:
    columns, nights, chances = 50, 200, np.full(10, 0.1)
    over = 0
    for _ in range(nights):
        own, other = (RNG.multinomial(n, chances, columns).astype(float) for n in (400, 900))
        over += bool((stability_index(own, other) > noise(own, other, 0.1)).any())
    assert 0.03 <= over / nights <= 0.18
