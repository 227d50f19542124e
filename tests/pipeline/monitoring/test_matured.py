"""Which nights are judged once their labels have matured, and which never are."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.monitoring import matured
from pipeline.resources.files import publish_frame
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion
from tests.deliveries import synthetic
from tests.pipeline.monitoring.test_skill import night
from tests.pipeline.small_training import fill, some_evaluation

DAY = date(2018, 1, 1)
WINDOWS = {"churn": 28, "ltv": 90}


def days(*back: int) -> list[date]:
    return [DAY - timedelta(days=n) for n in back]


def test_each_label_is_judged_on_the_night_on_which_it_matured() -> None:
    scored = days(1, 27, 28, 29, 90, 91)
    yesterday = DAY - timedelta(days=1)
    assert matured.due(scored, WINDOWS, yesterday, DAY) == {days(28)[0]: ["churn"], days(90)[0]: ["ltv"]}
    all_of_it = matured.due(scored, WINDOWS, DAY - timedelta(days=2), DAY)
    assert list(all_of_it) == days(28, 29, 90, 91), "what matured while no night ran is judged too"
    assert list(matured.due(scored, WINDOWS, None, DAY)) == days(28, 29, 90, 91)
    assert matured.due(scored, WINDOWS, DAY, DAY) == {}
    assert len(matured.due(days(*range(200)), WINDOWS, date.min, DAY)) == matured.DATES_JUDGED


def one_block() -> list[Tables]:
    return [cast("Tables", None)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path / "lake"))


def version(folder: Path) -> RegisteredVersion:
    """A bundle with what judging reads."""
    fill(folder / "training").workspace.label_state()
    some_evaluation(churn="ahead").save(folder / "evaluation.json")
    (folder / "tasks.json").write_text(json.dumps([{"name": "churn", "kind": "binary"}]))
    (folder / "dataset.json").write_text("{}")
    (folder / "labels.json").write_text((folder / "training" / "label_state.json").read_text())
    return RegisteredVersion("4", "r", DAY, "s", "any", folder)


def test_labels_look_as_far_ahead_as_those_that_the_version_learnt(tmp_path: Path) -> None:
    made, tables = version(tmp_path), synthetic.tables(20)
    for kept, days in (
        ({}, 28),
        ({"horizon_days": 28, "active_days": 56}, 28),
        ({"horizon_days": 7, "active_days": 14}, 7),
    ):
        (tmp_path / "dataset.json").write_text(json.dumps(kept))
        found = matured.as_trained(tables, made)
        assert found.dataset.horizon_days == days
        assert found.dataset.active_days == 2 * days
        assert (found is tables) is (days == 28)
        assert found.frames["transactions"].equals(tables.frames["transactions"])


@pytest.mark.parametrize(("hindsight", "lost", "rows"), [(False, [], 2), (True, [], 0), (False, ["promotions"], 0)])
def test_scores_are_judged_with_the_version_that_made_them_unless_they_are_marked(
    hindsight: bool, lost: list[str], rows: int, tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, labels = night()
    marks = {"hindsight": hindsight, "model_version": "4"}
    scores = scores.with_columns(
        *(pl.lit(value).alias(name) for name, value in marks.items()),
        pl.Series("missing_sources", [lost] * scores.height, dtype=pl.List(pl.String)),
    )
    scored = DAY - timedelta(days=28)
    publish_frame(scores, lake.partition("scores", scored.isoformat()) / "part-0.parquet")
    asked: list[Any] = []

    def labelled(_: Tables, as_of: date, state: Any, known_until: date) -> pl.DataFrame:
        asked.append((as_of, state.classes["channel"], known_until))
        return labels

    monkeypatch.setattr(matured, "compute_labels", labelled)
    made = version(tmp_path)
    found = matured.judge(scored, ["churn"], DAY, one_block, lake, {"4": made}.__getitem__)
    assert found.height == rows
    assert found.schema == matured.SCHEMA
    old = lake.partition("scores", (scored - timedelta(days=1)).isoformat()) / "part-0.parquet"
    publish_frame(scores.drop("churn__eligible"), old)
    unsaid = matured.judge(scored - timedelta(days=1), ["churn"], DAY, one_block, lake, {}.__getitem__)
    assert unsaid.is_empty(), "scores of an older program do not say who was eligible"
    if rows:
        assert asked == [(scored, ["mailer", "display", "shelf"], DAY)]
        assert found.row(0)[:4] == (scored, "4", "churn", "auc")
        publish_frame(found, lake.partition(matured.TABLE, DAY.isoformat()) / "part-0.parquet")
        assert matured.earlier(lake, DAY).is_empty()
        assert matured.earlier(lake, DAY + timedelta(days=1)).equals(found)
        assert matured.judged_until(lake, DAY) is None
        assert matured.judged_until(lake, DAY + timedelta(days=1)) == DAY
