"""The barrier of time holds: no code outside of it can reach an event that happens at t or later.

The rules look at the syntax tree of every module, and the first tests show that each of them finds what it forbids.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import feature_assets
import pipeline
from feature_assets.data.known import DIMENSIONS

ROOT = Path(feature_assets.__file__).parent
EVENTS = ("events/barrier.py", "events/view.py", "events/window.py", "events/columns.py", "events/ragged.py")
GUARDED = ("data/tables.py", "data/encoding.py", "data/lines.py", *EVENTS)
"""The barrier: the cut at t, its two accessors, the columns behind them, and the tables. No other module may look into
their classes."""

TABLES = (
    "feature_assets.data.tables",
    "feature_assets.data.encoding",
    "feature_assets.data.lines",
    "feature_assets.sources",
    "feature_assets.events.barrier",
)
FUTURE = "feature_assets.events.window"
TIMES = {"at", "on", "as_of", "opened_on", "closed_on", "starts_on", "ends_on", "joined_on"}
"""Columns that say when something happened or became known."""
NOW = {"as_of", "day", "instant"}
"""Attributes of a View that say where t lies."""
REFLECTION = {"getattr", "setattr", "vars", "object", "__dict__", "__getattribute__", "attrgetter"}


def private_names() -> set[str]:
    """Private attributes and methods of the guarded classes."""
    found = set()
    for name in GUARDED:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
                found |= {
                    n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                }
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def reaches_inside(tree: ast.AST, private: set[str]) -> Iterator[str]:
    """Private attributes of a guarded class that are read from outside, by a dot or by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private:
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                yield f"line {node.lineno}: private attribute {node.attr}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in private:
            yield f"line {node.lineno}: private attribute {node.value} by name"


def reflects(tree: ast.AST) -> Iterator[str]:
    """Ways to an attribute that the rule above cannot see."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFLECTION:
            yield f"line {node.lineno}: {node.func.id}(…)"
        if isinstance(node, ast.Attribute) and node.attr in REFLECTION:
            yield f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if "inspect" in names or "gc" in names or REFLECTION & set(names):
                yield f"line {node.lineno}: reflection"


def imported(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, node.module or "", alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)


def opens_tables(tree: ast.AST) -> Iterator[str]:
    """Imports by which a group could read tables, or the future, past its View."""
    for line, module, name in imported(tree):
        whole = f"{module}.{name}" if name else module
        if any(whole == t or whole.startswith(f"{t}.") for t in (*TABLES, FUTURE)):
            yield f"line {line}: import of {whole}"
        if name == "Tables":
            yield f"line {line}: import of Tables"
        if module in ("feature_assets.data", "feature_assets.events", "feature_assets") and name in (
            "tables",
            "encoding",
            "barrier",
            "window",
            "sources",
            "data",
            "events",
        ):
            yield f"line {line}: import of {whole}"
        if module.split(".")[0] == "importlib" or name == "__import__":
            yield f"line {line}: import by name"


def _mentions_time(node: ast.AST) -> bool:
    """Whether an expression has a column of times, or t itself, in it."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in TIMES:
            return True
        if isinstance(part, ast.Attribute) and part.attr in NOW | TIMES and part.attr != "day":
            return True
        if isinstance(part, ast.Attribute) and part.attr == "day" and isinstance(part.value, ast.Name):
            return True
    return False


COMPARISONS = {"is_between", "lt", "le", "gt", "ge", "searchsorted", "less", "less_equal", "greater", "greater_equal"}


def compares_times(tree: ast.AST) -> Iterator[str]:
    """Comparisons with an instant: an operator between times, or a method that stands for one."""
    for node in ast.walk(tree):
        sides: list[ast.AST] = []
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops
        ):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COMPARISONS:
            sides = [node.func.value, *node.args]
        if any(_mentions_time(side) for side in sides):
            yield f"line {node.lineno}: comparison with a time"  # type: ignore[attr-defined]  # expressions have one


def faults_of_a_group(source: str) -> list[str]:
    """Every way by which the source of a group gets around its View."""
    tree = ast.parse(source)
    rules = (reaches_inside(tree, private_names()), reflects(tree), opens_tables(tree), compares_times(tree))
    return [fault for rule in rules for fault in rule]


