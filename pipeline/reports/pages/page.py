"""A page: a title, sections of text and tables, and its forms (Markdown, HTML, JSON values)."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import polars as pl

Form = Literal["markdown", "html", "json"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .5em 0 1.5em } th, td { padding: .25em .7em; border-bottom: 1px solid #ddd }
th { text-align: left } td.number { text-align: right; font-variant-numeric: tabular-nums }
"""


@dataclass(frozen=True)
class Section:
    """A heading, text (paragraphs are apart by an empty line), and a table, each of which may be empty; `legend` is
    text that says something of the table only."""

    heading: str
    text: str = ""
    table: pl.DataFrame | None = None
    legend: str = ""

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not self.text and not self.tabled

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
            parts += [f"## {section.heading}", section.words]
            if section.table is not None and section.tabled:
                parts.append(_markdown_table(section.table))
        return "\n\n".join(part for part in parts if part) + "\n"

    def html(self) -> str:
        """The page as one HTML file that loads nothing."""
        parts = [f"<h1>{escape(self.title)}</h1>", _paragraphs(self.lead)]
        for section in self.sections:
            parts += [f"<h2>{escape(section.heading)}</h2>", _paragraphs(section.words)]
            if section.table is not None and section.tabled:
                parts.append(_html_table(section.table))
        body = "\n".join(part for part in parts if part)
        head = f'<meta charset="utf-8"><title>{escape(self.title)}</title><style>{_STYLE}</style>'
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'

    def to_dict(self) -> dict[str, Any]:
        """The page as JSON values; a table is a list of rows."""
        return {
            "title": self.title,
            "lead": self.lead,
            "sections": [
                {"heading": s.heading, "text": s.words, "table": [] if s.table is None else s.table.to_dicts()}
                for s in self.sections
            ],
        }


def cell(value: object) -> str:
    """A value of a table for people: four significant digits, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _markdown_table(frame: pl.DataFrame) -> str:
    lines = [frame.columns, ["---:" if t.is_numeric() else "---" for t in frame.dtypes]]
    lines += [[cell(value) for value in row] for row in frame.iter_rows()]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)


def _html_table(frame: pl.DataFrame) -> str:
    numbers = [t.is_numeric() for t in frame.dtypes]
    head = "".join(f"<th>{escape(name)}</th>" for name in frame.columns)
    rows = [
        "".join(
            f'<td class="number">{escape(cell(value))}</td>' if number else f"<td>{escape(cell(value))}</td>"
            for value, number in zip(row, numbers, strict=True)
        )
        for row in frame.iter_rows()
    ]
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part)
