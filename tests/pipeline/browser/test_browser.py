"""The browser of scores: what it shows, what it refuses, and that its pages are whole for a keyboard and a reader."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from pipeline.browser import csv_file
from pipeline.resources.lake import Lake
from pipeline.scores import reasons
from tests.pipeline.browser.small import DAYS, IDS, NOTICE, SCRIPT, TASKS, addresses_in, ask, browser, lake, scores


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def app(made: Lake) -> Any:
    return browser(made)


def rows(app: Any, address: str) -> list[dict[str, str]]:
    """The rows of a downloaded list."""
    answer = ask(app, address)
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def ids(app: Any, query: str) -> list[str]:
    return [row["customer_id"].removeprefix("'") for row in rows(app, f"/list.csv?{query}")]


def test_the_start_tells_what_the_scores_are(app: Any) -> None:
    page = ask(app, "/").text
    assert f"Scores as of {DAYS[1]}" in page
    for words in (NOTICE, "Shop", "version 3", "<dd>6</dd>", "No purchase"):
        assert words in page, words
    assert f"Scores as of {DAYS[0]}" in ask(app, f"/?as_of={DAYS[0]}").text


def test_a_list_shows_eligible_customers_highest_first(app: Any) -> None:
    assert ids(app, "task=churn") == ["=1+1", "77", "A-17", "123", "00123"]
    assert ids(app, "task=churn&direction=lowest")[0] == "00123"
    assert SCRIPT in ids(app, "task=churn&who=all")
    assert ids(app, "task=ltv&order=ltv__value_low&direction=lowest")[0] == "00123"
    page = ask(app, "/list?task=ltv").text
    assert "expected (currency)" in page
    assert 'aria-sort="descending"' in page


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("segment=warm", ["A-17"]),
        ("cluster=1", ["77", "123"]),
        ("uncertainty=0.2", ["123", "00123"]),
        ("fallback=yes", ["123"]),
        ("fallback=no&cluster=1", ["77"]),
        ("segment=&cluster=&uncertainty=&fallback=", ["=1+1", "77", "A-17", "123", "00123"]),
    ],
)
def test_filters(query: str, kept: list[str], app: Any) -> None:
    assert ids(app, f"task=churn&{query}") == kept


def test_filters_by_features_that_are_gone_or_of_another_state_are_refused(tmp_path: Path) -> None:
    made = lake(tmp_path)
    assert ask(browser(made), f"/list?task=churn&as_of={DAYS[0]}&cluster=1").status == 400
    assert 'name="cluster"' not in ask(browser(made), f"/?as_of={DAYS[0]}").text
    matrix = made.published("features/matrix")
    matrix.publish(matrix.read(DAYS[1]).with_columns(state_version=pl.lit("s2")), DAYS[1])
    assert ask(browser(made), "/list?task=churn&segment=warm").status == 400


def test_pages_of_a_list_follow_each_other(app: Any) -> None:
    first = ask(app, "/list?task=ltv&rows=4").text
    assert "Customers 1 to 4 of 6" in first
    [following] = {address for address in addresses_in(first) if address.startswith("/list?") and "page=2" in address}
    second = ask(app, following).text
    assert "Customers 5 to 6 of 6" in second
    assert "Page 2 of 2" in second
    assert ask(app, "/list?task=ltv&rows=4&page=3").status == 400


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/?date=2018-01-01", "unknown key &#39;date&#39;"),
        ("/?as_of=yesterday", "as_of: "),
        ("/list", "task: "),
        ("/list?task=chrn", "did you mean &#39;churn&#39;?"),
        ("/list?task=churn&task=ltv", "task stands twice"),
        ("/list?task=churn&rows=501", "less than or equal to 500"),
        ("/list?task=churn&page=0", "greater than or equal to 1"),
        ("/list?task=churn&uncertainty=nan", "uncertainty: "),
        ("/list?task=churn&order=run_id", "order: no &#39;run_id&#39; in this list"),
        ("/list?task=churn&order=churn__p'--", "in this list"),
        ("/list?task=churn&segment=rich", "&#39;anonymous&#39;, &#39;cold start&#39; or &#39;warm&#39;"),
        ("/list.csv?task=churn&who=me", "&#39;eligible&#39; or &#39;all&#39;"),
        ("/customer", "id: "),
        ("/customer?id=123&reasons=please", "&#39;yes&#39; or &#39;no&#39;"),
        ("/customer?id=123&sql=1", "unknown key"),
    ],
)
def test_what_is_not_allowed_is_a_plain_page_that_says_what_is(address: str, words: str, app: Any) -> None:
    answer = ask(app, address)
    assert answer.status == 400
    assert words in answer.text


def test_dates_without_scores_and_pages_that_are_not_there(app: Any, tmp_path: Path) -> None:
    missing = ask(app, "/?as_of=2018-01-03")
    assert (missing.status, "no scores of 2018-01-03" in missing.text) == (404, True)
    assert ask(app, "/lists").status == 404
    empty = ask(browser(Lake(root=str(tmp_path))), "/")
    assert (empty.status, "run a night" in empty.text) == (404, True)


def test_altered_scores_are_named(tmp_path: Path) -> None:
    made = lake(tmp_path)
    made.published("scores").file(DAYS[1]).write_bytes(b"")
    answer = ask(browser(made), "/")
    assert (answer.status, "was altered: run the night" in answer.text) == (404, True)


def test_a_night_that_is_published_again_is_shown_at_once(tmp_path: Path) -> None:
    made = lake(tmp_path)
    app = browser(made)
    assert len(ids(app, "task=ltv")) == 6
    made.published("scores").publish(scores(DAYS[1]).head(2), DAYS[1])
    assert len(ids(app, "task=ltv")) == 2


def test_a_customer_has_predictions_in_natural_units_and_the_history_before_the_date(app: Any) -> None:
    page = ask(app, f"/customer?id=123&as_of={DAYS[1]}").text
    for words in ("-1.5 currency (-2 to 30)", "10.0% likely", "steady 75%, dormant 25%", "Show what moved"):
        assert words in page, words
    assert "The newest 50 of 56 rows known before 2018-01-02" in page
    assert "2018-01-01 23:59" in page
    assert "2018-01-02 0" not in page
    assert "2018-03-01" not in page
    assert "2018-02-28" not in page
    assert "DELI" in page
    assert "&lt;b&gt;HAM&lt;/b&gt;" in page
    earlier = ask(app, f"/customer?id=123&as_of={DAYS[0]}").text
    assert "2018-01-01 23:59" not in earlier
    assert "The newest 50 of 55 rows" in earlier


def test_reasons_are_computed_when_they_are_asked_for(made: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"explained": -1.0, "base": -0.2, "class": "", "rest": -0.1, "unexplained": 0.0}
    told = [{"source": "spend", "contribution": -0.8, "error": None}]
    asked: list[str] = []

    def found(_: pl.DataFrame, __: Path, customer: str) -> list[dict[str, Any]]:
        asked.append(customer)
        return [{"task": "churn", "unit": "log odds", "reasons": told, **own}]

    monkeypatch.setattr(reasons, "customer_reasons", found)
    tasks = [{**TASKS[0], "predicted_by": "network alone"}, *TASKS[1:]]
    app = browser(made, tasks)
    assert "Why: churn" not in ask(app, "/customer?id=123").text
    assert asked == []
    assert "Why: churn" in ask(app, "/customer?id=123&reasons=yes").text
    assert asked == ["123"]
    gone = ask(app, f"/customer?id=123&reasons=yes&as_of={DAYS[0]}").text
    assert f"No reasons: the features of {DAYS[0]} are no longer in the lake" in gone


def test_a_version_that_is_gone_leaves_the_scores(made: Lake) -> None:
    def gone(*_: object) -> Any:
        raise FileNotFoundError

    app = browser(made, tasks=gone)
    assert ask(app, "/list?task=ltv").status == 200
    page = ask(app, "/customer?id=123")
    assert (page.status, "version 3 of the model is no longer in MLflow" in page.text) == (200, True)


def test_an_unknown_id_is_answered_with_the_nearest_ones(app: Any) -> None:
    answer = ask(app, "/customer?id=0123")
    assert answer.status == 404
    assert "/customer?id=00123" in answer.text
    assert ask(app, "/customer?id=00123").status == 200
    assert ask(app, "/customer?id=").status == 404


def test_what_stands_in_the_data_is_text(app: Any) -> None:
    for address in ("/list?task=churn&who=all", f"/customer?id={quote(SCRIPT)}", f"/customer?id={quote(SCRIPT)}x"):
        page = ask(app, address).text
        assert "<script" not in page, address
        assert "&lt;script&gt;" in page, address


def test_nothing_in_the_file_is_a_formula_and_numbers_stay_numbers(app: Any) -> None:
    answer = ask(app, "/list.csv?task=ltv")
    assert answer.headers["content-disposition"] == f'attachment; filename="ltv_{DAYS[1]}.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    found = rows(app, "/list.csv?task=ltv")
    assert "'=1+1" in [row["customer_id"] for row in found]
    assert "00123" in [row["customer_id"] for row in found]
    assert {row["ltv__value"] for row in found} >= {"-2.5", "-1.5"}
    assert found[0]["as_of"] == DAYS[1]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "\r=1", "\n@a", "＝1", "-", "|cmd"])
def test_texts_that_begin_as_formulas_are_marked_as_texts(text: str) -> None:
    frame = pl.DataFrame({"name": [text, "a=1"], "list": [[text, "b"], ["c"]], "number": [-1.5, 2.0]})
    found = csv_file.harmless(frame)
    assert found["name"].to_list() == [f"'{text}", "a=1"]
    assert found["list"].to_list() == [f"'{text} b", "c"]
    assert found["number"].to_list() == [-1.5, 2.0]


def test_a_long_file_has_one_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "ROWS", 2)
    text = b"".join(csv_file.parts(pl.DataFrame({"n": range(5)}))).decode()
    assert text == "\ufeffn\n0\n1\n2\n3\n4\n"
    assert b"".join(csv_file.parts(pl.DataFrame({"n": []}))).decode() == "\ufeffn\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_address_is_only_read(method: str, app: Any) -> None:
    for address in ("/", "/list?task=churn", "/list.csv?task=churn", "/customer?id=123"):
        assert ask(app, address, method).status == 405


def test_the_guard_is_that_of_dagsters_pages(made: Lake) -> None:
    app = browser(made, guarded=True)
    assert ask(app, "/").status == 200
    assert ask(app, "/", host="elsewhere.example").status == 403
    assert ask(app, "/", origin="https://elsewhere.example").status == 403
    assert ask(app, "/list.csv?task=churn", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status == 403


def test_every_answer_forbids_scripts_and_frames(app: Any) -> None:
    for address in (
        "/",
        "/list?task=churn",
        "/list.csv?task=churn",
        "/customer?id=1",
        "/nothing",
        "/?x=1",
        "/style.css",
    ):
        headers = ask(app, address).headers
        assert "default-src 'none'" in headers["content-security-policy"], address
        assert "frame-ancestors 'none'" in headers["content-security-policy"], address
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer"), address


class _Page(HTMLParser):
    """What a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [given for tag, given in self.tags if tag in names]


