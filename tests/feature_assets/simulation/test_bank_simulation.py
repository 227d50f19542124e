"""The bank simulation: what it writes obeys the contract and depends on the seed alone; its oracle is a bound."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets.data.contract import CONTRACT
from feature_assets.data.contract import KINDS as KINDS_OF_TRANSACTIONS
from feature_assets.data.dataset import load_dataset
from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, compute_labels, every_task, fit_labels, windows
from feature_assets.simulation import simulate
from feature_assets.simulation.block import Block, generator, simulate_block
from feature_assets.simulation.chances import Chain
from feature_assets.simulation.config import DriftConfig, SimulationConfig
from feature_assets.simulation.dirt import REPAIRABLE, added_faults
from feature_assets.simulation.frames import make_naming
from feature_assets.simulation.oracle import OracleConfig, write
from feature_assets.simulation.oracle.chunk import Chunk
from feature_assets.simulation.oracle.constants import H, measure
from feature_assets.simulation.oracle.drawn import at_least_one
from feature_assets.simulation.oracle.exact import cycle, timing
from feature_assets.simulation.static import STATIC
from feature_assets.simulation.world import World, make_world
from feature_assets.snapshots import plan
from feature_assets.sources import ingest, read_delivery

ROOT = Path(__file__).parents[3]
SMALL, SAMPLE = SimulationConfig(block=60), OracleConfig(customers=24, draws=6)
CUSTOMERS = 2_000
DATASET = load_dataset("bank_simulation", ROOT / "data")
LAST_ORACLE = DATASET.covers_until - timedelta(days=84)
KINDS = {task.name: task.kind.name for task in every_task() if task.default}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation of some thousand customers with the oracle of all of them."""
    path = tmp_path_factory.mktemp("bank") / "data"
    simulate(path, CUSTOMERS, seed=3)
    write(path, OracleConfig(customers=CUSTOMERS, draws=40))
    return path


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return ingest(read_delivery(DATASET, folder)).tables


@pytest.fixture(scope="module")
def state(tables: Tables) -> LabelState:
    return fit_labels(tables, plan(DATASET.covers_until, DATASET.covers_from, windows(DATASET)))


@pytest.fixture(scope="module")
def both(folder: Path, tables: Tables, state: LabelState) -> pl.DataFrame:
    """Realised labels at both oracle dates, with the oracle's columns as `<task>__oracle`."""
    parts = []
    for as_of in (LAST_ORACLE, LAST_ORACLE - timedelta(days=7)):
        labels = compute_labels(tables, as_of, state, DATASET.covers_until)
        oracle = pl.read_parquet(folder / f"oracle/as_of={as_of}/*.parquet")
        parts.append(labels.join(oracle, on="customer_id", suffix="__oracle"))
    return pl.concat(parts)


