"""`ple scores`: the folder of the version that is published, a sample, one customer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline import definitions
from pipeline.cli import main
from pipeline.home.folder import Home
from pipeline.resources.lake import Lake
from pipeline.resources.publication import Published
from pipeline.scores import reasons
from pipeline.scores.table import nearest_ids

DAYS = ("2018-01-01", "2018-01-02")


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    monkeypatch.delenv("AS_OF", raising=False)
    return Published(tmp_path / "lake", "scores")


def path_of(*arguments: str) -> Path:
    done = CliRunner().invoke(main, ["scores", "--path", *arguments])
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip())


def test_the_path_is_that_of_the_version_and_stays_what_it_is(scores: Published) -> None:
    for number, day in enumerate(DAYS):
        scores.publish(pl.DataFrame({"churn": [float(number)]}), day)
    newest, first = path_of(), path_of(DAYS[0])
    assert path_of("--as-of", DAYS[0]) == first
    assert pl.read_parquet(newest)["churn"].to_list() == [1.0]
    scores.publish(pl.DataFrame({"churn": [9.0]}), DAYS[0])
    assert path_of(DAYS[0]) != first
    assert pl.read_parquet(first)["churn"].to_list() == [0.0]
    assert str(pl.read_parquet(first)["as_of"][0]) == DAYS[0]


def test_without_scores_it_says_so(scores: Published) -> None:
    done = CliRunner().invoke(main, ["scores", "--path"])
    assert done.exit_code == 1
    assert "no scores yet" in done.output
    scores.publish(pl.DataFrame({"churn": [0.0]}), DAYS[0])
    done = CliRunner().invoke(main, ["scores", "--path", DAYS[1]])
    assert f"no scores of {DAYS[1]}" in done.output
    done = CliRunner().invoke(main, ["scores", "--path", "tomorrow"])
    assert "'tomorrow' is not a date" in done.output


def test_scores_that_were_altered_are_named_without_a_traceback(scores: Published) -> None:
    scores.publish(pl.DataFrame({"churn": [0.0]}), DAYS[0])
    scores.file(DAYS[0]).write_bytes(b"")
    done = CliRunner().invoke(main, ["scores"])
    assert done.exit_code == 1
    assert f"was altered: run the night of {DAYS[0]} again" in done.output
    assert "Traceback" not in done.output


STAGES = ["steady", "dormant"]
TASKS = [
    {"name": "ltv", "meaning": "Spend", "unit": "log1p", "natural_unit": "currency"},
    {"name": "life_stage", "meaning": "Stage", "classes": STAGES},
]
ONE = {
    "as_of": DAYS[0], "ltv": 2.5, "ltv__value": 12.0, "ltv__value_low": 3.0, "ltv__value_high": 30.0, "ltv__u": 0.25,
    "ltv__eligible": True, "life_stage": "steady", "life_stage__p": [0.75, 0.25], "life_stage__eligible": False,
    "hindsight": False, "model_version": "3",
}  # fmt: skip
IDS = ("00123", "123", "A-17", "77", "78")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: Published) -> Published:
    """Scores of customers whose ids are text, and a registry that knows the version."""
    version = SimpleNamespace(version="3", state_version="s1", folder=tmp_path)
    tracking = SimpleNamespace(version=lambda _: version, read_json=lambda *_: TASKS)
    resources = {"tracking": tracking, "lake": Lake(root=str(tmp_path / "lake"))}
    monkeypatch.setattr(definitions, "build_resources", lambda _: resources)
    monkeypatch.setattr(Home, "prepare", lambda *_: None)
    rows = [{"customer_id": name, **ONE, "ltv__value": float(at)} for at, name in enumerate(IDS)]
    scores.publish(pl.DataFrame(rows), DAYS[0])
    return scores


def ple(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scores", *arguments])


def test_one_customer_in_natural_units_with_class_names(known: Published) -> None:
    assert known.dates() == [DAYS[0]]
    done = ple("--customer", "00123")
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "0 currency (3 to 30)" in lines["ltv"]
    assert "0.25" in lines["ltv"]
    assert "steady 75%, dormant 25%" in lines["life_stage"]
    assert "the features of 2018-01-01 are no longer in the lake" in done.stdout
    found = json.loads(ple("--customer", "123", "--as-of", DAYS[0], "--json").stdout)
    ltv, stage = found["predictions"]
    assert (found["customer_id"], ltv["value"], ltv["natural_unit"]) == ("123", 1.0, "currency")
    assert stage["p"] == dict(zip(STAGES, (0.75, 0.25), strict=True))
    assert found["no_reasons"]


def test_reasons_stand_beside_the_prediction(known: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    Lake(root=str(known.lake)).published("features/matrix").publish(
        pl.DataFrame({"customer_id": IDS, "state_version": ["s1"] * len(IDS)}), DAYS[0]
    )
    moved = [{"source": f"column_{i}", "contribution": 1.0 - i, "error": None} for i in range(5)]
    told = {"task": "ltv", "unit": "log1p", "reasons": moved}
    monkeypatch.setattr(reasons, "customer_reasons", lambda *_: [told])
    assert "column_0 +1, column_1 +0, column_2 -1\n" in ple("--customer", "77").stdout.replace("  ", " ")
    ltv, stage = json.loads(ple("--customer", "77", "--json").stdout)["predictions"]
    assert [each["source"] for each in ltv["reasons"]] == [each["source"] for each in moved]
    assert stage["reasons"] == []


@pytest.mark.parametrize(("wanted", "near"), [
    ("0123", ["00123", "123"]),
    ("123.0", ["00123", "123"]),
    (" 123", ["00123", "123"]),
    ("a-17", ["A-17"]),
    ("79", ["77", "78"]),
    ("zzz", []),
    ("", []),
])  # fmt: skip
def test_an_unknown_id_is_answered_with_the_nearest_ones(wanted: str, near: list[str], known: Published) -> None:
    found = nearest_ids(known.read(DAYS[0])["customer_id"], wanted)
    assert sorted(found) == near
    done = ple("--customer", wanted)
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert f"no customer {wanted!r} among the 5" in done.output
    assert ("the nearest known ids" in done.output) is bool(near)


def test_a_sample_has_named_classes_in_both_forms(known: Published) -> None:
    assert known.dates() == [DAYS[0]]
    assert "steady 0.75, dormant 0.25" in ple("--rows", "1").stdout
    [first] = json.loads(ple("--rows", "1", "--json").stdout)
    assert first["life_stage__p"] == dict(zip(STAGES, (0.75, 0.25), strict=True))
    assert json.loads(ple("--path", "--json").stdout)["as_of"] == DAYS[0]
    assert ple("--customer", "77", "--top", "ltv").exit_code == 2
