"""A published file is whole or absent, whatever happens while it is written."""

from pathlib import Path

import pytest

from ple_model.serving.files import digest_of_json, publish, publishing, sha256_of_file


def test_a_published_file_replaces_the_old_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    publish(file, b"old")
    publish(file, b"new")
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_an_error_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scores.parquet"
    publish(file, b"old")

    def fails(self: Path, target: Path) -> Path:
        raise OSError(f"no rename of {self.name} to {target.name}")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="no rename"):
        publish(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    publish(file, b"old")

    def write() -> None:
        with publishing(file) as beside:
            beside.write_bytes(b"ne")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write()
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_digests_follow_content(tmp_path: Path) -> None:
    publish(tmp_path / "a", b"1")
    publish(tmp_path / "b", b"1")
    assert sha256_of_file(tmp_path / "a") == sha256_of_file(tmp_path / "b")
    assert digest_of_json({"a": 1, "b": [2]}) == digest_of_json({"b": [2], "a": 1})
    assert digest_of_json({"a": 1}) != digest_of_json({"a": 2})
