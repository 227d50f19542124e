"""What FEATURES §2 demands of every group, for every group that is registered: later groups get these tests for free.

Equality is of bits, not within a tolerance. The state is fitted without the last customers, so that what they get is
what a customer outside of the fit gets.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets import build, registry
from feature_assets.check import check
from feature_assets.data.blocks import blocks_of
from feature_assets.data.contract import CONTRACT
from feature_assets.data.parts import PARTS
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.state import FeatureState
from tests.deliveries import synthetic
from tests.feature_assets.plain_view import INSTANTS, before

Outputs = dict[str, pl.DataFrame]
GROUPS = list(registry.registry())


@lru_cache(maxsize=1)
def whole() -> Tables:
    return synthetic.tables()


@lru_cache(maxsize=1)
def fitted() -> FeatureState:
    return build.fit_state(synthetic.training_tables(whole()), synthetic.TRAIN, seed=0)


def outputs(tables: Tables, shard: tuple[int, int] | None = None) -> Outputs:
    return build.compute_all(View(tables, synthetic.AS_OF, shard), fitted())


@lru_cache(maxsize=1)
def expected() -> Outputs:
    return outputs(whole())


def digest(frames: Outputs) -> str:
    """Digest of the values, for comparison between processes."""
    sha = hashlib.sha256()
    for name in sorted(frames):
        frame = frames[name]
        sha.update(name.encode())
        for column in frame.iter_columns():
            flat = column.explode() if column.dtype.base_type() is pl.List else column
            sha.update(flat.is_null().to_numpy().tobytes())
            sha.update(
                repr(flat.to_list()).encode() if flat.dtype == pl.String else flat.fill_null(0).to_numpy().tobytes()
            )
    return sha.hexdigest()


def _edited(edit: Callable[[str, pl.DataFrame], pl.DataFrame]) -> Outputs:
    tables = whole()
    return outputs(Tables(tables.dataset, {name: edit(name, frame) for name, frame in tables.frames.items()}))


def _future(table: str) -> pl.Expr:
    return ~before(table, synthetic.AS_OF, synthetic.ZONE)


def _change_future(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    if name not in INSTANTS:
        return frame
    past, future = frame.filter(~_future(name)), frame.filter(_future(name))
    if name == "transactions":
        future = future.with_columns(
            pl.col("at") + pl.duration(hours=5),
            amount=pl.lit(999.0),
            product_id=pl.lit("p07"),
            merchant_id=pl.lit("a new one"),
            kind=pl.lit("purchase"),
        )
    elif name == "campaign_events":
        future = future.with_columns(event=pl.lit("conversion"))
    elif name == "sessions":
        future = future.with_columns(event=pl.lit("support"), seconds=pl.lit(9999.0), channel=pl.lit("a new one"))
    elif name == "contacts":
        future = future.with_columns(kind=pl.lit("complaint"), topic=pl.lit("a new one"))
    else:
        future = future.with_columns(balance=pl.lit(1e6))
    return pl.concat([past, future])


def _delete_future(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(~_future(name)) if name in INSTANTS else frame


def _insert_future(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Events at the very instant t, of known and of new customers, under ids that sort before all others."""
    now = pl.lit(whole().dataset.instant(synthetic.AS_OF)).cast(pl.Datetime("us", "UTC"))
    if name == "customers":
        fresh = frame.head(3).with_columns(customer_id="a-" + pl.col("customer_id"), joined_on=pl.lit(synthetic.AS_OF))
        return pl.concat([fresh, frame])
    if name == "transactions":
        again = frame.sample(400, seed=1).with_columns(
            at=now,
            transaction_id="0" + pl.col("transaction_id"),
            channel=pl.lit("mailer"),
            amount=pl.lit(50.0),
        )
        fresh = again.head(30).with_columns(
            transaction_id="0" + pl.col("transaction_id"),
            basket_id="0" + pl.col("basket_id"),
            customer_id=pl.lit("a-c000"),
        )
        return pl.concat([again, fresh, frame])
    if name == "campaign_events":
        return pl.concat([frame, frame.with_columns(at=now, event=pl.lit("click")).unique()])
    if name == "campaigns":
        later = frame.head(1).with_columns(
            campaign_id=pl.lit("0"), starts_on=pl.lit(synthetic.AS_OF + timedelta(days=1))
        )
        return pl.concat([frame, later])
    if name in ("sessions", "contacts"):
        return pl.concat([frame.sample(200, seed=1).with_columns(at=now), frame])
    if name == "holdings":
        again = frame.sample(60, seed=1).with_columns(as_of=pl.lit(synthetic.AS_OF), balance=pl.lit(1e6))
        return pl.concat([again.unique(["customer_id", "product_kind", "opened_on"]), frame])
    if name == "balances":
        again = frame.unique("account_id").with_columns(on=pl.lit(synthetic.AS_OF), balance=pl.lit(1e6))
        return pl.concat([again, frame])
    return frame


