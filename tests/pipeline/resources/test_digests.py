"""Digests: a file is read once a process, a folder proves that it is what was sealed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.resources import digests


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "delivered.parquet"
    file.write_bytes(b"one")
    first = digests.file_digest(file)
    opened: list[Path] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: (opened.append(self), original(self, *a, **k))[1])
    assert digests.file_digest(file) == first
    assert opened == []
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert digests.file_digest(file) != first
    assert file in opened


def test_code_is_known_by_name_and_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("x = 1")
    b.write_text("x = 2")
    both = digests.code_digest([a, b])
    assert digests.code_digest([b, a]) == both
    assert digests.code_digest([a]) != both
    b.rename(tmp_path / "c.py")
    assert digests.code_digest([a, tmp_path / "c.py"]) != both


@pytest.mark.parametrize("fault", ["changed", "added", "removed"])
def test_a_sealed_folder_that_was_altered_is_broken(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    (folder / "quarantine").mkdir(parents=True)
    table, rows = folder / "customers.parquet", folder / "quarantine" / "rows.parquet"
    table.write_bytes(b"table")
    rows.write_bytes(b"rows")
    assert "never finished" in digests.broken(folder)
    digests.seal(folder)
    assert digests.broken(folder) == ""
    if fault == "changed":
        table.write_bytes(b"other table")
    elif fault == "added":
        (folder / "merchants.parquet").write_bytes(b"")
    else:
        rows.unlink()
    named = {"changed": "customers.parquet", "added": "merchants.parquet", "removed": "quarantine/rows.parquet"}
    assert named[fault] in digests.broken(folder)
