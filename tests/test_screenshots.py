"""The pictures in the docs: the script's list, the files and the references agree, and no picture is older than texts
that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs.screenshots import DIGESTS, IMAGES, MOST_BYTES, PICTURES, Picture, texts_of

ROOT = Path(__file__).parents[1]
NAMES = [picture.name for picture in PICTURES]
NAMED = {"dagster": "d", "mlflow": "m", "scores": "s", "run": "r", "version": "1", "report": "file:///report.html"}


def test_list_files_and_references_agree() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {
        name for page in pages for name in re.findall(r"!\[[^\]]+\]\([^)]*screenshots/([^)]+)\.png\)", page.read_text())
    }
    assert len(set(NAMES)) == len(NAMES)
    assert {file.name for file in IMAGES.iterdir()} == {*(f"{name}.png" for name in NAMES), DIGESTS}
    assert shown == set(NAMES)


def test_pictures_are_small() -> None:
    sizes = {name: (IMAGES / f"{name}.png").stat().st_size for name in NAMES}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}


def test_each_address_can_be_filled_in() -> None:
    assert all("{" not in picture.address.format(**NAMED) for picture in PICTURES)


def test_no_picture_is_older_than_texts_that_it_shows() -> None:
    noted = json.loads((IMAGES / DIGESTS).read_text())
    old = [picture.name for picture in PICTURES if noted.get(picture.name) != picture.texts()]
    assert old == [], f"python -m docs.screenshots --only {' '.join(old)}; where they still show what is there: --hold"


def test_texts_make_a_picture_old_and_other_code_does_not(tmp_path: Path) -> None:
    file = tmp_path / "asset.py"

    def texts(code: str) -> str:
        file.write_text(code)
        return Picture("x", "", (str(file),)).texts()

    before = texts('def a(b):\n    """Says."""\n    return f"{b} rows"\n')
    assert texts_of(file) == ["Says.", " rows"]
    assert texts('def c(d):\n    # how\n    """Says."""\n    e = d\n    return f"{e} rows"\n') == before
    assert texts('def a(b):\n    """Says."""\n    return f"{b} lines"\n') != before


def test_every_file_that_draws_is_there() -> None:
    assert [place for picture in PICTURES for place in picture.drawn_by if not (ROOT / place).exists()] == []
