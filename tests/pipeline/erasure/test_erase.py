"""`ple forget`: of a customer nothing is left in any file of a home, of the others everything is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from pipeline.cli import main
from pipeline.deployment import Deployment
from pipeline.erasure import erase as erasing
from pipeline.erasure.erase import Outcome, erase
from pipeline.home.folder import Home
from pipeline.intake.deliveries import COUNTS_SCHEMA
from pipeline.intake.forgotten import Forgotten
from pipeline.resources.digests import SEAL, broken, file_digest, seal
from pipeline.resources.files import publish_frame, publish_json
from pipeline.resources.publication import Published
from pipeline.resources.tracking import CHAMPION, MODEL, SEALED, Tracking
from pipeline.training.workspace import Workspace
from pipeline.upkeep import doctor
from tests.deliveries import shop
from tests.deliveries.arriving import DAYS, Night, arrive, before, between, describe
from tests.pipeline.erasure import traces as looking

WHO, OTHER = "planted-918273645", "another-564738291"
DAY = "2023-10-06"
SCORES = pl.DataFrame(
    {
        "customer_id": [OTHER, WHO, "c2"],
        "as_of": [date.fromisoformat(DAY)] * 3,
        "churn": [0.1 + 0.2, 0.5, 1 / 3],
        "model_version": ["1"] * 3,
    }
)
PREVIEW = f"| customer_id | churn |\n|---|---|\n| {OTHER} | 0.3 |\n| {WHO} | 0.5 |"
TOP = f"| task | highest |\n|---|---|\n| churn | {WHO} (0.5), c2 (0.33), {OTHER} (0.3) |"


def traces(home: Home, who: str = WHO) -> list[str]:
    return looking.traces(home, who)


def tracking_of(home: Home) -> Tracking:
    return Tracking(uri=home.tracking_uri, artifacts=str(home.mlflow / "artifacts"), dataset="toy")


def arrivals(home: Home) -> Night:
    """Deliveries that add up, each with rows of the planted customer, and one with nothing else."""
    night = Night(home.root, describe(home.root.parent / "described"))
    frames = {name: planted(frame) for name, frame in shop.tables().items()}
    inbox = home.root.parent / "described" / "inbox"
    arrive(inbox, DAYS[0], **frames | {"transactions": before(frames, DAYS[0])})
    arrive(inbox, DAYS[1], transactions=between(frames, DAYS[0], DAYS[1]))
    new = between(frames, DAYS[1], DAYS[2]).with_columns(customer_id=pl.lit(WHO))
    arrive(inbox, DAYS[2], transactions=new)
    night(DAYS[2])
    return night


def planted(frame: pl.DataFrame) -> pl.DataFrame:
    """The shop's rows, those of its first customer under the planted name."""
    if "customer_id" not in frame.columns:
        return frame
    first = pl.col("customer_id") == shop.tables()["customers"]["customer_id"][0]
    return frame.with_columns(customer_id=pl.when(first).then(pl.lit(WHO)).otherwise(pl.col("customer_id")))


def validated(folder: Path) -> None:
    """A validated delivery with rows and set-aside rows of two customers."""
    lines = pl.DataFrame({"customer_id": [OTHER, WHO, WHO], "amount": [1.0, 2.0, 3.0]})
    publish_frame(lines, folder / "transactions.parquet")
    rows = [json.dumps({"customer_id": each, "amount": None}) for each in (OTHER, WHO)]
    aside = pl.DataFrame(
        {"table": ["transactions"] * 2, "key": rows, "reason": ["r"] * 2, "action": ["dropped"] * 2, "row": rows}
    )
    publish_frame(aside, folder / "quarantine" / "rows.parquet")
    counts = pl.DataFrame([("transactions", "r", "dropped", 2, rows[1])], schema=COUNTS_SCHEMA, orient="row")
    publish_frame(counts, folder / "quarantine" / "counts.parquet")
    publish_json(
        {"over_limit": f"first: {rows[1]}", "notes": [], "delivered": {}}, folder / "quarantine" / "verdict.json"
    )
    seal(folder)


def evaluation() -> dict[str, Any]:
    return {
        "concepts": [{"latent": 1, "strongest in": f"{WHO}, {OTHER}, c2"}],
        "examples": [{"task": "churn", "customer_id": each, "explained": 0.5} for each in (OTHER, WHO)],
    }


