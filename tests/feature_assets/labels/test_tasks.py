"""The registry of tasks: one declaration a task, from which everything that knows a task derives."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import Tables
from feature_assets.labels import (
    base_rates,
    compute_labels,
    describe,
    every_task,
    fit_labels,
    get_task,
    leak_check,
    markdown,
    register,
    registry,
    relations,
    tasks,
    windows,
)
from feature_assets.snapshots import plan
from tests.conftest import DATA_ROOT

ON = {
    # MODEL §2: group, mode, kind, loss, out, weight, preferred experts
    "ctr": ("engagement", "journey", "binary", "focal", 1, 1.0, "perslay temporal unified_hgcn", 0.25),
    "cvr": ("engagement", "journey", "binary", "focal", 1, 1.5, "perslay temporal unified_hgcn", 0.20),
    "engagement": ("engagement", "journey", "regression", "mse", 1, 0.8, "temporal", None),
    "uplift": ("engagement", "journey", "uplift", "mse", 1, 1.0, "", None),
    "churn": ("lifecycle", "lifecycle", "binary", "focal", 1, 1.2, "perslay temporal", 0.60),
    "retention": ("lifecycle", "lifecycle", "binary", "focal", 1, 1.0, "perslay temporal", 0.20),
    "life_stage": ("lifecycle", "lifecycle", "multiclass", "nll", 6, 0.8, "perslay temporal", None),
    "ltv": ("lifecycle", "lifecycle", "regression", "huber", 1, 1.5, "temporal deepfm", None),
    "balance_util": ("value", "behavior", "regression", "huber", 1, 1.0, "temporal", None),
    "channel": ("value", "behavior", "multiclass", "nll", 3, 0.8, "temporal", None),
    "timing": ("value", "behavior", "multiclass", "nll", 28, 0.8, "temporal", None),
    "nba": ("consumption", "behavior", "multiclass", "nll", 12, 2.0, "perslay unified_hgcn lightgcn", None),
    "spending_category": ("consumption", "behavior", "multiclass", "nll", 12, 1.2, "unified_hgcn perslay", None),
    "consumption_cycle": ("consumption", "behavior", "multiclass", "nll", 7, 0.8, "temporal", None),
    "spending_bucket": ("consumption", "behavior", "regression", "huber", 1, 0.8, "deepfm", None),
    "category_uplift": ("consumption", "behavior", "uplift", "mse", 12, 1.5, "", None),
    "brand_prediction": ("consumption", "behavior", "contrastive", "infonce", 128, 2.0, "unified_hgcn", None),
    "merchant_affinity": ("consumption", "behavior", "regression", "huber", 1, 1.0, "unified_hgcn temporal", None),
}
OFF = {"uplift", "category_uplift"}


@pytest.fixture
def bank() -> DatasetConfig:
    return load_dataset("bank_simulation", DATA_ROOT)


def test_the_model_gets_the_table_of_the_design() -> None:
    assert [task.name for task in every_task()] == list(ON)
    for task in every_task():
        group, hmm, kind, loss, out, weight, experts, alpha = ON[task.name]
        expected = {
            "name": task.name,
            "group": group,
            "hmm": hmm,
            "kind": kind,
            "loss": loss,
            "out": out,
            "weight": weight,
            "experts": experts.split(),
        }
        if task.name == "nba":
            expected["none_class"] = "none"
        assert task.for_model() == expected | ({"focal_alpha": alpha} if alpha else {})


def test_class_counts_of_a_data_set_reach_the_model() -> None:
    assert get_task("nba").for_model(5)["out"] == 5
    assert get_task("category_uplift").for_model(5)["out"] == 5
    assert get_task("brand_prediction").for_model(40) == get_task("brand_prediction").for_model() | {"candidates": 40}
    for name in ("churn", "ltv", "uplift"):
        assert get_task(name).for_model(7) == get_task(name).for_model()


def test_the_model_accepts_every_declaration() -> None:
    from ple_model.tasks.config import Relation, TaskConfig

    for task in every_task():
        if task.default:
            assert TaskConfig.from_dict(task.for_model(9)).name == task.name
    assert [Relation.from_dict(relation).target for relation in relations(ON)] == [
        "cvr",
        "ltv",
        "retention",
        "spending_category",
        "brand_prediction",
    ]


def test_relations_stand_in_the_order_of_their_sources_and_need_both_tasks() -> None:
    kinds = {(r["source"], r["target"]): r["kind"] for r in relations(ON)}
    assert kinds == {
        ("ctr", "cvr"): "sequential",
        ("cvr", "ltv"): "feature",
        ("churn", "retention"): "inverse",
        ("nba", "spending_category"): "feature",
        ("spending_category", "brand_prediction"): "feature",
    }
    assert [(r["source"], r["target"]) for r in relations({"ctr", "ltv", "churn", "retention"})] == [
        ("churn", "retention")
    ]


def test_a_data_set_switches_tasks_on_and_off(bank: DatasetConfig) -> None:
    assert [task.name for task in tasks(bank)] == [name for name in ON if name not in OFF]
    both = bank.model_copy(update={"tasks_on": ("category_uplift", "uplift"), "tasks_off": {"churn": "no"}})
    assert [task.name for task in tasks(both)] == [name for name in ON if name != "churn"]
    with pytest.raises(ValueError, match="did you mean 'uplift'"):
        tasks(bank.model_copy(update={"tasks_on": ("uplft",)}))


def test_windows_follow_the_data_set(bank: DatasetConfig) -> None:
    short = bank.model_copy(update={"horizon_days": 7, "campaign_horizon_days": 21, "tasks_on": tuple(OFF)})
    long = {"retention": 21, "ltv": 21, "ctr": 21, "cvr": 21, "uplift": 35, "category_uplift": 35}
    assert windows(short) == {name: long.get(name, 7) for name in ON}


def test_descriptions_are_plain_sentences_with_the_days_of_the_data_set(bank: DatasetConfig) -> None:
    every = bank.model_copy(update={"tasks_on": tuple(OFF)})
    described = {entry["name"]: entry for entry in describe(every)}
    assert list(described) == list(ON)
    assert described["churn"]["meaning"] == (
        "No purchase in the next 28 days, among customers with a purchase in the last 56 days."
    )
    assert described["retention"]["window_days"] == 84
    assert "three periods of 28 days" in described["retention"]["meaning"]
    assert len(described["timing"]["classes"]) == 28
    assert "classes" not in described["nba"]
    for entry in described.values():
        assert entry["meaning"].endswith(".")
        assert "{" not in entry["meaning"] + entry["eligibility"]
    assert json.loads(json.dumps(described)) == described


def test_units_are_those_of_numbers_whose_kind_does_not_say_them() -> None:
    assert {task.name: task.natural.unit for task in every_task() if task.natural} == {
        "engagement": "days",
        "ltv": "currency",
        "spending_bucket": "currency",
    }
    assert {task.name: task.unit for task in every_task() if task.unit} == {
        "engagement": "log1p days",
        "uplift": "currency",
        "ltv": "log1p of the currency",
        "balance_util": "share of the limit",
        "spending_bucket": "quantile",
        "category_uplift": "currency",
        "merchant_affinity": "share of baskets",
    }


def test_a_registered_task_reaches_labels_rates_and_the_leak_check(
    make_tables: Callable[..., Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    mine = dataclasses.replace(
        get_task("churn"), name="silence", label=lambda s: ~s.purchases["bought_1"], classes=None
    )
    register(mine)
    with pytest.raises(ValueError, match="there is a task 'silence' already"):
        register(mine)
    tables = make_tables(5, lines=2_000)
    state = fit_labels(tables, plan(date(2018, 1, 1), tables.dataset.covers_from, windows(tables.dataset)))
    labels = compute_labels(tables, date(2017, 6, 5), state, date(2018, 1, 1))
    assert labels.columns[-1] == "silence"
    assert labels["silence"].dtype == pl.Int8
    assert labels["silence"].is_null().equals(labels["churn"].is_null())
    assert "silence" in base_rates(labels, state)["task"]
    assert "silence" in leak_check(labels.select("customer_id", "as_of", x=pl.lit(1.0)), labels)["task"]


def test_the_documentation_shows_the_registry(bank: DatasetConfig) -> None:
    text = (DATA_ROOT.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert markdown(bank) in text
    assert markdown(bank).count("\n") == len(ON) + 2