def test_every_page_that_a_link_leads_to_is_there_and_whole(app: Any) -> None:
    """Also: one h1, a title, a language; labels, captions and scopes; no id twice; nothing inline."""
    waiting, seen = ["/", "/customer?id=none", "/?x=1"], set()
    while waiting:
        address = waiting.pop()
        if address in seen or len(seen) > 250:
            continue
        seen.add(address)
        answer = ask(app, address)
        assert answer.status == (200 if "none" not in address and "x=1" not in address else answer.status), address
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        waiting += addresses_in(answer.text)
        page = _Page(answer.text)
        assert len(page.named("h1")) == 1, address
        assert page.named("html") == [{"lang": "en"}]
        assert len(page.named("title")) == len(page.named("main")) == 1
        assert len(page.named("table")) == len(page.named("caption")), address
        assert all("scope" in cell for cell in page.named("th")), address
        named = [given["id"] for _, given in page.tags if "id" in given]
        assert len(named) == len(set(named)), address
        labelled = {label["for"] for label in page.named("label")}
        assert {field.get("id") for field in page.named("input", "select")} == labelled, address
        assert page.named("script", "style") == []
        assert not [given for _, given in page.tags if any(key.startswith("on") or key == "style" for key in given)]
    assert {address.partition("?")[0] for address in seen} >= {"/", "/list", "/list.csv", "/customer", "/style.css"}
    assert sum(address.startswith("/customer?id=") for address in seen) >= len(IDS)
