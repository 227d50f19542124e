"""Every public network of layers and experts documents its shapes and an example, and the example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import ple_model.config as settings
import ple_model.experts
import ple_model.layers
from ple_model.config import DEFAULT_SIDES, InputConfig
from ple_model.experts import Expert
from ple_model.experts.temporal.patches import Branch
from ple_model.inputs import Inputs
from tests.ple_model import samples

GROUPS = ("base", "merchant", "tda_short", "phase_transition")
COLUMNS = InputConfig(
    columns=tuple(f"{group}__{i}" for group in GROUPS for i in range(3)), present=tuple(range(12)), normalised=9
)
ABSTRACT = (Expert, Branch)


def networks() -> list[type[nn.Module]]:
    """Public modules that are defined in a module of the two packages."""
    found: list[type[nn.Module]] = []
    for package in (ple_model.layers, ple_model.experts):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            found += [
                value
                for name, value in inspect.getmembers(module, inspect.isclass)
                if issubclass(value, nn.Module) and value.__module__ == info.name and not name.startswith("_")
            ]
    return [network for network in found if network not in ABSTRACT]


def batch(rows: int = 4) -> Inputs:
    """Rows with every side input."""
    sides = {side.name: torch.rand(rows, *side.shape) / 8 for side in DEFAULT_SIDES}
    for name in ("tda_short", "tda_long"):
        sides[name][..., 2] = 0.0
    return Inputs(
        features=torch.rand(rows, 12),
        features_mask=torch.ones(rows, 12, dtype=torch.bool),
        cluster_probs=torch.full((rows, 20), 0.05),
        sides=sides,
        masks={side.name: torch.ones(rows, side.shape[0], dtype=torch.bool) for side in DEFAULT_SIDES if side.masked},
    )


@pytest.mark.parametrize("network", networks(), ids=lambda network: network.__name__)
def test_the_example_runs_and_shapes_are_stated(network: type[nn.Module]) -> None:
    doc = inspect.getdoc(network) or ""
    assert "Shape:" in doc, network
    names = vars(settings) | vars(importlib.import_module(network.__module__))
    names |= {"torch": torch, "columns": COLUMNS, "batch": batch(), "tasks": samples.config().tasks}
    example = doctest.DocTestParser().get_doctest(doc, names, network.__name__, None, None)
    assert example.examples, f"{network.__name__} has no example"
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert result.failed == 0, "".join(said)