def register(home: Home, folder: Path) -> None:
    """A sealed champion with examples of customers."""
    server = tracking_of(home)
    run = server.start_run("training", {})
    server.log_json(run, evaluation(), "evaluation.json")
    (folder / "state").mkdir(parents=True)
    publish_json([{"name": "churn", "classes": [OTHER, "7"]}], folder / "tasks.json")
    publish_json(evaluation(), folder / "evaluation.json")
    np.savez(folder / "state" / "state.npz", weights=np.arange(5.0))
    seal(folder)
    with server._run(run):
        logged = server._mlflow.pyfunc.log_model(
            name="model", loader_module="json", data_path=str(folder), pip_requirements=[]
        )
    server.client.create_registered_model(MODEL)
    tags = {"as_of": DAY, "state_version": "s", "dataset": "toy", SEALED: file_digest(folder / SEAL)}
    version = server.client.create_model_version(MODEL, logged.model_uri, run, tags=tags)
    server.set_alias(CHAMPION, version.version)
    files = server.model_files(version.version)
    assert files is not None
    example = {"columns": ["customer_id", "x"], "data": [[OTHER, 1.0], [WHO, 2.0]]}
    publish_json(example, files / "artifacts" / "input_example.json")
    publish_json({"dataframe_split": example}, files / "artifacts" / "serving_input_example.json")
    server.client.set_tag(run, "note", f"look at customer {WHO}")


def dagster_events(home: Home) -> None:
    picture = "![picture](data:image/png;base64,AAAA)"
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for key, metadata in (
            ("scores", {"preview": dg.MetadataValue.md(PREVIEW), "top": dg.MetadataValue.md(TOP)}),
            ("hmm_summary", {"picture": dg.MetadataValue.md(picture)}),
            ("gmm", {"picture": dg.MetadataValue.md(picture)}),
        ):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata, partition=DAY))


