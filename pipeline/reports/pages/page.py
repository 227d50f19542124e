"""A page: a title, sections of text, lists, tables and charts, and its forms (Markdown, HTML, JSON values)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.reports.pages.chart import Chart, short

Form = Literal["markdown", "html", "json"]


@dataclass(frozen=True)
class Item:
    """A line of a list: what it is about, words, what to do, and where it leads to; all but the first may be empty."""

    what: str
    words: str = ""
    do: str = ""
    address: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, text (paragraphs are apart by an empty line), items of a list, a table and charts, each of which may
    be empty; `legend` is text that says something of the table only. A section that is `under` belongs to the one
    before it. The table of a `folded` one opens on demand."""

    heading: str
    text: str = ""
    table: pl.DataFrame | None = None
    legend: str = ""
    items: tuple[Item, ...] = ()
    charts: tuple[Chart, ...] = ()
    under: bool = False
    folded: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.text or self.items or self.charts or self.tabled)

    @property
    def tabled(self) -> bool:
        """Whether its table has a row."""
        return self.table is not None and not self.table.is_empty()

    @property
    def words(self) -> str:
        """Its text, and the legend of a table that has rows."""
        return "\n\n".join(part for part in (self.text, self.legend if self.tabled else "") if part)


@dataclass(frozen=True)
class Page:
    """A page; sections that say nothing are left out."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    @classmethod
    def of(cls, title: str, lead: str, sections: Sequence[Section]) -> "Page":
        """Without the sections that are empty."""
        return cls(title, lead, tuple(section for section in sections if not section.empty))

    def markdown(self) -> str:
        """The page as Markdown."""
        parts = [f"# {self.title}", self.lead]
        for section in self.sections:
            parts += [f"{'###' if section.under else '##'} {section.heading}", section.words]
            parts.append("\n".join(_markdown_item(item) for item in section.items))
            if section.table is not None and section.tabled:
                parts.append(_markdown_table(section.table))
        return "\n\n".join(part for part in parts if part) + "\n"

    def html(self) -> str:
        """The page as one HTML file that loads nothing. It follows the reader's light or dark colours, and the width of
        a phone."""
        return templates().get_template("page.html.j2").render(page=self)

    def to_dict(self) -> dict[str, Any]:
        """The page as JSON values; a table is a list of rows."""
        return {
            "title": self.title,
            "lead": self.lead,
            "sections": [
                {
                    "heading": s.heading,
                    "text": s.words,
                    "table": [] if s.table is None else s.table.to_dicts(),
                    **({"items": [asdict(item) for item in s.items]} if s.items else {}),
                    **({"charts": [asdict(chart) for chart in s.charts]} if s.charts else {}),
                }
                for s in self.sections
            ],
        }


@cache
def templates(*folders: Path) -> Environment:
    """The templates in some folders, and after them those of this one: what pages share, and their style."""
    found = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,  # names come from data
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"cell": cell, "paragraphs": _paragraphs, "short": short}
    return found


def cell(value: object) -> str:
    """A value of a table for people: four significant digits, whole numbers in thousands, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _markdown_table(frame: pl.DataFrame) -> str:
    lines = [frame.columns, ["---:" if t.is_numeric() else "---" for t in frame.dtypes]]
    lines += [[cell(value) for value in row] for row in frame.iter_rows()]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)


def _markdown_item(item: Item) -> str:
    what = f"[{item.what}]({item.address})" if item.address else f"**{item.what}**"
    words = f": {item.words}" if item.words else ""
    return f"- {what}{words}{f' What to do: {item.do}' if item.do else ''}"


def _paragraphs(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part]