BACK_DOORS = {
    "private attribute of the view": "def read(view):\n    return view._tables.frames['transactions']\n",
    "the same of inputs": "def read(inputs):\n    return inputs.view._tables\n",
    "private cut": "def read(view):\n    return view._rows(view)\n",
    "private attribute of events": "def read(view):\n    return view.purchases.columns._rows\n",
    "by name": "def read(view):\n    return getattr(view, '_tables')\n",
    "by a built name": "def read(view, name):\n    return getattr(view, name)\n",
    "by its dictionary": "def read(view):\n    return vars(view)['x']\n",
    "by __dict__": "def read(view):\n    return view.__dict__\n",
    "by operator": "from operator import attrgetter\n",
    "tables": "from feature_assets.data.tables import Tables\n",
    "tables as a module": "import feature_assets.data.tables as t\n",
    "tables from the package": "from feature_assets.data import tables\n",
    "tables under another name": "from somewhere import Tables as Frames\n",
    "encoded rows": "from feature_assets.data.lines import Lines\n",
    "a delivery": "from feature_assets.sources import load_tables\n",
    "the future": "from feature_assets.events.window import Window\n",
    "the future from the package": "from feature_assets.events import window\n",
    "the cut itself": "from feature_assets.events.barrier import rows_between\n",
    "an import by name": "import importlib\n",
    "an instant": "def read(view, frame):\n    return frame.filter(pl.col('at') < view.instant)\n",
    "a day": "def read(view, frame):\n    return frame.filter(pl.col('on') <= view.as_of)\n",
    "another way round": "def read(view, frame):\n    return frame.filter(view.as_of > frame['closed_on'])\n",
    "a range": "def read(view, frame, a, b):\n    return frame.filter(pl.col('at').is_between(a, b))\n",
    "arrays": "def read(view, days):\n    return days < view.day\n",
}


@pytest.mark.parametrize("name", list(BACK_DOORS))
def test_a_back_door_is_found(name: str) -> None:
    assert faults_of_a_group(BACK_DOORS[name]) != []


def test_honest_work_is_no_back_door() -> None:
    honest = (
        "from feature_assets.events.view import View\n"
        "from feature_assets.data.codes import Codes\n"
        "def read(view: View):\n"
        "    bought = view.purchases.recent(28)\n"
        "    spend = view.events('transactions', ('amount',)).sum_of('amount', 7)\n"
        "    views = sorted([view], key=lambda v: v.as_of)\n"
        "    return bought.where(bought.days_ago <= 7).count(), spend, view.joined_days(90)\n"
    )
    assert faults_of_a_group(honest) == []


LIST = ROOT / "groups" / "__init__.py"  # names the modules of the groups and imports them; it has no View
GROUPS = sorted(set((ROOT / "groups").rglob("*.py")) - {LIST})


@pytest.mark.parametrize("file", GROUPS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_group_gets_around_its_view(file: Path) -> None:
    assert faults_of_a_group(file.read_text(encoding="utf-8")) == []


def _outside() -> list[Path]:
    files = [*ROOT.rglob("*.py"), *Path(pipeline.__file__).parent.rglob("*.py")]
    inside = {ROOT / name for name in GUARDED}
    return sorted(set(files) - inside)


def test_nobody_looks_into_views_and_tables() -> None:
    private, faults = private_names(), {}
    assert {"_tables", "_rows", "_frame"} <= private
    for file in _outside():
        found = list(reaches_inside(ast.parse(file.read_text(encoding="utf-8")), private))
        if found:
            faults[str(file)] = found
    assert faults == {}


def test_one_module_compares_a_row_with_t() -> None:
    files = sorted((ROOT / "events").glob("*.py"))
    comparing = [f.name for f in files if list(compares_times(ast.parse(f.read_text(encoding="utf-8"))))]
    assert comparing == ["barrier.py"]


def test_labels_open_no_frame_of_events() -> None:
    """The past through View, the future through Window: of the tables themselves labels read things and sizes only."""
    for file in sorted((ROOT / "labels").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        opened = [n for n in ast.walk(tree) if isinstance(n, ast.Subscript) and _is_frames(n.value)]
        assert [ast.unparse(n) for n in opened if ast.literal_eval(n.slice) not in DIMENSIONS] == [], file.name
        assert not any(isinstance(n, ast.Attribute) and n.attr in ("encoding", "transactions") for n in ast.walk(tree))


def _is_frames(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "frames"
