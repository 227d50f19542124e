"""Expressions mean what Python's of the same text do, and nothing outside of the subset is parsed."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.expressions import Columns, Reading, parse, sure

COLUMNS = Columns(
    lambda name: Reading(pl.col(name).cast(pl.Float64, strict=False), pl.col(name) == "?"),
    lambda name: sure(pl.col(name)),
)
NUMBERS = st.one_of(st.sampled_from(["a", "b", "column('the c')"]), st.integers(0, 9).map(str))
TERMS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"abs({t})"),
        inner.map(lambda t: f"(-{t})"),
        st.tuples(inner, inner, inner, st.sampled_from(["<", ">=", "=="])).map(
            lambda t: f"({t[0]} if {t[1]} {t[3]} {t[2]} else 0)"
        ),
    ),
    max_leaves=8,
)


@given(TERMS, st.tuples(*[st.integers(-5, 5)] * 3))
@settings(max_examples=100, deadline=None)
def test_numbers_are_those_of_python(text: str, values: tuple[int, int, int]) -> None:
    frame = pl.DataFrame({name: [str(v)] for name, v in zip(("a", "b", "the c"), values, strict=True)})
    names = dict(zip(("a", "b", "the c"), values, strict=True))
    expected = eval(text, {"abs": abs, "column": names.get, **names})  # noqa: S307 — the oracle of a test
    assert frame.select(parse(text).number(COLUMNS).value).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("s == 'x'", [True, False, False]),
        ("s != 'x'", [False, True, True]),
        ("s in ['x', 'y']", [True, True, False]),
        ("s not in ['x']", [False, True, True]),
        ("missing(s)", [False, False, True]),
        ("n > 1", [False, True, False]),
        ("n >= 1 and not s == 'y'", [True, False, False]),
        ("n < 2 or missing(n)", [True, False, True]),
        ("n in [-1, 2]", [False, True, False]),
        ("n / 2 == 1", [False, True, False]),
    ],
)
def test_conditions_with_missing_values(text: str, kept: list[bool]) -> None:
    frame = pl.DataFrame({"s": ["x", "y", None], "n": ["1", "2", None]})
    expression = parse(text)
    assert expression.condition
    assert frame.select(expression.flag(COLUMNS).value).to_series().to_list() == kept


def test_what_cannot_be_read_is_told_where_it_is_used() -> None:
    frame = pl.DataFrame({"n": ["1", "?", "?"], "s": ["x", "x", "y"]})
    choose = parse("n if s == 'x' else 0").number(COLUMNS)
    assert frame.select(choose.unread).to_series().to_list() == [False, True, False]


def test_names_and_rounding() -> None:
    assert parse("a + column('Unit Price') * a").columns == ("a", "Unit Price")
    frame = pl.DataFrame({"n": ["2.5", "-2.5", "1.005"]})
    assert frame.select(parse("round(n)").number(COLUMNS).value).to_series().to_list() == [3.0, -3.0, 1.0]
    assert math.isclose(frame.select(parse("round(n, 1)").number(COLUMNS).value)[1, 0], -2.5)


@pytest.mark.parametrize(
    "text",
    [
        "open('x')", "a.b", "a[0]", "lambda: 1", "[a for a in b]", "f'{a}'", "a if b else c", "a ** 2", "a % 2", "~a",
        "a < b < c", "1 in [1]", "a in []", "a in ['x', 1]", "True", "abs(a, b)", "round(a, b)", "column(a)",
        "a := 1", "a; b", "'x' + 'y'", "missing(1)", "a and b", "not a", "'x' == 1", "b'x' == a", "1j", "None", "...",
        "(" * 60 + "a" + ")" * 60 + "+" * 60, "-" * 40 + "a", "a" * 501, "",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|nests|characters"):
        parse(text)
