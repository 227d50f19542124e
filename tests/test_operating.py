"""The table of faults in docs/operating.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_fault_names_tests_that_exist() -> None:
    section = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").split("## What each fault costs")[1]
    rows = [line.split("|")[1:-1] for line in section.split("\n## ")[0].splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "fault"]
    assert len(rows) > 10
    named = {fault.strip(): re.findall(r"`(test_\w+)`", test) for fault, _, _, test in rows}
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    assert {fault: set(tests) - there for fault, tests in named.items() if not tests or set(tests) - there} == {}
