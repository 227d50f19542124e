"""Every wrong description of `tests/bad_yaml/` is refused by the message that stands beside it: file, line, remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_assets.data.dataset import load_dataset

WRONG = Path(__file__).parents[2] / "bad_yaml"


@pytest.mark.parametrize("name", sorted(path.stem for path in WRONG.glob("*.yaml")))
def test_a_wrong_description_is_refused_in_one_message(name: str) -> None:
    expected = (WRONG / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
    with pytest.raises(ValueError, match=f"{name}") as raised:
        load_dataset(name, WRONG)
    assert str(raised.value).replace(f"{WRONG}/", "") == expected


def test_most_messages_name_a_line() -> None:
    messages = {path.stem: path.read_text(encoding="utf-8") for path in WRONG.glob("*.txt")}
    assert len(messages) >= 60
    assert all(text.startswith(f"{name}.yaml") and len(text.splitlines()) == 1 for name, text in messages.items())
    nowhere = {name for name, text in messages.items() if f"{name}.yaml, line " not in text}
    assert nowhere == {"no_zone", "not_a_mapping", "own_files_without_tables", "two_documents"}
