"""The class term: one function scores every class by the columns that measure it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from ple_model.config import ClassTermConfig, ModelConfig
from ple_model.experts.wide import Wide
from ple_model.inputs import Inputs
from ple_model.layers.class_term import ClassTerm
from ple_model.layers.members import by_member
from ple_model.model import PLEClusterAdaTT
from ple_model.tasks import TaskConfig

PLACES = ((0, 2), (3, -1), (-1, -1))
CONFIG = ClassTermConfig(context=3, embedding=2, hidden=(5,), rate=0.25)


def term_with_weights() -> ClassTerm:
    term = ClassTerm(CONFIG, PLACES, width=6)
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.normal_()
    return term


def test_it_is_zero_until_it_learns() -> None:
    assert not ClassTerm(CONFIG, PLACES, width=6)(torch.randn(9, 6), torch.ones(9, 4, dtype=torch.bool)).any()


def test_it_is_one_function_of_class_row_and_column() -> None:
    term, x, given = term_with_weights(), torch.randn(7, 6), torch.rand(7, 4) < 0.6
    found = term(x, given)
    first, last = term.network[0], term.last
    assert isinstance(first, torch.nn.Linear)
    for row in range(7):
        for k, places in enumerate(PLACES):
            there = [float(place >= 0 and given[row, place]) for place in places]
            values = [float(x[row, place]) * known for place, known in zip(places, there, strict=True)]
            own, context = term.own[k], term.context(x[row])
            read = torch.cat([torch.tensor(values), torch.tensor(there), context, own])
            expected = 0.25 * (F.silu(read @ first.weight.T + first.bias) @ last.weight[0])
            torch.testing.assert_close(found[row, k], expected)


def test_what_is_absent_is_never_read() -> None:
    term, x, given = term_with_weights(), torch.randn(5, 6), torch.ones(5, 4, dtype=torch.bool)
    given[:, 0] = False
    other = x.clone()
    other[:, 0] = 7.0
    with torch.no_grad():
        term.context.weight[:, 0] = 0.0
    torch.testing.assert_close(term(other, given), term(x, given))


def test_it_learns_of_all_classes_what_it_sees_of_some() -> None:
    """Who has never bought a class may take it up: seen of the first four classes, known of the last two."""
    classes, rows = 6, 4_000
    never = (torch.rand(rows, classes) < 0.4).float()
    label = torch.multinomial(never[:, :4] + 1e-6, 1).squeeze(1)
    torch.manual_seed(0)
    term = ClassTerm(ClassTermConfig(rate=1.0), tuple((k,) for k in range(classes)), width=classes)
    with torch.no_grad():
        term.own.zero_()
    optimizer = torch.optim.Adam([p for n, p in term.named_parameters() if n != "own"], lr=0.01)
    given = torch.ones(rows, classes, dtype=torch.bool)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(term(never, given)[:, :4], label).backward()
        optimizer.step()
    scores = term(never, given).detach()
    apart = (scores * never).sum(0) / never.sum(0) - (scores * (1 - never)).sum(0) / (1 - never).sum(0)
    assert (apart > 2).all(), apart


def test_it_is_added_to_every_member_of_its_task(model_config: ModelConfig, make_inputs: Callable[..., Inputs]) -> None:
    inputs, data = make_inputs(20), model_config.to_dict()
    data["transfer"] = {**data["transfer"], "relations": []}  # a transfer carries it on to other tasks
    model = PLEClusterAdaTT(ModelConfig.from_dict({**data, "members": 2})).eval()
    model.fit_inputs(inputs)
    assert set(model.classes) == {"channel"}
    before, wide, term = model(inputs).predictions, model.experts["wide"], model.classes["channel"]
    assert isinstance(wide, Wide)
    with torch.no_grad():
        term.last.weight.normal_()
    given = inputs.features_mask[:, list(model.config.inputs.present)]
    after, want = model(inputs).predictions, term(wide.encode(inputs), given)
    assert want.any()
    for name, raw in after.items():
        for change in by_member(raw - before[name], 2):
            expected = want if name == "channel" else torch.zeros_like(change)
            torch.testing.assert_close(change, expected, atol=1e-4, rtol=1e-4)


def test_columns_of_classes_are_checked(model_config: ModelConfig) -> None:
    task = {"name": "where", "kind": "multiclass", "group": "a", "loss": "nll", "out": 3}
    for wrong in ([[0], [1]], [[0], [1], [2, 3]]):
        with pytest.raises(ValueError, match="a line of columns for each of 3 classes"):
            TaskConfig.from_dict({**task, "by_class": wrong})
    data = model_config.to_dict()
    data["tasks"] = [{**t, "by_class": [[4], [0], [1]]} if t["name"] == "channel" else t for t in data["tasks"]]
    with pytest.raises(ValueError, match=r"channel.*not present"):  # column 4 is not among the data set's
        ModelConfig.from_dict(data)
