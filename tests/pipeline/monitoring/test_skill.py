"""Skill on matured labels beside the promise, and the estimate before there are labels."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from pipeline.monitoring.skill import expected, expected_auc, expected_log_loss, falls_short, realised
from pipeline.settings import PromotionSettings
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import kind_of
from tests.pipeline.small_training import some_evaluation

TASKS = [
    {"name": "churn", "kind": "binary"},
    {"name": "channel", "kind": "multiclass", "classes": ["a", "b", "c"]},
    {"name": "ltv", "kind": "regression"},
    {"name": "brand_prediction", "kind": "contrastive"},
]
ROWS = 4_000


def night(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores whose probabilities are true, and the labels that followed."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(-1, 1.5, ROWS))
    shares = rng.dirichlet([1.0, 1.0, 1.0], ROWS)
    ids = [f"c{i}" for i in range(ROWS)]
    value = rng.normal(size=ROWS)
    scores = pl.DataFrame(
        {"customer_id": ids, "churn": p, "churn__eligible": rng.random(ROWS) < 0.9, "channel": ["a"] * ROWS,
         "channel__p": shares.tolist(), "channel__eligible": [True] * ROWS,
         "ltv": value, "ltv__eligible": [True] * ROWS,
         "brand_prediction": ["x"] * ROWS, "brand_prediction__eligible": [True] * ROWS}
    )  # fmt: skip
    labels = pl.DataFrame(
        {"customer_id": ids[::-1], "churn": (rng.random(ROWS) < p)[::-1].astype(np.int8),
         "channel": [int(rng.choice(3, p=own)) for own in shares][::-1], "ltv": [None] * ROWS,
         "brand_prediction": [[0]] * ROWS},
        schema_overrides={"ltv": pl.Float64},
    )  # fmt: skip
    return scores, labels


def test_the_realised_metric_is_that_of_the_evaluation_on_labelled_eligible_rows() -> None:
    scores, labels = night()
    found = realised(scores, labels, TASKS, some_evaluation(churn="ahead"))
    assert found["task"].unique(maintain_order=True).to_list() == ["churn", "channel"], "ltv has not matured"
    rows = scores.join(labels.select("customer_id", label="churn"), on="customer_id").filter("churn__eligible")
    own = evaluate(kind_of("binary"), rows["churn"].to_numpy(), rows["label"].to_numpy())
    auc = found.row(0, named=True)
    assert auc == {
        "task": "churn",
        "metric": "auc",
        "rows": rows.height,
        "realised": own.values["auc"],
        "promised": 0.7,
    }
    calibration = found.row(1, named=True)
    assert calibration["metric"] == "ece_debiased"
    assert calibration["realised"] < 0.02
    assert calibration["promised"] is None
    channel = found.row(2, named=True)
    assert channel["metric"] == kind_of("multiclass").headline.metric
    assert channel["rows"] == ROWS


def test_classes_that_have_not_matured_are_left_out() -> None:
    scores, labels = night()
    found = realised(scores, labels.with_columns(channel=pl.lit(None, pl.Int16)), TASKS, some_evaluation(churn="ahead"))
    assert found["task"].unique().to_list() == ["churn"]


def test_skill_falls_where_scores_no_longer_fit() -> None:
    scores, labels = night()
    worse = realised(
        scores.with_columns(pl.col("churn").shuffle(seed=1)), labels, TASKS, some_evaluation(churn="ahead")
    )
    assert worse["realised"][0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("ties", [False, True])
def test_the_expected_auc_is_that_of_a_plain_loop(ties: bool) -> None:
    p = np.random.default_rng(1).random(60)
    p = p.round(1) if ties else p
    won = total = 0.0
    for i, one in enumerate(p):
        for j, zero in enumerate(p):
            if i != j:
                total += one * (1 - zero)
                won += one * (1 - zero) * (1.0 if one > zero else 0.5 if one == zero else 0.0)
    assert expected_auc(p) == pytest.approx(won / total)


def test_the_estimate_is_what_true_probabilities_reach() -> None:
    scores, labels = night()
    own = expected(scores, TASKS).row(0, named=True)
    found = realised(scores, labels, TASKS, some_evaluation(churn="ahead"))
    assert own["customers"] == found["rows"][0]
    assert own["expected AUC"] == pytest.approx(found["realised"][0], abs=0.02)
    rows = scores.join(labels.select("customer_id", label="churn"), on="customer_id").filter("churn__eligible")
    loss = evaluate(kind_of("binary"), rows["churn"].to_numpy(), rows["label"].to_numpy()).values["log_loss"]
    assert own["expected log loss"] == pytest.approx(loss, abs=0.02)


def test_without_a_row_or_a_pair_there_is_no_estimate() -> None:
    assert expected_auc(np.array([])) is None
    assert expected_auc(np.array([0.3])) is None
    assert expected_log_loss(np.array([])) is None
    assert expected_auc(np.ones(3)) is None


def nights_of(
    *realised: float, task: str = "churn", metric: str = "auc", promised: float, rows: int = 500
) -> pl.DataFrame:
    """A scored date a value, a day apart."""
    days = [date(2026, 1, 1 + i) for i in range(len(realised))]
    given = {"task": task, "metric": metric, "rows": rows, "promised": promised}
    return pl.DataFrame({"scored": days, "realised": list(realised)}).with_columns(
        **{k: pl.lit(v) for k, v in given.items()}
    )


@pytest.mark.parametrize(
    ("found", "short"),
    [
        (nights_of(0.80, 0.70, 0.70, 0.70, promised=0.8), ["churn"]),
        (nights_of(0.70, 0.70, promised=0.8), []),  # two dates only
        (nights_of(0.70, 0.70, 0.79, promised=0.8), []),  # one of them within the margin
        (nights_of(0.70, 0.70, 0.70, promised=0.8, rows=99), []),
        (nights_of(0.70, 0.70, 0.70, promised=0.6), []),
        (nights_of(1.2, 1.2, 1.2, task="channel", metric="log_loss", promised=1.0), ["channel"]),  # lower is better
        (nights_of(0.9, 0.9, 0.9, task="channel", metric="log_loss", promised=1.0), []),
    ],
)
def test_a_task_falls_short_after_three_dates_beyond_its_margin(found: pl.DataFrame, short: list[str]) -> None:
    said = falls_short(found, TASKS, PromotionSettings())
    assert said["task"].to_list() == short
    assert said.is_empty() or (said["since"][0] == found["scored"][-3] and said["margin"][0] > 0)
