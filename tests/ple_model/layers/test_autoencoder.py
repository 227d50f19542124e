from __future__ import annotations

import pytest
import torch

from ple_model.config import AutoencoderConfig
from ple_model.layers.autoencoder import SparseAutoencoder


def _model(width: int = 6, **changes: float) -> SparseAutoencoder:
    return SparseAutoencoder(width, AutoencoderConfig.from_dict({"share": 1.0} | changes))


@torch.no_grad()
def test_loss_and_latents_equal_the_formula_row_by_row() -> None:
    model, h = _model(sparsity=0.3, weight=0.01), torch.randn(5, 6)
    torch.nn.init.normal_(model.encoder_bias)
    torch.nn.init.normal_(model.decoder_bias)
    found = model(h)
    total = 0.0
    for row in range(5):
        z = [max(float(model.weight[i] @ h[row] + model.encoder_bias[i]), 0.0) for i in range(24)]
        back = model.decoder_bias + sum(z[i] * model.weight[i] for i in range(24))
        total += float(((h[row] - back) ** 2).sum()) + 0.3 * sum(z)
        torch.testing.assert_close(found.latents[row], torch.tensor(z))
    assert found.loss.item() == pytest.approx(0.01 * total / 5, rel=1e-5)


def test_no_gradient_reaches_what_made_h() -> None:
    model, source = _model(), torch.nn.Linear(3, 6)
    loss = model(source(torch.randn(4, 3))).loss
    loss.backward()
    assert all(p.grad is None for p in source.parameters())
    assert all(p.grad is not None and p.grad.count_nonzero() for p in model.parameters())


def test_gradient_of_tied_weights_equals_finite_differences() -> None:
    model, h = _model(width=3, sparsity=0.1, weight=1.0), torch.randn(7, 3)
    model(h).loss.backward()
    assert model.weight.grad is not None
    for i, j in ((0, 0), (5, 2), (11, 1)):
        values = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                model.weight[i, j] += step
                values.append(model(h).loss.item())
                model.weight[i, j] -= step
        assert model.weight.grad[i, j].item() == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.05, abs=5e-3)


def test_statistics_are_those_of_their_names() -> None:
    model, h = _model(), torch.randn(40, 6) * torch.linspace(0.1, 3.0, 6)
    model.encoder_bias.data[:5] = -100.0
    found = model(h)
    back = model.decode(found.latents)
    assert found.statistics["dead"].item() == pytest.approx(5 / 24)
    assert found.statistics["l0"].item() == pytest.approx((found.latents > 0).float().sum().item() / 40)
    want = 1.0 - (h - back).square().sum() / (h.var(0, correction=0).sum() * 40)
    assert found.statistics["explained_variance"].item() == pytest.approx(want.item(), rel=1e-4)


def test_a_wide_one_starts_near_reconstruction() -> None:
    model = _model(width=16, expansion=64)
    h = torch.randn(50, 16)
    assert model(h).statistics["explained_variance"].item() > 0.85


