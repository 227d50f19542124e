from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from sklearn.preprocessing import QuantileTransformer

from ple_model.config import InputConfig, WideConfig
from ple_model.experts.wide import NormalQuantiles, Wide
from ple_model.inputs import Inputs


def test_quantiles_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=800), rng.exponential(size=800) ** 3, rng.poisson(0.7, 800), np.full(800, 2.0)]
    x = np.stack(columns, axis=1)
    ours, steps = NormalQuantiles(4, 50), 50
    ours.fit(torch.from_numpy(x), torch.ones(x.shape, dtype=torch.bool))
    theirs = QuantileTransformer(n_quantiles=steps + 1, subsample=None, output_distribution="uniform").fit(x)
    new = np.concatenate([x[:100], rng.normal(size=(50, 4)) * 3])
    found = torch.special.ndtr(ours(torch.from_numpy(new).float().T)).T.numpy()
    want = theirs.transform(new.astype(np.float32).astype(np.float64)).clip(0.5 / steps, 1 - 0.5 / steps)
    np.testing.assert_allclose(found[:, :2], want[:, :2], atol=2e-4)
    edges = (new[:, 2] <= x[:, 2].min()) | (new[:, 2] >= x[:, 2].max())  # there theirs takes the outermost rank
    np.testing.assert_allclose(found[~edges, 2], want[~edges, 2], atol=2e-4)


def test_a_tie_takes_its_middle_rank_and_beyond_counts_as_the_edge() -> None:
    quantiles = NormalQuantiles(1, 10)
    column = torch.tensor([0.0] * 60 + [1.0] * 40).unsqueeze(1)
    quantiles.fit(column, torch.ones(100, 1, dtype=torch.bool))
    ranks = torch.special.ndtr(quantiles(torch.tensor([[0.0, 1.0, -5.0, 9.0]])))[0]
    torch.testing.assert_close(ranks, torch.tensor([0.25, 0.8, 0.05, 0.95]), atol=0.06, rtol=0)


def test_reads_all_present_columns_and_never_an_absent_value(
    input_config: InputConfig, make_inputs: Callable[..., Inputs]
) -> None:
    expert, inputs = Wide(WideConfig(), input_config, members=2).eval(), make_inputs(40)
    expert.fit(inputs)
    assert expert(inputs, interpret=True).interpretation["column_quantile"].shape == (40, 9)
    poisoned = torch.where(inputs.features_mask, inputs.features, torch.nan)
    poisoned[:, [4, 7, 10]] = torch.nan  # columns that the data set lacks
    assert torch.equal(expert(replace(inputs, features=poisoned)).output, expert(inputs).output)


def test_flags_are_the_patterns_of_absence() -> None:
    config = InputConfig(columns=tuple("abcdef"), present=tuple(range(6)), normalised=6, sides=())
    expert = Wide(WideConfig(flags=3), config)
    mask = torch.ones(100, 6, dtype=torch.bool)
    mask[:30, 1] = mask[:30, 3] = False  # b and d are missing together
    mask[50:, 4] = False
    mask[:, 5] = False  # never there: no flag
    expert.fit(Inputs(torch.randn(100, 6), mask, torch.full((100, 20), 0.05)))
    assert expert.flags.tolist() == [1, 4, -1]


def test_members_are_networks_of_their_own() -> None:
    config = InputConfig(columns=tuple("abc"), present=(0, 1, 2), normalised=3, sides=())
    inputs = Inputs(torch.randn(6, 3), torch.ones(6, 3, dtype=torch.bool), torch.full((6, 20), 0.05))
    many = Wide(WideConfig(hidden=(8,), width=5), config, members=3).eval()
    for m in range(3):
        one = Wide(WideConfig(hidden=(8,), width=5), config).eval()
        state = many.state_dict()
        for name, value in state.items():
            own = value[m : m + 1] if value.shape[:1] == (3,) and value.dim() == 3 else value
            one.state_dict()[name].copy_(own)
        torch.testing.assert_close(one(inputs).output, many(inputs).output.view(3, 6, 5)[m])
