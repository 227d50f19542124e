from collections.abc import Callable
from dataclasses import replace

import torch

from ple_model.config import InputConfig, RawScaleConfig
from ple_model.experts.raw_scale import RawScale
from ple_model.inputs import Inputs


def test_reads_the_log_of_present_raw_columns(input_config: InputConfig, make_inputs: Callable[..., Inputs]) -> None:
    expert, inputs = RawScale(RawScaleConfig(), input_config).eval(), make_inputs(5)
    level = expert(inputs, interpret=True).interpretation["column_level"]
    x = torch.where(inputs.features_mask, inputs.features, 0.0)[:, [8, 9, 11]].log1p()  # missing starts at level 0
    torch.testing.assert_close(level, torch.nn.functional.layer_norm(x, (3,)))
    poisoned = torch.where(inputs.features_mask, inputs.features, torch.nan)
    poisoned[:, :8] = 3.0
    assert torch.equal(expert(replace(inputs, features=poisoned)).output, expert(inputs).output)


def test_missing_is_told_from_zero_once_learnt(input_config: InputConfig, make_inputs: Callable[..., Inputs]) -> None:
    expert, inputs = RawScale(RawScaleConfig(), input_config).eval(), make_inputs(5)
    torch.nn.init.constant_(expert.missing, 2.0)
    mask = inputs.features_mask.clone()
    mask[:, 8:] = True
    gained = (mask & ~inputs.features_mask)[:, [8, 9, 11]].any(1)
    changed = (expert(replace(inputs, features_mask=mask)).output != expert(inputs).output).any(1)
    assert bool(gained.any())
    assert torch.equal(changed, gained)


def test_huge_amounts_stay_finite_and_budget() -> None:
    inputs = InputConfig(columns=tuple(map(str, range(734))), present=tuple(range(644, 734)))
    expert = RawScale(RawScaleConfig(), inputs)
    assert 0.7 * 12_000 < sum(p.numel() for p in expert.parameters()) < 1.3 * 12_000
    x = torch.full((2, 734), 1e30)
    output = expert.eval()(Inputs(x, torch.ones(2, 734, dtype=torch.bool), torch.ones(2, 20) / 20)).output
    assert bool(output.isfinite().all())
