"""Scores: their form, that they depend on a row alone, and that a logged model stands on its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ple_model
from ple_model.evaluation.uncertainty import Choice, Fallback
from ple_model.evaluation.uncertainty.scale import Scale
from ple_model.serving.bundle import Bundle, load_bundle
from ple_model.serving.inference import BLOCK, EVIDENCE, raw_outputs
from ple_model.serving.scorer import Scorer, inputs_from_frame
from ple_model.training.finish import finish
from ple_model.training.trainer import fit
from tests.ple_model import samples

ROWS = BLOCK + 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "bundle"
    model, train, valid = samples.ready()
    fit(model, train, valid, samples.training(phase1_epochs=2, phase2_epochs=0), None, progress=False)
    finish(model, train, valid, folder, samples.CLASSES, {"as_of": "2017-10-01"}, inverses=samples.INVERSES)
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return samples.features(ROWS, seed=2)


@pytest.fixture(scope="module")
def scores(bundle: Bundle, frame: pl.DataFrame) -> pl.DataFrame:
    return Scorer(bundle).score(frame)


def test_one_row_a_customer_with_every_task_in_its_form(scores: pl.DataFrame, frame: pl.DataFrame) -> None:
    assert scores["customer_id"].equals(frame["customer_id"])
    assert scores["as_of"].equals(frame["as_of"])
    missing = [name for name in scores.columns if scores[name].null_count()]
    assert all(name.endswith("__u") and scores[name].null_count() == ROWS for name in missing)
    assert scores["churn"].is_between(0, 1, closed="none").all()
    assert scores.select("ltv", "engagement").to_numpy().dtype == np.float64
    assert np.isfinite(scores.select("ltv", "engagement").to_numpy()).all()
    probabilities = np.array(scores["life_stage__p"].to_list())
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-9
    classes = samples.CLASSES["life_stage"]
    assert scores["life_stage"].to_list() == [classes[i] for i in probabilities.argmax(axis=1)]
    for best, top in zip(scores["brand_prediction"], scores["brand_prediction__top"].to_list(), strict=True):
        assert best == top[0]
        assert len(set(top)) == 10
        assert set(top) <= set(samples.CLASSES["brand_prediction"])
    for task in samples.TASKS:
        assert scores[f"{task}__u"].drop_nulls().is_between(0, 1).all()
        assert scores.schema[f"{task}__u"] == pl.Float64
        assert scores.schema[f"{task}__fallback"] == pl.Boolean
    for task in ("ltv", "engagement"):
        at = scores.columns.index(task)
        own = [task, *(f"{task}__{suffix}" for suffix in ("value", "value_low", "value_high", "low", "high", "u"))]
        assert scores.columns[at : at + len(own)] == own
        assert (scores[f"{task}__low"] <= scores[task]).all()
        assert (scores[task] <= scores[f"{task}__high"]).all()
    for best, inside, p in zip(scores["life_stage"], scores["life_stage__set"].to_list(), probabilities, strict=True):
        assert inside[0] == best
        assert inside == [classes[i] for i in np.argsort(-p, kind="stable")[: len(inside)]]


def test_columns_stand_task_by_task_in_one_order(scores: pl.DataFrame) -> None:
    of_kind = {
        "life_stage": ["p", "probability", "next", "lift", "set"],
        "brand_prediction": ["top"],
        "ltv": ["value", "value_low", "value_high", "low", "high"],
        "engagement": ["value", "value_low", "value_high", "low", "high"],
    }
    order = [t for t in samples.TASKS if t not in ("engagement", "ltv", "life_stage")]
    tasks = ["engagement", *order[:2], "life_stage", "ltv", *order[2:]]
    own = [[task, *(f"{task}__{s}" for s in [*of_kind.get(task, []), "u", "fallback"])] for task in tasks]
    assert scores.columns == ["customer_id", "as_of", *(name for names in own for name in names), "top_experts"]


def test_a_class_has_its_probability_and_the_likeliest_other_its_lift(bundle: Bundle, scores: pl.DataFrame) -> None:
    classes = bundle.classes["life_stage"]
    base = bundle.calibration["life_stage"].uncertainty.base_rates.population
    for row in scores.select(pl.col("^life_stage.*$")).head(100).iter_rows(named=True):
        p = dict(zip(classes, row["life_stage__p"], strict=True))
        assert row["life_stage__probability"] == p[row["life_stage"]] == max(p.values())
        del p["stage 0"]
        assert row["life_stage__next"] == max(p, key=lambda name: p[name])
        lift = p[row["life_stage__next"]] / base[classes.index(row["life_stage__next"])]
        assert row["life_stage__lift"] == pytest.approx(lift)


def test_values_in_natural_units_are_increasing_in_the_prediction_and_add_up(
    bundle: Bundle, scores: pl.DataFrame
) -> None:
    _, _, valid = samples.ready()
    found = Scorer(bundle).predict(valid.inputs)
    for task, inverse in samples.INVERSES.items():
        ordered = scores.sort(task)[f"{task}__value"].to_numpy()
        assert (np.diff(ordered) >= 0).all()
        for end in ("low", "high"):
            assert scores[f"{task}__value_{end}"].is_null().equals(scores[f"{task}__{end}"].is_null())
        assert (scores[f"{task}__value_low"] <= scores[f"{task}__value_high"]).all()
        given = valid.targets.mask[task].numpy() & ~found.fallback[task]
        observed = inverse(valid.targets.values[task].numpy().astype(np.float64))
        assert found.natural[task][given].sum() == pytest.approx(observed[given].sum(), rel=0.05)
    assert found.natural.keys() == samples.INVERSES.keys()


def test_experts_without_input_are_not_among_the_top(scores: pl.DataFrame, frame: pl.DataFrame) -> None:
    top = scores["top_experts"].to_list()
    for names, steps in zip(top, frame["txn_seq"].is_not_null(), strict=True):
        assert set(names) == {"deepfm", "raw_scale"} | ({"temporal"} if steps else set())
        assert len(names) == len(set(names))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rows_scores_depend_on_that_row_alone(
    bundle: Bundle, frame: pl.DataFrame, scores: pl.DataFrame, seed: int
) -> None:
    """Any order, any subset, any number of rows: the same bits."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(ROWS)
    for rows in (order, order[:1], order[:BLOCK], order[: int(rng.integers(2, ROWS))]):
        assert Scorer(bundle).score(frame[rows]).equals(scores[rows])


