"""Customers in texts: what names one goes, what is the same text by chance stays."""

from __future__ import annotations

import json

import pytest

from pipeline.erasure.words import GONE, Who, without_pictures

LONG, SHORT = Who.of(["household-77"]), Who.of(["5"])


@pytest.mark.parametrize(
    ("who", "text", "left"),
    [
        (LONG, "see household-77, household-778 and my-household-77", f"see {GONE}, household-778 and my-{GONE}"),
        (SHORT, "5 rows of 15, customer 5 has 5", f"5 rows of 15, customer {GONE} has 5"),
        (
            SHORT,
            "customer_id=5, customer_id=50, customer_id=5.5",
            f"customer_id={GONE}, customer_id=50, customer_id=5.5",
        ),
        (SHORT, "nothing", "nothing"),
    ],
)
def test_words_of_a_text(who: Who, text: str, left: str) -> None:
    assert who.text(text) == left


def test_rows_of_a_table_about_a_customer_go_and_numbers_stay() -> None:
    table = "rows\n| customer_id | n |\n|---|---|\n| 5 | 1 |\n| 6 | 5 |\n\n| n |\n|---|\n| 5 |"
    assert SHORT.text(table) == "rows\n| customer_id | n |\n|---|---|\n| 6 | 5 |\n\n| n |\n|---|\n| 5 |"


def test_a_ranked_list_loses_its_part_under_any_name() -> None:
    table = "| task | whoever |\n|---|---|\n| churn | 6 (0.9), 5 (0.8), 55 (0.1) |"
    assert SHORT.text(table).endswith("| churn | 6 (0.9), 55 (0.1) |")
    assert SHORT.json({"whoever": "5 (0.8), 6 (1e-5)", "strongest in": "7, 5"}) == {
        "whoever": "6 (1e-5)",
        "strongest in": "7",
    }


def test_a_delivered_row_that_is_shown_goes() -> None:
    table = (
        '| reason | row |\n|---|---|\n| r | {"customer_id":"5","amount":3} |\n| r | {"customer_id":"6","amount":5} |'
    )
    assert '"5"' not in SHORT.text(table)
    assert '"6","amount":5' in SHORT.text(table)


def test_places_of_a_document_that_name_a_customer() -> None:
    document = {
        "examples": [{"customer_id": 5, "x": 1}, {"customer_id": 6, "x": 5}],
        "customer": "5",
        "count": 5,
        "columns": ["customer_id", "x"],
        "data": [[5.0, 1], ["6", 5]],
    }
    assert SHORT.json(document) == {
        "examples": [{"customer_id": 6, "x": 5}],
        "customer": GONE,
        "count": 5,
        "columns": ["customer_id", "x"],
        "data": [["6", 5]],
    }
    same = json.dumps({"count": 5, "b": [1.5, None]})
    assert SHORT.document(same) == same, "byte for byte where nothing changes"


def test_an_id_in_any_form_is_found_as_it_is_escaped() -> None:
    strange = Who.of(['Å"77/é-long'])
    text = json.dumps({"x": 'of Å"77/é-long'})
    assert json.loads(strange.document(text)) == {"x": f"of {GONE}"}


def test_a_picture_goes_and_the_text_around_it_stays() -> None:
    assert without_pictures("a ![p](data:image/png;base64,AA==) b") == "a (picture removed) b"
