"""Fixtures of the tests of feature_assets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from tests.deliveries import shopping

MakeTables = Callable[..., Tables]


@pytest.fixture(scope="session")
def make_tables(dataset: DatasetConfig) -> MakeTables:
    """`make_tables(seed, customers=40, lines=6000, days=365) -> Tables`."""

    def make(seed: int, **sizes: int) -> Tables:
        return shopping.tables(dataset, seed, **sizes)

    return make
