"""A plug-in's expert: configured by name, built, trained and read back like one of the library's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ple_model.config import DeepFMConfig, ExpertConfig, InputConfig, ModelConfig
from ple_model.config import pool as config_pool
from ple_model.experts import REGISTRY, Expert, ExpertOutput, register
from ple_model.inputs import Inputs
from ple_model.model import PLEClusterAdaTT


class MeanConfig(ExpertConfig):
    name: Literal["mean_of_columns"] = "mean_of_columns"
    width: int = 6
    gain: float = 1.0


class MeanOfColumns(Expert):
    name: ClassVar[str] = "mean_of_columns"
    reads: ClassVar[str] = "features"

    def __init__(self, config: MeanConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.width, self.gain, self.columns = config.width, config.gain, list(inputs.present)
        self.project = nn.Linear(1, config.width)

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present)

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.features_mask[:, self.columns].any(1)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:  # noqa: ARG002 (nothing to show)
        return ExpertOutput(self.project(self.gain * inputs.features[:, self.columns].mean(1, keepdim=True)))


@pytest.fixture
def registered() -> Iterator[None]:
    register(MeanConfig, MeanOfColumns)
    try:
        yield
    finally:
        REGISTRY.pop("mean_of_columns", None)
        config_pool._POOL.pop("mean_of_columns", None)


def test_an_unregistered_expert_is_unknown(model_config: ModelConfig) -> None:
    with pytest.raises(ValidationError, match="unknown expert 'mean_of_columns'"):
        ModelConfig.from_dict({**model_config.to_dict(), "experts": [{"name": "mean_of_columns"}]})


@pytest.mark.usefixtures("registered")
def test_a_registered_expert_is_configured_built_and_trained(
    model_config: ModelConfig, make_inputs: Callable[..., Inputs]
) -> None:
    data = model_config.to_dict()
    data["experts"] = [{"name": "deepfm", "width": 16}, {"name": "mean_of_columns", "gain": 2.0}]
    data["tasks"][0]["experts"] = ["mean_of_columns"]
    config = ModelConfig.from_dict(data)
    assert config.experts[1] == MeanConfig(gain=2.0)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    model = PLEClusterAdaTT(config)
    assert model.expert_names == ("deepfm", "mean_of_columns")
    torch.stack([raw.sum() for raw in model(make_inputs()).predictions.values()]).sum().backward()
    assert model.experts["mean_of_columns"].project.weight.grad.abs().sum() > 0
    with pytest.raises(ValidationError, match="did you mean 'gain'"):
        ModelConfig.from_dict({**data, "experts": [{"name": "mean_of_columns", "gian": 2.0}]})


@pytest.mark.usefixtures("registered")
def test_registering_twice_changes_nothing_and_a_taken_name_is_refused() -> None:
    register(MeanConfig, MeanOfColumns)

    class Other(MeanOfColumns):
        pass

    class Unnamed(ExpertConfig):
        width: int = 4

    class Deep(MeanOfColumns):
        name = "deepfm"

    with pytest.raises(ValueError, match="'mean_of_columns' exists already: MeanOfColumns"):
        register(MeanConfig, Other)
    with pytest.raises(ValueError, match="exists already: DeepFM"):
        register(DeepFMConfig, Deep)
    with pytest.raises(ValueError, match="is named"):
        register(Unnamed, Other)
