"""The table of faults in docs/deliveries.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "deliveries.md"


def named_tests() -> list[str]:
    """The last cell of every row of the table of faults."""
    rows = PAGE.read_text(encoding="utf-8").partition("## Faults and their tests")[2].splitlines()
    cells = [line.strip().strip("|").split("|")[-1].strip() for line in rows if line.startswith("|")]
    return [name for cell in cells[2:] for name in re.findall(r"`([^`]+)`", cell)]


def test_every_test_in_the_table_of_faults_exists() -> None:
    names = named_tests()
    assert len(names) > 20
    for name in names:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in defined, name


def test_every_row_of_the_table_names_a_test() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("## Faults and their tests")[2].splitlines()
    cells = [line.strip().strip("|").split("|") for line in rows if line.startswith("| ")][1:]
    assert all(len(row) == 3 and "::" in row[2] for row in cells)
