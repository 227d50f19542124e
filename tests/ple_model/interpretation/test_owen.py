"""Owen values: closed forms, an enumeration of all orders, and what counts as a source."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from ple_model.config import InputConfig, SideConfig
from ple_model.inputs import Inputs
from ple_model.interpretation.owen import owen_values
from ple_model.interpretation.sources import Sources

CONFIG = InputConfig(
    columns=("a__x", "a__y", "b__z", "c__absent", "gmm__p"),
    present=(0, 1, 2, 4),
    normalised=5,
    clusters=2,
    sides=(SideConfig(name="txn_seq", shape=(3, 2), masked=True), SideConfig(name="tda_global", shape=(2,))),
)
SOURCES = Sources.of(CONFIG)


def _rows(count: int, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.rand((count, 5), generator=generator) > 0.3
    return Inputs(
        features=normal(count, 5).where(mask, torch.zeros(())),
        features_mask=mask,
        cluster_probs=normal(count, 2).softmax(1),
        sides={"txn_seq": normal(count, 3, 2), "tda_global": normal(count, 2)},
        masks={"txn_seq": torch.rand((count, 3), generator=generator) > 0.3},
        present={"tda_global": torch.rand(count, generator=generator) > 0.3},
    )


def _parts(rows: Inputs) -> torch.Tensor:
    """[n, S] one number of each source: missing columns −1, an absent side input 0."""
    columns = rows.features.where(rows.features_mask, torch.tensor(-1.0))[:, list(CONFIG.present)]
    steps = (rows.sides["txn_seq"].sum(2) * rows.masks["txn_seq"]).sum(1)
    diagrams = rows.sides["tda_global"].sum(1) * rows.present["tda_global"]
    return torch.cat([columns, steps[:, None], diagrams[:, None], rows.cluster_probs[:, :1]], dim=1).double()


def test_sources_are_the_present_columns_the_side_inputs_and_the_clusters() -> None:
    assert SOURCES.names == ("a__x", "a__y", "b__z", "gmm__p", "txn_seq", "tda_global", "cluster_probs")
    assert SOURCES.families == ("a", "a", "b", "clusters", "sequences", "topology", "clusters")
    assert [family.tolist() for family in SOURCES.members] == [[0, 1], [2], [3, 6], [4], [5]]


def test_of_a_sum_every_source_has_its_own_difference() -> None:
    weights = torch.tensor([[1.0, -2.0, 3.0, 0.5, 0.1, -0.7, 4.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]).double()
    row, background = _rows(1, 1), _rows(20, 2)
    found = owen_values(
        lambda rows: (_parts(rows) @ weights.T + 5.0).numpy(), row, background, SOURCES, np.random.default_rng(0)
    )
    want = weights * (_parts(row) - _parts(background).mean(0))
    np.testing.assert_allclose(found.values, want.T.numpy(), atol=1e-12)
    np.testing.assert_allclose(found.base, (_parts(background) @ weights.T + 5.0).mean(0).numpy(), atol=1e-12)
    apart = (_parts(row) - _parts(background)).numpy()
    np.testing.assert_allclose(found.errors[1, 1], apart[:, 1].std(ddof=1) / 20**0.5, rtol=1e-9)


def _wild(rows: Inputs) -> np.ndarray:
    x = _parts(rows)
    return np.stack([x[:, 0] * x[:, 1] + x[:, 2].exp() * x[:, 4], x.prod(1) + (x[:, 5] > 0) * x[:, 6]], axis=1)


def test_contributions_add_up_to_the_difference_from_the_background() -> None:
    row, background = _rows(1, 3), _rows(6, 4)
    found = owen_values(_wild, row, background, SOURCES, np.random.default_rng(0))
    np.testing.assert_allclose(found.base, _wild(background).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.base + found.values.sum(axis=0), _wild(row)[0], atol=1e-12)


def test_sampled_values_are_those_of_all_orders() -> None:
    row, other = _rows(1, 5), _rows(1, 6)
    x, b = _parts(row)[0].numpy(), _parts(other)[0].numpy()
    families, exact, count = [list(map(int, f)) for f in SOURCES.members], np.zeros(7), 0

    def value(taken: set[int]) -> float:
        z = [x[i] if i in taken else b[i] for i in range(7)]
        return float(z[0] * z[1] + np.exp(z[2]) * z[4] + z[3] * z[6] * z[5])

    def inner(order: tuple[list[int], ...]) -> list[list[int]]:
        found: list[list[int]] = [[]]
        for family in order:
            found = [[*head, *tail] for head in found for tail in permutations(family)]
        return found

    for outer in permutations(families):
        for order in inner(outer):
            taken: set[int] = set()
            for source in order:
                before = value(taken)
                taken.add(source)
                exact[source] += value(taken) - before
            count += 1
    exact /= count

    def function(rows: Inputs) -> np.ndarray:
        z = _parts(rows).numpy()
        return (z[:, 0] * z[:, 1] + np.exp(z[:, 2]) * z[:, 4] + z[:, 3] * z[:, 6] * z[:, 5])[:, None]

    background = other.index(torch.zeros(800, dtype=torch.int64))
    found = owen_values(function, row, background, SOURCES, np.random.default_rng(0))
    assert (np.abs(found.values[:, 0] - exact) <= 4 * found.errors[:, 0] + 1e-9).all()
    assert found.errors.max() < 0.05


def test_equal_sources_cost_no_row_and_get_nothing() -> None:
    row, calls = _rows(1, 7), []
    other = replace(
        _rows(1, 8), features=row.features, features_mask=row.features_mask, cluster_probs=row.cluster_probs
    )

    def function(rows: Inputs) -> np.ndarray:
        calls.append(len(rows))
        return _wild(rows)

    found = owen_values(function, row, other, SOURCES, np.random.default_rng(0))
    different = int(SOURCES.differ(row, other).sum())
    assert calls == [2 * (different + 1)]
    assert different <= 2
    assert np.flatnonzero(found.values.any(axis=1)).tolist() in ([4], [5], [4, 5])


def test_values_that_are_not_there_make_no_difference() -> None:
    row = replace(_rows(1, 9), present={"tda_global": torch.tensor([False]), "txn_seq": torch.tensor([True])})
    other = replace(row, sides={**row.sides, "tda_global": torch.tensor([[torch.nan, 9.0]])})
    hidden = ~row.features_mask
    other = replace(other, features=other.features.masked_fill(hidden, 7.0))
    assert not SOURCES.differ(row, other).any()
    there = replace(other, present={**other.present, "tda_global": torch.tensor([True])})
    assert SOURCES.differ(row, there).tolist() == [name == "tda_global" for name in SOURCES.names]


def test_several_rows_or_no_background_are_refused() -> None:
    for row, background in ((_rows(2), _rows(1)), (_rows(1), _rows(0))):
        with pytest.raises(ValueError, match="background rows"):
            owen_values(_wild, row, background, SOURCES, np.random.default_rng(0))