def test_learns_planted_concepts_and_sparsity_makes_it_sparser() -> None:
    """h is a sparse sum of 12 directions in 8 dimensions."""
    directions = torch.nn.functional.normalize(torch.randn(12, 8))
    counts = {}
    for sparsity in (0.0, 0.3):
        torch.manual_seed(1)
        model = _model(width=8, sparsity=sparsity, weight=1.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(150):
            h = (torch.rand(128, 12) * (torch.rand(128, 12) < 0.1)) @ directions * 3
            optimizer.zero_grad()
            found = model(h)
            found.loss.backward()
            optimizer.step()
        counts[sparsity] = found.statistics["l0"].item()
        assert found.statistics["explained_variance"].item() > 0.7
    assert counts[0.3] < 0.5 * counts[0.0]


@torch.no_grad()
def test_the_k_largest_latents_are_kept_as_they_are_and_no_other() -> None:
    model, every = _model(width=16, active=5), _model(width=16)
    every.load_state_dict(model.state_dict())
    h = torch.randn(50, 16)
    found, dense = model(h).latents, every.encode(h)
    assert ((found > 0).sum(1) == 5).all()
    assert model(h).statistics["l0"].item() == 5.0
    assert every(h).statistics["l0"].item() > 20
    for row, full in zip(found, dense, strict=True):
        places = full.numpy().argsort()[-5:]
        want = torch.zeros_like(full)
        want[places] = full[places]
        torch.testing.assert_close(row, want)


@torch.no_grad()
def test_a_row_with_fewer_positive_latents_has_fewer() -> None:
    model = _model(active=5)
    model.encoder_bias.fill_(-100.0)
    model.encoder_bias[:2] = 100.0
    assert ((model.encode(torch.randn(9, 6)) > 0).sum(1) == 2).all()


@torch.no_grad()
def test_the_loss_of_unused_latents_equals_the_formula_row_by_row() -> None:
    model, h = _model(active=2, auxiliary=0.5, weight=1.0), torch.randn(3, 6)
    found = model(h)
    used = {int(i) for row in found.latents for i in row.nonzero()}
    total = 0.0
    for row in range(3):
        left = h[row] - model.decoder_bias - sum(z * w for z, w in zip(found.latents[row], model.weight, strict=True))
        before = [(float(model.weight[i] @ h[row] + model.encoder_bias[i]), i) for i in range(24) if i not in used]
        best = sorted(before, reverse=True)[:3]  # half of six dimensions
        again = left - sum(max(value, 0.0) * model.weight[i] for value, i in best)
        total += float((left**2).sum()) + 0.5 * float((again**2).sum())
    assert found.loss.item() == pytest.approx(total / 3, rel=1e-5)


def test_unused_latents_learn_and_their_loss_can_be_switched_off() -> None:
    gradients = {}
    for auxiliary in (0.0, 1.0):
        torch.manual_seed(0)
        model, h = _model(active=1, auxiliary=auxiliary), torch.randn(2, 6)
        found = model(h)
        found.loss.backward()
        idle = ~(found.latents > 0).any(0)
        assert model.weight.grad is not None
        gradients[auxiliary] = model.weight.grad[idle].abs().sum().item()
    assert gradients[0.0] == 0.0
    assert gradients[1.0] > 0.0


def test_the_largest_latents_learn_planted_concepts() -> None:
    """h is a sum of a few of 12 directions in 8 dimensions; four latents of a row suffice, and few are never used."""
    directions = torch.nn.functional.normalize(torch.randn(12, 8))
    model = _model(width=8, active=4, weight=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        h = (torch.rand(128, 12) * (torch.rand(128, 12) < 0.1)) @ directions * 3
        optimizer.zero_grad()
        found = model(h)
        found.loss.backward()
        optimizer.step()
    assert found.statistics["explained_variance"].item() > 0.8
    assert found.statistics["l0"].item() <= 4
    assert found.statistics["dead"].item() < 0.5


def test_training_reads_a_share_of_the_rows_and_evaluation_all() -> None:
    model, h = _model(share=0.25), torch.randn(10, 6)
    trained = model.train()(h)
    assert len(trained.latents) == 3
    assert len(model.eval()(h).latents) == 10
    torch.testing.assert_close(trained.loss, model(h[:3]).loss)


def test_one_row_and_rows_of_zeros_are_finite() -> None:
    model = _model()
    for h in (torch.randn(1, 6), torch.zeros(4, 6)):
        found = model(h)
        found.loss.backward()
        assert found.loss.isfinite()
        assert all(v.isfinite() for v in found.statistics.values())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_half_precision_around_it_changes_nothing() -> None:
    model, h = _model(), torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(h)
    torch.testing.assert_close(inside.loss, model(h).loss)
    assert inside.latents.dtype == torch.float32


def test_size_is_that_of_the_layout() -> None:
    count = sum(p.numel() for p in SparseAutoencoder(512, AutoencoderConfig()).parameters())
    assert count == 4 * 512 * 512 + 4 * 512 + 512
