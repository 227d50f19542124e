"""Persistence, matchings and the topology groups: GUDHI, scipy and closed forms as oracles; properties."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from gudhi import RipsComplex, bottleneck_distance
from gudhi.representations import Landscape
from gudhi.wasserstein import wasserstein_distance
from scipy.optimize import linear_sum_assignment

from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.domain import tda
from feature_assets.groups.domain.tda import diagrams, phase, points, statistics
from feature_assets.kernels.farthest import farthest_points
from feature_assets.kernels.matching import bottleneck, wasserstein, wasserstein_line
from feature_assets.kernels.persistence import ENGINE_VARIABLE, rips_diagrams
from feature_assets.kernels.rips_cohomology import MOST_POINTS
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

Csr = tuple[np.ndarray, np.ndarray, np.ndarray]


def packed(clouds: list[np.ndarray]) -> Csr:
    last = np.cumsum([len(cloud) for cloud in clouds])
    first = last - [len(cloud) for cloud in clouds]
    return np.concatenate(clouds), first, last


def random_cloud(rng: np.random.Generator) -> np.ndarray:
    """A small cloud, one in two with something degenerate about it."""
    n, width = int(rng.integers(0, 15)), int(rng.integers(1, 7))
    kind = rng.integers(0, 11)
    if kind == 0:
        return np.tile(rng.normal(size=width), (n, 1))  # all equal
    if kind == 1:
        return rng.normal(size=(n, 1)) * rng.normal(size=width)  # on a line
    if kind == 2:
        return rng.integers(0, 3, (n, width)).astype(float)  # a lattice: ties and copies
    if kind == 3:
        cloud = rng.normal(size=(n, width))
        return cloud[rng.integers(0, max(n, 1), n)]  # copies
    if kind == 4:
        angle = 2 * np.pi * np.arange(n) / max(n, 1)
        return np.column_stack([np.cos(angle), np.sin(angle)])  # a regular polygon
    if kind == 5:
        corners = np.concatenate([np.eye(3), -np.eye(3)])
        return corners * rng.choice([1.0, 2.0], 3)  # an octahedron: H2, ties
    if kind == 6:
        return sphere(rng, 14) * rng.choice([1e-3, 1.0, 1e3])  # H2
    return rng.normal(size=(n, width)) * rng.choice([1e-3, 1.0, 1e3])


def sphere(rng: np.random.Generator, n: int) -> np.ndarray:
    points = rng.normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def library_pairs(cloud: np.ndarray, max_dimension: int) -> list[np.ndarray]:
    """Finite pairs of each dimension, by GUDHI's Rips complex and simplex tree."""
    if len(cloud) == 0:
        return [np.zeros((0, 2))] * (max_dimension + 1)
    tree = RipsComplex(points=cloud).create_simplex_tree(max_dimension=max_dimension + 1)
    tree.compute_persistence(homology_coeff_field=2)
    found = [tree.persistence_intervals_in_dimension(d).reshape(-1, 2) for d in range(max_dimension + 1)]
    return [pairs[np.isfinite(pairs[:, 1])] for pairs in found]


