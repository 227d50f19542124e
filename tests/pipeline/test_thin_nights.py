"""Nights of very few customers and days: they end in scores, or in one sentence that says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.pipeline import stores
from tests.pipeline.conftest import SETTINGS
from tests.pipeline.running import HANGS, PLE, MakeHome

pytestmark = pytest.mark.trial

FIRST = date(2023, 1, 1)


def write_sales(folder: Path, customers: int, days: int, seed: int = 3) -> None:
    """`customer,date,price` of customers with a rhythm of their own, a third of whom stay away for some weeks."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(customers):
        gap, price = rng.gamma(4.0, 1.5) + 1.0, rng.gamma(2.0, 8.0) + 1.0
        away = rng.integers(10, days) if c % 3 == 0 else days
        day = float(rng.integers(0, 12))
        while day < days:
            if not away <= day < away + 21:
                rows.append((f"c{c:03d}", FIRST + timedelta(days=int(day)), round(price * rng.gamma(9.0, 1 / 9), 2)))
            day += rng.gamma(3.0, gap / 3) + 0.5
    frame = pl.DataFrame(rows, schema={"customer": pl.String, "date": pl.Date, "price": pl.Float64}, orient="row")
    folder.mkdir()
    frame.sort("date", "customer").write_csv(folder / "sales.csv")


def ple(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("AS_OF", "DATASET", "DATASET_FILE", "DATA_DIR")}
    environment |= {"PLE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*PLE, *map(str, words)], env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "a fault of this program" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.mark.parametrize(("customers", "days"), [(60, 60), (50, 30), (12, 90)])
def test_few_customers_and_days_end_in_scores_or_in_one_sentence(
    customers: int, days: int, make_home: MakeHome, trial_folder: Path
) -> None:
    place = trial_folder / f"thin-{customers}-{days}"
    place.mkdir(exist_ok=True)
    home, sold = place / "home", place / "sold"
    if not home.exists():
        make_home(home)
        stores.write_settings(home, {**SETTINGS, "snapshot_step_days": 7})
        write_sales(sold, customers, days)
        assert ple(home, "data", "init", sold).returncode == 0
    description = sold / "sold.yaml"
    checked = ple(home, "data", "check", description)
    done = ple(home, "nightly", "--dataset-file", description)
    if (customers, days) != (60, 60):
        assert checked.returncode == done.returncode == 1
        words = {30: "of the 35 days that are needed", 90: "a training needs 20. Deliver the data of more"}[days]
        assert words in checked.stdout
        assert words in done.stdout + done.stderr
        return
    assert checked.returncode == 0, checked.stdout
    said = done.stdout + done.stderr
    assert "labels look 7 days ahead" in said
    labels = json.loads(next(home.glob("lake/training/as_of=*/label_state.json")).read_text())
    assert labels["classes"]["consumption_cycle"][-1] == "7+ days"
    assert not [name for name in labels["classes"]["timing"] if "–" in name], "no purchase has a time of day"
    if done.returncode:  # nobody can say of so few test rows that it is ahead of a constant
        assert "version 1 is not promoted: " in said, said[-3000:]
        return
    [file] = home.glob("lake/scores/as_of=*/*.parquet")
    scores = pl.read_parquet(file, hive_partitioning=False)
    assert scores["customer_id"].n_unique() == scores.height == customers
    assert {"churn", "spending_bucket", "timing__p"} <= set(scores.columns)
    assert not [name for name in scores.columns if name.startswith(("ltv", "retention", "nba"))]
