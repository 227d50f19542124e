from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ple_model.config import DeepFMConfig, InputConfig
from ple_model.experts.deepfm import DeepFM, second_order
from ple_model.inputs import Inputs


@pytest.fixture
def expert(input_config: InputConfig) -> DeepFM:
    return DeepFM(DeepFMConfig(bins=4, embedding=3, hidden=(16,), width=10), input_config).eval()


@pytest.mark.parametrize(("fields", "width"), [(1, 3), (2, 1), (7, 4)])
def test_second_order_equals_all_pairs(fields: int, width: int) -> None:
    v = torch.randn(fields, width, 5, dtype=torch.float64)
    pairs = [v[i] * v[j] for i in range(fields) for j in range(i + 1, fields)]
    torch.testing.assert_close(second_order(v), sum(pairs, start=torch.zeros(width, 5, dtype=torch.float64)))


def test_reads_present_normalised_columns_only(expert: DeepFM, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(6)
    before = expert(inputs).output
    others = [i for i in range(12) if i not in (0, 1, 2, 3, 5, 6)]
    features, mask = inputs.features.clone(), inputs.features_mask.clone()
    features[:, others], mask[:, others] = 9.0, True
    assert torch.equal(expert(replace(inputs, features=features, features_mask=mask)).output, before)
    features = inputs.features.clone()
    features[:, 5] += inputs.features_mask[:, 5]
    changed = (expert(replace(inputs, features=features)).output != before).any(1)
    assert torch.equal(changed, inputs.features_mask[:, 5])


def test_missing_is_told_from_zero_and_its_value_is_never_read(
    expert: DeepFM, make_inputs: Callable[..., Inputs]
) -> None:
    inputs = make_inputs(6)
    before = expert(inputs).output
    poisoned = torch.where(inputs.features_mask, inputs.features, torch.nan)
    after = expert(replace(inputs, features=poisoned)).output
    assert torch.equal(after, before)
    after.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())
    full = replace(inputs, features_mask=torch.ones_like(inputs.features_mask))
    assert not torch.equal(expert(full).output, before)


def test_embedding_equals_a_loop_over_fields(expert: DeepFM, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(6)
    expert.fit(inputs)
    got = expert.embed(inputs)
    for f, column in enumerate((0, 1, 2, 3, 5, 6)):
        edges = expert.encoding.edges[f]
        for row in range(6):
            want = expert.missing[f, :, 0]
            if inputs.features_mask[row, column]:
                x = inputs.features[row, column]
                steps = edges.diff()
                channels = torch.where(steps > 0, (x - edges[:-1]) / steps.clamp(min=1e-12), 0.0).clamp(0, 1)
                want = expert.weight[f] @ channels + expert.bias[f, :, 0]
            torch.testing.assert_close(got[f, :, row], want, atol=1e-5, rtol=1e-5)


def test_fit_takes_quantiles_from_the_rows(expert: DeepFM, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(40)
    expert.fit(inputs)
    column = inputs.features[:, 5][inputs.features_mask[:, 5]]
    edges = expert.encoding.edges[4]
    assert (edges[0].item(), edges[-1].item()) == (column.min().item(), column.max().item())


def test_presence_and_interpretation(expert: DeepFM, make_inputs: Callable[..., Inputs]) -> None:
    inputs = make_inputs(6)
    mask = inputs.features_mask.clone()
    mask[2, :8] = False
    assert expert.present(replace(inputs, features_mask=mask)).tolist() == [True, True, False, True, True, True]
    assert expert(inputs).interpretation == {}
    assert expert(inputs, interpret=True).interpretation["field_interaction"].shape == (6, 6)


def test_budget_with_every_column() -> None:
    inputs = InputConfig(columns=tuple(map(str, range(734))), present=tuple(range(734)))
    count = sum(p.numel() for p in DeepFM(DeepFMConfig(), inputs).parameters())
    assert 0.7 * 169_000 < count < 1.3 * 169_000