def with_evidence(bundle: Bundle, threshold: float) -> Bundle:
    """The bundle as if every task published the evidential head's u, with fallbacks above a threshold."""
    calibration = {
        name: replace(
            task,
            uncertainty=replace(
                task.uncertainty,
                choice=Choice(EVIDENCE),
                scale=Scale((0.0, 1.0), (0.0, 1.0)),
                fallback=Fallback(threshold, 0.98),
                region=None,
            ),
        )
        for name, task in bundle.calibration.items()
    }
    return replace(bundle, calibration=calibration)


def test_the_signal_that_a_task_publishes_is_its_u(bundle: Bundle, frame: pl.DataFrame) -> None:
    inputs = inputs_from_frame(frame, bundle.model.config.inputs)
    signals = raw_outputs(bundle.model, inputs).signals
    found = Scorer(with_evidence(bundle, 2.0)).predict(inputs)
    for task in samples.TASKS:
        assert found.u[task] == pytest.approx(signals[task][EVIDENCE])
        assert not found.fallback[task].any()
    scores = Scorer(with_evidence(bundle, 2.0)).score(frame)
    assert scores["churn__u"].to_numpy() == pytest.approx(found.u["churn"])
    assert scores["ltv__low"].null_count() == scores["life_stage__set"].null_count() == ROWS


