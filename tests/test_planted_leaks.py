"""Each leak of LESSONS 18–24, planted, is seen by the check that guards against it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets import check, registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.labels import leak_check
from feature_assets.snapshots import SnapshotPlan
from tests.deliveries import synthetic
from tests.feature_assets.groups import test_group_properties as properties
from tests.feature_assets.plain_view import INSTANTS, before


class Planted(FeatureGroup):
    """A group of one column; its values are those of a function of view and fitted state."""

    name = "planted"
    description = "a leak"
    sources = ("transactions",)
    columns = (Column("planted__column", "a leak", "count", "all history"),)

    def __init__(
        self,
        values: Callable[[View, GroupState | None], np.ndarray],
        learn: Callable[[TrainingInputs], GroupState] | None = None,
    ) -> None:
        self._given, self._learnt = values, learn

    def _learn(self, training: TrainingInputs) -> GroupState:
        return GroupState() if self._learnt is None else self._learnt(training)

    def _values(self, inputs: Inputs) -> Values:
        return Values(np.asarray(self._given(inputs.view, inputs.fitted), dtype=np.float64)[:, None])


def _column(group: Planted, tables: Tables, state: GroupState | None = None) -> pl.Series:
    return group.compute(View(tables, synthetic.AS_OF), state, {})["planted__column"]


def _edited(edit: Callable[[str, pl.DataFrame], pl.DataFrame]) -> Tables:
    whole = properties.whole()
    return Tables(whole.dataset, {name: edit(name, frame) for name, frame in whole.frames.items()})


def _lines(view: View) -> pl.DataFrame:
    """What a group that goes around the barrier reads: all lines of the view's customers, whenever they happened."""
    frame: pl.DataFrame = view._tables.frames["transactions"]
    return frame


def _counts(view: View, lines: pl.DataFrame) -> np.ndarray:
    counted = lines.group_by("customer_id").len("n")
    return (
        view.customers.join(counted, on="customer_id", how="left", maintain_order="left")["n"].fill_null(0).to_numpy()
    )


