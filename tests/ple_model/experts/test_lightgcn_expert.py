from dataclasses import replace

import pytest
import torch

from ple_model.config import InputConfig, LightGCNConfig, SideConfig
from ple_model.experts.lightgcn import LightGCN
from ple_model.inputs import Inputs


def config(channels: tuple[int, ...] | None = None) -> InputConfig:
    side = SideConfig(name="collaborative", shape=(5,), channels=channels)
    return InputConfig(columns=("a",), present=(0,), normalised=1, sides=(side,))


@pytest.fixture
def inputs() -> Inputs:
    """Ten rows; rows 2 and 3 have no embedding."""
    there = torch.ones(10, dtype=torch.bool)
    there[2:4] = False
    values = torch.where(there[:, None], 0.01 * torch.randn(10, 5) + 3.0, torch.nan)
    features = torch.zeros(10, 1)
    return Inputs(features, features == 0, torch.ones(10, 1), {"collaborative": values}, {}, {"collaborative": there})


@pytest.fixture
def expert(inputs: Inputs) -> LightGCN:
    made = LightGCN(LightGCNConfig(width=6, hidden=(8,)), config()).eval()
    made.fit(inputs)
    return made


def test_scales_come_from_the_rows_that_have_an_embedding(expert: LightGCN, inputs: Inputs) -> None:
    values = inputs.sides["collaborative"][inputs.present["collaborative"]]
    torch.testing.assert_close(expert.mean, values.mean(0))
    torch.testing.assert_close(expert.std, values.std(0), rtol=1e-4, atol=0)
    network = torch.nn.Sequential(expert.network, expert.project)
    want = network((values - values.mean(0)) / values.std(0))
    torch.testing.assert_close(expert(inputs).output[inputs.present["collaborative"]], want, atol=1e-3, rtol=1e-3)


def test_absent_rows_are_finite_and_not_read(expert: LightGCN, inputs: Inputs) -> None:
    output = expert(inputs).output
    output.sum().backward()
    assert output.isfinite().all()
    assert expert.present(inputs).tolist() == [True, True, False, False] + [True] * 6
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())
    assert torch.equal(expert(inputs.without("collaborative")).output[2:3], output[2:3])


def test_channels_that_the_data_set_lacks_are_not_read(inputs: Inputs) -> None:
    expert = LightGCN(LightGCNConfig(width=6), config(channels=(0, 1, 4))).eval()
    expert.fit(inputs)
    values = inputs.sides["collaborative"].clone()
    values[:, 2:4] = torch.nan
    assert torch.equal(expert(replace(inputs, sides={"collaborative": values})).output, expert(inputs).output)


def test_interpretation_and_budget(expert: LightGCN, inputs: Inputs) -> None:
    assert expert(inputs).interpretation == {}
    norm = expert(inputs, interpret=True).interpretation["embedding_norm"]
    torch.testing.assert_close(norm[0], inputs.sides["collaborative"][0].norm())
    assert not LightGCN.available(InputConfig(columns=("a",), present=(0,), normalised=1, sides=()))
    whole = LightGCN(LightGCNConfig(), InputConfig(columns=("a",), present=(0,), normalised=1))
    assert 0.7 * 20_000 < sum(p.numel() for p in whole.parameters()) < 1.3 * 20_000


def test_fit_leaves_the_scales_without_rows_and_takes_no_more_than_it_may(inputs: Inputs) -> None:
    expert = LightGCN(LightGCNConfig(fit_rows=2), config())
    expert.fit(inputs.without("collaborative"))
    assert torch.equal(expert.mean, torch.zeros(5))
    expert.fit(inputs)
    torch.testing.assert_close(expert.mean, inputs.sides["collaborative"][[0, 9]].mean(0))
