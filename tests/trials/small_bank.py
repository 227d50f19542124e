"""The named small data set of the trials: the bank simulation with few customers."""

from __future__ import annotations

from pathlib import Path

from feature_assets.simulation import simulate

DATASET, CUSTOMERS, SEED = "bank_simulation", 600, 11
LAST, EARLIER = "2025-06-24", "2025-03-25"


def delivery(folder: Path) -> Path:
    """The delivery under `folder`, simulated if it does not exist; it is written whole or not at all."""
    place = folder / f"{DATASET}-{CUSTOMERS}"
    if not place.exists():
        simulate(place, CUSTOMERS, seed=SEED)
    return place
