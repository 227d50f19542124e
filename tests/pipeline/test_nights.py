"""Whole nights through the command, on a small delivery: first, again, hindsight, killed and taken up."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_assets.labels import every_task
from feature_assets.labels.constants import STAGES
from pipeline.resources.files import strays
from pipeline.resources.publication import Published, tables
from tests.deliveries.sources import COMPLETEJOURNEY
from tests.deliveries.spoilt import spoil
from tests.pipeline import serving
from tests.pipeline.reports.pages.test_night import loads_nothing
from tests.pipeline.running import EARLIER, HANGS, LAST, PLE, CopyHome, MakeHome, night, score_file, set_aside, start
from tests.pipeline.stores import tracking_uri


def households(delivery: Path) -> int:
    """Households with a purchase; all of them are known at the last date."""
    return pl.read_parquet(delivery / "transactions.parquet", columns=["household_id"])["household_id"].n_unique()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def first(small_delivery: Path, make_home: MakeHome, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home after its first night, and what the night printed."""
    home = make_home(tmp_path_factory.mktemp("night") / "home")
    return home, night(home, small_delivery)


def test_the_first_night_trains_registers_and_scores(first: tuple[Path, str], small_delivery: Path) -> None:
    home, printed = first
    scores = pl.read_parquet(home / "lake" / "scores" / f"as_of={LAST}" / "*.parquet", hive_partitioning=False)
    assert scores.height == scores["customer_id"].n_unique() == households(small_delivery)
    tasks = [task.name for task in every_task() if task.default and task.name != "balance_util"]
    assert set(tasks) <= set(scores.columns)
    withheld = [task.name for task in every_task() if task.eligibility.withheld]
    for column in scores.iter_columns():
        task, _, suffix = column.name.partition("__")
        if suffix == "u" and column.null_count() == scores.height:
            continue  # nothing ranked the errors of this small data set
        if task in withheld and suffix in ("", "u"):
            assert column.is_not_null().equals(scores[f"{task}__eligible"].alias(column.name))
            assert 0 < column.null_count() < scores.height
        else:
            assert column.null_count() == 0, column.name
    assert not scores["hindsight"].any()
    for task in tasks:
        assert scores[f"{task}__u"].drop_nulls().is_between(0, 1).all()
        assert scores[f"{task}__eligible"].any()
        if f"{task}__p" in scores.columns:
            assert ((scores[f"{task}__p"].list.sum() - 1).abs() < 1e-9).all()
    for word in (LAST, "LightGBM", "constant", "http://127.0.0.1", "Simulated", *tasks):
        assert word in printed, printed
    for line in ("model_version", "state_version", "run_id"):
        assert scores[line].n_unique() == 1


def test_the_first_night_leaves_a_report_that_opens_without_network(first: tuple[Path, str]) -> None:
    home, printed = first
    file = home / "reports" / f"as_of={LAST}" / "report.html"
    assert f"report: {file}" in printed
    html = file.read_text(encoding="utf-8")
    assert len(html.encode()) < 2 * 2**20
    loads_nothing(html)
    for words in ("are published, by version 1", "What needs a look", "training/model", "There is no earlier night"):
        assert words in html
    assert "A part of this report is missing" not in html


def test_every_part_of_the_model_of_the_first_night_learns(first: tuple[Path, str]) -> None:
    """After more than a hundred steps on real data: experts, gates, and outputs without any one input."""
    home, _ = first
    check = dg.AssetCheckKey(dg.AssetKey(["training", "model"]), "every_part_learns")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    evaluation = found.evaluation
    assert evaluation is not None
    assert evaluation.passed, {name: value.value for name, value in evaluation.metadata.items()}


