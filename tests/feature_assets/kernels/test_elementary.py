"""Branch-free exp and softplus of kernels against float64's."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from feature_assets.kernels.elementary import exp, softplus


@njit(error_model="numpy")
def _both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.empty_like(x), np.empty_like(x)
    for i in range(x.size):
        first[i], second[i] = exp(x[i]), softplus(x[i])
    return first, second


@pytest.mark.parametrize(("kind", "units"), [(np.float32, (2, 4)), (np.float64, (2, 4))])
def test_elementary_functions_are_within_a_few_units_in_the_last_place(kind: type, units: tuple[int, int]) -> None:
    x = np.concatenate([np.linspace(-87, 88, 200_001), np.linspace(-1e-3, 1e-3, 1001)]).astype(kind)
    wide = x.astype(np.longdouble)
    expected = np.exp(wide), np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    for found, exact, allowed in zip(_both(x), expected, units, strict=True):
        assert (np.abs(found - exact) / np.spacing(exact.astype(kind))).max() <= allowed


def test_far_out_nothing_overflows() -> None:
    grown, soft = _both(np.array([-1e30, -200.0, 200.0, 1e30], dtype=np.float32))
    assert np.isfinite(grown).all()
    assert (grown[:2] < 1e-37).all()
    assert (soft[:2] < 1e-37).all()
    assert (soft[2:] == np.array([200.0, 1e30], dtype=np.float32)).all()
