"""The pages of a task and of a customer hold what they were given, and no section without content."""

from __future__ import annotations

from typing import Any

from feature_assets import registry
from pipeline.reports.pages.customer import customer_page
from pipeline.reports.pages.meanings import group_of, meaning_of
from pipeline.reports.pages.page import Page
from pipeline.reports.pages.task import task_page
from ple_model.config import InputConfig
from ple_model.interpretation.permutation import input_sets

COLUMN = registry.names()[0]
SIDE = registry.side_inputs()[0]
CHURN = {
    "name": "churn",
    "kind": "binary",
    "meaning": "No purchase in the next 28 days.",
    "eligibility": "customers who bought in the last 56 days",
    "window_days": 28,
    "unit": "",
    "classes": [],
    "predicted_by": "40% network, 60% boosted trees",
}
STAGE = {**CHURN, "name": "life_stage", "kind": "multiclass", "classes": ["new", "steady", "dormant"]}
EVALUATION: dict[str, Any] = {
    "table": [
        {"task": "churn", "metric": "AUC ↑", "model": ".84 [.83, .85]", "LightGBM": ".83 ▲"},
        {"task": "life_stage", "metric": "log loss ↓", "model": "1.1", "LightGBM": "1.2 ="},
    ],
    "metrics": [
        {"task": "churn", "model": "model", "metric": "auc", "value": 0.84},
        {"task": "churn", "model": "constant", "metric": "auc", "value": 0.5},
    ],
    "groups": [
        {"task": "churn", "by": "segment", **row}
        for row in (
            {"group": "warm", "rows": 90, "value": 0.8, "low": 0.7, "high": 0.9, "note": ""},
            {"group": "new", "rows": 2, "value": None, "low": None, "high": None, "note": "2"},
        )
    ],
    "reliability": {"churn": [[0.1, 0.12, 100], [0.6, 0.55, 50]]},
    "inputs": [
        {"input": "txn_seq", "task": "churn", "loss": 0.5, "increase": 0.1, "error": 0.01, "share": 0.9},
        {"input": "collaborative", "task": "churn", "loss": 0.5, "increase": 0.01, "error": 0.01, "share": 1.0},
    ],
    "experts": [{"task": "churn", "by": "all", "group": "all", "rows": 92, "wide": 0.7, "temporal": 0.3}],
    "reasons": [
        {
            "task": "churn",
            "unit": "log odds",
            "rows": 48,
            "source": COLUMN,
            "family": "a",
            "strength": 0.25,
            "error": 0.02,
            "direction": -0.9,
            "share": 0.4,
        },
        {
            "task": "churn",
            "unit": "log odds",
            "rows": 48,
            "source": "",
            "family": "",
            "strength": 0.03,
            "error": None,
            "direction": None,
            "share": None,
        },
    ],
    "uncertainty": {
        "churn": {
            "signal": "spread",
            "uncertainty": "share of rows that are less uncertain",
            "fallback": "none",
            "fallback_share": 0.02,
            "coverage": {"stated": 0.9, "held": {"estimate": 0.91, "low": 0.88, "high": 0.93}, "size": 1.4, "rows": 90},
            "selective": {"ranking": {"estimate": 0.2, "low": 0.1, "high": 0.3}, "error": [0.1, 0.2, 0.3, 0.4]},
        }
    },
    "examples": [
        {
            "task": "churn",
            "unit": "log odds",
            "customer_id": "c7",
            "explained": 1.5,
            "base": -0.4,
            "class": "",
            "unexplained": 0.0,
            "rest": 0.1,
            "reasons": [{"source": COLUMN, "contribution": 1.2, "error": 0.1}],
        }
    ],
}


def _tables(page: Page) -> dict[str, list[dict[str, Any]]]:
    return {section["heading"]: section["table"] for section in page.to_dict()["sections"]}


def test_the_page_of_a_task_tells_what_its_version_measured() -> None:
    page = task_page(CHURN, EVALUATION, {"churn": (1, 4), "life_stage": (1, 2)}, "Version 3.")
    tables, text = _tables(page), page.markdown()
    assert page.lead == "No purchase in the next 28 days. Version 3. All figures are of the fit that was evaluated."
    assert "For customers who bought in the last 56 days. The next 28 days." in text
    assert "40% network, 60% boosted trees. The network answers with the weights of epoch 4 of phase 1" in text
    assert tables["How well"] == [{"metric": "AUC ↑", "model": ".84 [.83, .85]", "LightGBM": ".83 ▲"}]
    assert tables["All metrics"] == [{"metric": "auc", "model": "0.84", "constant": "0.5"}]
    assert [row["metric of the task"] for row in tables["By group of customers"]] == ["0.800", "2"]
    assert tables["Calibration"][1] == {"predicted": 0.6, "happened": 0.55, "rows": 50}
    assert [row["input"] for row in tables["Inputs that it needs"]] == ["txn_seq"]  # the other is noise
    assert tables["Inputs that it needs"][0]["loss added"] == "20.0%"
    (moved,) = tables["Columns that move it"]
    assert moved["direction"] == "down"
    assert moved["group"] == group_of(COLUMN)
    assert moved["meaning"] == meaning_of(COLUMN) != ""
    assert "On average 0.03 of a prediction is left unexplained" in text
    assert tables["Shares of the experts"][0]["wide"] == 0.7
    assert tables["Examples"][0]["strongest reasons"] == f"{COLUMN} +1.2"
    assert [row["value"] for row in tables["Uncertainty"]] == [
        *("0.910 [0.880, 0.930], mean size 1.4", "0.200 [0.100, 0.300]", "0.1, 0.2, 0.3, 0.4"),
    ]
    assert "u: share of rows that are less uncertain. Fallback: none; 2.0% of the test rows." in text


