"""Both kinds of source with a sound delivery each, for tests of faults that either can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from feature_assets.data.dataset import DatasetConfig, load_dataset
from tests.conftest import DATA_ROOT
from tests.deliveries import bank, completejourney
from tests.deliveries.makers import Frames


@dataclass(frozen=True)
class Sound:
    """A sound delivery and its description.

    Attributes:
        customer, instant: the columns that name customer and time in its transactions.
        optional: a table that may be missing, and has no other than itself pointing at it.
    """

    name: str
    dataset: Callable[[], DatasetConfig]
    frames: Callable[[], Frames]
    customer: str
    instant: str
    optional: str


CONTRACT_FILES = Sound("contract_files", bank.dataset, bank.sound, "customer_id", "at", "contacts")
COMPLETEJOURNEY = Sound(
    "completejourney",
    lambda: load_dataset("completejourney", DATA_ROOT),
    completejourney.small,
    "household_id",
    "transaction_timestamp",
    "demographics",
)

both_sources = pytest.mark.parametrize(
    "sound", [CONTRACT_FILES, COMPLETEJOURNEY], ids=[CONTRACT_FILES.name, COMPLETEJOURNEY.name]
)
