"""The files of a training: taken up under the same digest, emptied under another, published whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.resources.files import publish_json
from pipeline.training.decision import Decision
from pipeline.training.workspace import Found, Workspace
from tests.damage import flip
from tests.pipeline.small_training import Material


def names(work: Workspace) -> set[str]:
    return {path.name for path in work.folder.iterdir()}


def test_files_of_the_same_material_are_taken_up(made: Material) -> None:
    before = names(made.workspace)
    assert made.workspace.take_up("made by hand")
    assert names(made.workspace) == before


def test_other_material_empties_the_folder_but_for_the_decision(made: Material) -> None:
    decision = Decision(True, False, "there is no champion yet", "none")
    made.workspace.save_decision(decision)
    assert not made.workspace.take_up("other")
    assert names(made.workspace) == {"decision.json", "material.json"}
    assert made.workspace.decision() == decision
    assert made.workspace.material() == "other"


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "training")
    assert (work.material(), work.run(), work.version()) == (None, None, None)
    assert not work.has_state()
    assert not work.has_label_state()
    assert not work.take_up("first")


def test_what_is_saved_is_loaded(made: Material) -> None:
    work = made.workspace
    assert work.state().version == made.state.version
    assert work.label_state() == made.label_state
    work.save_found(Found({"churn": (1, 3), "ltv": (2, 1)}, 2))
    assert work.found() == Found({"churn": (1, 3), "ltv": (2, 1)}, 2)
    work.save_run("r1")
    work.save_version("7")
    assert (work.run(), work.version()) == ("r1", "7")


def test_the_bundle_of_a_refit_is_the_candidate(made: Material) -> None:
    work = made.workspace
    work.save_bundle(lambda folder: (folder / "fit").write_text("evaluation"))
    assert work.candidate == work.bundle
    work.save_refit_bundle(lambda folder: (folder / "fit").write_text("refit"))
    assert (work.candidate / "fit").read_text() == "refit"
    assert (work.bundle / "fit").read_text() == "evaluation"
    assert not work.take_up("other")
    assert work.candidate == work.bundle, "other material leaves no refit behind"


def test_a_bundle_that_fails_to_be_written_leaves_the_old_one(made: Material) -> None:
    made.workspace.save_bundle(lambda folder: (folder / "old").write_text("old"))

    def dies(folder: Path) -> None:
        (folder / "new").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made.workspace.save_bundle(dies)
    assert {f.name for f in made.workspace.bundle.iterdir()} == {"old", "seal.json"}


def test_what_was_altered_or_not_finished_is_forgotten_by_name(made: Material) -> None:
    work = made.workspace
    assert work.forget_altered() == []
    day = made.plan.dates[0]
    altered = {f"snapshots/{day}.parquet", "columns.json", "label_state.json", "labels.parquet", "state"}
    for name in altered - {"state", "label_state.json"}:
        flip(work.folder / name)
    flip(work.folder / "state" / "state.npz")
    publish_json({}, work.folder / "label_state.json")  # written, and killed before it was noted
    assert set(work.forget_altered()) == altered
    assert not work.has_state()
    assert not work.snapshot(day).exists()
    assert all(work.snapshot(other).exists() for other in made.plan.dates[1:])
    assert work.forget_altered() == []
    (work.folder / "digests.json").write_bytes(b"[")
    assert len(work.forget_altered()) == len(made.plan.dates) - 1


def test_cleaning_up_keeps_labels_and_bundle(made: Material) -> None:
    made.workspace.checkpoints.mkdir()
    made.workspace.refit_checkpoints.mkdir()
    made.workspace.clean_up()
    assert {"labels.parquet", "state"} <= names(made.workspace)
    assert not names(made.workspace) & {"snapshots", "checkpoints", "refit_checkpoints"}


def test_another_model_reads_the_training_set_through_links_and_writes_its_own(made: Material, tmp_path: Path) -> None:
    work = made.workspace
    other = work.for_another_model(tmp_path / "other")
    assert other.labels().equals(work.labels())
    assert other.state().version == work.state().version
    assert other.columns() == work.columns()
    assert not other.has_trees()
    before = work.labels()
    other.save_labels(before.head(3))
    assert other.labels().height == 3
    assert work.labels().equals(before)
    assert work.for_another_model(tmp_path / "other").labels().height == 3