def _bytes(path: Path) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
        simulate(tmp_path / name, 200, seed=seed, workers=workers, config=SMALL)
        write(tmp_path / name, SAMPLE, workers=workers)
    one, two, other = (_bytes(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert len([name for name in one if "/transactions/" in name]) == 4
    assert all(
        one[name] != other[name] for name in one if not name.endswith(("classes.json", "products/part-00000.parquet"))
    )
    assert not list(tmp_path.rglob("*.part"))


def test_tables_obey_the_contract_and_show_nothing_latent(tmp_path: Path) -> None:
    simulate(tmp_path / "bank", 150, seed=1, config=SMALL.model_copy(update={"dirty_share": 0.0}))
    folders = {p.name for p in (tmp_path / "bank/tables").iterdir()}
    assert folders == set(CONTRACT)
    for name, table in CONTRACT.items():
        frame = pl.read_parquet(tmp_path / f"bank/tables/{name}/*.parquet")
        table.schema.validate(frame)
        static = {"occupation", "income_band", *STATIC} if name == "customers" else set()
        assert set(frame.columns) == set(table.types) | static
        assert frame.null_count().max_horizontal().item() < frame.height, "a column is missing throughout"
    assert {p.name for p in (tmp_path / "bank").iterdir()} == {"tables", "simulation.json"}
    described = json.loads((tmp_path / "bank/simulation.json").read_text())
    assert described["parameters"]["version"] == SMALL.version
    assert (described["seed"], described["customers"]) == (1, 150)


def test_an_earlier_end_gives_the_same_rows_up_to_it(tmp_path: Path) -> None:
    clean = SMALL.model_copy(update={"dirty_share": 0.0})
    end = date(2025, 2, 1)
    simulate(tmp_path / "whole", 120, seed=2, config=clean)
    simulate(tmp_path / "part", 120, seed=2, config=clean, until=end)
    for name, column in (("transactions", "at"), ("holdings", "as_of"), ("balances", "on"), ("campaign_events", "at")):
        whole = pl.read_parquet(tmp_path / f"whole/tables/{name}/*.parquet")
        part = pl.read_parquet(tmp_path / f"part/tables/{name}/*.parquet")
        limit = DATASET.instant(end) if column == "at" else end
        assert part.equals(whole.filter(pl.col(column) < limit)), name
    write(tmp_path / "part", SAMPLE)
    assert (tmp_path / f"part/oracle/as_of={end - timedelta(days=84)}").is_dir()


def test_refuses_what_it_cannot_simulate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="customers is 0"):
        simulate(tmp_path / "bank", 0)
    with pytest.raises(ValueError, match="until is 2030-01-01"):
        simulate(tmp_path / "bank", 10, until=date(2030, 1, 1))
    assert not list(tmp_path.iterdir())


def test_too_short_a_history_has_no_oracle(tmp_path: Path) -> None:
    simulate(tmp_path / "bank", 30, config=SMALL, until=date(2024, 5, 1))
    with pytest.raises(ValueError, match="too early for an oracle"):
        write(tmp_path / "bank", SAMPLE)
    assert {p.name for p in (tmp_path / "bank").iterdir()} == {"tables", "simulation.json"}
    with pytest.raises(FileNotFoundError):
        write(tmp_path, SAMPLE)


def test_dirty_rows_are_found(folder: Path) -> None:
    ingested = ingest(read_delivery(DATASET, folder))
    for name, faults in added_faults(DATASET.covers_until).items():
        validated = ingested.validated[name]
        aside = sum(count.rows for count in validated.counts)
        rate = aside / validated.delivered
        assert 0.4 * SimulationConfig().dirty_share < rate < 2.5 * SimulationConfig().dirty_share, (name, rate)
        assert len(validated.counts) >= len(faults) - 1 + len(REPAIRABLE.get(name, {})), (name, validated.counts)
    ingested.check_limits()


def test_customer_ids_are_a_permutation() -> None:
    for customers in (1, 7, 200, 5_000):
        naming = make_naming(customers, seed=4)
        ids = naming.names(0, customers)
        assert ids.n_unique() == customers
        assert naming.names(customers // 2, 1)[0] == ids[customers // 2]
    numbers = ids.str.slice(1).cast(pl.Int64).to_numpy()
    assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 0.2


def test_numbers_are_those_that_were_ordered(tables: Tables) -> None:
    frames = tables.frames
    customers = frames["customers"]
    kinds = frames["transactions"].group_by("kind").agg(count=pl.col("basket_id").n_unique())
    rate = dict(kinds.with_columns(pl.col("count") / CUSTOMERS).iter_rows())
    assert 75 < rate["purchase"] < 125
    assert 35 < sum(rate.values()) - rate["purchase"] - rate["refund"] < 80
    assert 45 < frames["sessions"].height / CUSTOMERS < 75
    assert 1.5 < frames["contacts"].height / CUSTOMERS < 4.5
    assert 0.06 < (customers["segment"] == "anonymous").mean() < 0.10
    late = customers["joined_on"] >= DATASET.covers_until - timedelta(days=56)
    assert 0.06 < late.mean() < 0.11
    events = frames["campaign_events"]
    targeted = events.filter(pl.col("event") == "targeted")
    assert abs(targeted["is_control"].mean() - 0.1) < 0.02
    seen = events.filter(pl.col("event") == "impression").select("customer_id", "campaign_id").unique()
    withheld = targeted.filter("is_control").join(seen, on=["customer_id", "campaign_id"])
    assert withheld.is_empty(), "who is withheld sees nothing"
    lines = frames["transactions"].filter(pl.col("kind") == "purchase").group_by("basket_id").len()["len"]
    assert 1.05 < lines.mean() < 1.35
    assert lines.max() == 4
    assert set(kinds["kind"]) == set(KINDS_OF_TRANSACTIONS)
    per_customer = frames["transactions"].filter(pl.col("kind") == "purchase").group_by("customer_id").len()["len"]
    assert per_customer.quantile(0.99) > 4 * per_customer.median(), "heavy-tailed"


def _scores(task: str, rows: pl.DataFrame, state: LabelState, classes: dict[str, list[str]]) -> tuple[np.ndarray, ...]:
    """Loss of the oracle and of the constant prediction, a row each."""
    rows = rows.filter(pl.col(task).is_not_null())
    assert rows[f"{task}__oracle"].null_count() == 0, task
    y = rows[task].to_numpy()
    if KINDS[task] == "regression":
        predicted = rows[f"{task}__oracle"].to_numpy()
        return (y - predicted) ** 2, (y - y.mean()) ** 2
    if KINDS[task] == "binary":
        one = rows[f"{task}__oracle"].to_numpy()
        predicted = np.stack([1 - one, one], axis=1)
    else:
        order = [classes[task].index(name) for name in state.classes[task]]
        predicted = np.array(rows[f"{task}__oracle"].to_list())[:, order]
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0, atol=1e-6)
    share = np.bincount(y, minlength=predicted.shape[1]) / len(y)
    rows_of = np.arange(len(y))
    return -np.log(np.clip(predicted[rows_of, y], 1e-6, 1)), -np.log(np.maximum(share[y], 1e-6))


@pytest.mark.parametrize("task", [t for t, kind in KINDS.items() if kind != "contrastive"])
def test_the_oracle_beats_the_constant_clearly(task: str, both: pl.DataFrame, state: LabelState, folder: Path) -> None:
    classes = json.loads((folder / "oracle/classes.json").read_text())["classes"]
    oracle, constant = _scores(task, both, state, classes)
    gain = constant - oracle
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (oracle.mean(), constant.mean())
    assert oracle.mean() < 0.97 * constant.mean()


@pytest.mark.parametrize("task", [t for t, kind in KINDS.items() if kind in ("binary", "regression")])
def test_the_oracle_is_calibrated(task: str, both: pl.DataFrame) -> None:
    rows = both.filter(pl.col(task).is_not_null())
    error = rows[task].to_numpy() - rows[f"{task}__oracle"].to_numpy()
    assert abs(error.mean()) < 4.5 * error.std() / np.sqrt(len(error)), (error.mean(), error.std())


@pytest.mark.parametrize("task", [t for t, kind in KINDS.items() if kind == "multiclass"])
def test_the_oracles_classes_are_calibrated(task: str, both: pl.DataFrame, state: LabelState, folder: Path) -> None:
    classes = json.loads((folder / "oracle/classes.json").read_text())["classes"]
    rows = both.filter(pl.col(task).is_not_null())
    order = [classes[task].index(name) for name in state.classes[task]]
    predicted = np.array(rows[f"{task}__oracle"].to_list())[:, order]
    realised = np.eye(len(order))[rows[task].to_numpy()]
    error = realised - predicted
    spread = np.sqrt((predicted * (1 - predicted)).sum(axis=0)) / len(rows) + 1e-3
    assert (np.abs(error.mean(axis=0)) < 5 * spread).all(), (error.mean(axis=0) / spread).round(1)


def test_the_oracles_brands_beat_the_most_popular_ones(both: pl.DataFrame, state: LabelState) -> None:
    rows = both.filter(pl.col("brand_prediction").is_not_null())
    vocabulary = state.classes["brand_prediction"]
    bought = [{vocabulary[i] for i in row} for row in rows["brand_prediction"].to_list()]
    top = rows["brand_prediction__top"].to_list()

    def recall(guesses: list[list[str]]) -> float:
        return float(np.mean([len(b & set(g[:10])) / min(len(b), 10) for b, g in zip(bought, guesses, strict=True)]))

    assert recall(top) > 2 * recall([vocabulary] * len(top))
    assert all(len(set(t)) == 30 for t in top[:100])


def test_constants_of_the_labels_are_those_that_labels_fit(folder: Path, state: LabelState) -> None:
    known = json.loads((folder / "oracle/classes.json").read_text())
    np.testing.assert_allclose(known["stage_edges"], state.stage_edges, rtol=0.02)
    shares = dict(zip(state.classes["spending_category"], state.category_shares, strict=True))
    assert [shares[c] for c in known["classes"]["spending_category"]] == pytest.approx(
        known["category_shares"], abs=0.01
    )
    at = np.linspace(0.0, 8.0, 50)
    ours = np.interp(at, known["spend_knots"], known["spend_levels"])
    np.testing.assert_allclose(ours, np.interp(at, state.spend_knots, state.spend_levels), atol=0.02)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SimulationConfig(), seed=7)


