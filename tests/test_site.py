"""The documentation is built as a site without a warning, and its navigation leads to every page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(DOCS / "site" / "mkdocs.yml")]
    done = subprocess.run([*words, "--site-dir", str(tmp_path / "site")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "site" / "index.html").exists()
    assert not (tmp_path / "site" / "screenshots.py").exists()


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for file in DOCS.glob("decisions/0*.md"):
        title = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").removeprefix(file.name[:4]).lstrip(": ")
        assert f"[{file.name[:4]}]({file.name}) {title}" in listed
