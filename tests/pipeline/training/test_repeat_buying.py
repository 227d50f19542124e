"""The baseline BG/NBD: what it reads of a customer, what it answers to each task, why it sometimes has no answer."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import cast

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.base import bgnbd, gamma_gamma, rfm
from feature_assets.groups.base.history import History
from feature_assets.labels import LabelState, every_task, get_task
from feature_assets.labels.constants import CYCLE_EDGES, cycles
from feature_assets.state import FeatureState
from pipeline.training import baselines, evaluation, repeat_buying
from pipeline.training.repeat_buying import RepeatBuying, answers
from pipeline.training.workspace import Workspace
from ple_model.tasks import TaskConfig
from tests.deliveries import synthetic
from tests.pipeline.small_training import Material

ASKING = ("churn", "retention", "ltv", "consumption_cycle")
NEVER = "c000"  # a customer without a purchase


@lru_cache(maxsize=1)
def tables() -> Tables:
    return synthetic.tables()


@lru_cache(maxsize=1)
def base() -> GroupState:
    views = [View(synthetic.training_tables(tables()), day) for day in synthetic.TRAIN]
    return GroupState(rfm.fit([History.of(view) for view in views]))


@lru_cache(maxsize=1)
def rows() -> pl.DataFrame:
    """All customers on two dates, those of the later one first."""
    days = (synthetic.AS_OF, synthetic.TRAIN[-1])
    return pl.concat([View(tables(), day).customers.select("customer_id", as_of=pl.lit(day)) for day in days])


class Written:
    """A workspace with a state and training labels of ltv that are a line of the model's answer, and noise."""

    def __init__(self, merged: dict[str, dict[str, str]] | None = None, **groups: GroupState) -> None:
        self.groups, self.merged = groups, merged or {}

    def label_state(self) -> LabelState:
        return LabelState.model_construct(merged=self.merged)

    def state(self) -> FeatureState:
        return FeatureState(self.groups, [])

    def labels(self) -> pl.DataFrame:
        known = [View(tables(), day).customers.select("customer_id", as_of=pl.lit(day)) for day in synthetic.TRAIN]
        labels = pl.concat(known).with_columns(role=pl.lit("train"))
        noise = np.random.default_rng(1).normal(size=labels.height)
        spend = np.log1p(RepeatBuying.of(base(), tables(), labels).spend(84))
        later = labels.with_columns(role=pl.lit("test"), ltv=pl.lit(1e6))
        return pl.concat([labels.with_columns(ltv=pl.Series(np.nan_to_num(1.0 + 0.5 * spend) + 0.1 * noise)), later])


def configs(*names: str) -> list[TaskConfig]:
    return [TaskConfig.from_dict(get_task(name).for_model()) for name in names]


def answered(work: Written, *names: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    return answers(cast("Workspace", work), tables(), rows(), configs(*names))


def test_a_customer_is_read_as_by_hand() -> None:
    model = RepeatBuying.of(base(), tables(), rows())
    local = pl.col("at").dt.convert_time_zone(synthetic.ZONE).dt.date().alias("day")
    lines = tables().frames["transactions"].filter(pl.col("kind") == "purchase").with_columns(local)
    for at in range(0, rows().height, 5):
        customer, day = rows().row(at)
        days = (
            lines.filter(pl.col("customer_id") == customer, pl.col("day") < day)
            .group_by("day")
            .agg(pl.col("amount").sum())
        )
        found = (model.repeats[at], model.last[at], model.age[at], model.mean[at])
        if days.is_empty():
            assert np.isnan(found).all()
            continue
        first, last = cast("date", days["day"].min()), cast("date", days["day"].max())
        by_hand = (days.height - 1, (last - first).days, (day - first).days, days["amount"].mean())
        np.testing.assert_allclose(found, by_hand, rtol=1e-9)


def test_each_task_gets_what_it_asks_for() -> None:
    found, absent = answered(Written(base=base()), *ASKING, "channel")
    assert absent == {}
    assert set(found) == set(ASKING) == {task.name for task in every_task() if task.buying is not None}
    model = RepeatBuying.of(base(), tables(), rows())
    process = (model.repeats, model.last, model.age)
    alone = bgnbd.chance_of_purchases(base().arrays["bgnbd"], 28, 1, *process)
    np.testing.assert_allclose(found["churn"], 1 - alone)
    np.testing.assert_allclose(found["retention"], bgnbd.chance_of_purchases(base().arrays["bgnbd"], 28, 3, *process))
    cycle = found["consumption_cycle"]
    known = np.isfinite(model.repeats)
    np.testing.assert_allclose(cycle[known].sum(axis=1), 1.0)
    assert (cycle[known] >= 0).all()
    np.testing.assert_allclose(cycle[:, -1], found["churn"])  # no purchase within the window
    np.testing.assert_allclose(
        cycle[:, :3].sum(axis=1), bgnbd.chance_of_purchases(base().arrays["bgnbd"], CYCLE_EDGES[2], 1, *process)
    )
    for answer in found.values():
        assert np.isnan(answer[(rows()["customer_id"] == NEVER).to_numpy()]).all()
        assert np.isfinite(answer[known]).all()


def test_classes_that_are_merged_have_the_chance_of_their_parts() -> None:
    names = cycles(28)
    merged = {name: "2–6 days" if name in names[2:4] else name for name in names}
    whole = answered(Written(base=base()), "consumption_cycle")[0]["consumption_cycle"]
    found = answered(Written({"consumption_cycle": merged}, base=base()), "consumption_cycle")[0]["consumption_cycle"]
    by_hand = np.column_stack([whole[:, :2], whole[:, 2] + whole[:, 3], whole[:, 4:]])
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)


