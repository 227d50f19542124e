"""The check of all columns: planted faults are found by name, and nothing else is blamed for them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from feature_assets import build, check, registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.state import FeatureState
from tests.deliveries import synthetic

GROUPS = ("base", "campaign", "txn_seq")


@pytest.fixture(scope="module")
def small() -> tuple[View, FeatureState]:
    keep = {name: group for name, group in registry.registry().items() if name in GROUPS}
    registry.positions()  # of all groups, before some are hidden
    patch = pytest.MonkeyPatch()
    patch.setattr(build.registry, "registry", lambda: keep)
    tables: Tables = synthetic.tables()
    state = build.fit_state(tables, synthetic.TRAIN, seed=0)
    patch.undo()
    return View(tables, synthetic.AS_OF), state


def _faults(small: tuple[View, FeatureState], monkeypatch: pytest.MonkeyPatch, **changed: pl.Expr) -> dict[str, str]:
    """Input → fault when columns of the outputs are changed."""
    view, state = small
    honest = build.compute_all(view, state)

    def outputs(*_: object) -> dict[str, pl.DataFrame]:
        return {
            name: frame.with_columns(expr.alias(column) for column, expr in changed.items() if column in frame.columns)
            for name, frame in honest.items()
        }

    monkeypatch.setattr(check, "compute_all", outputs)
    found = check.check(view, state).faults
    return dict(zip(found["input"], found["fault"], strict=True))


def test_planted_faults_are_found(small: tuple[View, FeatureState], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = _faults(small, monkeypatch)
    planted = _faults(
        small,
        monkeypatch,
        base__recency=pl.lit(3.0),
        base__gap_mean=pl.lit(None, pl.Float64),
        txn_seq=pl.col("txn_seq").first(),
    )
    new = {name: fault for name, fault in planted.items() if name not in honest}
    assert new.pop("base__recency").startswith("constant")
    assert new.pop("base__gap_mean") == "missing throughout"
    assert new.pop("txn_seq") == "the same for every customer"
    assert all(name.startswith("txn_seq[") for name in new)


def test_a_copy_is_one_only_where_both_are_known() -> None:
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=(2, 400))
    b = np.where(np.arange(400) < 300, a, noise)
    frame = pl.DataFrame({"a": a, "b": b, "c": np.where(np.arange(400) < 300, a, np.nan)}).fill_nan(None)
    state = FeatureState({}, ["a", "b", "c"])
    found = check._copies(frame, state)
    assert [(name, fault.split(" (")[0]) for name, fault in found] == [("c", "copy of a"), ("c", "copy of b")]


def test_correlations_are_pearsons_over_common_rows() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 1e3
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:190, 4] = np.nan
    found = check.correlations(values)
    for i in range(4):
        for j in range(4):
            both = np.isfinite(values[:, [i, j]]).all(axis=1)
            np.testing.assert_allclose(found[i, j], np.corrcoef(values[both, i], values[both, j])[0, 1], atol=1e-9)
    assert (found[4] == 0).all()


def test_absent_groups_name_the_missing_source() -> None:
    tables = synthetic.tables()
    without = {name: f for name, f in tables.frames.items() if name not in ("campaign_events", "campaigns")}
    kept = without["transactions"].filter(pl.col("kind") == "purchase")
    poor = Tables(tables.dataset, {**without, "transactions": kept})
    assert not poor.has("inflows")
    assert tables.has("inflows")
    missing = check.absent(View(poor, synthetic.AS_OF))
    row = missing.filter(pl.col("group") == "campaign").row(0, named=True)
    assert row == {"group": "campaign", "columns": 12, "missing source": "campaign_events"}
    assert check.absent(View(tables, synthetic.AS_OF)).is_empty()