def test_a_fallback_row_carries_the_base_rate_of_its_clusters(bundle: Bundle, frame: pl.DataFrame) -> None:
    with_fallbacks = with_evidence(bundle, -1.0)
    calibration = with_fallbacks.calibration
    posterior = inputs_from_frame(frame, bundle.model.config.inputs).cluster_probs.numpy()
    scores = Scorer(with_fallbacks).score(frame)
    for task in ("churn", "ltv"):
        assert scores[f"{task}__fallback"].all()
        expected = calibration[task].uncertainty.base_rates.of(posterior)
        assert scores[task].to_numpy() == pytest.approx(expected, rel=1e-12)
    assert scores["life_stage__p"].list.sum().to_numpy() == pytest.approx(np.ones(ROWS), abs=1e-12)


def test_arrays_and_table_say_the_same(bundle: Bundle, frame: pl.DataFrame, scores: pl.DataFrame) -> None:
    found = Scorer(bundle).predict(inputs_from_frame(frame, bundle.model.config.inputs))
    assert np.array_equal(found.predictions["ltv"], scores["ltv"].to_numpy())
    assert np.array_equal(found.predictions["life_stage"], np.array(scores["life_stage__p"].to_list()))
    assert found.predictions["brand_prediction"].shape == (ROWS, 15)
    assert found.gates["churn"].keys() == {"deepfm", "temporal", "raw_scale"}


def test_no_rows_give_no_scores_of_the_same_schema(bundle: Bundle, frame: pl.DataFrame, scores: pl.DataFrame) -> None:
    assert Scorer(bundle).score(frame.clear()).schema == scores.schema


def test_what_a_matrix_lacks_is_named(bundle: Bundle, frame: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="lacks customer_id"):
        Scorer(bundle).score(frame.drop("customer_id"))
    with pytest.raises(ValueError, match="lacks 1 columns: column_04"):
        Scorer(bundle).score(frame.drop("column_04"))
    assert "as_of" not in Scorer(bundle).score(frame.head(3).drop("as_of")).columns


LOG = """
import sys
import mlflow
uri, artifacts, bundle, package = sys.argv[1:]
mlflow.set_tracking_uri(uri)
mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", artifact_location=artifacts))
with mlflow.start_run():
    print(mlflow.pyfunc.log_model(
        name="model", loader_module="ple_model.serving.scorer", data_path=bundle, code_paths=[package],
        pip_requirements=["torch"]).model_uri)
"""

LOAD = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pipeline", "feature_assets"):
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Blocked())
import mlflow, polars
uri, model, features, scores = sys.argv[1:]
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
import ple_model
print(ple_model.__file__)
frame = polars.read_parquet(features).to_pandas()
polars.from_pandas(loaded.predict(frame)).write_parquet(scores)
assert not any(name.split(".")[0] in ("pipeline", "feature_assets") for name in sys.modules)
"""


def _python(code: str, *arguments: object, cwd: Path) -> str:
    environment = {
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "HOME": str(cwd),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_logged_model_loads_and_scores_without_the_pipeline(
    folder: Path, frame: pl.DataFrame, scores: pl.DataFrame, tmp_path: Path
) -> None:
    uri, package = f"sqlite:///{tmp_path}/mlflow.db", Path(ple_model.__file__).parent
    model = _python(LOG, uri, (tmp_path / "artifacts").as_uri(), folder, package, cwd=tmp_path)
    frame.write_parquet(tmp_path / "features.parquet")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded_from = _python(LOAD, uri, model, tmp_path / "features.parquet", tmp_path / "scores.parquet", cwd=elsewhere)
    assert tmp_path in Path(loaded_from).parents  # the logged copy, not the one of this repository
    found = pl.read_parquet(tmp_path / "scores.parquet")
    assert found.columns == scores.columns
    assert found["customer_id"].equals(scores["customer_id"])
    for name, dtype in scores.schema.items():
        if dtype == pl.Float64:
            expected = pytest.approx(scores[name].to_numpy(), rel=1e-4, abs=1e-6, nan_ok=True)
            assert found[name].to_numpy() == expected
    shares = [np.array(table["life_stage__p"].to_list()) for table in (found, scores)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)
