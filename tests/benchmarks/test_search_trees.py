"""The search of settings from the command line: rows of training and validation alone, and a file that goes on."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import search_trees

from feature_assets.data.dataset import load_dataset
from pipeline.training.trees import FOLDER
from ple_model.boosting import search
from ple_model.boosting.tuned import Trial, Tuned
from tests.pipeline.small_training import AS_OF, CUSTOMERS, Material, fill


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Material:
    """A training set that is there already."""
    material = fill(tmp_path / "training")
    monkeypatch.setattr(search_trees.material, "material_digest", lambda *_: material.workspace.material())
    monkeypatch.setattr(search_trees.material, "training_plan", lambda *_: material.plan)
    monkeypatch.setattr(search_trees, "load_tables", lambda dataset, _: SimpleNamespace(dataset=dataset))
    monkeypatch.setattr(search_trees.fitting, "fit", lambda *_: None)
    monkeypatch.setattr(search_trees.training_set, "build", lambda *_: None)
    monkeypatch.setattr(search, "LIMITS", {"rounds": 3, "max_trees": 12, "early_stopping": 2})
    monkeypatch.setattr("ple_model.boosting.fit.MIN_ROWS", 50)
    return material


def test_rows_are_those_of_training_and_validation(made: Material) -> None:
    rows, tasks, found = search_trees.prepare(made.workspace.folder, made.settings, AS_OF)
    roles = made.workspace.labels()["role"].value_counts()
    counts = dict(zip(roles["role"], roles["count"], strict=True))
    assert (found.train_rows, found.validation_rows) == (counts["train"], counts["validation"])
    assert counts["train"] == 3 * CUSTOMERS
    assert set(tasks) == {"churn", "engagement", "channel"}  # brands are not blended
    for columns in search.COLUMNS:
        assert len(rows.features[columns]) == counts["train"] + counts["validation"]
        assert rows.matrices[columns].columns == found.columns[columns] == rows.features[columns].shape[1]
    chosen = [made.state.present.index(name) for name in made.workspace.columns()["read"]]
    np.testing.assert_array_equal(rows.features["chosen"], rows.features["all"][:, chosen])


@pytest.mark.usefixtures("made")
def test_a_search_writes_every_trial_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found" / "completejourney.yaml"
    arguments = ["search_trees.py", str(AS_OF), "--folder", str(tmp_path), "--out", str(out), "--workers", "1"]
    for trials, expected in ((2, 6), (3, 9)):
        monkeypatch.setattr("sys.argv", [*arguments, "--trials", str(trials)])
        assert search_trees.main() == 0
        printed = capsys.readouterr()
        assert sum(line.startswith("  - {") for line in printed.out.splitlines()) == expected
        assert printed.out == out.read_text()
    assert sum(" on all columns, best " in line for line in printed.err.splitlines()) == 3  # only what was missing


def test_trials_of_other_rows_are_not_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = Tuned(
        dataset="hand", as_of="2017-10-01", seed=0, train_rows=9, validation_rows=9, columns={"all": 2, "chosen": 1}
    )
    file = tmp_path / "hand.yaml"
    assert search_trees.resumed(file, empty) == empty
    trial = Trial.from_dict(
        {"number": 0, "columns": "all", "loss": 1, "rounds": 1, "trees_a_round": 1, "seconds": 0, "budget": {}}
    )
    known = empty.with_trial("churn", trial)
    file.write_text(known.text())
    assert search_trees.resumed(file, empty) == known
    other = empty.model_copy(update={"train_rows": 10})
    assert search_trees.resumed(file, other) == other
    assert "begun anew" in capsys.readouterr().err


def test_found_settings_lie_beside_the_descriptions_of_the_data_sets() -> None:
    assert load_dataset("completejourney", FOLDER.parent).name == "completejourney"
    assert date.fromisoformat(str(AS_OF)) == AS_OF
