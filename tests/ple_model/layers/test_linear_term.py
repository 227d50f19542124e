"""The linear term: a linear function of the wide expert's columns that goes past experts and towers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ple_model.config import LinearTermConfig, ModelConfig
from ple_model.experts.wide import Wide
from ple_model.inputs import Inputs
from ple_model.layers.linear_term import LinearTerm
from ple_model.layers.members import by_member
from ple_model.model import PLEClusterAdaTT
from ple_model.tasks import TaskConfig

TASKS = [
    TaskConfig.from_dict({"name": "buys", "kind": "binary", "group": "a", "loss": "log_loss"}),
    TaskConfig.from_dict({"name": "where", "kind": "multiclass", "group": "a", "loss": "nll", "out": 4}),
]


def test_it_is_linear_and_zero_until_it_learns() -> None:
    term, x = LinearTerm(LinearTermConfig(rate=0.25), TASKS, 6), torch.randn(9, 6)
    assert not any(value.any() for value in term(x).values())
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.normal_()
    weight, bias = term.weights.weight, term.weights.bias
    found = term(x)
    torch.testing.assert_close(found["buys"], 0.25 * (x @ weight[:1].T + bias[:1]))
    torch.testing.assert_close(found["where"], 0.25 * (x @ weight[1:5].T + bias[1:5]))


def test_it_is_added_to_every_member_of_every_task_but_those_with_candidates(
    model_config: ModelConfig, make_inputs: Callable[..., Inputs]
) -> None:
    inputs, data = make_inputs(20), model_config.to_dict()
    data["transfer"] = {**data["transfer"], "relations": []}  # a transfer carries it on to other tasks
    config = ModelConfig.from_dict({**data, "members": 2})
    torch.manual_seed(0)
    model = PLEClusterAdaTT(config).eval()
    model.fit_inputs(inputs)
    before, wide = model(inputs).predictions, model.experts["wide"]
    assert model.linear is not None
    assert isinstance(wide, Wide)
    with torch.no_grad():
        model.linear.weights.weight.normal_()
    after, term = model(inputs).predictions, model.linear(wide.encode(inputs))
    assert {task.name for task in config.tasks if task.kind == "contrastive"} == set(before) - set(term)
    for name, raw in after.items():
        for change in by_member(raw - before[name], 2):
            want = term[name] if name in term else torch.zeros_like(change)
            torch.testing.assert_close(change, want, atol=1e-4, rtol=1e-4)


def test_without_the_wide_expert_there_is_none(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    data["experts"] = [e for e in data["experts"] if e["name"] != "wide"]
    assert PLEClusterAdaTT(ModelConfig.from_dict(data)).linear is None