@pytest.fixture(scope="module")
def lived_in(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which every kind of place holds the planted customer."""
    home = Home(tmp_path_factory.mktemp("lived") / "home")
    shutil.copytree(prepared, home.root)
    scores = Published(home.lake, "scores")
    scores.publish(SCORES.with_columns(churn=pl.col("churn") / 2), DAY)
    scores.publish(SCORES, DAY)
    scores.publish(SCORES.filter(pl.col("customer_id") != WHO), "2023-10-05")
    Published(home.lake, "shadow/scores").publish(SCORES, DAY)
    rows = [json.dumps({"household_id": WHO}), json.dumps({"household_id": OTHER})]
    aside = pl.DataFrame({"table": ["t"] * 2, "key": rows, "reason": ["r"] * 2, "action": ["a"] * 2, "row": rows})
    Published(home.lake, "quarantine/transactions").publish(aside, DAY)
    validated(home.lake / "deliveries" / "0123456789abcdef")
    arrivals(home)
    work = Workspace(home.lake / "training" / f"as_of={DAY}")
    work.save_labels(SCORES.select("customer_id", "as_of", "churn"))
    work.save_snapshot(date.fromisoformat(DAY), SCORES)
    publish_json(evaluation(), work.evaluation)
    register(home, home.root.parent / "bundle" / "bundle")
    dagster_events(home)
    home.logs.mkdir()
    (home.logs / "error-1.log").write_text(f"KeyError: {WHO}\n{OTHER}")
    page = home.reports / f"as_of={DAY}" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<td>{WHO}</td><td>{OTHER}</td>")
    (home.root / "simulations" / "3-customers").mkdir(parents=True)
    SCORES.write_parquet(home.root / "simulations" / "3-customers" / "transactions.parquet")
    return home


@pytest.fixture
def home(lived_in: Home, tmp_path: Path) -> Home:
    return copied(lived_in, tmp_path / "home")


def copied(lived_in: Home, folder: Path) -> Home:
    shutil.copytree(lived_in.root, folder, symlinks=True)
    home = Home(folder)
    home.prepare()
    return home


def forget(home: Home, *ids: str, dry: bool = False) -> Outcome:
    return erase(home, describe(home.root.parent / "description"), tracking_of(home), ids, dry, lambda _: None)


@pytest.fixture(scope="module")
def after(lived_in: Home, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Outcome]:
    """A home that forgot the planted customer; no test changes what others read in it."""
    home = copied(lived_in, tmp_path_factory.mktemp("after") / "home")
    return home, forget(home, WHO)


def test_nothing_of_a_forgotten_customer_is_left_and_everything_of_the_others(
    lived_in: Home, after: tuple[Home, Outcome]
) -> None:
    home, outcome = after
    kinds = {"published", "deliveries", "arrivals", "versions", "training", "mlflow", "dagster", "reports", "logs"}
    was = " ".join(traces(lived_in))
    assert all(kind in was for kind in (*kinds, "simulations", ".db", "input_example")), was
    others = traces(lived_in, OTHER)
    assert (outcome.problems, outcome.remaining) == ([], [])
    assert traces(home) == []
    gone = {
        name for name in set(others) - set(traces(home, OTHER)) if "published" not in name and "versions" not in name
    }
    assert not gone, "places of other customers"
    for table in ("scores", "shadow/scores"):
        left = Published(home.lake, table)
        assert_frame_equal(left.read(DAY), SCORES.filter(pl.col("customer_id") != WHO))
        assert len([p for p in left.resolve(DAY).parent.iterdir() if p.is_dir()]) == 1, "old versions went at once"
    assert Published(home.lake, "quarantine/transactions").read(DAY).height == 1
    assert broken(home.lake / "deliveries" / "0123456789abcdef") == ""
    champion = tracking_of(home).champion()
    assert champion is not None, "its seal and the registry's agree"
    kept = tracking_of(home).read_json(champion, "evaluation.json")
    assert kept["concepts"] == [{"latent": 1, "strongest in": f"{OTHER}, c2"}]
    assert [row["customer_id"] for row in kept["examples"]] == [OTHER]
    assert tracking_of(home).read_json(champion, "tasks.json")[0]["classes"] == [OTHER, "7"]
    work = Workspace(home.lake / "training" / f"as_of={DAY}")
    assert work.forget_altered() == []
    assert work.labels()["customer_id"].to_list() == [OTHER, "c2"]
    assert outcome.versions == ["1"]


def test_events_keep_what_is_about_others(after: tuple[Home, Outcome]) -> None:
    home, _ = after
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:

        def shown(key: str, name: str) -> str:
            event = instance.get_latest_materialization_event(dg.AssetKey(key))
            assert event is not None
            assert event.asset_materialization is not None
            return str(event.asset_materialization.metadata[name].value)

        assert OTHER in shown("scores", "preview")
        assert shown("scores", "top").endswith(f"| churn | c2 (0.33), {OTHER} (0.3) |")
        assert shown("hmm_summary", "picture") == "(picture removed)", "it may show anybody"
        assert "base64" in shown("gmm", "picture")


def test_no_later_delivery_brings_a_forgotten_customer_back(after: tuple[Home, Outcome], tmp_path: Path) -> None:
    home, _ = after
    night = Night(home.root, describe(tmp_path / "described"))
    frames = {name: planted(frame) for name, frame in shop.tables().items()}
    assert night.ledger.merged(DAYS[2]).tables.frames["transactions"].height > 0, "seals hold, one arrival is empty"
    inbox = tmp_path / "described" / "inbox"
    arrive(inbox, DAYS[3], customers=frames["customers"], transactions=between(frames, DAYS[2], DAYS[3]))
    tables = night(DAYS[3])
    assert WHO not in tables.frames["customers"]["customer_id"].to_list()
    assert WHO not in tables.frames["transactions"]["customer_id"].to_list()
    assert traces(home) == []


def test_a_dry_run_tells_the_same_and_changes_nothing(home: Home, after: tuple[Home, Outcome]) -> None:
    def bytes_of() -> dict[str, str]:
        files = [path for path in home.root.rglob("*") if path.is_file() and path.suffix != ".db"]
        return {str(path): file_digest(path) for path in files}

    before_ = bytes_of()
    told = forget(home, WHO, dry=True)
    assert bytes_of() == before_
    assert not Forgotten.read(home.root).customers
    assert told.erased == after[1].erased


def killed_at(home: Home, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, number: int) -> None:
    """An erasure that is killed at the n-th call of a function; no rollback in between can help it."""
    calls = iter(range(1_000))
    real = getattr(target, name)

    def kill(*arguments: Any, **more: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(target, name, kill)
        with pytest.raises(KeyboardInterrupt):
            forget(home, WHO)


@pytest.mark.parametrize("calls", [5, 60])
def test_an_erasure_that_was_killed_is_taken_up(calls: int, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at(home, monkeypatch, os, "fsync", calls)
    assert not Forgotten.read(home.root).finished
    outcome = forget(home, WHO)
    assert (outcome.problems, outcome.remaining) == ([], [])
    assert traces(home) == []
    assert Forgotten.read(home.root).finished


def test_a_kill_between_a_bundle_and_its_registry_leaves_a_version_that_the_next_call_finds_whole(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(home, monkeypatch, Tracking, "renew_seal", 0)
    with pytest.raises(dg.Failure, match="was altered"):
        tracking_of(home).champion()
    assert forget(home, WHO).problems == []
    assert tracking_of(home).champion() is not None


def test_what_was_altered_is_not_sealed_anew(home: Home) -> None:
    (file,) = (home.lake / "arrivals").glob("*/00001_*/delivered/transactions*")
    file = next(iter(file.rglob("*.parquet"))) if file.is_dir() else file
    pl.read_parquet(file).with_columns(amount=pl.lit(1.0)).write_parquet(file)
    outcome = forget(home, WHO)
    assert "restore the folder from a backup" in outcome.problems[0]
    assert not Forgotten.read(home.root).finished


def test_everybody_on_the_list_goes_from_an_older_backup(
    after: tuple[Home, Outcome], lived_in: Home, tmp_path: Path
) -> None:
    restored = copied(lived_in, tmp_path / "restored")
    Forgotten.read(after[0].root).save(restored.root)
    assert forget(restored).problems == []
    assert traces(restored) == []


def test_the_list_names_nobody(tmp_path: Path) -> None:
    Forgotten().with_more([" 5.0 ", WHO]).save(tmp_path)
    assert WHO not in (tmp_path / "forgotten.json").read_text()
    listed = Forgotten.read(tmp_path)
    assert listed.among(pl.Series([5, 6])).to_list() == [5]
    assert listed.among(pl.Series([5.0, 6.5, None])).to_list() == [5.0]
    assert listed.among(pl.Series(["5", "6", " 5"])).sort().to_list() == [" 5", "5"]
    another = Forgotten().with_more([WHO])
    assert not set(another.customers) & set(listed.customers), "another home has another key"


def test_a_short_id_takes_nothing_that_stands_for_something_else(home: Home) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE experiments SET name = '7 of 7' WHERE experiment_id = 0")
    forget(home, "7")
    champion = tracking_of(home).champion()
    assert champion is not None
    assert tracking_of(home).read_json(champion, "tasks.json")[0]["classes"] == [OTHER, "7"]
    assert tracking_of(home).client.get_experiment("0").name == "7 of 7"


@pytest.fixture
def command(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    describe(home.root.parent / "description")
    monkeypatch.setenv("PLE_HOME", str(home.root))
    monkeypatch.setenv("DATASET_FILE", str(home.root.parent / "description" / "shop.yaml"))
    return lambda *arguments, **more: CliRunner().invoke(main, ["forget", *arguments], **more)


def test_the_command_asks_tells_and_says_what_versions_retain(
    command: Callable[..., Any], home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "name at least one customer" in command().output
    asked = command(WHO, input="n\n")
    assert asked.exit_code == 1
    assert traces(home)
    monkeypatch.delenv("DATASET_FILE")
    unknown = command(WHO, "--yes")
    assert unknown.exit_code == 1
    assert "run the same command with --dataset-file shop.yaml" in unknown.output
    assert not Forgotten.read(home.root).customers
    monkeypatch.setenv("DATASET_FILE", str(home.root.parent / "description" / "shop.yaml"))
    told = command(WHO, "--dry-run")
    assert "would be taken out" in told.output
    (tmp_path / "ids").write_text(f"{WHO}\n\nnobody-of-that-name\n")
    done = command("--from", str(tmp_path / "ids"), "--yes")
    assert done.exit_code == 0, done.output
    assert "scores 2023-10-06" in done.output
    assert "Versions 1 of the model may have learnt" in done.output
    assert traces(home) == []
    assert len(Forgotten.read(home.root).customers) == 2
    monkeypatch.setattr(erasing, "_databases", _locked)
    assert command(WHO, "--yes").exit_code == 1
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        found = {f.check: f for f in doctor.examine(Deployment(None, home, instance, tracking_of(home)))}  # type: ignore[arg-type]
    assert "did not end" in found["erasure"].problems[0]


def _locked(*_: object) -> Iterator[tuple[str, int]]:
    raise OSError("locked")
