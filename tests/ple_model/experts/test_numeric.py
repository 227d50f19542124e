from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ple_model.experts.numeric import PiecewiseLinearEncoding, quantile_edges


def encode_by_loop(x: float, edges: list[float]) -> list[float]:
    channels = []
    for left, right in pairwise(edges):
        channels.append(0.0 if right == left else min(max((x - left) / (right - left), 0.0), 1.0))
    return channels


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(-20, 20), min_size=6, max_size=6), min_size=1, max_size=4),
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=5),
)
def test_encoding_equals_a_loop(knots: list[list[int]], values: list[float]) -> None:
    edges = torch.tensor([sorted(row) for row in knots], dtype=torch.float32)
    encoding = PiecewiseLinearEncoding(len(knots), 5)
    encoding.set_edges(edges)
    got = encoding(torch.tensor(values).repeat(len(knots), 1))
    want = [[encode_by_loop(v, row) for v in values] for row in edges.tolist()]
    torch.testing.assert_close(got, torch.tensor(want).transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_narrow_bins_far_from_zero_keep_their_precision() -> None:
    encoding = PiecewiseLinearEncoding(1, 2)
    encoding.set_edges(torch.tensor([[8.0, 8.00001, 9.0]]))
    edges = encoding.edges[0]
    assert encoding(edges[1].reshape(1, 1))[0, :, 0].tolist() == [1.0, 0.0]
    assert encoding(edges[0].reshape(1, 1))[0, :, 0].tolist() == [0.0, 0.0]


def test_edges_are_quantiles_of_present_values() -> None:
    x = torch.stack([torch.arange(101.0), torch.tensor([0.0, 1.0]).repeat(51)[:101], torch.full((101,), 5.0)], dim=1)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[51:, 0] = False  # values up to 50 are left
    x = torch.where(mask, x, torch.nan)
    edges = quantile_edges(x, mask, bins=5)
    assert edges[0].tolist() == [0, 10, 20, 30, 40, 50]
    assert edges[1].tolist() == [0, 1, 1, 1, 1, 1]
    assert edges[2].tolist() == [5] * 6


def test_an_empty_column_keeps_the_unfitted_edges() -> None:
    x = torch.randn(10, 2)
    mask = torch.stack([torch.zeros(10), torch.ones(10)], dim=1).bool()
    edges = quantile_edges(x, mask, bins=4)
    assert torch.equal(edges[0], PiecewiseLinearEncoding(1, 4).edges[0])
    assert bool((edges.diff(dim=1) >= 0).all())
