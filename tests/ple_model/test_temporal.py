from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ple_model.config import InputConfig, TemporalConfig, TransformerBranchConfig
from ple_model.experts.temporal import Temporal, TransformerBranch
from ple_model.inputs import Inputs


@pytest.fixture
def expert(input_config: InputConfig) -> Temporal:
    return Temporal(TemporalConfig(), input_config).eval()


def _seq(inputs: Inputs) -> torch.Tensor:
    assert inputs.txn_seq is not None
    return inputs.txn_seq


def test_values_of_invalid_days_change_nothing(expert: Temporal, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs()
    assert inputs.txn_seq_mask is not None
    before = expert(inputs).output
    for poison in (7.0, torch.nan, torch.inf):
        sequence = torch.where(inputs.txn_seq_mask.unsqueeze(-1), _seq(inputs), poison)
        output = expert(replace(inputs, txn_seq=sequence)).output
        assert torch.equal(output, before)
    output.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in expert.parameters())


def test_whole_patches_of_padding_change_nothing() -> None:
    branch = TransformerBranch(TransformerBranchConfig(), steps=70, channels=3).eval()
    x, mask = torch.randn(5, 28, 3), torch.ones(5, 28, dtype=torch.bool)
    mask[1, :10] = False
    short, weights = branch(x * mask.unsqueeze(-1), mask)
    longer = torch.cat([torch.zeros(5, 42, 3), x * mask.unsqueeze(-1)], dim=1)
    long, long_weights = branch(longer, torch.cat([torch.zeros(5, 42, dtype=torch.bool), mask], dim=1))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(long_weights[:, 6:], weights, atol=1e-6, rtol=1e-5)
    assert bool((long_weights[:, :6] == 0).all())


def test_absent_channels_are_not_read(expert: Temporal, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs()
    before, sequence = expert(inputs).output, _seq(inputs).clone()
    sequence[..., 2] = 5.0
    assert torch.equal(expert(replace(inputs, txn_seq=sequence)).output, before)
    sequence[..., 3] += 1.0
    assert bool((expert(replace(inputs, txn_seq=sequence)).output != before).any(1).all())


def test_order_of_days_matters(expert: Temporal, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs()
    inputs = replace(inputs, txn_seq_mask=torch.ones(len(inputs), 30, dtype=torch.bool))
    assert not torch.allclose(expert(inputs).output, expert(replace(inputs, txn_seq=_seq(inputs).flip(1))).output)


def test_rows_without_a_valid_day_are_absent_and_finite(expert: Temporal, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(4)
    assert inputs.txn_seq_mask is not None
    mask = inputs.txn_seq_mask.clone()
    mask[1] = False
    inputs = replace(inputs, txn_seq_mask=mask, present={})
    assert expert.present(inputs).tolist() == [True, False, True, True]
    assert bool(expert(inputs).output.isfinite().all())
    nothing = replace(inputs, txn_seq=None, txn_seq_mask=None, present={})
    assert not expert.present(nothing).any()
    assert expert(nothing).output.shape == (4, 64)


def test_fit_standardises_compressed_valid_days(expert: Temporal, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs()
    assert inputs.txn_seq_mask is not None
    sequence = (_seq(inputs) * 3).exp()
    expert.fit(replace(inputs, txn_seq=sequence))
    days = sequence[inputs.txn_seq_mask][:, [0, 1, 3]].log1p()
    torch.testing.assert_close(expert.mean, days.mean(0))
    torch.testing.assert_close(expert.std, days.std(0))


def test_branches_are_a_list(input_config: InputConfig, make_inputs: Callable[..., Inputs]) -> None:
    daily = TransformerBranchConfig(patch_days=1, model_width=8, heads=1)
    expert = Temporal(TemporalConfig(branches=(TransformerBranchConfig(), daily)), input_config).eval()
    interpretation = expert(make_inputs(3), interpret=True).interpretation
    assert interpretation["patch_attention_0"].shape == (3, 5)
    assert interpretation["patch_attention_1"].shape == (3, 30)
    torch.testing.assert_close(interpretation["patch_attention_1"].sum(1), torch.ones(3))


def test_a_week_a_token_gives_26_tokens_of_half_a_year() -> None:
    assert TransformerBranch(TransformerBranchConfig(), steps=180, channels=8).position.shape[0] == 26


def test_adjacent_channels_are_viewed_and_read_the_same(
    input_config: InputConfig, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs()
    expert = Temporal(TemporalConfig(), input_config.model_copy(update={"seq_channels": (1, 2)})).eval()
    assert expert.run == slice(1, 3)
    before = expert(inputs).output
    expert.run = None
    assert torch.equal(expert(inputs).output, before)