@pytest.fixture(scope="module")
def chunk(world: World) -> Chunk:
    block = simulate_block(world, 7, 0, 40)
    constants = measure(world, block, world.calendar.days, OracleConfig())
    rows = np.flatnonzero(block.customers.joined < constants.days[0])[:6]
    return Chunk(generator(7, 0, 2), world, block, constants, constants.days[0], rows, draws=400)


def test_draws_given_a_purchase_are_those_that_rejection_gives(chunk: Chunk) -> None:
    path = np.arange(len(chunk.owner))
    counts, charged = at_least_one(chunk, path)
    total = counts + charged.sum(axis=1)
    assert (total.sum(axis=1) > 0).all()
    rng = np.random.default_rng(0)
    rate, charge = chunk.rate[:, :H], chunk.charge[:, :, :H]
    summed, times = np.zeros(rate.shape), np.zeros(len(rate))
    for _ in range(40):
        free = rng.poisson(rate) + (rng.random(charge.shape) < charge).sum(axis=1)
        some = free.sum(axis=1) > 0
        summed, times = summed + free * some[:, None], times + some
    expected, known = summed / np.maximum(times, 1)[:, None], times > 0
    for customer in range(chunk.n):
        mine = known & (chunk.owner == customer)
        if mine.sum() > 100:
            for days in (slice(0, 3), slice(3, 10), slice(10, H)):
                drawn, wanted = total[mine][:, days].sum(axis=1), expected[mine][:, days].sum(axis=1)
                error = drawn.std() / np.sqrt(mine.sum()) + 0.05
                assert abs(drawn.mean() - wanted.mean()) < 5 * error


