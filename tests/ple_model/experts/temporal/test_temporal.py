from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from ple_model.config import (
    BranchConfig,
    InputConfig,
    LiquidBranchConfig,
    MambaBranchConfig,
    TemporalConfig,
    TransformerBranchConfig,
)
from ple_model.experts.temporal import Temporal
from ple_model.experts.temporal.patches import to_patches
from ple_model.experts.temporal.transformer import TransformerBranch
from ple_model.inputs import Inputs

MakeInputs = Callable[..., Inputs]
BOTH = ("txn_seq", "session_seq")
FULL = InputConfig(columns=tuple(map(str, range(734))), present=tuple(range(272)))


@pytest.fixture
def expert(input_config: InputConfig) -> Temporal:
    return Temporal(TemporalConfig(), input_config).eval()


@pytest.fixture
def inputs(make_inputs: MakeInputs) -> Inputs:
    """Six rows; row 1 has no purchases, row 2 no sessions, row 3 neither."""
    made = make_inputs(6)
    masks = {name: mask.clone() for name, mask in made.masks.items()}
    masks["txn_seq"][:, -3:] = True
    masks["session_seq"][:, -2:] = True
    masks["txn_seq"][[1, 3]] = False
    masks["session_seq"][[2, 3]] = False
    return replace(made, masks=masks, present={})


def changed(inputs: Inputs, name: str, values: torch.Tensor) -> Inputs:
    return replace(inputs, sides=inputs.sides | {name: values})


def test_present_if_either_sequence_is(expert: Temporal, inputs: Inputs, input_config: InputConfig) -> None:
    assert expert.present(inputs).tolist() == [True, True, True, False, True, True]
    assert expert.present(inputs.without("txn_seq")).tolist() == [True, True, False, False, True, True]
    assert not expert.present(inputs.without(*BOTH)).any()
    for lacking, available in ((("txn_seq",), True), (("session_seq",), True), (BOTH, False)):
        sides = tuple(side for side in input_config.sides if side.name not in lacking)
        assert Temporal.available(input_config.model_copy(update={"sides": sides})) is available


def test_values_of_invalid_days_change_nothing(expert: Temporal, inputs: Inputs) -> None:
    before = expert(inputs).output
    for poison in (7.0, torch.nan, torch.inf):
        sides = {
            name: torch.where(inputs.masks[name].unsqueeze(-1), inputs.sides[name], poison) if name in BOTH else values
            for name, values in inputs.sides.items()
        }
        output = expert(replace(inputs, sides=sides)).output
        assert torch.equal(output, before)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())


@pytest.mark.parametrize("lacking", [(), ("txn_seq",), ("session_seq",), BOTH])
def test_finite_whatever_a_bundle_lacks(expert: Temporal, inputs: Inputs, lacking: tuple[str, ...]) -> None:
    expert.train()
    less = inputs.without(*lacking)
    expert.fit(less)
    output = expert(less).output
    assert output.shape == (6, 64)
    output.square().sum().backward()
    assert bool(output.isfinite().all())
    assert all(p.grad is None or p.grad.isfinite().all() for p in expert.parameters())


@pytest.mark.parametrize("lacking", BOTH)
def test_a_data_set_with_one_sequence(lacking: str, inputs: Inputs, input_config: InputConfig) -> None:
    sides = tuple(side for side in input_config.sides if side.name != lacking)
    expert = Temporal(TemporalConfig(), input_config.model_copy(update={"sides": sides})).eval()
    assert torch.equal(expert(inputs).output, expert(inputs.without(lacking)).output)
    assert len(expert.sequences) == 1


def test_absent_channels_are_not_read(expert: Temporal, inputs: Inputs) -> None:
    before, sequence = expert(inputs).output, inputs.sides["txn_seq"].clone()
    sequence[..., 2] = 5.0
    assert torch.equal(expert(changed(inputs, "txn_seq", sequence)).output, before)
    sequence[..., 3] += 1.0
    moved = (expert(changed(inputs, "txn_seq", sequence)).output != before).any(1)
    assert moved.tolist() == [True, False, True, False, True, True]


@pytest.mark.parametrize("branch", [TransformerBranchConfig(), MambaBranchConfig(), LiquidBranchConfig()])
def test_every_branch_reads_both_sequences_and_their_order(
    branch: BranchConfig, input_config: InputConfig, make_inputs: MakeInputs
) -> None:
    expert = Temporal(TemporalConfig(branches=(branch.model_copy(update={"patch_days": 3}),)), input_config).eval()
    made = make_inputs(4)
    inputs = replace(made, masks={name: torch.ones_like(mask) for name, mask in made.masks.items()}, present={})
    before = expert(inputs).output
    for name in BOTH:
        for values in (inputs.sides[name].flip(1), inputs.sides[name] + 1):
            assert bool((expert(changed(inputs, name, values)).output - before).abs().amax(1).gt(1e-4).all())


def test_joint_sequence_is_aligned_at_the_newest_day(expert: Temporal, inputs: Inputs) -> None:
    x, valid = expert.joint(inputs)
    steps = expert.steps
    assert steps >= 30
    assert x.shape == (6, steps, (3 + 1) + (3 + 1))
    there = torch.zeros(6, steps, dtype=torch.bool)
    for name, channels, at in (("txn_seq", [0, 1, 3], 0), ("session_seq", [0, 1, 2], 4)):
        days = inputs.sides[name].shape[1]
        mask, raw = inputs.masks[name], inputs.sides[name][..., channels]
        compressed = (raw.sign() * raw.abs().log1p()) * mask.unsqueeze(-1)
        torch.testing.assert_close(x[:, steps - days :, at : at + 3], compressed)
        assert torch.equal(x[:, steps - days :, at + 3], mask.float())
        assert not x[:, : steps - days, at : at + 4].any()
        there[:, steps - days :] |= mask
    assert torch.equal(valid, there)