def test_what_a_version_did_not_measure_has_no_section() -> None:
    page = task_page(STAGE, {"table": [], "reliability": {}}, None, "Version 3.")
    assert [section.heading for section in page.sections] == ["For whom", "What predicts it"]
    assert "Classes: new, steady, dormant." in page.markdown()
    assert "All tasks of the network share one epoch" in page.markdown()


def test_the_page_of_a_customer_names_classes_and_reasons() -> None:
    scores = {
        "customer_id": "c7",
        "as_of": "2018-01-01",
        "churn": 0.8,
        "churn__u": None,
        "churn__fallback": False,
        "churn__eligible": True,
        "life_stage": "dormant",
        "life_stage__p": [0.1, 0.3, 0.6],
        "life_stage__fallback": True,
        "life_stage__eligible": False,
        "model_version": "3",
        "hindsight": False,
    }
    left = {"unexplained": -0.02, "rest": 0.3}
    own = [{"source": COLUMN, "contribution": 1.6, "error": 0.1}]
    reasons = [
        {"task": "churn", "unit": "log odds", "explained": 1.5, "base": -0.4, "class": "", "reasons": own, **left},
        {"task": "life_stage", "unit": "log probability", "explained": -0.5, "base": -1, "class": "dormant", **left}
        | {"reasons": []},
    ]
    page = customer_page(scores, [CHURN, STAGE], reasons, {COLUMN: 12.5}, {"churn": "probability"}, compared=16)
    tables = _tables(page)
    churn, stage = tables["Predictions"]
    shown = [churn[name] for name in ("prediction", "uncertainty", "eligible", "base rate stands in")]
    assert shown == ["0.8", "–", "yes", "no"]
    assert (stage["prediction"], stage["range or likeliest"]) == ("dormant", "dormant 60%, steady 30%, new 10%")
    assert (stage["eligible"], stage["base rate stands in"]) == ("no", "yes")
    first, rest, unexplained = tables["Why: churn"]
    assert {**first, "group": group_of(COLUMN), "meaning": meaning_of(COLUMN)} == first
    assert (first["reason"], first["moves by"], first["value"]) == (COLUMN, "+1.6 ± 0.1", "12.5")
    assert (rest["moves by"], unexplained["moves by"]) == ("+0.3", "-0.02")
    text = page.markdown()
    assert (
        "own prediction is 81.8% (1.5), that of the average customer 40.1% (-0.4); reasons add up in log odds" in text
    )
    assert "own prediction is 60.7% (-0.5) of 'dormant', that of the average customer 36.8% (-1)" in text
    assert tables["All columns of the scores"] == [{"column": "churn", "value": "0.8", "meaning": "probability"}]
    assert "hindsight" not in page.lead
    assert "hindsight" in customer_page({**scores, "hindsight": True}, [CHURN], [], {}, {}, 16).lead


def test_a_value_stands_beside_its_interval_and_its_natural_unit() -> None:
    ltv = {**CHURN, "name": "ltv", "kind": "regression", "unit": "log1p of the currency", "natural_unit": "currency"}
    scores = {"customer_id": "c7", "as_of": "2018-01-01", "model_version": "3", "ltv": 6.3}
    scores |= {"ltv__low": 5.4, "ltv__high": 7.2}
    scores |= {"ltv__value": 612.5, "ltv__value_low": 220.4, "ltv__value_high": 1339.4}
    reason = {"task": "ltv", "unit": "the label's unit", "explained": 6.3, "base": 4.2, "class": "", "reasons": []}
    page = customer_page(scores, [ltv], [reason | {"rest": 2.1, "unexplained": 0.0}], {}, {}, 16)
    (row,) = _tables(page)["Predictions"]
    assert (row["prediction"], row["range or likeliest"], row["expected"]) == (
        *("6.3", "5.4 to 7.2", "612.5 currency (220.4 to 1339)"),
    )
    assert (
        "own prediction is 6.3, that of the average customer 4.2; reasons add up in the label's unit" in page.markdown()
    )


def test_inputs_beside_the_columns_have_a_meaning_too() -> None:
    assert meaning_of(SIDE.name) == SIDE.meaning
    assert group_of(SIDE.name)
    config = InputConfig(
        columns=registry.names(), present=range(len(registry.names())), normalised=registry.normalised()
    )
    assert all(meaning_of(name) for name in input_sets(config))
    assert meaning_of("no_such_column") == group_of("no_such_column") == ""
