from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import linalg

from ple_model.config import CausalConfig, InputConfig
from ple_model.experts.causal import Causal
from ple_model.experts.dag import DAG, acyclicity
from ple_model.inputs import Inputs

COLUMNS = tuple(f"g__{i}" for i in range(12))
GAPS = InputConfig(columns=COLUMNS, present=(0, 1, 2, 3, 5, 6, 8, 9, 11), normalised=8, sides=())


def _config(**changes: float) -> CausalConfig:
    return CausalConfig.from_dict({"variables": 5, "encoding": 3, "width": 10, "dropout": 0.0} | changes)


def _inputs(rows: int = 16, config: InputConfig = GAPS, seed: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(rows, len(config.columns), dtype=torch.bool)
    mask[:, list(config.present)] = torch.rand(rows, len(config.present), generator=generator) > 0.2
    mask[:, config.present[0]] = True
    mixed = torch.randn(rows, 4, generator=generator) @ torch.randn(4, len(config.columns), generator=generator)
    features = mixed + torch.randn(mask.shape, generator=generator)
    return Inputs(torch.where(mask, features, 0.0), mask, torch.full((rows, 20), 0.05))


@pytest.mark.parametrize("variables", [2, 5, 32])
def test_acyclicity_equals_scipys_exponential(variables: int) -> None:
    weight = torch.randn(variables, variables, dtype=torch.float64) * 0.4
    want = np.trace(linalg.expm(weight.numpy() ** 2)) - variables
    assert acyclicity(weight).item() == pytest.approx(want, rel=1e-10)
    assert acyclicity(weight.float()).item() == pytest.approx(want, rel=1e-4)


def test_acyclicity_has_the_gradient_of_finite_differences() -> None:
    weight = (0.6 * torch.randn(4, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(acyclicity, (weight,))


def test_acyclicity_is_zero_for_a_dag_in_any_order_and_positive_for_one_cycle() -> None:
    order = torch.randperm(8)
    weight = torch.randn(8, 8, dtype=torch.float64).triu(1)[order][:, order]
    assert acyclicity(weight).item() == pytest.approx(0.0, abs=1e-12)
    cycle = torch.zeros(8, 8, dtype=torch.float64)
    for a, b in pairwise([0, 3, 5, 0]):
        cycle[a, b] = 0.5
    assert acyclicity(cycle).item() > 1e-3


def _planted(seed: int, variables: int = 10, rows: int = 2000) -> tuple[np.ndarray, torch.Tensor]:
    """A random DAG of about 1.5 edges a variable, |weight| in [0.5, 2], and rows of its linear equations with noise of
    one variance, by which it is identified (Peters and Bühlmann 2014)."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((variables, variables)) < 3.0 / (variables - 1), 1)
    weights = upper * rng.uniform(0.5, 2.0, upper.shape) * rng.choice([-1, 1], upper.shape)
    order = rng.permutation(variables)
    weights = weights[order][:, order]
    x = rng.normal(size=(rows, variables)) @ np.linalg.inv(np.eye(variables) - weights)
    return weights, torch.from_numpy(x - x.mean(0)).float()


def _hamming(a: np.ndarray, b: np.ndarray) -> int:
    """Structural Hamming distance: pairs of variables whose edge is missing, extra or turned."""
    differ = (a != b) | (a != b).T
    return int(np.triu(differ, 1).sum())


@pytest.mark.parametrize("seed", [1, 2])
def test_recovers_a_planted_linear_dag(seed: int) -> None:
    weights, x = _planted(seed)
    root = torch.linalg.cholesky(x.T @ x / len(x)).T  # ‖root − root·W‖² is the mean over rows of ‖x − xW‖²
    dag = DAG(10, dual_rate=0.1)
    torch.nn.init.zeros_(dag.weight)
    optimizer = torch.optim.Adam(dag.parameters(), lr=0.03)
    for step in range(600):
        optimizer.zero_grad()
        fit = 0.5 * (root - dag.reconstruct(root)).square().sum()
        (fit + 0.02 * dag.sparsity() + dag.acyclicity(10 ** (4.0 * step / 600 - 2.0))).backward()
        optimizer.step()
    found = dag.edges().detach()
    found = torch.where(found.abs() > 0.3, found, 0.0)
    assert acyclicity(found).item() == pytest.approx(0.0, abs=1e-5)
    assert _hamming(found.numpy() != 0, weights != 0) <= 2


def test_multiplier_rises_with_a_cycle_stays_without_and_survives_a_checkpoint() -> None:
    dag = DAG(4, dual_rate=0.5)
    with torch.no_grad():
        dag.weight.copy_(torch.ones(4, 4).triu(1))
    assert dag.acyclicity(1.0).item() == pytest.approx(0.0, abs=1e-5)
    assert dag.multiplier.item() == pytest.approx(0.0, abs=1e-5)
    torch.nn.init.constant_(dag.weight, 0.5)
    h = np.trace(linalg.expm(0.25 * (np.ones((4, 4)) - np.eye(4)))) - 4
    first, second = dag.acyclicity(2.0).item(), dag.acyclicity(2.0).item()
    assert first == pytest.approx(2.0 * (h + 0.5 * h * h), rel=1e-5)
    assert second - first == pytest.approx(0.5 * 2.0 * h * h, rel=1e-5)
    again = DAG(4, dual_rate=0.5)
    again.load_state_dict(dag.state_dict())
    assert again.multiplier.item() == pytest.approx(h, rel=1e-5)


def test_output_equals_a_loop_over_variables_and_parents() -> None:
    expert, inputs = Causal(_config(), GAPS).eval(), _inputs()
    expert.fit(_inputs(64, seed=3))
    got = expert(inputs, interpret=True)
    z, w = got.interpretation["variables"], expert.dag.weight
    columns = [0, 1, 2, 3, 5, 6]
    mean, loadings = expert.compress.mean, expert.compress.loadings()
    for row in range(4):
        values = [inputs.features[row, c] if inputs.features_mask[row, c] else torch.tensor(0.0) for c in columns]
        channels = torch.stack([*values, *inputs.features_mask[row, columns].float()])
        torch.testing.assert_close(z[row], loadings @ (channels - mean), atol=1e-5, rtol=1e-5)
        hidden = []
        for j in range(5):
            pre = expert.bias[j].clone()
            for i in range(5):
                if i != j:
                    pre = pre + expert.encoders[j, :, i] * w[i, j] * z[row, i]
            hidden.append(torch.nn.functional.silu(pre))
        torch.testing.assert_close(got.output[row], expert.fuse(torch.cat(hidden)), atol=1e-5, rtol=1e-5)


def test_nothing_passes_but_through_edges() -> None:
    expert = Causal(_config(), GAPS).eval()
    torch.nn.init.zeros_(expert.dag.weight)
    output = expert(_inputs()).output
    torch.testing.assert_close(output, output[:1].expand_as(output))


def test_variables_have_variance_one_whatever_is_learnt() -> None:
    expert, inputs = Causal(_config(factors=12), GAPS), _inputs(400)
    expert.fit(inputs)
    with torch.no_grad():
        expert.compress.weight.mul_(torch.tensor([1.0, 50.0, 0.02, 1.0, 1.0]).unsqueeze(1))
    z = expert(inputs, interpret=True).interpretation["variables"]
    torch.testing.assert_close(z.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(5), atol=1e-2, rtol=0)


def test_reconstruction_keeps_weights_alive_that_sparsity_alone_would_remove() -> None:
    sizes = {}
    for reconstruction in (0.0, 1.0):
        torch.manual_seed(0)
        expert, inputs = Causal(_config(reconstruction=reconstruction, sparsity=0.05), GAPS), _inputs(256)
        expert.fit(inputs)
        optimizer = torch.optim.Adam(expert.parameters(), lr=0.02)
        for _ in range(100):
            optimizer.zero_grad()
            sum(expert(inputs).losses.values(), start=torch.zeros(())).backward()
            optimizer.step()
        sizes[reconstruction] = expert.dag.edges().abs().max().item()
    assert sizes[0.0] < 0.02
    assert sizes[1.0] > 0.2


def test_losses_are_of_training_and_each_weight_turns_its_own() -> None:
    inputs = _inputs()
    expert = Causal(_config(), GAPS)
    assert expert.eval()(inputs).losses == {}
    before = expert.train()(inputs).losses
    for name, term in before.items():
        other = Causal(_config(**{name.removeprefix("causal_"): 0.7}), GAPS)
        other.load_state_dict(Causal(_config(), GAPS).state_dict() | dict(expert.named_parameters()))
        after = other(inputs).losses
        assert {k for k in before if not torch.equal(before[k], after[k])} == {name}
        assert term.item() > 0
    (gradient,) = torch.autograd.grad(
        before["causal_reconstruction"], [expert.compress.weight], allow_unused=True, retain_graph=True
    )
    assert gradient is None


def test_reads_present_normalised_columns_only_and_never_a_missing_value() -> None:
    expert, inputs = Causal(_config(), GAPS).eval(), _inputs()
    before = expert(inputs).output
    others = [4, 7, 8, 9, 10, 11]
    features, mask = inputs.features.clone(), inputs.features_mask.clone()
    features[:, others], mask[:, others] = 9.0, True
    assert torch.equal(expert(replace(inputs, features=features, features_mask=mask)).output, before)
    poisoned = torch.where(inputs.features_mask, inputs.features, torch.nan)
    after = expert.train()(replace(inputs, features=poisoned))
    assert torch.equal(after.output, before)
    (after.output.square().sum() + sum(after.losses.values())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())
    assert expert.dag.weight.grad.count_nonzero() == 5 * 4


def test_adjacent_columns_are_read_as_a_view_with_the_same_result() -> None:
    whole = InputConfig(columns=COLUMNS[:6], present=tuple(range(6)), normalised=6, sides=())
    a, b = Causal(_config(), whole), Causal(_config(), GAPS)
    b.load_state_dict(a.state_dict())
    assert a.run is not None
    assert b.run is None
    inputs = _inputs()
    columns = [0, 1, 2, 3, 5, 6]
    packed = Inputs(inputs.features[:, columns], inputs.features_mask[:, columns], inputs.cluster_probs)
    torch.testing.assert_close(a.eval()(packed).output, b.eval()(inputs).output)


def test_presence_rows_without_columns_and_constant_columns() -> None:
    expert, inputs = Causal(_config(), GAPS), _inputs()
    mask = inputs.features_mask.clone()
    mask[2, :8] = False
    lacking = replace(inputs, features_mask=mask)
    assert expert.present(lacking).tolist() == [i != 2 for i in range(len(inputs))]
    constant = replace(inputs, features=torch.ones_like(inputs.features), features_mask=mask.fill_(True))
    expert.fit(constant)
    result = expert(constant)
    (result.output.sum() + sum(result.losses.values())).backward()
    assert result.output.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in expert.parameters())


def test_interpretation_reports_edges_from_the_threshold_on() -> None:
    expert = Causal(_config(edge=0.2), GAPS).eval()
    found = expert(_inputs(), interpret=True).interpretation
    edges = expert.dag.edges().detach()
    assert found["adjacency"].count_nonzero() == (edges.abs() >= 0.2).sum() > 0
    assert found["loadings"].shape == (5, 6)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_budget_at_the_layouts_columns() -> None:
    inputs = InputConfig(columns=tuple(map(str, range(734))), present=tuple(range(734)))
    count = sum(p.numel() for p in Causal(CausalConfig(), inputs).parameters())
    assert 0.7 * 100_000 < count < 1.3 * 100_000