def test_fit_scales_compressed_valid_days(expert: Temporal, inputs: Inputs) -> None:
    sequence = (inputs.sides["txn_seq"] * 3).exp()
    sequence[..., 1] = 0.0
    expert.fit(changed(inputs, "txn_seq", sequence))
    days = sequence[inputs.masks["txn_seq"]][:, [0, 1, 3]].log1p()
    want = days.square().mean(0).sqrt()
    torch.testing.assert_close(expert.sequences[0].scale, torch.tensor([want[0], 1.0, want[2]]))
    sessions = inputs.sides["session_seq"][inputs.masks["session_seq"]].abs().log1p()
    torch.testing.assert_close(expert.sequences[1].scale, sessions.square().mean(0).sqrt())


def test_patches_are_cut_from_the_newest_day() -> None:
    x, valid = torch.randn(2, 9, 3), torch.zeros(2, 9, dtype=torch.bool)
    valid[0, 4] = True
    patches, there = to_patches(x, valid, days=2, patches=4)
    for p in range(4):
        assert torch.equal(patches[:, p], x[:, 1 + 2 * p : 3 + 2 * p].flatten(1))
    assert there.tolist() == [[False, True, False, False], [False] * 4]


def test_empty_patches_change_nothing_in_the_transformer() -> None:
    branch = TransformerBranch(TransformerBranchConfig(), patches=10, channels=3).eval()
    x, valid = torch.randn(5, 10, 3), torch.ones(5, 10, dtype=torch.bool)
    valid[:, :6] = False
    want, looked = branch(x, valid)
    got, _ = branch(torch.where(valid.unsqueeze(-1), x, 9.0), valid)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    assert bool((looked["attention"][:, :6] == 0).all())
    torch.testing.assert_close(looked["attention"].sum(1), torch.ones(5))
    nothing, weights = branch(x, torch.zeros_like(valid))
    assert bool(nothing.isfinite().all())
    assert bool(weights["attention"].isfinite().all())


def test_branches_are_a_list_and_say_what_they_looked_at(input_config: InputConfig, inputs: Inputs) -> None:
    branches = (
        MambaBranchConfig(patch_days=2),
        LiquidBranchConfig(patch_days=7),
        TransformerBranchConfig(patch_days=7),
        TransformerBranchConfig(patch_days=1, layers=1),
    )
    expert = Temporal(TemporalConfig(branches=branches), input_config).eval()
    assert expert(inputs).interpretation == {}
    shapes = {name: tuple(t.shape) for name, t in expert(inputs, interpret=True).interpretation.items()}
    assert shapes == {
        "mamba_0_step_size": (6, 15),
        "mamba_0_kept": (6, 15),
        "liquid_1_time_constant": (6, 5),
        "transformer_2_attention": (6, 5),
        "transformer_3_attention": (6, 30),
    }


SWITCHES = {
    "no mamba": TemporalConfig(branches=(LiquidBranchConfig(), TransformerBranchConfig())),
    "one layer": TemporalConfig(branches=(TransformerBranchConfig(layers=1), LiquidBranchConfig())),
    "no fusing network": TemporalConfig(hidden=()),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_change_the_parameters(name: str, input_config: InputConfig) -> None:
    default = Temporal(TemporalConfig(), input_config)
    other = Temporal(SWITCHES[name], input_config)
    assert {n: p.shape for n, p in default.named_parameters()} != {n: p.shape for n, p in other.named_parameters()}


def test_chunk_does_not_change_the_output(input_config: InputConfig, inputs: Inputs) -> None:
    outputs = []
    for chunk in (2, 30):
        torch.manual_seed(3)
        branch = MambaBranchConfig(patch_days=1, chunk=chunk)
        outputs.append(Temporal(TemporalConfig(branches=(branch,)), input_config).eval()(inputs).output)
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)


def test_bf16_autocast_stays_near_and_finite(expert: Temporal, inputs: Inputs) -> None:
    want = expert(inputs).output
    with torch.autocast("cpu", torch.bfloat16):
        got = expert(inputs).output
    got.float().square().sum().backward()
    assert F.cosine_similarity(got.float(), want, dim=-1).min() > 0.99
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())


def test_gradients_of_many_losses_in_one_call(expert: Temporal, inputs: Inputs) -> None:
    """adaTT asks for all tasks' gradients by one batched backward."""
    output = expert(inputs).output
    seeds = torch.randn(3, *output.shape)
    parameters = list(expert.parameters())
    batched = torch.autograd.grad(output, parameters, seeds, is_grads_batched=True, retain_graph=True)
    for k in range(3):
        single = torch.autograd.grad(output, parameters, seeds[k], retain_graph=True)
        for ours, theirs in zip(batched, single, strict=True):
            torch.testing.assert_close(ours[k], theirs, atol=1e-4, rtol=1e-4)


def test_budget_and_patches_at_the_sizes_of_the_layout() -> None:
    expert = Temporal(TemporalConfig(), FULL)
    count = sum(p.numel() for p in expert.parameters())
    assert 0.7 * 500_000 < count < 1.3 * 500_000
    assert expert.patches == {7: 26, 14: 13}
