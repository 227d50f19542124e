"""The training set: purge and roles by snapshot, shards, rows of a role in one order, leaks."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from feature_assets.data.tables import Tables
from feature_assets.snapshots import SnapshotPlan
from pipeline.training import training_set
from tests.pipeline.small_training import AS_OF, CLASSES, CUSTOMERS, WINDOWS, Material

IDS = [f"c{i:03d}" for i in range(CUSTOMERS)]


TABLES = cast("Tables", object())


@pytest.fixture(autouse=True)
def _small_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every customer is known at every date."""

    def view(tables: Tables, as_of: date, shard: tuple[int, int] | None = None) -> Any:
        assert tables is TABLES
        chosen = IDS if shard is None else IDS[shard[0] :: shard[1]]
        return SimpleNamespace(as_of=as_of, customers=pl.DataFrame({"customer_id": chosen}))

    monkeypatch.setattr(training_set, "View", view)


@pytest.fixture
def computed(made: Material, monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """Replace features and labels by constants; the dates whose features were computed."""
    days: list[date] = []

    def compute_all(view: Any, state: Any) -> dict[str, Any]:
        assert state.version == made.state.version
        days.append(view.as_of)
        return {}

    def compute_labels(_: Any, day: date, state: Any, known_until: date) -> pl.DataFrame:
        assert state == made.label_state
        assert known_until == AS_OF
        values = {"churn": 1, "engagement": 0.5, "channel": 2, "brand_prediction": [0]}
        return pl.DataFrame({"customer_id": IDS}).with_columns(
            pl.lit(day).alias("as_of"), *(pl.lit(value).alias(name) for name, value in values.items())
        )

    monkeypatch.setattr(training_set, "compute_all", compute_all)
    monkeypatch.setattr(training_set, "compute_labels", compute_labels)
    monkeypatch.setattr(
        training_set, "assemble", lambda view, _, __: view.customers.with_columns(pl.lit(view.as_of).alias("as_of"))
    )
    return days


def test_labels_are_masked_by_their_purge_line_and_snapshots_taken_up(
    made: Material, computed: list[date], said: list[str]
) -> None:
    train = tuple(AS_OF - timedelta(days=28 * k) for k in (4, 3, 2))
    plan = SnapshotPlan(AS_OF, WINDOWS | {"engagement": 56}, train, made.plan.holdout, made.plan.holdout_start)
    missing = [day for day in plan.dates if not made.workspace.snapshot(day).exists()]
    labels = training_set.build(made.workspace, TABLES, plan, 10_000, said.append)
    assert computed == missing, "snapshots that are there are not computed again"
    assert labels.equals(made.workspace.labels())
    usable = labels.group_by("as_of").agg(pl.col("churn", "engagement").is_not_null().all()).sort("as_of")
    assert usable.select("churn", "engagement").rows() == [(True, True), (True, True), (True, False), (True, False)]
    assert set(labels.filter(pl.col("as_of") == plan.holdout[0])["role"]) == {"validation", "test"}
    assert set(labels.filter(pl.col("as_of") != plan.holdout[0])["role"]) == {"train"}
    assert said == ["4 of 4 snapshots ready"]


@pytest.mark.usefixtures("computed")
def test_a_task_with_too_few_labels_has_no_column(
    made: Material, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training_set.build(made.workspace, TABLES, made.plan, 10_000, said.append)
    made.workspace.save_label_state(made.label_state.model_copy(update={"off": {"channel": "one class"}}))
    compute = training_set.compute_labels
    monkeypatch.setattr(
        training_set, "compute_labels", lambda *args, **of: compute(args[0], args[1], made.label_state, **of)
    )
    assert training_set.build(made.workspace, TABLES, made.plan, 10_000, said.append).equals(whole.drop("channel"))
    learnt = made.plan.without({"channel": "one class"})
    assert learnt.dates == made.plan.dates
    assert training_set.label_table(whole.drop("channel"), learnt)["task"].to_list() == list(learnt.windows)


def test_a_refit_has_every_date_and_no_label_that_had_not_matured(
    made: Material, computed: list[date], said: list[str]
) -> None:
    train = tuple(AS_OF - timedelta(days=28 * k) for k in (5, 4, 3))
    gap = (AS_OF - timedelta(days=28 * 2),)
    start = made.plan.holdout_start
    plan = SnapshotPlan(AS_OF, WINDOWS | {"engagement": 57}, train, made.plan.holdout, start, gap)
    evaluated = made.workspace.labels()
    labels = training_set.build_refit(made.workspace, TABLES, plan, 10_000, said.append)
    assert computed == list(gap), "other snapshots are those of the evaluation fit"
    assert labels.equals(made.workspace.refit_labels())
    assert made.workspace.labels().equals(evaluated), "the rows of the evaluation fit stay as they are"
    assert set(labels["role"]) == {training_set.REFIT}
    assert labels["as_of"].unique().sort().to_list() == list(plan.refit_dates)
    used = labels.group_by("as_of").agg(pl.col("churn", "engagement").is_not_null().all()).sort("as_of")
    assert used["churn"].to_list() == [True] * 5
    assert used["engagement"].to_list() == [True, True, True, False, False], "their windows end after the as-of date"
    assert said == ["600 rows of 5 snapshots to fit again on"]
    rows = [features["as_of"][0] for features, _ in training_set.rows_of(made.workspace, training_set.REFIT)]
    assert rows == list(plan.refit_dates)


def test_a_date_between_training_and_holdout_takes_a_shard_as_the_others_do(
    made: Material, computed: list[date]
) -> None:
    gap = (AS_OF - timedelta(days=28 * 2),)
    plan = SnapshotPlan(AS_OF, WINDOWS, made.plan.train, made.plan.holdout, made.plan.holdout_start, gap)
    labels = training_set.build_refit(made.workspace, TABLES, plan, 2 * CUSTOMERS, lambda _: None)
    assert computed == list(gap)
    taken = labels.filter(pl.col("as_of") == gap[0])["customer_id"]
    assert taken.to_list() == IDS[1::2]


def test_more_rows_than_allowed_are_sharded_another_shard_a_snapshot(made: Material) -> None:
    assert training_set.shard(1, AS_OF, TABLES, made.plan, 4 * CUSTOMERS) is None
    assert training_set.shard(1, AS_OF, TABLES, made.plan, 2 * CUSTOMERS) == (1, 2)
    assert training_set.shard(2, AS_OF, TABLES, made.plan, 2 * CUSTOMERS) == (0, 2)


def test_rows_of_a_role_keep_the_order_of_the_snapshot(made: Material) -> None:
    parts = list(training_set.rows_of(made.workspace, "train", ["customer_id", "as_of"]))
    assert [features["as_of"][0] for features, _ in parts] == list(made.plan.train)
    for features, labels in parts:
        assert features["customer_id"].to_list() == labels["customer_id"].to_list() == IDS
    sizes = [sum(f.height for f, _ in training_set.rows_of(made.workspace, r)) for r in training_set.ROLES]
    assert sizes[0] == 3 * CUSTOMERS
    assert sizes[1] + sizes[2] == CUSTOMERS


def test_a_label_that_copies_a_feature_is_a_leak(made: Material) -> None:
    name = made.state.present[0]
    leaks = training_set.check_leaks(made.workspace, made.plan)
    assert not leaks["leaks"].any()
    copies = [
        pl.read_parquet(made.workspace.snapshot(day)).select("customer_id", "as_of", (pl.col(name) > 0).cast(pl.Int8))
        for day in made.plan.dates
    ]
    labels = made.workspace.labels().drop("churn")
    copied = pl.concat(copies).rename({name: "churn"})
    made.workspace.save_labels(labels.join(copied, on=["customer_id", "as_of"], maintain_order="left"))
    leaks = training_set.check_leaks(made.workspace, made.plan)
    assert leaks.filter("leaks").select("task", "column").rows() == [("churn", name)]


def test_tables_for_people(made: Material) -> None:
    labels = made.workspace.labels()
    roles = {row[0]: row[1] for row in training_set.role_table(labels).select("role", "rows").rows()}
    assert roles["train"] == 3 * CUSTOMERS
    table = training_set.label_table(labels, made.plan)
    assert table["task"].to_list() == list(WINDOWS)
    assert table["train"].to_list() == [3 * CUSTOMERS] * len(WINDOWS)
    assert set(training_set.training_base_rates(labels, made.label_state)["task"]) >= {"churn", *CLASSES}


def weekly(weeks: int, every: int, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Rows of all customers, in `weeks` weeks, one in `every` weeks each, in the order of the dates."""
    rows = pl.DataFrame(
        [
            (name, AS_OF - timedelta(days=7 * (weeks - week)))
            for week in range(weeks)
            for place, name in enumerate(IDS)
            if (week + place) % every == 0
        ],
        schema={"customer_id": pl.String, "as_of": pl.Date},
        orient="row",
    )
    monkeypatch.setattr(training_set, "rows_of", lambda *_: ((part, part) for part in rows.partition_by("as_of")))
    return rows


def test_the_network_reads_a_customer_every_second_week_and_every_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set, "SPACED_ROWS", 10)
    rows = weekly(20, 1, monkeypatch)
    kept = rows[training_set.spaced(cast("Any", None), "train", 14)]
    apart = kept.sort("customer_id", "as_of").group_by("customer_id").agg(pl.col("as_of").diff().drop_nulls())
    assert all(set(days[1:]) == {timedelta(days=14)} for days in apart["as_of"])  # the first period may be cut
    assert kept.height == pytest.approx(rows.height / 2, rel=0.06)
    assert kept["as_of"].n_unique() == 20
    assert kept.group_by("as_of").len()["len"].min() > 0.2 * CUSTOMERS


def test_rows_that_lie_apart_and_small_tables_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_whole(every: int, days: int) -> bool:
        rows = weekly(20, every, monkeypatch)
        return len(training_set.spaced(cast("Any", None), "train", days)) == rows.height

    assert read_whole(every=1, days=14)  # they are few
    monkeypatch.setattr(training_set, "SPACED_ROWS", 10)
    assert not read_whole(every=1, days=14)
    assert read_whole(every=4, days=14)
    assert read_whole(every=1, days=1)
