"""Experts of single tasks: plain networks of the task's own columns, and the mixture with the shared path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ple_model.config import ModelConfig, TaskExpertsConfig
from ple_model.experts.wide import Wide
from ple_model.inputs import Inputs
from ple_model.layers.members import by_member
from ple_model.layers.task_experts import TaskExperts, _all_at_once, _TaskByTask
from ple_model.model import PLEClusterAdaTT
from ple_model.tasks import TaskConfig

TASKS = [
    TaskConfig.from_dict({"name": "buys", "kind": "binary", "group": "a", "loss": "log_loss"}),
    TaskConfig.from_dict({"name": "where", "kind": "multiclass", "group": "a", "loss": "nll", "out": 3}),
]
PLACES = [[0, 4, 2], [1, 3]]


def experts_of(members: int = 2, **settings: float) -> TaskExperts:
    config = TaskExpertsConfig.from_dict({"hidden": 6, **settings})
    return TaskExperts(config, TASKS, PLACES, members)


def test_each_member_has_a_network_of_the_columns_of_its_task() -> None:
    experts, x = experts_of(members=3).eval(), torch.randn(7, 5)
    found = experts(x)
    for i, task in enumerate(TASKS):
        for member, said in enumerate(by_member(found[task.name], 3)):
            units = slice(6 * member, 6 * member + 6)
            weight, bias = experts.weight[i, : len(PLACES[i]), units], experts.bias[i, 0, units]
            head = experts.heads[task.name]
            hidden = torch.relu(x[:, PLACES[i]] @ weight + bias)
            torch.testing.assert_close(said, hidden @ head.weight[member] + head.bias[member])


def test_a_task_reads_no_column_of_another() -> None:
    experts, x = experts_of().eval(), torch.randn(7, 5)
    other = x.clone()
    other[:, [1, 3]] = 7.0
    before, after = experts(x), experts(other)
    assert torch.equal(before["buys"], after["buys"])
    assert not torch.equal(before["where"], after["where"])


@pytest.mark.parametrize(("closed", "both"), [(0.5, 0.0), (0.3, 0.4), (0.0, 1.0)])
def test_while_training_one_side_answers_alone_for_some_rows(closed: float, both: float) -> None:
    experts = experts_of(closed=closed)
    own, shared = {"buys": torch.zeros(4_000, 1), "where": torch.zeros(4_000, 3)}, {"buys": torch.ones(4_000, 1)}
    experts.train()
    mixed = experts.mixed(own, shared)
    assert set(mixed) == {"buys"}
    share = {w: float((mixed["buys"] == w).float().mean()) for w in (0.0, 0.5, 1.0)}
    assert share[0.5] == pytest.approx(both, abs=0.05)
    assert share[0.0] == pytest.approx(share[1.0], abs=0.05)
    experts.eval()
    assert (experts.mixed(own, shared)["buys"] == 0.5).all()


@pytest.mark.parametrize("dropped", [0.0, 0.4])
def test_the_gradient_is_that_of_the_plain_products(dropped: float) -> None:
    torch.manual_seed(0)
    read, weight, bias = (torch.randn(*shape) for shape in ((2, 7, 4), (2, 4, 6), (2, 1, 6)))
    kept = (torch.rand(7, 6) >= dropped).float() * 1.5 if dropped else None
    last = [torch.randn(*shape) for shape in ((2, 3, 1), (2, 1, 1), (2, 3, 5), (2, 1, 5))]
    tensors = [tensor.requires_grad_() for tensor in (read, weight, bias, *last)]
    found = []
    for run in (_TaskByTask.apply, _all_at_once):
        said = run(read, weight, bias, kept, 2, *last)
        grads = torch.autograd.grad(sum((i + 1) * out.square().sum() for i, out in enumerate(said)), tensors)
        found.append((*said, *grads))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_they_are_mixed_into_every_member_of_their_tasks(
    model_config: ModelConfig, make_inputs: Callable[..., Inputs]
) -> None:
    inputs, data = make_inputs(20), model_config.to_dict()
    data["transfer"] = {**data["transfer"], "relations": []}  # a transfer carries it on to other tasks
    model = PLEClusterAdaTT(ModelConfig.from_dict({**data, "members": 2})).eval()
    model.fit_inputs(inputs)
    experts, wide = model.task_experts, model.experts["wide"]
    assert experts is not None
    assert isinstance(wide, Wide)
    assert set(experts.names) == {"channel", "churn"}
    with torch.no_grad():
        experts.share.fill_(100.0)  # the shared path alone
        shared = model(inputs).predictions
        experts.share.fill_(-1.0)
        mixed = model(inputs).predictions
    torch.testing.assert_close(mixed["ctr"], shared["ctr"])
    w, added = torch.sigmoid(torch.tensor(-1.0)), model._added(wide.encode(inputs), inputs)
    own = experts(wide.encode(inputs))
    for name in experts.names:
        wanted = w * (shared[name] - added[name]) + (1 - w) * own[name] + added[name]
        torch.testing.assert_close(mixed[name], wanted, atol=1e-4, rtol=1e-4)


def test_columns_are_checked(model_config: ModelConfig) -> None:
    data = model_config.to_dict()
    data["tasks"] = [{**t, "columns": [0, 4]} if t["name"] == "churn" else t for t in data["tasks"]]
    with pytest.raises(ValueError, match=r"churn.*columns.*\[4\].*not present"):  # column 4 is not the data set's
        ModelConfig.from_dict(data)
