"""The page of a night: what it says, that it loads nothing, and that no name of the data can write in it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from pipeline.reports.pages.night import NightFacts, Scored, headline, night_page
from pipeline.reports.pages.page import Item

EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/x>{{ 7 * 7 }}"
DAY = date(2018, 1, 1)
TASKS = [
    {"name": "churn", "kind": "binary", "meaning": "No purchase.", "eligibility": "active ones", "window_days": 28},
    {"name": "ltv", "kind": "regression", "meaning": "Spend.", "unit": "log1p", "natural_unit": "currency"},
    {"name": "stage", "kind": "multiclass", "meaning": EVIL, "classes": [EVIL, "b"]},
]


def scored(day: date, rows: int, version: str = "2", shift: float = 0.0) -> Scored:
    p = np.linspace(0.1, 0.4, rows) + shift
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{at}" for at in range(rows)],
            "churn": p,
            "churn__fallback": [False] * rows,
            "churn__eligible": [True] * (rows // 2) + [False] * (rows - rows // 2),
            "ltv": np.log1p(p * 100),
            "ltv__value": p * 100,
            "ltv__fallback": [True] * rows,
            "ltv__eligible": [True] * rows,
            "stage": [EVIL] * (rows - 1) + ["b"],
            "stage__fallback": [False] * rows,
            "stage__eligible": [True] * rows,
            "model_version": [version] * rows,
        }
    )
    return Scored(day, frame)


FACTS = NightFacts(
    as_of=DAY,
    dataset=f"Shop {EVIL}",
    notice="Simulated: no customer exists.",
    looks=[Item("Check no_drift of drift warns", EVIL, "look at the asset")],
    tonight=scored(DAY, 300),
    before=scored(date(2017, 12, 31), 280, "1", 0.1),
    trained=date(2017, 12, 25),
    tasks=TASKS,
    evaluation={"table": [{"task": "churn", "metric": "AUC ↑", "model": "0.80 [0.70, 0.90]", "constant": "0.5 ▲"}]},
    ran="The job nightly took 32 seconds.",
    steps=pl.DataFrame(
        {
            "job": ["nightly"] * 4,
            "step": ["features/a", "features/b", "scores", "housekeeping"],
            "seconds": [1.0, 2.0, 7.25, 0.1],
            "rows": [300, 300, 300, None],
            "failed": [False, False, False, True],
        }
    ),
    volumes=({"transactions": 10, EVIL: 3}, {"transactions": 9}),
    quarantine=({"transactions": 1}, {}),
    skill=pl.DataFrame(
        {"scored": [date(2017, 12, 1)], "version": ["1"], "task": ["churn"], "metric": ["auc"], "rows": [120],
         "realised": [0.7654], "promised": [0.8]}
    ),
    drift=pl.DataFrame({"column": [EVIL], "index": [0.3]}),
    links=[Item("The run", address="http://127.0.0.1:3000/runs/1"), Item("Yesterday", address="../x/r.html")],
)  # fmt: skip


class Reader(HTMLParser):
    """What a browser would load, and what it would show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "href":
                self.links.append(value or "")
            if name in ("src", "srcset", "data", "poster", "xlink:href", "action"):
                self.loads.append(value or "")
            if name.startswith("on") or "url(" in (value or ""):
                self.handlers.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def loads_nothing(html: str) -> None:
    found = read(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"} & {*found.tags}
    assert found.loads == found.handlers == []
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert all(link.startswith(("http://127.0.0.1:", "../")) for link in found.links)


def test_the_page_loads_nothing_and_no_name_can_write_in_it() -> None:
    html = night_page(FACTS).html()
    loads_nothing(html)
    texts = "".join(read(html).texts)
    assert texts.count("<script>alert('x')</script>") >= 6, "title, look, meaning, class, table, drift: shown as text"
    assert "{{ 7 * 7 }}" in texts
    assert len(html.encode()) < 2 * 2**20
    assert "width=device-width" in html
    assert "prefers-color-scheme: dark" in html


def test_the_sections_are_in_the_order_in_which_one_asks() -> None:
    page = night_page(FACTS)
    assert page.title == (
        "Scores of 300 customers as of 2018-01-01 are published, by version 2 of the model, which was trained as of "
        "2017-12-25."
    )
    assert page.lead.startswith("1 thing needs a look.")
    assert [section.heading for section in page.sections] == [
        "What needs a look", "What ran", "What changed since the night before", "Rows of the delivery", "The tasks",
        "churn", "ltv", "stage", "The model beside simpler ones", "Drift", "Where to look further", "About the data",
    ]  # fmt: skip
    by = {section.heading: section for section in page.sections}
    steps = by["What ran"].table
    assert steps is not None
    assert steps["step"].to_list() == ["features", "scores", "housekeeping (failed)"]
    assert steps["seconds"].to_list() == [3.0, 7.2, 0.1]
    assert by["What changed since the night before"].text == (
        "The night before is 2017-12-31. The night before was scored by version 1, tonight by version 2. "
        "Customers: 300 scored (280 then), 20 new, 0 gone."
    )
    changed = by["What changed since the night before"].table
    assert changed is not None
    assert changed["tonight"].to_list()[:2] == ["17.5%", "25"]
    assert "Asked about 150 of 300 customers: active ones." in by["churn"].text
    assert "Realised: 0.7654 (2017-12-01, 120 customers)." in by["churn"].text
    assert "Mean prediction: 25 currency (night before: 35)" in by["ltv"].text
    tasks = by["The tasks"].table
    assert tasks is not None
    assert tasks["fallback"].to_list() == ["0.0%", "100.0%", "0.0%"]
    assert [len(by[name].charts) for name in ("churn", "ltv", "stage")] == [1, 1, 1]
    assert by["churn"].charts[0].across == "predicted probability"
    assert by["ltv"].charts[0].across == "prediction, currency"
    assert [*by["churn"].charts[0].series] == ["tonight", "night of 2017-12-31"]


@pytest.mark.parametrize(
    ("failure", "there", "words"),
    [
        ("scores: no disk", False, "The night of 2018-01-01 failed and no scores were published: scores: no disk"),
        (
            "scores: no disk",
            True,
            "failed and the scores of an earlier run (version 2) stay published: scores: no disk",
        ),
        ("", False, "There are no scores of 2018-01-01."),
    ],
)
def test_a_night_without_scores_says_so_first(failure: str, there: bool, words: str) -> None:
    facts = replace(FACTS, failure=failure, tonight=FACTS.tonight if there else None)
    assert words in headline(facts)
    loads_nothing(night_page(facts).html())


def test_a_night_of_which_nothing_is_known_is_a_page() -> None:
    page = night_page(NightFacts(DAY, "Shop", "Notice."))
    assert [section.heading for section in page.sections] == ["What needs a look", "About the data"]
    assert "Nothing needs a look" in page.html()


def test_a_large_night_is_a_small_page() -> None:
    tasks = [{**TASKS[0], "name": f"t{at}"} for at in range(40)]
    frame = pl.DataFrame({"customer_id": range(5_000), "model_version": ["1"] * 5_000}).with_columns(
        pl.Series(f"t{at}{suffix}", [value] * 5_000)
        for at in range(40)
        for suffix, value in (("", 0.5), ("__fallback", False), ("__eligible", True))
    )
    nights = {"tonight": Scored(DAY, frame), "before": Scored(DAY, frame)}
    drift = pl.DataFrame({"column": ["c" * 80] * 30, "index": [0.1] * 30})
    html = night_page(replace(FACTS, tasks=tasks, drift=drift, **nights)).html()
    assert len(html.encode()) < 2**20
    assert len(re.findall("<svg", html)) == 40