def test_waiting_times_are_those_of_simulated_purchases(chunk: Chunk) -> None:
    rng = np.random.default_rng(1)
    rate, charge = chunk.rate[:, :H], chunk.charge[:, :, :H]
    bought = (rng.poisson(rate) + (rng.random(charge.shape) < charge).sum(axis=1)) > 0
    first = np.where(bought.any(axis=1), bought.argmax(axis=1), H)
    edges = np.array([1, 2, 4, 7, 14, 28])
    drawn = np.eye(7)[np.searchsorted(edges, first, side="right")].reshape(chunk.n, chunk.draws, 7).mean(axis=1)
    exact = cycle(chunk)
    np.testing.assert_allclose(exact.sum(axis=1), 1.0, atol=1e-6)
    assert np.abs(drawn - exact).max() < 5 * 0.5 / np.sqrt(chunk.draws)
    np.testing.assert_allclose(timing(chunk).sum(axis=1), 1.0, atol=1e-9)


def test_chains_move_as_their_matrices_say() -> None:
    matrix = np.array([[[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [1.0, 0.0, 0.0]]])
    chain, rng = Chain(matrix), np.random.default_rng(2)
    for state in range(3):
        now = np.full(40_000, state, np.uint8)
        following = chain.step(rng, np.zeros(40_000, np.int64), now)
        share = np.bincount(following, minlength=3) / 40_000
        np.testing.assert_allclose(share, matrix[0, state], atol=0.012)


def test_the_process_holds_what_it_promises(world: World) -> None:
    block = simulate_block(world, 7, 1, 1_500)
    customers, purchases = block.customers, block.purchases
    treated = block.lift != 1.0
    assert 0.05 < treated.mean() < 0.4
    assert customers.uplift.std() > 0.05, "heterogeneous effects"
    favourite = customers.favourite[purchases.row, purchases.category] == purchases.merchant
    own = world.catalogue.community[purchases.merchant] == customers.community[purchases.row]
    assert favourite.mean() > 0.3
    assert own.mean() > 3 / world.config.communities, "communities prefer their merchants"
    lifecycle = block.paths.lifecycle
    month = world.calendar.month[purchases.day]
    dormant = lifecycle[purchases.row, month] == 4
    assert dormant.mean() < 0.05 < (lifecycle == 4).mean()
    away = block.paths.trip[purchases.row, purchases.day] > 0
    assert purchases.overseas[away].mean() > 0.7 > 10 * purchases.overseas[~away].mean()
    assert (purchases.day >= customers.joined[purchases.row]).all()
    refunds = purchases.take(np.flatnonzero(purchases.refund))
    assert ((refunds.day - refunds.origin >= 1) & (refunds.day - refunds.origin <= 14)).all()
    _causes_stand_in_single_inputs(block)
    first = world.infection[:, :, 0]
    assert (world.infection.max(axis=2) > 1.2 * first).any(), "epidemics rise before they fall"


def test_bursts_bring_more_sessions_on_as_many_days_from_the_drift_on() -> None:
    days = {}
    for bursts in (0.0, 5.0):
        world = make_world(SimulationConfig(drift=DriftConfig(bursts=bursts)), 3)
        sessions = simulate_block(world, 7, 1, 600).sessions
        later = world.calendar.drift[sessions.day]
        active = np.unique(sessions.row * world.calendar.days + sessions.day)
        after = world.calendar.drift[active % world.calendar.days]
        days[bursts] = [(~later).sum() / (~after).sum(), later.sum() / after.sum(), after.sum()]
    (before, usual, many), (still, burst, as_many) = days[0.0], days[5.0]
    assert still == pytest.approx(before, rel=0.02)
    assert burst == pytest.approx(6 * usual, rel=0.05)
    assert as_many == pytest.approx(many, rel=0.05)


def _causes_stand_in_single_inputs(block: Block) -> None:
    """Routine → attrition, clicks; referrer → a visitor's sessions; interest → sessions."""
    customers, sessions, paths = block.customers, block.sessions, block.paths
    dormant = (paths.lifecycle == 4).mean(axis=1)
    plain, loop = (dormant[customers.routine == kind].mean() for kind in (0, 1))
    assert plain > 1.3 * loop, "loops stay"
    assert customers.click[customers.routine == 1].mean() > customers.click[customers.routine == 0].mean() + 0.5
    visits = np.bincount(sessions.row, minlength=len(customers))
    email, social = (visits[customers.anonymous & (customers.referrer == kind)].mean() for kind in (4, 2))
    assert email > 5 * social
    keen = paths.interest[sessions.row, sessions.day].mean()
    assert keen > 1.5 * paths.interest.mean(), "who has an interest looks"
