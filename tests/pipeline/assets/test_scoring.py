"""What must never be published, and what the pipeline adds to a model's scores."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import eligible
from pipeline.assets import scoring
from pipeline.resources.blocks import Views
from pipeline.resources.digests import seal
from pipeline.resources.publication import Published
from pipeline.scores.table import (
    STATE_VERSION,
    distribution,
    find_problems,
    highest,
    score_meanings,
    top_lists,
    with_eligibility,
)
from pipeline.settings import Settings
from pipeline.shards import tasks
from tests.deliveries import synthetic

TASKS: list[dict[str, Any]] = [
    {"name": "cvr", "kind": "binary", "eligibility": "members of a campaign", "withheld": True},
    {"name": "churn", "kind": "binary", "eligibility": "customers with a purchase", "withheld": False},
    {"name": "nba", "kind": "multiclass", "classes": ["pears", "none"], "none_class": "none"},
    {"name": "ltv", "kind": "regression", "unit": "log1p of the currency", "natural_unit": "currency"},
]
SCORED = pl.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "cvr": [0.1, 0.2, 0.3],
        "cvr__u": [0.5, 0.6, 0.7],
        "cvr__fallback": [True, False, True],
        "churn": [0.2, 0.7, 0.9],
        "churn__u": [0.5, 0.8, 0.1],
        "churn__fallback": [False, False, True],
        "nba": ["none", "pears", "none"],
        "nba__p": [[0.25, 0.75], [0.5, 0.5], [0.1, 0.9]],
        "nba__probability": [0.75, 0.5, 0.9],
        "nba__next": ["pears", "pears", "pears"],
        "nba__lift": [1.0, 2.0, 0.4],
        "nba__u": [0.5, 0.8, 0.1],
        "nba__fallback": [False, False, False],
        "ltv": [1.0, 3.0, 2.0],
        "ltv__value": [2.5, 30.0, 9.0],
        "ltv__u": [0.5, 0.8, 0.1],
        "ltv__fallback": [False, False, False],
        "top_experts": [["deepfm"]] * 3,
    }
)
ELIGIBLE = pl.DataFrame(
    {
        "customer_id": ["c", "a", "b"],
        "cvr": [False, True, False],
        "churn": [False, True, True],
        "nba": [True] * 3,
        "ltv": [True] * 3,
    }
)
GOOD = with_eligibility(SCORED, ELIGIBLE, TASKS)
KNOWN = pl.Series(["a", "b", "c"])


def test_eligibility_stands_behind_the_fallback_of_each_task() -> None:
    names = [name for name in GOOD.columns if not name.endswith("__eligible")]
    assert names == SCORED.columns
    for task in ("cvr", "churn", "nba", "ltv"):
        assert GOOD.columns.index(f"{task}__eligible") == GOOD.columns.index(f"{task}__fallback") + 1
    assert GOOD.columns[-1] == "top_experts"
    assert GOOD["churn__eligible"].to_list() == [True, True, False]


def test_a_prediction_is_withheld_only_where_the_task_says_so() -> None:
    assert GOOD["cvr"].to_list() == [0.1, None, None]
    assert GOOD["cvr__u"].to_list() == [0.5, None, None]
    assert GOOD["cvr__fallback"].to_list() == [True, False, False]
    same = [name for name in SCORED.columns if not name.startswith("cvr")]
    assert GOOD.select(same).equals(SCORED.select(same))


def test_a_sound_table_has_no_problem() -> None:
    assert find_problems(GOOD, KNOWN, TASKS) == []


def test_an_uncertainty_that_ranks_nothing_is_null_as_a_whole() -> None:
    nothing = pl.lit(None, pl.Float64)
    unranked = GOOD.with_columns(churn__u=nothing, cvr__u=nothing)
    assert find_problems(unranked, KNOWN, TASKS) == []
    partly = GOOD.with_columns(churn__u=pl.Series([0.1, None, 0.2]))
    assert find_problems(partly, KNOWN, TASKS) == ["churn__u has 1 nulls"]
    shown = {row["task"]: row for row in distribution(unranked, ["churn", "cvr"]).to_dicts()}
    assert shown["churn"]["mean uncertainty"] is None


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (GOOD.with_columns(churn=pl.Series([0.2, None, 0.1])), "churn has 1 nulls"),
        (GOOD.with_columns(churn=pl.Series([0.2, float("inf"), 0.1])), "churn has values that are not finite"),
        (GOOD.with_columns(churn__u=pl.Series([0.2, 1.2, 0.1])), "churn__u leaves"),
        (GOOD.with_columns(nba__p=pl.Series([[0.25, 0.7], [0.5, 0.5], [0.1, 0.9]])), "nba__p does not sum to 1"),
        (GOOD.with_columns(nba__probability=pl.Series([0.5, 1.5, 0.1])), "nba__probability leaves"),
        (GOOD.with_columns(nba__lift=pl.Series([0.5, -1.5, 0.1])), "nba__lift is negative"),
        (GOOD.with_columns(ltv__value=pl.Series([0.5, None, 0.1])), "ltv__value has 1 nulls"),
        (GOOD.with_columns(cvr=pl.Series([None, None, None], dtype=pl.Float64)), "cvr has 1 nulls"),
        (GOOD.with_columns(cvr=pl.Series([0.1, 0.2, None])), "cvr has 1 values for customers who are not eligible"),
        (GOOD.with_columns(cvr__fallback=pl.Series([True, None, None])), "cvr__fallback has 2 nulls"),
        (GOOD.with_columns(churn__eligible=pl.Series([True, None, True])), "churn__eligible has 1 nulls"),
        (GOOD.drop("churn__eligible"), "churn__eligible is missing"),
        (GOOD.head(1), "missing or unknown"),
        (pl.concat([GOOD, GOOD.head(1)]), "more than one row"),
    ],
)
def test_what_is_wrong_is_named(broken: pl.DataFrame, word: str) -> None:
    problems = find_problems(broken, KNOWN, TASKS)
    assert any(word in problem for problem in problems), problems


def test_lists_of_the_highest_hold_eligible_customers_only() -> None:
    assert highest(GOOD, "churn", 3)["customer_id"].to_list() == ["b", "a"]  # c has the highest churn
    assert highest(GOOD, "cvr", 3)["customer_id"].to_list() == ["a"]
    assert highest(GOOD, "nba", 2)["customer_id"].to_list() == ["b", "a"]  # by lift
    assert highest(GOOD, "ltv", 1)["customer_id"].to_list() == ["b"]
    with pytest.raises(ValueError, match="no task 'chrn' in these scores: they have cvr, churn, nba, ltv"):
        highest(GOOD, "chrn", 1)
    shown = dict(top_lists(GOOD, ["cvr", "churn", "nba", "ltv"]).iter_rows())
    assert shown == {"cvr": "a (0.1)", "churn": "b (0.7), a (0.2)", "ltv": "b (30), c (9), a (2.5)"}


def test_distributions_are_those_of_eligible_customers() -> None:
    shown = {row["task"]: row for row in distribution(GOOD, ["cvr", "churn", "nba"]).to_dicts()}
    assert shown["churn"]["eligible"] == pytest.approx(2 / 3)
    assert shown["churn"]["median"] == pytest.approx(0.45)
    assert shown["churn"]["fallback share"] == 0.0
    assert shown["cvr"]["median"] == 0.1
    assert shown["nba"]["most common"] == "none (67%)"
    nobody = with_eligibility(SCORED, ELIGIBLE.with_columns(cvr=False, nba=False), TASKS)
    assert find_problems(nobody, KNOWN, TASKS) == []
    assert distribution(nobody, ["cvr", "nba"])["eligible"].to_list() == [0.0, 0.0]


def test_every_column_has_a_meaning() -> None:
    meanings = score_meanings(TASKS)
    assert set(GOOD.columns) <= set(meanings)
    assert meanings["cvr__eligible"] == (
        "true for members of a campaign, by what is known before the as-of date; for others the prediction is null"
    )
    assert "in currency" in meanings["ltv__value"]
    assert list(meanings)[-1] == "run_id"


class Champion(SimpleNamespace):
    """A registered version and everything that the asset asks of the tracking server about it."""

    def champion(self) -> Champion:
        return self

    def read_json(self, _: object, name: str) -> Any:
        return {"schema.json": {"digest": "d"}, "tasks.json": TASKS, "dataset.json": {}}[name]


Run = Callable[..., tuple[dg.Output[pl.DataFrame], dg.AssetCheckResult]]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: DatasetConfig) -> Run:
    """Runs the asset on three customers of a toy delivery and a champion that scores as above."""

    def run(*without: str, **settings: Any) -> tuple[dg.Output[pl.DataFrame], dg.AssetCheckResult]:
        whole = synthetic.tables(3, seed=3)
        tables = Tables(whole.dataset, {name: f for name, f in whole.frames.items() if name not in without})
        day = date(2017, 5, 1)
        view = View(tables, day)
        ids = view.customers["customer_id"]
        champion = Champion(version="7", run_id="r", as_of=day, state_version="s", dataset="x", folder=tmp_path)
        stored = tmp_path / f"stored without {len(without)}"
        if not stored.exists():
            tables.save(stored)
            seal(stored)
        lake = SimpleNamespace(
            root=str(tmp_path),
            views=lambda _: Views(stored, day, 10),
            published=lambda table: Published(tmp_path, table),
        )
        state = SimpleNamespace(present=[], groups={})
        monkeypatch.setattr(scoring, "champion_state", lambda _: (champion, state))
        monkeypatch.setattr(scoring.registry, "digest", lambda _: "d")
        monkeypatch.setattr(tasks, "score_matrix", lambda *_: SCORED.with_columns(ids.head(3)))
        matrix = pl.LazyFrame({"customer_id": ids, STATE_VERSION: ["s"] * len(ids)})
        Published(tmp_path, "features/matrix").publish(matrix, day.isoformat())
        [asset] = scoring.scoring_assets(dataset, dg.DailyPartitionsDefinition("2017-01-01"), 7)
        context = SimpleNamespace(
            partition_key=day.isoformat(),
            run_id="now",
            log_event=lambda _: None,
            log=SimpleNamespace(warning=lambda _: None, info=lambda _: None),
        )
        decorated: Any = asset.node_def.compute_fn
        given = Settings(home=tmp_path, **settings)
        output, check = list(decorated.decorated_fn(context, matrix, lake, champion, given))
        run.view = view  # type: ignore[attr-defined]  # for the test
        return output, check

    return run


def test_the_asset_publishes_eligibility_by_its_view(publish: Run) -> None:
    output, check = publish()
    assert check.passed
    frame = output.value
    found = eligible(publish.view, ["cvr", "churn"])  # type: ignore[attr-defined]
    assert frame["churn__eligible"].equals(found["churn"].alias("churn__eligible"))
    assert frame["cvr"].is_not_null().equals(found["cvr"])
    assert frame.columns[-6:] == [
        *("top_experts", "missing_sources", "hindsight", "model_version", "state_version", "run_id")
    ]
    assert frame["missing_sources"].to_list() == [[]] * 3
    shown = output.metadata["highest predictions of eligible customers"].md_str
    assert "churn" in shown


def test_a_night_without_a_source_of_the_champion_stops_or_is_marked(publish: Run) -> None:
    with pytest.raises(dg.Failure) as stopped:
        publish("campaigns", "campaign_events")
    said = str(stopped.value.description)
    assert "tonight's delivery lacks campaigns, campaign_events, which the champion was trained with: task cvr" in said
    assert "`missing_sources: mask`" in said

    output, check = publish("campaigns", "campaign_events", missing_sources="mask")
    assert check.passed
    frame = output.value
    assert frame["missing_sources"].to_list() == [["campaigns", "campaign_events"]] * 3
    assert frame["cvr"].null_count() == frame["cvr__u"].null_count() == 3
    assert not frame["cvr__eligible"].any()
    assert not frame["cvr__fallback"].any()
    same = ["churn", "churn__u", "nba", "nba__p", "ltv", "ltv__value"]
    assert frame.select(same).equals(SCORED.select(same)), "what does not depend on it stays"
    assert output.metadata["missing sources"].value == "campaigns, campaign_events"


def test_rows_that_are_published_already_keep_their_run_and_unreadable_ones_are_replaced(
    publish: Run, tmp_path: Path
) -> None:
    day, scores = "2017-05-01", Published(tmp_path, "scores")
    first = publish()[0].value.with_columns(run_id=pl.lit("first"))
    scores.publish(first, day)
    assert publish()[0].value.equals(first)
    file = scores.file(day)
    for damage in (b"PAR1 is no whole file PAR1", b""):
        file.write_bytes(damage)
        os.utime(file, ns=(1, 1))
        again = publish()[0].value
        assert again["run_id"].to_list() == ["now"] * 3
        scores.publish(again, day)
        assert scores.read(day).equals(again)
        file = scores.file(day)