def by_dimension(pairs: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    ends = np.concatenate([[0], np.cumsum(counts)])
    return [pairs[ends[d] : ends[d + 1], :2].astype(np.float64) for d in range(len(counts))]


def test_pairs_equal_gudhis_on_many_clouds() -> None:
    rng = np.random.default_rng(0)
    clouds = [random_cloud(rng) for _ in range(1_200)]
    widest = max(cloud.shape[1] for cloud in clouds)
    wide = [np.pad(cloud, ((0, 0), (0, widest - cloud.shape[1]))) for cloud in clouds]
    pairs, counts = rips_diagrams(*packed(wide), max_dimension=2, room=120)
    assert (counts.sum(axis=0) > 100).all()  # every dimension is looked at
    for cloud, found, count in zip(clouds, pairs, counts, strict=True):
        size = float(np.ptp(cloud)) if cloud.size else 0.0
        for ours, theirs in zip(by_dimension(found, count), library_pairs(cloud, 2), strict=True):
            assert bottleneck_distance(ours, theirs) <= 1e-5 * size
            lengths = np.sort(theirs[:, 1] - theirs[:, 0])
            assert (lengths > 1e-6 * size).sum() <= len(ours) <= (lengths > 0).sum()  # pair by pair, not only near


@pytest.mark.parametrize(("n", "max_dimension"), [(90, 1), (50, 2), (MOST_POINTS, 1)])
def test_pairs_equal_gudhis_at_full_size(n: int, max_dimension: int) -> None:
    rng = np.random.default_rng(n)
    clouds = [
        rng.normal(size=(n, 6)),
        rng.integers(0, 4, (n, 6)).astype(float),
        np.column_stack([rng.normal(size=(n, 2)), *(f(rng.integers(0, 7, n)) for f in (np.sin, np.cos) * 2)]),
    ]
    csr = packed(clouds)
    ours, counts = rips_diagrams(*csr, max_dimension, 400, engine="kernel")
    theirs, expected = rips_diagrams(*csr, max_dimension, 400, engine="gudhi")
    assert (counts == expected).all()
    assert np.abs(ours - theirs).max() < 1e-5


def test_engine_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    csr = packed([rng.normal(size=(n, 6)) for n in (0, 1, 2, 20, 30)])
    kernel = rips_diagrams(*csr, 2, 40)
    monkeypatch.setenv(ENGINE_VARIABLE, "gudhi")
    library = rips_diagrams(*csr, 2, 40)
    assert (kernel[1] == library[1]).all()
    np.testing.assert_allclose(kernel[0], library[0], atol=1e-5)
    assert not np.array_equal(kernel[0], library[0])  # the switch does switch
    monkeypatch.setenv(ENGINE_VARIABLE, "ripser")
    with pytest.raises(ValueError, match="'kernel' or 'gudhi'"):
        rips_diagrams(*csr, 2, 40)


def test_many_living_classes_need_more_than_one_word() -> None:
    """Two simplices around one centre, in orthogonal spaces: all 576 edges across are shorter than those inside, which
    gives 529 classes of H1 that live at once, and as many of H2 later."""
    corners = np.eye(24) - 1 / 24
    nothing = np.zeros((24, 24))
    cloud = np.block([[corners, nothing], [nothing, corners]])
    noise = np.random.default_rng(10).normal(size=cloud.shape) * 0.003
    csr = packed([cloud, cloud + noise])
    ours, counts = rips_diagrams(*csr, 2, 2_000, engine="kernel")
    theirs, expected = rips_diagrams(*csr, 2, 2_000, engine="gudhi")
    assert counts[0].tolist() == [47, 529, 0]
    assert (counts == expected).all()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_most_persistent_pairs_are_kept() -> None:
    rng = np.random.default_rng(2)
    csr = packed([rng.normal(size=(40, 3))])
    every, all_counts = rips_diagrams(*csr, 2, 200)
    some, counts = rips_diagrams(*csr, 2, 30)
    lengths = np.sort(every[0, : all_counts.sum(), 1] - every[0, : all_counts.sum(), 0])[::-1]
    assert counts.sum() == 30
    np.testing.assert_array_equal(np.sort(some[0, :, 1] - some[0, :, 0])[::-1], lengths[:30])
    assert (np.diff(some[0, :, 2]) >= 0).all()


def test_diagrams_do_not_depend_on_the_order_of_points() -> None:
    rng = np.random.default_rng(3)
    cloud = np.concatenate([rng.integers(0, 3, (60, 6)).astype(float), rng.normal(size=(60, 6))])
    results = []
    for _ in range(5):
        sampled = farthest_points(rng.permutation(cloud), np.array([0]), np.array([len(cloud)]), 50)
        results.append(rips_diagrams(*sampled, 2, 150))
    for pairs, counts in results[1:]:
        assert np.array_equal(pairs, results[0][0])
        assert np.array_equal(counts, results[0][1])


def test_farthest_points_by_brute_force() -> None:
    rng = np.random.default_rng(4)
    cloud = rng.normal(size=(80, 3))
    sampled, _, _ = farthest_points(cloud, np.array([0]), np.array([80]), 12)
    chosen = [cloud[np.lexsort(cloud.T[::-1])[0]]]
    while len(chosen) < 12:
        gaps = np.linalg.norm(cloud[:, None] - np.array(chosen)[None], axis=2).min(axis=1)
        chosen.append(cloud[gaps.argmax()])
    np.testing.assert_array_equal(sampled, chosen)
    few, first, last = farthest_points(np.zeros((9, 2)), np.array([0, 4]), np.array([4, 9]), 4)
    assert (last - first).tolist() == [4, 1]  # a small cloud stays whole; a sample has no two equal points
    assert len(few) == 5


def random_diagram(rng: np.random.Generator, line: bool, tied: bool) -> np.ndarray:
    n = int(rng.integers(0, 14))
    births = np.zeros(n) if line else rng.integers(0, 10, n) / 4
    lengths = np.sort(rng.integers(1, 12, n) / 4 + (0 if tied else rng.random(n)))[::-1]
    return np.column_stack([births, births + lengths])


def test_distances_equal_gudhis() -> None:
    rng = np.random.default_rng(5)
    for k in range(300):
        a, b = (random_diagram(rng, k % 3 == 0, k % 2 == 0) for _ in range(2))
        expected = wasserstein_distance(a, b, order=1, internal_p=np.inf)
        assert wasserstein(a, b) == pytest.approx(expected, abs=1e-9)
        assert wasserstein(b, a) == pytest.approx(expected, abs=1e-9)
        assert bottleneck(a, b) == pytest.approx(bottleneck_distance(a, b), abs=1e-9)  # its e=0 errs on some ties
        assert wasserstein(a, a) == bottleneck(a, a) == 0.0
        if k % 3 == 0:
            assert wasserstein_line(a, b) == pytest.approx(expected, abs=1e-9)


def test_wasserstein_is_the_assignment_with_the_diagonal() -> None:
    rng = np.random.default_rng(6)
    for _ in range(100):
        a, b = random_diagram(rng, False, False), random_diagram(rng, False, True)
        n, m = len(a), len(b)
        cost = np.zeros((n + m, m + n))
        cost[:n, :m] = np.abs(a[:, None] - b[None]).max(axis=2)
        cost[:n, m:] = ((a[:, 1] - a[:, 0]) / 2)[:, None]
        cost[n:, :m] = ((b[:, 1] - b[:, 0]) / 2)[None]
        assert wasserstein(a, b) == pytest.approx(cost[linear_sum_assignment(cost)].sum(), abs=1e-9)


def test_statistics_by_their_definitions() -> None:
    rng = np.random.default_rng(7)
    spheres = np.concatenate([sphere(rng, 40), 0.6 * sphere(rng, 40) + 3])
    pairs, counts = rips_diagrams(*packed([spheres, np.zeros((3, 3))]), 2, 150)
    levels = np.array([[0.3, 0.4], [0.1, 0.6], [0.1, 1.2]])
    found = statistics.statistics(pairs, counts, levels)
    assert np.isnan(found[1]).all()
    assert (counts[0] > 1).all()
    for d, diagram in enumerate(by_dimension(pairs[0], counts[0])):
        births, deaths = diagram[:, 0], diagram[:, 1]
        lengths, grid = deaths - births, np.linspace(0, levels[d, 1], 200_001)
        share = lengths / lengths.sum()
        alive = np.searchsorted(np.sort(births), grid, "right") - np.searchsorted(np.sort(deaths), grid, "right")
        landscapes = Landscape(num_landscapes=len(diagram), resolution=4_001, sample_range=[0, deaths.max()])
        layers = landscapes.fit_transform([diagram])[0].reshape(len(diagram), -1) / np.sqrt(2)  # GUDHI's convention
        norm = np.sqrt((layers**2).sum() * deaths.max() / 4_000)
        ordered = np.sort(deaths)
        middle = (
            [
                np.median(deaths),
                np.subtract(*np.quantile(deaths, [0.75, 0.25])),
                np.diff(ordered, prepend=0).max(),
                1 + (deaths > deaths.max() / 2).sum(),
            ]
            if d == 0
            else [births.mean(), births.std(ddof=1), deaths.mean(), deaths.std(ddof=1)]
        )
        count = (lengths > levels[0, 0]).sum() if d == 0 else len(lengths)
        expected = [
            *(count, lengths.sum(), lengths.max(), lengths.mean(), lengths.std(ddof=1)),
            -(share * np.log(share)).sum(),
            *middle,
            np.trapezoid(alive, grid),
            norm,
        ]
        np.testing.assert_allclose(found[0, d], expected, rtol=2e-3)


def test_cross_dimension_statistics_are_free_of_scale() -> None:
    rng = np.random.default_rng(11)
    cloud = sphere(rng, 50)
    pairs, counts = rips_diagrams(*packed([cloud, 7 * cloud, np.zeros((2, 3))]), 2, 150)
    found = statistics.across(pairs, counts)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert not found[2].any()
    assert (found[0] >= 0).all()
    assert (found[0] <= 1).all()
    last = pairs[0, :, 1].max()
    for d, diagram in enumerate(by_dimension(pairs[0], counts[0])):
        lengths, middle = diagram[:, 1] - diagram[:, 0], diagram.mean(axis=1)
        share = lengths / lengths.sum()
        expected = [lengths.max(), lengths.mean(), lengths.std(), (share * middle).sum(), np.median(diagram[:, 1])]
        np.testing.assert_allclose(found[0, d, :5], np.array(expected) / last)
        assert found[0, d, 5] == pytest.approx(-(share * np.log(share)).sum() / np.log(1 + counts[0].sum()))


@pytest.mark.parametrize("only", [False, True])
def test_a_loop_that_lives_less_than_a_float32_apart_leaves_every_statistic_finite(only: bool) -> None:
    loops = [(0.4, 0.4)] if only else [(0.3, 0.5), (0.4, 0.4)]
    pairs = np.zeros((1, 8, 3), np.float32)
    pairs[0, :2, 1] = 0.2, 0.6
    pairs[0, 2 : 2 + len(loops), :2] = loops
    counts = np.array([[2, len(loops)]])
    found, rest = statistics.across(pairs, counts), statistics.statistics(pairs, counts, np.ones((2, 2)))
    assert np.isfinite(found).all()
    assert np.isfinite(rest[0, 1, 5])
    assert found[0, 1, 5] == rest[0, 1, 5] == 0  # one loop, or none, holds all of the persistence


@lru_cache(maxsize=1)
def fitted() -> dict[str, GroupState]:
    tables = synthetic.training_tables(synthetic.tables())
    return {g.name: g.fit([View(tables, day) for day in synthetic.TRAIN], [], 0) for g in tda.GROUPS}


def view_now() -> View:
    return View(synthetic.tables(), synthetic.AS_OF)


def test_points_are_baskets_and_sessions() -> None:
    view, state = view_now(), fitted()["tda_short"]
    cloud = points.scaled_points(view, points.Scales.of(state))
    baskets = plain_view.baskets(synthetic.tables(), synthetic.AS_OF)
    visits = plain_view.known_frames(synthetic.tables(), synthetic.AS_OF)["sessions"]
    assert cloud.start[-1] == baskets.height + visits.height
    raw = cloud.values * state.arrays["scale"]
    row = int(baskets["row"][0])
    mine = baskets.filter(pl.col("row") == row)
    here = raw[cloud.start[row] : cloud.start[row + 1]]
    bought = here[here[:, 1] <= points.CATEGORIES]
    np.testing.assert_allclose(np.sort(bought[:, 0]), np.sort(np.log1p(mine["amount"].to_numpy())))
    np.testing.assert_allclose(raw[:, 2] ** 2 + raw[:, 3] ** 2, 1.0)
    np.testing.assert_allclose(raw[:, 4] ** 2 + raw[:, 5] ** 2, 1.0)
    assert (np.diff(cloud.days_ago[cloud.start[row] : cloud.start[row + 1]]) <= 0).all()


def test_side_inputs_hold_the_diagram() -> None:
    view, states = view_now(), fitted()
    for group, cut in ((tda.GROUPS[0], tda.SHORT), (tda.GROUPS[1], tda.LONG)):
        frame = group.compute(view, states[group.name], {})
        customer = view.customers["customer_id"][5]
        drawn = tda.diagram_of(view, states[group.name], customer, cut)
        mask = np.array(frame[f"{group.name}_mask"][5].to_list())
        listed = np.array(frame[group.name][5].to_list()).reshape(cut.room, 3)
        assert mask.sum() == drawn.height > 10
        assert not listed[~mask].any()
        np.testing.assert_array_equal(
            listed[mask], drawn.select(pl.col("birth", "death", "dimension").cast(pl.Float64)).to_numpy()
        )
        empty = frame.filter(pl.col("customer_id") == "c000")
        assert not any(empty[f"{group.name}_mask"][0])
        assert empty.select(c.name for c in group.columns).to_numpy().dtype == np.float32
        assert all(empty[c.name][0] is None for c in group.columns)
    assert frame.filter(pl.col("customer_id") == "c000")["tda_global"][0] is None
    with pytest.raises(KeyError, match="nobody"):
        tda.diagram_of(view, states["tda_long"], "nobody", tda.LONG)


def test_diagrams_are_made_once_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = diagrams._make
    monkeypatch.setattr(diagrams, "_make", lambda p, cut, rows=None: made.append(cut.name) or make(p, cut, rows))
    view, states = view_now(), fitted()
    for group in tda.GROUPS:
        group.compute(view, states[group.name], {})
    assert sorted(made) == sorted(["short", "long", *(cut.name for cut in tda.PHASES)])


def test_the_library_gives_the_same_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    group, states = tda.GROUPS[0], fitted()
    names = [c.name for c in group.columns]
    kernel = group.compute(view_now(), states[group.name], {}).select(names).to_numpy()
    monkeypatch.setenv(ENGINE_VARIABLE, "gudhi")
    library = group.compute(view_now(), states[group.name], {}).select(names).to_numpy()
    counts = [i for i, c in enumerate(group.columns) if c.unit == "count"]
    others = [i for i, c in enumerate(group.columns) if c.unit != "count"]
    np.testing.assert_allclose(library[:, others], kernel[:, others], atol=1e-4)
    assert (np.abs(library - kernel)[:, counts] > 0).mean() < 0.01 or np.isnan(kernel[:, counts]).any()


def test_phase_transition_of_a_planted_change() -> None:
    """Four windows alike and then another shape: one transition past the threshold, 61 days ago or less."""
    rng = np.random.default_rng(8)
    calm = [rng.normal(size=(20, 6)) * 0.1 for _ in range(4)]
    angle = np.arange(20) * np.pi / 10
    ring = 5 * np.column_stack([np.cos(angle), np.sin(angle), *np.zeros((4, 20))])
    pairs, counts = rips_diagrams(*packed([*calm, ring, ring]), 1, 64)
    found = phase._transitions(pairs[:, None], counts[:, None], 10.0)[0]
    measure = dict(zip([c.name.split("__")[1] for c in tda.GROUPS[2].columns], found, strict=True))
    assert measure["wasserstein_h0"] == measure["wasserstein_h1"] == measure["bottleneck_h1"] == 0.0
    assert measure["total_change"] == measure["entropy_change"] == 0.0
    assert measure["share_past"] == pytest.approx(1 / 5)
    assert measure["days_since_past"] == 61
    assert 0.5 < measure["direction"] <= 1.0
    earlier = phase._transitions(pairs[:5, None], counts[:5, None], 10.0)[0]
    ours = by_dimension(pairs[4], counts[4])
    before = by_dimension(pairs[3], counts[3])
    assert earlier[0] == pytest.approx(wasserstein_distance(before[0], ours[0], order=1, internal_p=np.inf))
    assert earlier[1] == pytest.approx(wasserstein_distance(before[1], ours[1], order=1, internal_p=np.inf))
    assert earlier[4] > 1.0
    alone = phase._transitions(pairs[:1, None], counts[:1, None], 10.0)
    assert np.isnan(alone).all()


def test_loops_are_seen_where_there_are_loops() -> None:
    """A customer who cycles through (amount, time) has a longer-lived H1 class than one who jumps about."""
    rng = np.random.default_rng(9)
    angle = 2 * np.pi * rng.random(60)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(size=(60, 2)) * 0.05
    blob = rng.normal(size=(60, 2)) * ring.std()
    pairs, counts = rips_diagrams(*packed([ring, blob]), 1, 200)
    longest = statistics.statistics(pairs, counts, np.ones((2, 2)))[:, 1, 2]
    assert longest[0] > 2 * longest[1]


def test_a_cloud_that_is_too_large_is_refused() -> None:
    cloud = np.zeros((MOST_POINTS + 1, 2))
    with pytest.raises(ValueError, match="sample it first"):
        rips_diagrams(cloud, np.array([0]), np.array([len(cloud)]), 1, 10)
    with pytest.raises(ValueError, match="max_dimension"):
        rips_diagrams(cloud, np.array([0]), np.array([5]), 3, 10)


def test_windows_are_disjoint_and_cover_the_year() -> None:
    spans = [(cut.oldest, cut.newest) for cut in tda.PHASES]
    assert spans[0][0] == 360
    assert spans[-1][1] == 1
    assert all(a[1] == b[0] + 1 for a, b in pairwise(spans))
    assert date.fromordinal(synthetic.AS_OF.toordinal() - tda.LONG.oldest).year == 2016
