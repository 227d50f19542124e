"""Checkpoints: whole or not at all, of this run or of none."""

import json
import logging
from pathlib import Path

import pytest
import torch

from ple_model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ple_model.training.data import digest_of_tensors

IDENTITY = {"model": "a", "training data": "b"}


def checkpoint(value: float = 1.0) -> Checkpoint:
    tensors = {"w": torch.full((3, 2), value), "step": torch.tensor(4.0), "flag": torch.tensor(True)}
    return Checkpoint(tensors, {"epoch": int(value), "history": [{"loss": 0.1 + 0.2}]})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new", "phase1-epoch001", checkpoint(), IDENTITY)
    found = load_checkpoint(tmp_path / "new", IDENTITY)
    assert found is not None
    assert found.state == checkpoint().state
    assert digest_of_tensors(found.tensors) == digest_of_tensors(checkpoint().tensors)


def test_only_the_newest_state_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".left.safetensors.123.part").write_bytes(b"half")
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, f"phase1-epoch{epoch:03d}", checkpoint(epoch), IDENTITY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "phase1-epoch003.safetensors"]
    assert json.loads((tmp_path / "checkpoint.json").read_text())["state"]["epoch"] == 3


def test_another_run_is_left_with_a_word_on_what_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path, "phase1-epoch001", checkpoint(), IDENTITY)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path, {**IDENTITY, "training data": "c"}) is None
    assert "different: training data" in caplog.text


@pytest.mark.parametrize("damage", ["tensors cut", "tensors gone", "index cut"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path, "phase1-epoch001", checkpoint(), IDENTITY)
    tensors, index = tmp_path / "phase1-epoch001.safetensors", tmp_path / "checkpoint.json"
    if damage == "tensors cut":
        tensors.write_bytes(tensors.read_bytes()[:-1])
    elif damage == "tensors gone":
        tensors.unlink()
    else:
        index.write_text(index.read_text()[:-20])
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path, IDENTITY) is None
    assert "cannot be used" in caplog.text


def test_no_checkpoint_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_checkpoint(tmp_path, IDENTITY) is None
    assert not caplog.records


def test_the_digest_of_tensors_sees_values_names_shapes_and_types() -> None:
    base = {"a": torch.arange(6.0)}
    others = [
        {"b": torch.arange(6.0)},
        {"a": torch.arange(6.0).reshape(2, 3)},
        {"a": torch.arange(6.0).double()},
        {"a": torch.tensor([0.0, 1, 2, 3, 4, 5.000001])},
        {"a": torch.arange(6.0), "c": torch.zeros(0)},
    ]
    assert len({digest_of_tensors(tensors) for tensors in [base, *others]}) == 6
    assert digest_of_tensors(base) == digest_of_tensors({"a": torch.arange(12.0)[:6]})
