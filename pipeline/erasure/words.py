"""Customers in what people read: texts, tables in Markdown, JSON documents.

Exact where a place names a customer (a column, a key); an id of at least `DISTINCT` characters goes wherever it stands
as a word. Shorter ones stand for other things as well (a count, a brand). Frames belong to `places.py`.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.intake.forgotten import CUSTOMER_COLUMNS, canonical

DISTINCT = 6
GONE = "(forgotten)"
_NAMES = (*CUSTOMER_COLUMNS, "customer")
"""Keys and columns whose value is a customer."""
_LISTS = ("strongest in",)
"""Keys and columns whose value is a list of customers in one text."""
_RANKED = re.compile(r"\S+ \([-+\d.e]+\)(, \S+ \([-+\d.e]+\))*")
"""A list of customers in one text, each with a number."""
_PICTURE = re.compile(r"!\[[^\]]*\]\(data:image/[^)]*\)")


@dataclass(frozen=True)
class Who:
    """The customers whose traces go, by their ids in the form of `forgotten.canonical`."""

    ids: frozenset[str]

    @classmethod
    def of(cls, ids: Iterable[str]) -> "Who":
        """These customers."""
        return cls(frozenset(canonical(pl.Series(list(ids), dtype=pl.String)).to_list()))

    def among(self, values: pl.Series) -> pl.Series:
        """Those of some ids that are theirs, as they came."""
        return values.filter(canonical(values).is_in(list(self.ids)))

    def named(self, value: Any) -> bool:
        """Whether a value of a column or a key is one of them."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return isinstance(value, str | int) and str(value).strip() in self.ids

    def perhaps_in(self, content: bytes | str) -> bool:
        """Whether one of the ids stands in it at all, as whatever part of whatever word."""
        if isinstance(content, bytes):
            return any(each in content for each in self._bytes)
        return any(form in content for each in self.ids for form in _forms(each))

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        return tuple({form.encode() for each in self.ids for form in _forms(each)})

    @cached_property
    def _words(self) -> re.Pattern[str]:
        every = "|".join(re.escape(each) for each in sorted(self.ids, key=len, reverse=True))
        names = "|".join(_NAMES)
        parts = [rf"(?P<before>\b(?:{names})\W{{1,6}})(?:{every})(?:\.0)?(?![\w.]?\w)"]
        long = "|".join(re.escape(each) for each in sorted(self.ids, key=len, reverse=True) if len(each) >= DISTINCT)
        return re.compile("|".join([*parts, *([rf"(?<![\w.])(?:{long})(?!\w)"] if long else [])]))

    def text(self, text: str) -> str:
        """A text without them: rows of tables that are about one go, words that are one are replaced."""
        if not self.perhaps_in(text):
            return text
        lines = text.split("\n")
        if any(line.lstrip().startswith("|") for line in lines):
            text = "\n".join(self._table(lines))
        return self._words.sub(lambda found: f"{found.group('before') or ''}{GONE}", text)

    def _table(self, lines: list[str]) -> Iterable[str]:
        header: list[str] = []
        for line in lines:
            if not line.lstrip().startswith("|"):
                header = []
                yield line
                continue
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not header:
                header = cells
                yield line
                continue
            pairs = list(zip(header, cells, strict=False))
            if any(name in _NAMES and self.named(cell) for name, cell in pairs) or self._of_a_row(line):
                continue
            changed = [self._list(cell) if _is_list(name, cell) else cell for name, cell in pairs]
            yield line if changed == cells else f"| {' | '.join(changed)} |"

    def _of_a_row(self, line: str) -> bool:
        """Whether a line shows a delivered row (as JSON) of one of them."""
        return any(found.group("before") and '"' in found.group("before") for found in self._words.finditer(line))

    def _list(self, text: str) -> str:
        return ", ".join(part for part in text.split(", ") if not self.named(part.partition(" (")[0]))

    def json(self, value: Any) -> Any:
        """A JSON value without them: list items that are about one go, other places that name one are blanked."""
        if isinstance(value, dict):
            if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
                at = [i for i, name in enumerate(value["columns"]) if name in _NAMES]
                rows = [
                    row
                    for row in value["data"]
                    if not (isinstance(row, list) and any(self.named(row[i]) for i in at if i < len(row)))
                ]
                value = {**value, "data": rows}
            return {self._key(key): self._entry(key, item) for key, item in value.items()}
        if isinstance(value, list):
            kept = [item for item in value if not (isinstance(item, dict) and self._about(item))]
            return [self.json(item) for item in kept]
        return self.text(value) if isinstance(value, str) else value

    def _key(self, key: str) -> str:
        return GONE if len(key) >= DISTINCT and key in self.ids else key

    def _entry(self, key: str, item: Any) -> Any:
        if key in _NAMES and self.named(item):
            return GONE
        return self._list(item) if isinstance(item, str) and _is_list(key, item) else self.json(item)

    def _about(self, item: dict[str, Any]) -> bool:
        return any(self.named(item.get(name)) for name in _NAMES)

    def document(self, text: str) -> str:
        """`json` of a JSON document, `text` of any other; the same text where nothing changes."""
        if not self.perhaps_in(text):
            return text
        try:
            before = json.loads(text)
        except ValueError:
            return self.text(text)
        after = self.json(before)
        return text if after == before else json.dumps(after, indent=1 if "\n" in text else None)


def _is_list(name: str, text: str) -> bool:
    return name in _LISTS or _RANKED.fullmatch(text) is not None


def without_pictures(text: str) -> str:
    """A Markdown text without the pictures that are part of it."""
    return _PICTURE.sub("(picture removed)", text)


def _forms(text: str) -> set[str]:
    """A text as it is, and as JSON writes it."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