def test_the_first_night_is_two_runs_one_after_the_other(first: tuple[Path, str]) -> None:
    home, printed = first
    assert "there is no champion yet" in printed
    assert printed.index("✓ training/champion") < printed.index("▸ scores")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        night, training = instance.get_run_records()[-2:]
        assert [training.dagster_run.job_name, night.dagster_run.job_name] == ["training", "nightly"]
        assert training.end_time is not None
        assert night.start_time is not None
        assert training.end_time <= night.start_time
        assert training.dagster_run.is_success
        assert night.dagster_run.is_success
    assert len(list((home / "lake" / "deliveries").iterdir())) == 1


def test_the_same_command_again_only_scores_and_changes_no_byte(first: tuple[Path, str], small_delivery: Path) -> None:
    home, _ = first
    before = digest(score_file(home, LAST))
    validated = [file.stat().st_mtime_ns for file in sorted((home / "lake" / "deliveries").rglob("*"))]
    printed = night(home, small_delivery)
    assert digest(score_file(home, LAST)) == before
    assert "scoring only" in printed
    assert len(list(score_file(home, LAST).parent.iterdir())) == 1
    assert [file.stat().st_mtime_ns for file in sorted((home / "lake" / "deliveries").rglob("*"))] == validated

    # The run shows no training step; the lineage still shows which version scored.
    assert "training/" not in printed
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        newest = instance.get_runs(limit=1)[0]
        events = [entry.get_dagster_event() for entry in instance.all_logs(newest.run_id) if entry.is_dagster_event]
        written = {str(e.asset_key.to_user_string()) for e in events if e.is_step_materialization and e.asset_key}
        assert {"scores", "night_summary", "features/matrix"} <= written
        assert not any(key.startswith("training/") for key in written)
        champion = dg.AssetKey(["training", "champion"])
        observed = instance.fetch_observations(champion, limit=1).records[0].asset_observation
        assert observed is not None
        assert observed.metadata["model version"].value == "1"
        scored = instance.get_latest_materialization_event(dg.AssetKey("scores"))
        assert scored is not None
        assert scored.asset_materialization is not None
        assert scored.asset_materialization.metadata["model version"].value == "1"


@pytest.mark.trial
def test_an_earlier_date_is_hindsight(first: tuple[Path, str], small_delivery: Path) -> None:
    home, _ = first
    before = digest(score_file(home, LAST))
    printed = night(home, small_delivery, EARLIER)
    scores = pl.read_parquet(score_file(home, EARLIER), hive_partitioning=False)
    assert scores["hindsight"].all()
    assert "hindsight" in printed
    assert digest(score_file(home, LAST)) == before