# 18, 19: a label among the features, under another name, as a bucket, or cut from what the features see
@pytest.fixture(scope="module")
def rows() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and labels of 600 rows."""
    rng, n = np.random.default_rng(0), 600
    keys = pl.DataFrame({"customer_id": [f"c{i:03d}" for i in range(n)], "as_of": [synthetic.AS_OF] * n})
    spend = rng.gamma(2.0, 30.0, n)
    labels = keys.with_columns(
        nba=pl.Series(rng.integers(0, 4, n), dtype=pl.Int16),
        churn=pl.Series(rng.integers(0, 2, n), dtype=pl.Int8),
        spending_bucket=pl.Series(np.searchsorted(np.quantile(spend, np.linspace(0, 1, 9)[1:-1]), spend) / 8),
    )
    features = keys.with_columns(
        pl.Series("base__spend_90d", spend), *(pl.Series(f"noise_{i}", rng.normal(size=n)) for i in range(5))
    )
    return features, labels


def _leaks(features: pl.DataFrame, labels: pl.DataFrame, task: str) -> tuple[bool, str | None]:
    found = leak_check(features, labels.select("customer_id", "as_of", task))
    return found["leaks"][0], found["column"][0]


def test_a_label_list_as_flags_is_found(rows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    features, labels = rows
    assert _leaks(features, labels, "nba")[0] is False
    flags = features.with_columns((labels["nba"] == k).cast(pl.Float32).alias(f"has_nba_{k}") for k in range(4))
    leaks, column = _leaks(flags, labels, "nba")
    assert leaks
    assert str(column).startswith("has_nba_")


def test_a_label_that_is_a_bucket_of_a_feature_is_found(rows: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    features, labels = rows
    assert _leaks(features, labels, "spending_bucket") == (True, "base__spend_90d")
    assert _leaks(features.drop("base__spend_90d"), labels, "spending_bucket")[0] is False


@pytest.mark.parametrize("edit", [properties._change_future, properties._delete_future, properties._insert_future])
def test_a_feature_of_the_sequence_that_labels_are_cut_from_is_found(edit: Any) -> None:
    future = Planted(lambda view, _: _counts(view, _lines(view).filter(pl.col("kind") == "purchase")))
    honest = Planted(lambda view, _: view.purchases.count())
    changed = _edited(edit)
    assert not _column(future, changed).equals(_column(future, properties.whole()))
    assert _column(honest, changed).equals(_column(honest, properties.whole()))


# 20: a scaler or vocabulary fitted before the split
def test_a_state_fitted_on_all_dates_is_found() -> None:
    def fitted(learn: Callable[[TrainingInputs], GroupState], tables: Tables) -> list[float]:
        views = [View(tables, day) for day in synthetic.TRAIN]
        state = Planted(lambda view, _: view.purchases.count(), learn).fit(views, [{}] * len(views), 0)
        return state.arrays["mean"].tolist()  # type: ignore[no-any-return]

    def leaking(training: TrainingInputs) -> GroupState:
        return GroupState({"mean": np.array([_lines(training.views[0])["amount"].mean()])})

    def honest(training: TrainingInputs) -> GroupState:
        return GroupState({"mean": np.array([view.purchases.values("amount").mean() for view in training.views])})

    whole, last = synthetic.training_tables(properties.whole()), max(synthetic.TRAIN)
    cut = {n: f.filter(before(n, last, synthetic.ZONE)) if n in INSTANTS else f for n, f in whole.frames.items()}
    earlier = Tables(whole.dataset, cut)  # as `test_the_fit_sees_nothing_after_its_dates` compares them
    assert fitted(honest, earlier) == fitted(honest, whole)
    assert fitted(leaking, earlier) != fitted(leaking, whole)


# 21: one chain across customers in row order, and `hash()` as a seed
def test_a_chain_across_customers_is_found() -> None:
    chained = Planted(lambda view, _: np.cumsum(view.purchases.count()))
    parts = [chained.compute(View(properties.whole(), synthetic.AS_OF, (i, 3)), None, {}) for i in range(3)]
    together = pl.concat(parts).sort("customer_id")["planted__column"]
    assert not together.equals(_column(chained, properties.whole()))
    shuffled = _edited(properties._shuffle)  # tables have an order of their own, so no group can read that of a file
    assert all(frame.equals(properties.whole().frames[name]) for name, frame in shuffled.frames.items())


def test_a_seed_from_hash_is_found() -> None:
    def drawn(expression: str, seed: str) -> str:
        code = f"import zlib, numpy; print(numpy.random.default_rng({expression}).integers(10**9))"
        found = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        return found.stdout

    assert drawn("abs(hash('c000'))", "1") != drawn("abs(hash('c000'))", "7")  # what the property test compares
    assert drawn("zlib.crc32(b'c000')", "1") == drawn("zlib.crc32(b'c000')", "7")


# 22: embeddings for the fit sample only
def test_values_for_the_fit_sample_only_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = synthetic.training_tables(properties.whole()).frames["customers"]["customer_id"]
    only = Planted(lambda view, _: np.where(view.customers["customer_id"].is_in(known.implode()), 1.0, np.nan))
    name = only.columns[0].name
    frame = only.compute(View(properties.whole(), synthetic.AS_OF), None, {})
    monkeypatch.setattr(properties, "expected", lambda: {"planted": frame})
    monkeypatch.setattr(properties, "fitted", lambda: type("State", (), {"present": [name]}))
    monkeypatch.setattr(properties.registry, "registry", lambda: {"planted": only})
    with pytest.raises(AssertionError):
        properties.test_customers_outside_of_the_fit_have_values("planted")


# 23: a gap that is silently ignored
def test_a_label_that_reaches_into_the_holdout_is_masked_and_a_number_is_no_date() -> None:
    start = date(2017, 9, 3)
    days = tuple(start - timedelta(days=d) for d in (35, 28, 21))
    plan = SnapshotPlan(start + timedelta(days=28), {"churn": 28}, days, (start,), start)
    assert [plan.usable("churn", day) for day in days] == [True, True, False]
    for number in (20170903, 17412, 17412.0):
        with pytest.raises(TypeError):
            plan.usable("churn", number)  # type: ignore[arg-type]
        with pytest.raises((TypeError, AttributeError)):
            View(properties.whole(), number)  # type: ignore[arg-type]


# 24: sequences of length one, because the history was never joined
def test_sequences_of_length_one_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    view, state, honest = View(properties.whole(), synthetic.AS_OF), properties.fitted(), properties.expected()
    side = next(s for s in registry.registry()["txn_seq"].side_inputs if s.name == "txn_seq_mask")
    one = [[True] + [False] * (int(np.prod(side.shape)) - 1)] * view.customers.height
    short = honest["txn_seq"].with_columns(pl.Series("txn_seq_mask", one, dtype=pl.List(pl.Boolean)))
    monkeypatch.setattr(check, "compute_all", lambda *_: {**honest, "txn_seq": short})
    found = check.check(view, state).faults
    faults = dict(zip(found["input"], found["fault"], strict=True))
    assert faults["txn_seq_mask"] == "the same for every customer"
