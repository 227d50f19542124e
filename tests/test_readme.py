"""The folder listing in the README is true, and so are its counts of groups and columns."""

from __future__ import annotations

import re
from pathlib import Path

from feature_assets import registry

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^\| `([a-z_/]+)/` \| (.+) \|$", re.MULTILINE)
CODE = ("feature_assets", "ple_model", "pipeline", "benchmarks")
"""Folders all of whose subfolders are listed; those of `tests/` mirror them."""


def listed() -> dict[str, str]:
    """Folder → its contents, of the section "Folders"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Folders")[1]
    return dict(LINE.findall(section))


def test_every_listed_folder_exists() -> None:
    assert len(listed()) > 20
    assert [folder for folder in listed() if not (ROOT / folder).is_dir()] == []


def test_every_folder_with_code_is_listed() -> None:
    files = [file for top in CODE for file in (ROOT / top).rglob("*.py")]
    assert {file.parent.relative_to(ROOT).as_posix() for file in files} - set(listed()) == set()


def test_folders_of_tests_mirror_the_packages() -> None:
    own = {"tests", "tests/deliveries", "tests/trials"}
    folders = {file.parent.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("*.py")} - own
    assert [folder for folder in folders if not (ROOT / folder.removeprefix("tests/")).is_dir()] == []


def test_counts_of_groups_and_columns_are_the_registrys() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    groups, width, sides = len(registry.registry()), registry.width(), len(registry.side_inputs())
    assert f"{groups} groups fill {width} columns and {sides} inputs beside them" in text
    assert f"The first {len(registry.reference())} are the reference columns" in text
