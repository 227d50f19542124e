"""Expressions in a description of a data set: a safe subset of Python's, parsed and never evaluated as code.

Columns by their names (`quantity * price`), or `column("Unit Price")` where a name is no plain word; numbers, texts;
`+ - * /`, `abs(x)`, `round(x, digits)`, `x if condition else y`; conditions by `== != < <= > >=`, `in [...]`, `not in`,
`missing(x)`, `and`, `or`, `not`. A comparison with a text compares texts, any other one numbers. A missing value makes
a number missing and a comparison false, but `!=` and `not in`, which it makes true. What a value looks like as a number
belongs to the caller. Source: DATA §1.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

MOST = 500  # characters of an expression
DEEPEST = 30  # nested operations
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip
ALLOWED = (
    "columns, numbers, texts, + - * /, abs(), round(), missing(), column('any name'), comparisons, in [...], and, or, "
    "not, 'x if condition else y'"
)


@dataclass(frozen=True)
class Reading:
    """A value of a row, and where it could not be read.

    Attributes:
        value: expression over the columns of a file.
        unread: true where the value is there and could not be read.
    """

    value: pl.Expr
    unread: pl.Expr


def sure(value: pl.Expr) -> Reading:
    """A reading that cannot fail."""
    return Reading(value, pl.lit(False))


@dataclass(frozen=True)
class Columns:
    """How columns of a file are read.

    Attributes:
        number: name → reading as a number.
        text: name → reading as text.
    """

    number: Callable[[str], Reading]
    text: Callable[[str], Reading]


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Attributes:
        text: as it was written.
        columns: names of the columns that it reads, in the order of their first mention.
        condition: whether it is true or false rather than a number or a text.
    """

    text: str
    tree: ast.expr
    columns: tuple[str, ...]
    condition: bool

    def number(self, columns: Columns) -> Reading:
        """Its value as a number."""
        return _number(self.tree, columns)

    def flag(self, columns: Columns) -> Reading:
        """Its value as true or false."""
        return _flag(self.tree, columns)


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        ValueError: it is no expression, or not of the safe subset; says which part and what is allowed.
    """
    if len(text) > MOST:
        raise ValueError(f"the expression has {len(text)} characters, at most {MOST} are allowed")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = " (== compares)" if re.search("[^=!<>]=[^=]", text) else ""
        raise ValueError(f"{text!r} is no expression{hint}; allowed are {ALLOWED}") from None
    names: dict[str, None] = {}
    kind = _kind(tree, text, names, 0)
    return Expression(text, tree, tuple(names), kind == "condition")


def _refuse(node: ast.AST, text: str, why: str = "is not allowed") -> ValueError:
    part = ast.get_source_segment(text.strip(), node) or text
    return ValueError(f"{part!r} {why} in an expression; allowed are {ALLOWED}")


def _kind(node: ast.expr, text: str, names: dict[str, None], depth: int) -> str:
    """number, text, condition or column; refuses whatever is none of them. Collects names of columns."""
    if depth > DEEPEST:
        raise ValueError(f"the expression nests more than {DEEPEST} operations")

    def kind(child: ast.expr) -> str:
        return _kind(child, text, names, depth + 1)

    def want(child: ast.expr, *kinds: str) -> None:
        if kind(child) not in kinds:
            raise _refuse(child, text, f"is no {kinds[0]}, which is needed here,")

    match node:
        case ast.Constant(value=str()):
            return "text"
        case ast.Constant(value=bool()):
            raise _refuse(node, text)
        case ast.Constant(value=int() | float()):
            return "number"
        case ast.Name(id=name):
            names[name] = None
            return "column"
        case ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[]):
            names[name] = None
            return "column"
        case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
            want(inner, "number", "column")
            return "number"
        case ast.Call(func=ast.Name(id="round"), args=[inner, *digits], keywords=[]) if len(digits) <= 1 and all(
            isinstance(d, ast.Constant) and type(d.value) is int and 0 <= d.value <= 12 for d in digits
        ):
            want(inner, "number", "column")
            return "number"
        case ast.Call(func=ast.Name(id="missing"), args=[inner], keywords=[]):
            want(inner, "column")
            return "condition"
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            want(inner, "number", "column")
            return "number"
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            want(inner, "condition")
            return "condition"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            want(left, "number", "column")
            want(right, "number", "column")
            return "number"
        case ast.BoolOp(values=values):
            for value in values:
                want(value, "condition")
            return "condition"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            want(test, "condition")
            want(body, "number", "column")
            want(orelse, "number", "column")
            return "number"
        case ast.Compare(
            left=left, ops=[ast.In() | ast.NotIn()], comparators=[ast.List(elts=elts) | ast.Tuple(elts=elts)]
        ):
            want(left, "column")
            if {kind(each) for each in elts} not in ({"text"}, {"number"}) or not all(map(_is_literal, elts)):
                raise _refuse(node, text, "needs a list of texts or a list of numbers")
            return "condition"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS and not isinstance(
            op, ast.In | ast.NotIn
        ):
            sides = {kind(left), kind(right)}
            if "condition" in sides or {"text", "number"} <= sides:
                raise _refuse(node, text, "compares what cannot be compared")
            return "condition"
    raise _refuse(node, text)


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.args[0].value  # type: ignore[attr-defined]  # `parse` let no other through


def _number(node: ast.expr, columns: Columns) -> Reading:
    match node:
        case ast.Constant(value=constant):
            return sure(pl.lit(float(constant), pl.Float64))  # type: ignore[arg-type]  # a number, says `parse`
        case ast.Name() | ast.Call(func=ast.Name(id="column")):
            return columns.number(_name(node))
        case ast.Call(func=ast.Name(id="abs"), args=[inner]):
            return _after(_number(inner, columns), pl.Expr.abs)
        case ast.Call(func=ast.Name(id="round"), args=[inner, *digits]):
            places = digits[0].value if digits else 0  # type: ignore[attr-defined]  # a literal, says `parse`
            return _after(_number(inner, columns), lambda value: value.round(places, mode="half_away_from_zero"))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _after(_number(inner, columns), lambda value: -value)
        case ast.UnaryOp(operand=inner):
            return _number(inner, columns)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            given, yes, no = _flag(test, columns), _number(body, columns), _number(orelse, columns)
            unread = given.unread | pl.when(given.value).then(yes.unread).otherwise(no.unread)
            return Reading(pl.when(given.value).then(yes.value).otherwise(no.value), unread)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _number(left, columns), _number(right, columns)
            match op:
                case ast.Add():
                    value = a.value + b.value
                case ast.Sub():
                    value = a.value - b.value
                case ast.Mult():
                    value = a.value * b.value
                case _:
                    value = a.value / b.value
            return Reading(value, a.unread | b.unread)
    raise TypeError(f"{ast.dump(node)} is no number")  # `parse` lets nothing else through


def _after(reading: Reading, step: Callable[[pl.Expr], pl.Expr]) -> Reading:
    return Reading(step(reading.value), reading.unread)


def _flag(node: ast.expr, columns: Columns) -> Reading:
    match node:
        case ast.UnaryOp(operand=inner):
            return _after(_flag(inner, columns), lambda value: ~value)
        case ast.BoolOp(op=op, values=values):
            parts = [_flag(value, columns) for value in values]
            join = pl.all_horizontal if isinstance(op, ast.And) else pl.any_horizontal
            return Reading(join(*(p.value for p in parts)), pl.any_horizontal(*(p.unread for p in parts)))
        case ast.Call(args=[inner]):
            return sure(columns.text(_name(inner)).value.is_null())
        case ast.Compare(
            left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[ast.List() | ast.Tuple() as among]
        ):
            listed: list[Any] = [ast.literal_eval(each) for each in among.elts]
            texts = isinstance(listed[0], str)
            read = columns.text(_name(left)) if texts else _number(left, columns)
            found = read.value.is_in(listed if texts else [float(v) for v in listed]).fill_null(False)
            return Reading(found if isinstance(op, ast.In) else ~found, read.unread)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compared(left, COMPARISONS[type(op)], right, columns)
    raise TypeError(f"{ast.dump(node)} is no condition")


def _compared(left: ast.expr, op: str, right: ast.expr, columns: Columns) -> Reading:
    texts = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right))
    a, b = (_text(side, columns) if texts else _number(side, columns) for side in (left, right))
    x, y = a.value, b.value
    match op:
        case "==":
            value = (x == y).fill_null(False)
        case "!=":
            value = (x != y).fill_null(True)
        case "<":
            value = (x < y).fill_null(False)
        case "<=":
            value = (x <= y).fill_null(False)
        case ">":
            value = (x > y).fill_null(False)
        case _:
            value = (x >= y).fill_null(False)
    return Reading(value, a.unread | b.unread)


def _text(node: ast.expr, columns: Columns) -> Reading:
    return sure(pl.lit(node.value)) if isinstance(node, ast.Constant) else columns.text(_name(node))