def _shuffle(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(fraction=1.0, shuffle=True, seed=len(name))


def _in_shards(n: int) -> Outputs:
    parts = [outputs(whole(), (i, n)) for i in range(n)]
    return {name: pl.concat([part[name] for part in parts]).sort("customer_id") for name in parts[0]}


def _in_blocks(size: int) -> Outputs:
    """Stored, and read so many customers at a time."""
    with tempfile.TemporaryDirectory() as folder:
        whole().save(Path(folder))
        blocks = blocks_of(Path(folder, "customers.parquet"), size)
        assert len(blocks) == -(-whole().customers // size)
        parts = [outputs(Tables.load(Path(folder), block)) for block in blocks]
    return {name: pl.concat([part[name] for part in parts]) for name in parts[0]}


CHUNKS = {
    "groups.base.temporal": "_CHUNK",
    "groups.domain.gmm": "_CHUNK",
    "groups.domain.tda.diagrams": "_CHUNK",
    "groups.model_derived.hmm": "CHUNK",
    "groups.model_derived.hmm.fit": "_CHUNK",
    "groups.sequences.txn_seq": "_CHUNK",
}
"""Module → its number of customers (or rows) at a time."""


def _in_chunks(size: int) -> Outputs:
    """With so many customers at a time in every group that takes them in chunks."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CHUNKS.items():
            patch.setattr(import_module(f"feature_assets.{module}"), name, size)
        return outputs(whole())


def _state_saved_and_loaded() -> Outputs:
    with tempfile.TemporaryDirectory() as folder:
        fitted().save(Path(folder))
        state = FeatureState.load(Path(folder))
    assert state.version == fitted().version
    return build.compute_all(View(whole(), synthetic.AS_OF), state)


VARIANTS: dict[str, Callable[[], Outputs]] = {
    "future changed": lambda: _edited(_change_future),
    "future deleted": lambda: _edited(_delete_future),
    "future inserted": lambda: _edited(_insert_future),
    "rows shuffled": lambda: _edited(_shuffle),
    "1 shard": lambda: _in_shards(1),
    "3 shards": lambda: _in_shards(3),
    "17 shards": lambda: _in_shards(17),
    "blocks of 7": lambda: _in_blocks(7),  # few enough for parts of tables that a block does not have
    "blocks of 40": lambda: _in_blocks(40),
    "chunks of 1": lambda: _in_chunks(1),  # the customers without an event are alone in theirs
    "chunks of 89": lambda: _in_chunks(89),  # 90 customers: the last one is alone
    "state saved and loaded": _state_saved_and_loaded,
}


@lru_cache(maxsize=len(VARIANTS))
def variant(name: str) -> Outputs:
    return VARIANTS[name]()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", list(VARIANTS))
def test_changes_nothing(name: str, group: str) -> None:
    before, after = expected()[group], variant(name)[group]
    assert after.schema == before.schema
    differing = [c for c in before.columns if not before[c].equals(after[c], null_equal=True)]
    assert differing == []


def test_every_chunk_is_tried() -> None:
    """A group that works in chunks stands in `CHUNKS`, so that its boundaries are tested."""
    package = Path(build.__file__).parent
    found = {
        (".".join(file.relative_to(package).with_suffix("").parts).removesuffix(".__init__"), target.id)
        for file in package.rglob("*.py")
        if not {"simulation", "sources"} & set(file.parts)  # rows of files, not customers of a group
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.strip("_") == "CHUNK"
    }
    days = {("groups.embeddings.mamba.training", "CHUNK")}  # a stretch of days, not of customers
    assert found - days == set(CHUNKS.items())


def test_weighted_sums_have_one_home() -> None:
    """`np.bincount` with weights makes whole numbers of nothing: everybody calls `sum_at`, whose type never changes."""
    package = Path(build.__file__).parent
    weighted = [
        f"{file.relative_to(package)}:{node.lineno}"
        for file in package.rglob("*.py")
        if "simulation" not in file.parts and file.name != "numbers.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "np.bincount"
        and (len(node.args) > 1 or any(word.arg == "weights" for word in node.keywords))
    ]
    assert weighted == []
    assert sum_at(np.zeros(0, np.int64), np.zeros(0), 3).dtype == np.float64


def _knowing(known: Callable[[str, pl.DataFrame], pl.DataFrame]) -> Tables:
    """The data set with a part of what was known at t, and with everything that comes later: each table and each part
    of one is delivered, as it was in the fit."""

    def rows(name: str, frame: pl.DataFrame) -> pl.DataFrame:
        if name not in INSTANTS:
            return frame
        return pl.concat([known(name, frame.filter(~_future(name))), frame.filter(_future(name))])

    return Tables(whole().dataset, {name: rows(name, frame) for name, frame in whole().frames.items()})


def _sound(tables: Tables, of: date = synthetic.AS_OF) -> Outputs:
    """The outputs, which are as declared: one row a customer, finite or missing."""
    view, found = View(tables, of), build.compute_all(View(tables, of), fitted())
    for name, frame in found.items():
        assert frame.schema == expected()[name].schema, name
        assert frame["customer_id"].equals(view.customers["customer_id"]), name
        for column in frame.drop("customer_id").iter_columns():
            values = column.explode() if isinstance(column.dtype, pl.List) else column
            assert values.dtype == pl.Boolean or bool(values.drop_nulls().is_finite().all()), column.name
    assert build.assemble(view, found, fitted()).height == view.customers.height
    return found


def test_no_customer() -> None:
    """On the first day nobody has joined; and a shard may hold nobody."""
    assert all(frame.is_empty() for frame in _sound(whole(), synthetic.FIRST).values())
    shards = stable_shard(whole().frames["customers"]["customer_id"], 500)
    empty = next(i for i in range(500) if i not in set(shards))
    assert all(frame.is_empty() for frame in outputs(whole(), (empty, 500)).values())


def test_no_event() -> None:
    nothing = _knowing(lambda _, frame: frame.clear())
    assert all(frame.height == 90 for frame in _sound(nothing).values())


@pytest.mark.parametrize("table", sorted(INSTANTS))
def test_one_event(table: str) -> None:
    """One row of one table is known, and nothing else."""
    _sound(_knowing(lambda name, frame: frame.tail(1) if name == table else frame.clear()))


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(0, 89), max_size=3))
def test_a_few_customers_have_the_values_that_they_have_among_all(chosen: set[int]) -> None:
    ids = [f"c{i:03d}" for i in sorted(chosen)]
    few = whole().frames["customers"].filter(pl.col("customer_id").is_in(ids))
    for name, frame in _sound(Tables(whole().dataset, {**whole().frames, "customers": few})).items():
        among_all = expected()[name].filter(pl.col("customer_id").is_in(ids))
        differing = [c for c in frame.columns if not frame[c].equals(among_all[c], null_equal=True)]
        assert differing == [], name


@pytest.mark.parametrize("group", GROUPS)
def test_the_past_does_change_it(group: str) -> None:
    """The property above would hold for constants too."""
    earlier = synthetic.AS_OF - timedelta(days=40)

    def older(name: str, frame: pl.DataFrame) -> pl.DataFrame:
        if name not in INSTANTS:
            return frame
        return frame.filter(before(name, earlier, synthetic.ZONE))

    assert not _edited(older)[group].equals(expected()[group])


@pytest.mark.parametrize("group", GROUPS)
def test_output_is_what_is_declared(group: str) -> None:
    declared, frame = registry.registry()[group], expected()[group]
    assert frame.columns == [
        "customer_id",
        *(c.name for c in declared.columns),
        *(s.name for s in declared.side_inputs),
    ]
    assert frame["customer_id"].equals(View(whole(), synthetic.AS_OF).customers["customer_id"])
    for column in declared.columns:
        assert frame[column.name].dtype in (pl.Float32, pl.Float64), column.name
        assert frame[column.name].drop_nulls().is_finite().all(), column.name
    for side in declared.side_inputs:
        assert frame[side.name].dtype == pl.List(side.dtype)
        given = frame[side.name].drop_nulls()  # a null row is absent
        assert given.len() > 0.5 * frame.height
        assert (given.list.len() == int(np.prod(side.shape))).all()
        assert not given.explode().is_null().any()
        if side.dtype == pl.Float32:
            assert given.explode().is_finite().all()


@pytest.mark.parametrize("group", GROUPS)
def test_customers_outside_of_the_fit_have_values(group: str) -> None:
    declared, frame = registry.registry()[group], expected()[group]
    inside, outside = frame.head(-synthetic.OUTSIDE), frame.tail(synthetic.OUTSIDE)
    columns = [c.name for c in declared.columns if c.name in fitted().present]
    if columns:
        known = [
            part.select(pl.mean_horizontal(pl.col(columns).is_not_null())).to_series() for part in (inside, outside)
        ]
        assert known[1].min() > 0
        assert known[1].mean() > 0.8 * known[0].mean()
    for side in declared.side_inputs:
        sizes = outside[side.name].list.eval(pl.element().cast(pl.Float64).abs()).list.sum()
        assert sizes.null_count() == 0
        assert ((sizes > 0).mean() > 0.8) or side.name == "segment"


@pytest.mark.parametrize("group", GROUPS)
def test_no_events_and_one_event(group: str) -> None:
    declared, frame = registry.registry()[group], expected()[group]
    few = frame.filter(pl.col("customer_id").is_in(["c000", "c001"]))
    assert few.height == 2
    values = few.select(c.name for c in declared.columns).to_numpy()
    assert np.isfinite(values[~np.isnan(values)]).all()


@pytest.fixture(scope="module")
def embedded(tables: Tables) -> tuple[Tables, FeatureState]:
    """A third of the embedded data set's households, and a state fitted on two dates of them."""
    ids = tables.frames["customers"].filter(stable_shard(tables.frames["customers"]["customer_id"], 3) == 0)
    part = {
        name: frame.join(ids.select("customer_id"), on="customer_id", how="semi") if "customer_id" in frame else frame
        for name, frame in tables.frames.items()
    }
    some = Tables(tables.dataset, part)
    return some, build.fit_state(some, [date(2017, 7, 2), date(2017, 8, 27)], seed=0)


@pytest.mark.trial
def test_embedded_data_fills_every_column_that_it_has_a_source_for(embedded: tuple[Tables, FeatureState]) -> None:
    """No column is constant, missing, or a copy of another (FEATURES §2 rule 6), and the future changes none."""
    tables, state = embedded
    t = date(2017, 10, 1)
    view = View(tables, t)
    found = check(view, state)
    assert found.faults.to_dicts() == []
    lacking = {source for sources in found.absent["missing source"] for source in sources.split(", ")}
    assert lacking <= {*CONTRACT, *PARTS} - set(tables.frames)
    cut = {n: f.filter(before(n, t, tables.dataset.zone)) if n in INSTANTS else f for n, f in tables.frames.items()}
    again = build.compute_all(View(Tables(tables.dataset, cut), t), state)
    assert all(again[name].equals(frame) for name, frame in build.compute_all(view, state).items())


def test_threads_and_hash_seed_change_nothing_not_even_the_fit(tmp_path: Path) -> None:
    script = (
        "from tests.feature_assets.groups import test_group_properties as t\n"
        "print(t.fitted().version, t.digest(t.expected()))\n"
    )
    threads = "3" if os.environ.get("POLARS_MAX_THREADS") == "1" else "1"
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "POLARS_MAX_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [fitted().version, digest(expected())]


def test_the_fit_sees_nothing_after_its_dates() -> None:
    tables = synthetic.training_tables(whole())
    last = max(synthetic.TRAIN)
    cut = {
        n: f.filter(before(n, last, synthetic.ZONE)) if n in INSTANTS else f.sample(fraction=1.0, shuffle=True, seed=3)
        for n, f in tables.frames.items()
    }
    assert build.fit_state(Tables(tables.dataset, cut), synthetic.TRAIN, seed=0).version == fitted().version


def test_matrix_is_finite_scaled_and_complete() -> None:
    view: View = View(whole(), synthetic.AS_OF)
    frame = build.assemble(view, expected(), fitted())
    sides = [side.name for side in registry.side_inputs()]
    assert frame.columns == ["customer_id", "as_of", *fitted().present, *sides]
    assert frame["as_of"].unique().to_list() == [synthetic.AS_OF]
    scaled = [name for name in fitted().present if registry.is_normalised(name)]
    values = frame.select(scaled).to_numpy()
    assert frame.select(fitted().present).schema.dtypes() == [pl.Float32] * len(fitted().present)
    assert np.nanmax(np.abs(values)) <= 4.0
    assert (frame["cluster_probs"].list.sum() - 1).abs().max() < 1e-6