@pytest.mark.trial
def test_a_task_and_a_customer_are_explained(first: tuple[Path, str], small_delivery: Path) -> None:
    home, _ = first

    def explain(*arguments: str) -> dict[str, Any]:
        environment = os.environ | {"PLE_HOME": str(home), "DATA_DIR": str(small_delivery), "OMP_NUM_THREADS": "1"}
        command = [*PLE, "explain", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return {section["heading"]: section["table"] for section in json.loads(done.stdout)["sections"]}

    task = explain("task", "churn")
    assert {"How well", "Calibration", "Columns that move it", "Shares of the experts", "Examples"} <= set(task)
    assert all(row["meaning"] for row in task["Columns that move it"])
    scores = pl.read_parquet(score_file(home, LAST), hive_partitioning=False)
    customer = explain("customer", scores["customer_id"][0], "--as-of", LAST)
    assert len(customer["Predictions"]) == len([name for name in scores.columns if name.endswith("__eligible")])
    assert len([heading for heading in customer if heading.startswith("Why: ")]) == len(customer["Predictions"])
    assert [row["reason"] for row in customer["Why: churn"]][-2:] == [
        "all other columns and inputs",
        "left unexplained",
    ]


def test_a_night_in_blocks_of_customers_changes_no_byte(
    first: tuple[Path, str], small_delivery: Path, copy_home: CopyHome, tmp_path: Path
) -> None:
    home = copy_home(first[0], tmp_path / "home")
    with (home / "settings.yaml").open("a", encoding="utf-8") as settings:
        settings.write("customers_at_a_time: 100\n")
    lake = home / "lake"
    before = {table: digest(Published(lake, table).file(LAST)) for table in ("scores", "drift")}
    features = {table: Published(lake, table).read(LAST) for table in tables(lake) if table.startswith("features/")}
    night(home, small_delivery)
    assert {table: digest(Published(lake, table).file(LAST)) for table in before} == before
    for table, frame in features.items():
        assert Published(lake, table).read(LAST).equals(frame, null_equal=True), table
    assert not [*strays(lake)]
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        made = instance.get_latest_materialization_event(dg.AssetKey(["features", "gmm"]))
        assert made is not None
        assert made.asset_materialization is not None
        assert made.asset_materialization.metadata["of the picture"].value == "the first 100 customers, by their ids"


@pytest.mark.trial
def test_killed_in_training_and_between_the_jobs_the_next_night_ends_with_the_same_scores(
    first: tuple[Path, str], small_delivery: Path, make_home: MakeHome, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "home")
    process = start(home, small_delivery)
    checkpoints = home / "lake" / "training" / f"as_of={LAST}" / "checkpoints"
    deadline = time.monotonic() + 1_400
    while not any(checkpoints.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert any(checkpoints.glob("*.json")), output
    assert not score_file(home, LAST).exists()
    process = start(home, small_delivery)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("✓ training/champion"):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL, printed
    assert "was killed" in printed
    assert "taking up" in printed
    assert not score_file(home, LAST).exists()
    printed = night(home, small_delivery)
    assert "was killed" in printed
    assert "scoring only" in printed
    uninterrupted, resumed = (
        h / "lake" / "training" / f"as_of={LAST}" / "bundle" / "model.json" for h in (first[0], home)
    )
    assert json.loads(resumed.read_text())["digest"] == json.loads(uninterrupted.read_text())["digest"]
    drop = ["run_id"]
    scored = [pl.read_parquet(score_file(h, LAST), hive_partitioning=False).drop(drop) for h in (first[0], home)]
    assert scored[0].equals(scored[1])


def test_the_registered_model_predicts_without_the_pipeline(first: tuple[Path, str], small_delivery: Path) -> None:
    home, _ = first
    matrix = home / "lake" / "features" / "matrix" / f"as_of={LAST}"
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('pipeline', 'feature_assets'):
            raise ImportError(name + ' is not here')
sys.meta_path.insert(0, Refuse())
import mlflow, pandas
mlflow.set_tracking_uri('{tracking_uri(home)}')
model = mlflow.pyfunc.load_model('models:/ple@champion')
scores = model.predict(pandas.read_parquet('{matrix}'))
print(len(scores), scores['churn'].between(0, 1).all())
scores[['customer_id', 'churn', 'ltv']].to_parquet('{home}/by_mlflow.parquet')
"""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as the night: products in float32 differ by their threads
    done = subprocess.run(
        [sys.executable, "-c", code], env=one_thread, capture_output=True, text=True, cwd="/", timeout=300
    )
    assert done.stdout.split()[-2:] == [str(households(small_delivery)), "True"], done.stderr[-3000:]
    published = pl.read_parquet(score_file(home, LAST), hive_partitioning=False)
    loaded = pl.read_parquet(home / "by_mlflow.parquet")
    assert published.select("customer_id", "churn", "ltv").equals(loaded.select("customer_id", "churn", "ltv"))


def rows_predicted(tracking_uri: str, matrix: Path) -> int:
    """Rows that the champion predicts in a process that knows the tracking server and the matrix only."""
    code = f"""
import mlflow, pandas
mlflow.set_tracking_uri('{tracking_uri}')
model = mlflow.pyfunc.load_model('models:/ple@champion')
print(len(model.predict(pandas.read_parquet('{matrix}'))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "not defined in the model signature" not in done.stderr
    return int(done.stdout.split()[-1])


def both_interfaces_show_the_night(addresses: dict[str, str]) -> None:
    """Dagster its runs and assets, MLflow the champion, and files of its run and of the model itself."""
    runs, assets = serving.shown_by_dagster(addresses["Dagster"])
    assert runs[0] == ("nightly", "SUCCESS")
    assert ("training", "SUCCESS") in runs
    assert assets["scores"] == assets["tables/transactions"] == assets["training/champion"] == LAST
    assert b"<html" in serving.fetched(addresses["Dagster"], "assets")
    server = addresses["MLflow"]
    assert b"<html" in serving.fetched(server, "")
    [alias] = [
        alias
        for alias in serving.mlflow(server, "registered-models/get", name="ple")["registered_model"]["aliases"]
        if alias["alias"] == "champion"
    ]
    version = serving.mlflow(server, "registered-models/alias", name="ple", alias="champion")["model_version"]
    assert alias["version"] == version["version"] == "1"
    files = serving.mlflow(server, "artifacts/list", run_id=version["run_id"])["files"]
    file = next(file["path"] for file in files if not file.get("is_dir"))
    assert serving.fetched(server, "get-artifact", path=file, run_uuid=version["run_id"])
    requirements = serving.fetched(
        server, "model-versions/get-artifact", path="requirements.txt", name="ple", version="1"
    )
    assert b"torch==" in requirements
    assert b"+" not in requirements, "a build that no public index has"


@pytest.mark.trial
def test_a_copied_home_does_everything_without_the_original(
    first: tuple[Path, str], small_delivery: Path, copy_home: CopyHome, tmp_path: Path
) -> None:
    """The night, both user interfaces, the registered model, `ple explain`; the scores stay byte for byte."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    copy_home(first[0], original)
    original.rename(copy)  # the original's paths lead nowhere now, and neither do those of the first home:
    hidden = first[0].with_name("hidden")
    first[0].rename(hidden)
    try:
        before = digest(score_file(copy, LAST))
        printed = night(copy, small_delivery)
        assert "lay elsewhere before" in printed
        assert "scoring only" in printed
        assert digest(score_file(copy, LAST)) == before
        matrix = copy / "lake" / "features" / "matrix" / f"as_of={LAST}"
        assert rows_predicted(tracking_uri(copy), matrix) == households(small_delivery)
        with serving.served(copy, small_delivery) as addresses:
            both_interfaces_show_the_night(addresses)
            assert rows_predicted(addresses["MLflow"], matrix) == households(small_delivery)
        environment = os.environ | {"PLE_HOME": str(copy)}
        page = subprocess.run([*PLE, "explain", "task", "churn"], env=environment, capture_output=True, text=True)
        assert page.returncode == 0, page.stderr
        assert not first[0].exists(), "the copy wrote into the original"
    finally:
        shutil.rmtree(first[0], ignore_errors=True)
        hidden.rename(first[0])


@pytest.mark.trial
@pytest.mark.parametrize("trains", [False, True])
def test_bad_rows_change_nothing_of_a_night(
    trains: bool,
    first: tuple[Path, str],
    small_delivery: Path,
    make_home: MakeHome,
    copy_home: CopyHome,
    tmp_path: Path,
) -> None:
    home, delivery = tmp_path / "home", tmp_path / "delivery"
    bad = spoil(COMPLETEJOURNEY, small_delivery, delivery)
    _ = make_home(home) if trains else copy_home(first[0], home)
    printed = night(home, delivery)
    assert ("scoring only" in printed) != trains
    assert set_aside(home, LAST) == set_aside(first[0], LAST) + bad
    sound, scored = (pl.read_parquet(score_file(h, LAST), hive_partitioning=False) for h in (first[0], home))
    assert_frame_equal(scored.drop("run_id"), sound.drop("run_id"), check_exact=True)


@pytest.mark.trial
def test_without_a_source_of_the_champion_the_night_stops_or_is_marked(
    first: tuple[Path, str], small_delivery: Path, copy_home: CopyHome, tmp_path: Path
) -> None:
    home, delivery = tmp_path / "home", tmp_path / "delivery"
    copy_home(first[0], home)
    shutil.copytree(small_delivery, delivery, ignore=shutil.ignore_patterns("campaign*", "coupon*"))
    process = start(home, delivery)
    printed = process.communicate(timeout=HANGS)[0]
    assert process.returncode == 1
    assert "campaigns: not delivered, in the last good delivery it was" in printed
    settings = home / "settings.yaml"
    settings.write_text(settings.read_text() + "volume: {compared: 0}\n")
    process = start(home, delivery)
    printed = process.communicate(timeout=HANGS)[0]
    assert process.returncode == 1
    assert "which the champion was trained with" in printed
    assert "Traceback" not in printed
    settings.write_text(settings.read_text() + "missing_sources: mask\n")
    printed = night(home, delivery)
    assert "missing sources" in printed
    scores = pl.read_parquet(score_file(home, LAST), hive_partitioning=False)
    assert scores["missing_sources"].list.contains("campaigns").all()
    assert scores["ctr"].null_count() == scores["cvr"].null_count() == scores.height
    assert scores["churn"].null_count() == 0


@pytest.mark.trial
def test_a_sample_of_the_scores_can_be_shown(first: tuple[Path, str]) -> None:
    environment = os.environ | {"PLE_HOME": str(first[0])}
    done = subprocess.run([*PLE, "scores", "--rows", "2"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert len(lines["customer_id"].split()) == 3
    assert {"churn", "life_stage__p", "brand_prediction__top", "top_experts", "run_id"} <= set(lines)
    assert any(stage in lines["life_stage__p"] for stage in STAGES)  # names, not places in a list
    top = subprocess.run(
        [*PLE, "scores", "--rows", "3", "--top", "churn"], env=environment, capture_output=True, text=True
    )
    lines = {line.split()[0]: line.split()[1:] for line in top.stdout.splitlines()}
    assert lines["churn__eligible"] == ["True"] * 3
    assert lines["churn"] == sorted(lines["churn"], key=float, reverse=True)
    wrong = subprocess.run([*PLE, "scores", "--top", "chrn"], env=environment, capture_output=True, text=True)
    assert "no task 'chrn'" in wrong.stderr


def test_the_night_publishes_who_is_eligible_by_what_was_known(first: tuple[Path, str], small_delivery: Path) -> None:
    """Equal to a plain look at the delivery: purchases of the last 56 local days, campaigns that run."""
    scores = pl.read_parquet(score_file(first[0], LAST), hive_partitioning=False)
    lines = pl.read_parquet(small_delivery / "transactions.parquet", columns=["household_id", "transaction_timestamp"])
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    bought = lines.filter(local.dt.date() >= date.fromisoformat(LAST) - timedelta(days=56))
    ids = set(bought["household_id"].cast(pl.String))
    assert set(scores.filter("churn__eligible")["customer_id"]) == ids
    assert set(scores.filter("channel__eligible")["customer_id"]) == ids
    described = pl.read_parquet(small_delivery / "campaign_descriptions.parquet")
    day = pl.lit(date.fromisoformat(LAST))
    running = described.filter(pl.col("start_date") < day, pl.col("end_date") >= day)
    members = pl.read_parquet(small_delivery / "campaigns.parquet").join(running, on="campaign_id")
    assert set(scores.filter("cvr__eligible")["customer_id"]) == set(members["household_id"].cast(pl.String))
    assert scores["ltv__eligible"].all()


def test_the_night_publishes_natural_values_and_what_comes_next(first: tuple[Path, str]) -> None:
    scores = pl.read_parquet(score_file(first[0], LAST), hive_partitioning=False)
    ordered = scores.sort("ltv")["ltv__value"]
    assert (ordered.diff().drop_nulls() >= 0).all()
    assert (scores["nba__next"] != "none").all()
    assert (scores["nba__lift"] > 0).all()
    for task in ("life_stage", "nba", "timing"):
        assert scores[f"{task}__probability"].equals(scores[f"{task}__p"].list.max().alias(f"{task}__probability"))
