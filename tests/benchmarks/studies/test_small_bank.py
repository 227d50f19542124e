"""A study from the simulated delivery to the report: origins prepared, cells in processes, the oracle, a refit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.studies import report
from benchmarks.studies.judge import Results
from benchmarks.studies.nights.study import NightStudy
from benchmarks.studies.run import run
from benchmarks.studies.study import Comparison, Variant

pytestmark = pytest.mark.trial

TREE = {"rounds": 5, "leaves": 7}
BANK = NightStudy(
    name="small-bank",
    title="A small bank",
    question="Does every part of a study work together?",
    dataset="bank_simulation",
    origins=("2025-05-27", "2025-06-24"),
    seeds=(1,),
    variants=(Variant("default"), Variant("trees", run="trees"), Variant("early", stopping="training dates")),
    comparisons=(Comparison("default/model", ("trees/LightGBM", "early/model", "default/own past"), "The version"),),
    settings={
        "snapshot_step_days": 28,
        "holdout_weeks": 1,
        "max_training_rows": 4_000,
        "training.phase1_epochs": 2,
        "columns": "all",
        "tuned_trees": False,
        "boosting": {"single": TREE, "multiclass": TREE, "brand": TREE, "brands": 2},
    },
    customers=400,
    oracle=True,
)
LATER = replace(
    BANK,
    name="small-bank-later",
    origins=("2025-04-29",),
    variants=(Variant("default", run="refit"),),
    comparisons=(Comparison("default/refit", ("default/network",), "Fitted again"),),
    role="later",
    later_weeks=2,
    oracle=False,
)


@pytest.mark.parametrize("study", [BANK, LATER], ids=lambda study: study.name)
def test_a_study_from_the_delivery_to_the_report(study: NightStudy, tmp_path: Path) -> None:
    said: list[str] = []
    assert run(study, tmp_path, said.append, threads=1) == []
    results = Results(study, tmp_path)
    assert len(results.abouts) == results.wanted
    assert results.faults() == []
    text = report.text(results)
    for comparison in study.comparisons:
        assert f"### {comparison.subject} against {comparison.others[0]}" in text
    assert "| churn | AUC ↑ |" in text
    assert ("and the oracle" in text) == study.oracle
    assert run(study, tmp_path, said.append, threads=1) == []
    assert said[-1].endswith("0 to compute")
