"""Findings follow from the stored predictions; the report holds every figure, its interval's width and its verdict."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import report
from benchmarks.studies.judge import Results
from benchmarks.studies.store import Judged, Store, load_arrays, save_arrays
from ple_model.evaluation.pooled import OriginRows, pool, seed_mean
from ple_model.tasks import kind_of
from tests.benchmarks.studies.conftest import STUDY, make
from tests.pipeline.small_training import AS_OF, WINDOWS


def test_a_finding_is_the_pooled_difference_of_the_seeds_means(finished: Path) -> None:
    results = Results(STUDY, finished)
    assert len(results.abouts) == results.wanted == 8
    finding = results.finding("default/network", "trees/LightGBM", "churn")
    assert finding is not None
    store = Store(finished)
    judged = Judged.load(store.origin(STUDY, str(AS_OF)).judged("test"))
    mask = judged.mask["churn"]

    def mean(variant: str, source: str) -> np.ndarray:
        cells = [store.cell(STUDY, str(AS_OF), STUDY.variant(variant), seed) for seed in (1, 2)]
        return seed_mean([cell.load("test")[f"{source}|churn"] for cell in cells])

    predictions = {"a": mean("default", "network"), "b": mean("trees", "LightGBM")}
    rows = OriginRows("", judged.customers[mask], judged.labels["churn"][mask], mask[mask], predictions)
    expected = pool(kind_of("binary"), [rows], "a").differences["b"]
    assert finding.pooled.differences["trees/LightGBM"] == expected
    assert set(finding.single) == {"default/network", "trees/LightGBM"}
    own = results.finding("default/network", "default/own past", "brand_prediction")
    assert own is not None
    assert results.finding("default/network", "default/own past", "churn") is None


def test_the_report_tells_all(finished: Path, tmp_path: Path) -> None:
    results = Results(STUDY, finished)
    file = report.write(results, tmp_path)
    text = file.read_text()
    assert file.name == "small.md"
    for heading in ("# A small study", "## The network", "### Calibration of default/network", "## Cells"):
        assert heading in text
    assert "ple study small" in text
    assert "8 of 8 cells" in text
    assert "Fault" not in text
    line = next(line for line in text.splitlines() if line.startswith("| churn | AUC ↑"))
    numbers = re.findall(r"[-+]?\d\.\d{4}", line)
    low, high = float(numbers[3]), float(numbers[4])
    assert float(numbers[5]) == pytest.approx(high - low, abs=2e-4)
    assert "| weights that move |" in text
    assert {task for task in WINDOWS if f"| {task} |" in text} == set(WINDOWS)


def test_settings_without_effect_are_a_fault_of_the_harness(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    store = Store(root)
    one, other = (store.cell(STUDY, str(AS_OF), STUDY.variant(name), 2) for name in ("default", "learned weights"))
    about, twin = other.about(), one.about()
    assert about is not None
    assert twin is not None
    other.finish(type(about)(**{**vars(about), "predictions": twin.predictions}))
    faults = Results(STUDY, root).faults()
    assert faults == [f"default = learned weights: identical predictions at {AS_OF} with seed 2"]
    assert "**Fault of the harness" in report.text(Results(STUDY, root))


def test_a_better_model_is_ahead_and_an_unfinished_study_says_so(tmp_path: Path) -> None:
    make(tmp_path)
    results = Results(STUDY, tmp_path)
    assert "0 of 8 cells are finished" in report.text(results)
    assert "No cell of both sides is finished" in report.text(results)


def test_one_sided_truth_is_ahead(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    store = Store(root)
    judged = Judged.load(store.origin(STUDY, str(AS_OF)).judged("test"))
    truth = judged.labels["engagement"][judged.mask["engagement"]]
    for seed in (1, 2):
        cell = store.cell(STUDY, str(AS_OF), STUDY.variant("default"), seed)
        noise = np.random.default_rng(seed).normal(0, 0.01, len(truth))
        told = {"network|engagement": truth + noise, "network|engagement|held": np.abs(noise) < 0.01}
        save_arrays(cell.folder / "test.npz", load_arrays(cell.folder / "test.npz") | told)
    results = Results(STUDY, root)
    finding = results.finding("default/network", "learned weights/network", "engagement")
    assert finding is not None
    assert finding.pooled.differences["learned weights/network"].verdict == "ahead"
    assert "ahead: engagement" in report.counts([finding])
    assert results.coverages("default/network")["engagement"].share == pytest.approx(0.68, abs=0.1)
    assert "### Coverage of the intervals and sets of default/network" in report.text(results)
    mean, sd = finding.single["default/network"]
    assert mean > 0.99
    assert sd < 0.01


def test_rows_that_the_oracle_does_not_know_are_left_out(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    origin = Store(root).origin(STUDY, str(AS_OF))
    judged = Judged.load(origin.judged("test"))
    truth = judged.labels["engagement"][judged.mask["engagement"]].astype(np.float32)
    truth[::3] = np.nan
    save_arrays(origin.extra("test", "oracle"), {"engagement": truth})
    finding = Results(STUDY, root).finding("default/network", "oracle", "engagement")
    assert finding is not None
    assert finding.pooled.rows == np.isfinite(truth).sum()
    assert finding.pooled.values["oracle"].estimate == pytest.approx(1)
    assert finding.pooled.differences["oracle"].verdict == "behind"