def test_a_value_on_a_scale_is_brought_to_it_by_training_rows_alone() -> None:
    work = Written(base=base())
    found, _ = answered(work, "ltv")
    model = RepeatBuying.of(base(), tables(), rows())
    purchases = bgnbd.expected_purchases(base().arrays["bgnbd"], 84, model.repeats, model.last, model.age)
    told = np.log1p(purchases * gamma_gamma.expected_spend(base().arrays["gamma_gamma"], model.repeats + 1, model.mean))
    labels = work.labels().filter(pl.col("role") == "train")
    learnt = np.log1p(RepeatBuying.of(base(), tables(), labels).spend(84))
    known, label = np.isfinite(learnt), labels["ltv"].to_numpy()
    slope, intercept = np.polyfit(learnt[known], label[known], 1)
    expected = np.clip(intercept + slope * told, label[known].min(), label[known].max())
    np.testing.assert_allclose(found["ltv"], expected, rtol=1e-9)


def test_it_says_why_it_has_no_answer() -> None:
    assert answered(Written(), *ASKING)[1] == dict.fromkeys(ASKING, "the feature state has no group base")
    unknown = GroupState({**base().arrays, "bgnbd": np.full(4, np.nan)})
    why = "nobody bought on a second day before the last training date"
    assert answered(Written(base=unknown), "churn", "channel") == ({}, {"churn": why})
    no_amounts = GroupState({**base().arrays, "gamma_gamma": np.full(3, np.nan)})
    found, absent = answered(Written(base=no_amounts), "churn", "ltv")
    assert set(found) == {"churn"}
    assert absent == {"ltv": "it has a finite answer for no test row"}
    assert answered(Written(), "channel") == ({}, {})


def test_the_evaluation_shows_it_beside_the_others_and_the_constant_where_it_knows_nothing(
    trained: Material, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """A model that knows of one customer alone, and ranks that one right: its AUC lies a little above .5."""
    test = trained.workspace.labels().filter(pl.col("role") == "test")
    leaving = test["churn"].to_numpy() == 1
    told = np.full(test.height, np.nan)
    told[np.flatnonzero(leaving)[0]] = 1.0
    monkeypatch.setattr(
        repeat_buying, "answers", lambda *_: ({"churn": told}, {"engagement": "nobody bought on a second day"})
    )
    monkeypatch.setattr(baselines, "past_brands", lambda _, some, brands: np.zeros((some.height, len(brands))))
    monkeypatch.setattr(evaluation, "row_groups", lambda *_: {})
    result = evaluation.evaluate(trained.workspace, tables(), trained.settings, said.append)
    assert set(result.verdicts[baselines.REPEAT_BUYING]) == {"churn"}
    auc = [row["value"] for row in result.metrics if (row["model"], row["metric"]) == (baselines.REPEAT_BUYING, "auc")]
    assert auc == [pytest.approx(0.5 + 0.5 / leaving.sum())]
    assert {row["task"]: row[baselines.REPEAT_BUYING] for row in result.table}["channel"] == "–"
    assert "- no BG/NBD for engagement: nobody bought on a second day" in result.summary()
    assert evaluation.Evaluation.load(trained.workspace.evaluation) == result
