"""A kind of task is one class: nothing else asks which kind it has, and every kind answers all questions alike."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.metrics import evaluate
from ple_model.tasks import KINDS, TaskConfig, kind_of
from tests.ple_model.catalogue import default_tasks, select
from tests.ple_model.evaluation.test_metrics import sample

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "binary": {"loss": "focal"},
    "multiclass": {"loss": "nll", "out": 6},
    "regression": {"loss": "huber"},
    "contrastive": {"loss": "infonce", "out": 8, "candidates": 20},
    "uplift": {"loss": "mse"},
}


def task(kind: str) -> TaskConfig:
    return TaskConfig(name="task", group="g", kind=kind, **SETTINGS[kind])


def decisions(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that decide by a value: sides of comparisons, keys of mappings, patterns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.MatchValue):
            yield node.value


def branches(source: str) -> list[int]:
    """Lines that decide by the name of a kind of task."""
    parts = [part for expression in decisions(ast.parse(source)) for part in ast.walk(expression)]
    return [part.lineno for part in parts if isinstance(part, ast.Constant) and part.value in tuple(KINDS)]


def test_the_search_for_branches_sees_them() -> None:
    assert branches('if task.kind == "binary":\n    pass') == [1]
    assert branches('if task.kind in ("binary", "regression"):\n    pass') == [1, 1]
    assert branches('width = {"multiclass": task.out}.get(task.kind, 1)') == [1]
    assert branches('match task.kind:\n    case "uplift":\n        pass') == [2]
    assert branches('kind = "binary"') == []


@pytest.mark.parametrize("package", ["ple_model", "pipeline"])
def test_no_module_decides_by_the_name_of_a_kind(package: str) -> None:
    found = {
        str(file.relative_to(ROOT)): lines
        for file in sorted((ROOT / package).rglob("*.py"))
        if "tasks" not in file.relative_to(ROOT).parts and (lines := branches(file.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_labels_and_score_columns_have_one_width(kind: str) -> None:
    predictions, labels = sample(kind, 200)
    settings, asked = task(kind), KINDS[kind]
    assert predictions.shape[1:] == asked.shape(settings)
    assert asked.constant(labels, asked.width(settings)).shape == asked.shape(settings)
    assert asked.base_values(labels, asked.width(settings)).shape == (200, max(asked.width(settings), 1))
    assert tuple(evaluate(asked, predictions, labels).values) == asked.metric_names()
    assert asked.headline.metric in asked.resampled
    assert isinstance(fit_calibrator(asked, predictions, labels), asked.calibrator(predictions))
    names = [f"name {i}" for i in range(asked.width(settings))]
    base = asked.base_values(labels, asked.width(settings)).mean(axis=0)
    columns = asked.score_columns(settings, asked.in_range(predictions), names, base)
    meanings = asked.score_meanings({"name": "task", "meaning": "spend next month", "unit": "USD"})
    assert {column.name for column in columns} <= meanings.keys()
    assert meanings["task"] == f"{asked.meaning_of_value} in USD: spend next month"
    assert [len(column) for column in columns] == [200] * len(columns)


def test_a_class_comes_with_its_probability_and_none_with_the_likeliest_other() -> None:
    kind, names = KINDS["multiclass"], ["apples", "pears", "none"]
    settings = TaskConfig(name="task", group="g", kind="multiclass", loss="nll", out=3, none_class="none")
    p = np.array([[0.2, 0.1, 0.7], [0.1, 0.6, 0.3], [0.5, 0.5, 0.0]])
    frame = pl.DataFrame(kind.score_columns(settings, p, names, [0.4, 0.2, 0.4]))
    assert frame.columns == ["task", "task__p", "task__probability", "task__next", "task__lift"]
    assert frame["task"].to_list() == ["none", "pears", "apples"]
    assert frame["task__probability"].to_list() == [0.7, 0.6, 0.5]
    assert frame["task__next"].to_list() == ["apples", "pears", "apples"]
    assert frame["task__lift"].to_list() == pytest.approx([0.5, 3.0, 1.25])
    never = pl.DataFrame(kind.score_columns(settings, p, names, [0.0, 0.2, 0.8]))  # no lift over a rate of 0
    assert never["task__next"].to_list() == ["pears"] * 3
    meanings = kind.score_meanings({"name": "task", "classes": names, "none_class": "none"})
    assert [*frame.columns, "task__set", "task__u", "task__fallback"] == list(meanings)
    assert "(apples, pears, none)" in meanings["task__p"]
    assert "other than 'none'" in meanings["task__next"]
    without = settings.model_copy(update={"none_class": None})
    assert pl.DataFrame(kind.score_columns(without, p, names, [0.4, 0.2, 0.4])).columns == frame.columns[:3]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"multiclass"}))
def test_only_exclusive_classes_can_mean_that_nothing_happens(kind: str) -> None:
    with pytest.raises(ValueError, match="no classes of which one could be none_class"):
        TaskConfig(name="task", group="g", kind=kind, none_class="none", **SETTINGS[kind])


def test_outputs_have_names_in_the_titles_of_their_metrics() -> None:
    names = ["food", "home"]
    assert [KINDS["uplift"].metric_title(m, names) for m in ("auuc", "qini_1", "top_uplift")] == [
        "auuc",
        "qini home",
        "top_uplift",
    ]
    assert KINDS["contrastive"].metric_title("recall_at_1", names) == "recall_at_1"


def test_reliability_curves_are_for_probabilities() -> None:
    p, y = sample("binary", 50)
    assert [list(side) for side in KINDS["binary"].curve(p, y) or ()] == [p.tolist(), y.tolist()]
    p, y = sample("multiclass", 50)
    curve = KINDS["multiclass"].curve(p, y)
    assert curve is not None
    assert curve[0] == pytest.approx(p.max(axis=1))
    assert curve[1].tolist() == (p.argmax(axis=1) == y).tolist()
    assert all(KINDS[kind].curve(*sample(kind, 50)) is None for kind in ("regression", "contrastive", "uplift"))


def test_only_brands_have_a_baseline_of_the_customers_own_past() -> None:
    counts, constant = np.array([[2, 0], [0, 1]]), np.array([0.5, 0.2])
    assert {kind for kind in KINDS if KINDS[kind].own_past(counts, constant) is not None} == {"contrastive"}


def test_class_counts_of_a_data_set_become_settings() -> None:
    tasks = select(["nba", "brand_prediction", "ltv", "category_uplift"], {"nba": 9, "brand_prediction": 321, "ltv": 4})
    assert [kind_of(t).width(t) for t in tasks] == [1, 9, 12, 321]
    assert {t.name: t.out for t in default_tasks() if kind_of(t).shape(t) == () and t.out != 1} == {}


def test_labels_of_every_kind_become_values_and_masks() -> None:
    columns = {
        "binary": ([1, None, 0], [1.0, 0.0, 0.0]),
        "multiclass": ([5, None, 2], [5, 0, 2]),
        "regression": ([0.5, None, -2.0], [0.5, 0.0, -2.0]),
        "contrastive": ([[3, 7], [], [1]], [[3, 7], [-1, -1], [1, -1]]),
        "uplift": ([0.5, None, -2.0], [0.5, 0.0, -2.0]),
    }
    for kind, (column, expected) in columns.items():
        values, mask = KINDS[kind].targets(task(kind), pl.Series("task", column))
        assert values.tolist() == expected
        assert mask.tolist() == [True, False, True]
