from __future__ import annotations

from html.parser import HTMLParser

import polars as pl

from pipeline.reports.pages.page import Page, Section, cell

TABLE = pl.DataFrame({"name": ["a|b", "<c>"], "value": [0.123456, None]})
PAGE = Page.of(
    "One & two", "Lead.", [Section("First", "Text.\n\nMore.", TABLE), Section("Nothing"), Section("Last", "x")]
)


def test_sections_without_anything_are_left_out() -> None:
    assert [section.heading for section in PAGE.sections] == ["First", "Last"]
    assert Page.of("t", "", [Section("empty table", "", TABLE.clear())]).sections == ()


def test_a_legend_is_said_of_a_table_only() -> None:
    assert Section("a", "", TABLE.clear(), legend="of the table").empty
    assert Section("a", "text", TABLE.clear(), legend="of the table").words == "text"
    assert Section("a", "text", TABLE, legend="of the table").words == "text\n\nof the table"


def test_markdown_holds_tables_whose_cells_cannot_break_them() -> None:
    assert PAGE.markdown() == (
        "# One & two\n\nLead.\n\n## First\n\nText.\n\nMore.\n\n"
        "| name | value |\n| --- | ---: |\n| a\\|b | 0.1235 |\n| <c> | – |\n\n## Last\n\nx\n"
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href"}  # it loads nothing

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_is_escaped_and_loads_nothing() -> None:
    found = _Tags()
    found.feed(PAGE.html())
    assert found.tags.count("td") == 4
    assert found.tags.count("h2") == 2
    assert "script" not in found.tags
    assert {"a|b", "<c>", "0.1235", "–", "One & two"} <= set(found.texts)


def test_values_are_kept_whole_in_the_data() -> None:
    assert PAGE.to_dict()["sections"][0]["table"] == TABLE.to_dicts()
    assert cell(1234567.0) == "1.235e+06"
    assert cell(7) == "7"


def test_cells_are_for_people() -> None:
    assert [cell(value) for value in (None, 1234567, 1234.5678, True, "9876")] == [
        "–",
        "1,234,567",
        "1235",
        "True",
        "9876",
    ]
