"""The parameters for the reference columns lie within what MODEL allows; the table adds up."""

import warnings

import pytest

from feature_assets import registry
from ple_model.config import DEFAULT_EXPERTS, InputConfig, ModelConfig, RawScaleConfig, TransferConfig
from ple_model.interpretation.parameters import BUDGETS, lines
from ple_model.model import PLEClusterAdaTT
from tests.ple_model.catalogue import RELATIONS, default_tasks


def _model(*more: RawScaleConfig) -> PLEClusterAdaTT:
    inputs = InputConfig(columns=registry.names(), present=registry.reference(), normalised=registry.normalised())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        experts, transfer = (*DEFAULT_EXPERTS, *more), TransferConfig(relations=RELATIONS)
        return PLEClusterAdaTT(ModelConfig(inputs=inputs, tasks=default_tasks(), experts=experts, transfer=transfer))


@pytest.mark.parametrize("more", [(), (RawScaleConfig(),)])
def test_every_module_fits_its_budget(more: tuple[RawScaleConfig, ...]) -> None:
    found = lines(_model(*more))
    assert [line.module for line in found if not line.fits] == []
    assert set(BUDGETS) - {line.module for line in found} == (set() if more else {"experts.raw_scale"})


def test_the_table_counts_every_parameter_once() -> None:
    model = _model(RawScaleConfig())
    total = sum(p.numel() for p in model.parameters())
    found = lines(model)
    assert sum(line.parameters for line in found[:-1]) == total
    assert found[-1].parameters == total - sum(p.numel() for p in model.autoencoder.parameters())  # type: ignore[union-attr]
