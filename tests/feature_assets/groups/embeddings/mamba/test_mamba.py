"""The sequence encoder: the trained form, the recurrence and the numba kernel say the same, and it can forecast."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from feature_assets.events.daily import CHANNELS, DailySeries
from feature_assets.events.view import View
from feature_assets.groups.embeddings import mamba
from feature_assets.groups.embeddings.mamba import training
from feature_assets.groups.embeddings.mamba.encoder import STATE, WIDTH, Convolution, Encoder, Scan
from feature_assets.groups.embeddings.mamba.training import HORIZON, STEPS, Sequences
from tests.deliveries import synthetic
from tests.feature_assets import plain_view


def _recurrence(x: Tensor, decay: Tensor, b: Tensor, c: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """h ← decay h + b xᵀ, y = cᵀ h, one step after the other, in torch's own operations."""
    head = x.shape[2] // decay.shape[2]
    state = x.new_zeros(x.shape[0], b.shape[2], x.shape[2])
    outputs, ends = [], []
    for t in range(x.shape[1]):
        state = decay[:, t].repeat_interleave(head, dim=1)[:, None] * state + b[:, t, :, None] * x[:, t, None]
        outputs.append((state * c[:, t, :, None]).sum(1))
        if (t + 1) % every == 0:
            ends.append(state)
    return torch.stack(outputs, 1), torch.stack(ends, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scan_equals_the_recurrence_and_so_do_its_gradients(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, 60, WIDTH), (3, 60, 4), (3, 60, STATE), (3, 60, STATE)]
    arrays = [torch.rand(shape, generator=generator, dtype=dtype) - 0.3 * (i != 1) for i, shape in enumerate(shapes)]
    weight_y, weight_ends = torch.rand(3, 60, WIDTH, dtype=dtype), torch.rand(3, 3, STATE, WIDTH, dtype=dtype)
    found = []
    for form in (Scan.apply, _recurrence):
        leaves = [a.clone().requires_grad_() for a in arrays]
        y, ends = form(*leaves, 20)
        ((y * weight_y).sum() + (ends * weight_ends).sum()).backward()
        found.append([y, ends, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*found, strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * scale)


def test_convolution_equals_torch() -> None:
    x = torch.randn(2, 30, 12, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(12, dtype=torch.float64, requires_grad=True)
    padded = functional.pad(x.transpose(1, 2), (3, 0))
    theirs = functional.conv1d(padded, taps.t()[:, None], bias, groups=12).transpose(1, 2)
    torch.testing.assert_close(Convolution.apply(x, taps, bias), theirs)
    weight = torch.randn_like(theirs)
    expected = torch.autograd.grad((theirs * weight).sum(), (x, taps, bias))
    ours = torch.autograd.grad((Convolution.apply(x, taps, bias) * weight).sum(), (x, taps, bias))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)


def _random_days(customers: int, seed: int) -> DailySeries:
    rng = np.random.default_rng(seed)
    length = rng.integers(0, STEPS + 1, customers)
    length[:3] = (STEPS, 1, 0)
    ages = [np.sort(rng.choice(n, rng.binomial(n, 0.3), replace=False))[::-1] + 1 for n in length]
    start = np.concatenate([[0], np.cumsum([len(a) for a in ages])])
    values = rng.gamma(2.0, 1.0, (start[-1], len(CHANNELS))).astype(np.float32)
    return DailySeries(start, np.concatenate(ages).astype(np.int32), values, length, 3)


def _random_model(seed: int) -> Encoder:
    model = Encoder(HORIZON, 20, np.random.default_rng(seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize(("kind", "close"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_kernel_equals_the_module(kind: type, close: float) -> None:
    recent, model = _random_days(40, 0), _random_model(0)
    scale = np.linspace(0.5, 2.0, len(CHANNELS)).astype(np.float32)
    weights = {name: array.astype(kind) for name, array in mamba.named_weights(model).items()}
    found = mamba.raw_states(recent, scale, weights)
    model = model.to(torch.float64 if kind is np.float64 else torch.float32)
    with torch.no_grad():
        for block, number in ((model.first, 1), (model.second, 2)):  # rates are rounded to float32 in the state
            block.log_rate.copy_(torch.from_numpy(-weights[f"rate_{number}"]).log())
    padded = DailySeries(recent.start, recent.days_ago, recent.values, recent.length, recent.weekday)
    data = training.sequences(padded, np.arange(40), scale)
    values = np.zeros((40, STEPS, len(CHANNELS)), dtype=kind)
    values[:] = data.values[:, HORIZON:]
    if kind is np.float64:
        for i in range(40):
            for e in range(recent.start[i], recent.start[i + 1]):
                values[i, STEPS - recent.days_ago[e]] = recent.values[e].astype(kind) / scale.astype(kind)
    with torch.no_grad():
        expected = model.encode(
            torch.from_numpy(values),
            torch.from_numpy(data.known[:, HORIZON:]),
            torch.from_numpy(data.weekday[:, HORIZON:].copy()),
        )[:, -1].numpy()
    assert np.abs(found - expected).max() <= close * np.abs(expected).max()
    assert np.abs(found[2]).max() == 0  # no known day, no memory


def _habits(customers: int, seed: int) -> Sequences:
    """Customers with a weekday of their own and a level that jumps now and then: what a mean cannot follow."""
    rng = np.random.default_rng(seed)
    span = STEPS + HORIZON
    jumps = rng.random((customers, span)) < 1 / 50
    regime = np.cumsum(jumps, axis=1)
    levels = rng.gamma(1.0, 1.0, (customers, span + 1))
    level = np.take_along_axis(levels, regime, axis=1)
    weekday = np.broadcast_to(np.arange(span) % 7, (customers, span))
    favourite = rng.integers(0, 7, (customers, 1))
    bought = rng.random((customers, span)) < np.where(weekday == favourite, 0.9, 0.15)
    values = np.zeros((customers, span, len(CHANNELS)), dtype=np.float32)
    for c in range(4):
        values[..., c] = bought * level * (0.5 + rng.random((customers, span)))
    return Sequences(values, np.ones((customers, span), dtype=bool), weekday.astype(np.int64))


def test_forecast_beats_last_value_last_week_and_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PASSES", 3_000)
    model = training.train(_habits(600, 0), seed=0)
    error = {name: np.mean(values[:4]) for name, values in training.skill(model, _habits(200, 1)).items()}
    assert error["encoder"] < 0.93 * error["mean"]
    assert error["encoder"] < 0.8 * min(error["last"], error["week"])


def test_same_seed_same_bits_and_another_seed_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PASSES", 0)
    data = _habits(40, 2)
    first, again, other = (training.train(data, seed).project.detach().numpy() for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_training_reads_and_forecasts_days_before_t_only() -> None:
    """The last target is the day before t, and what is read ends where the forecast begins."""
    recent = _random_days(10, 4)
    data = training.sequences(recent, np.arange(10), np.ones(len(CHANNELS), dtype=np.float32))
    assert data.values.shape == (10, STEPS + HORIZON, len(CHANNELS))
    yesterday = np.flatnonzero(recent.days_ago == 1)
    owner = np.searchsorted(recent.start, yesterday, side="right") - 1
    assert np.array_equal(training.targets(data.values)[owner, -1, -1], recent.values[yesterday])
    model = _random_model(5)
    with torch.no_grad():
        before = training._encode(model, data)
        changed = data.values.copy()
        changed[:, STEPS:] += 1.0
        assert torch.equal(before, training._encode(model, Sequences(changed, data.known, data.weekday)))


def test_axes_are_uncorrelated_of_unit_variance_and_fixed_sign() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(500, WIDTH * STATE)) * rng.gamma(1.0, 1.0, WIDTH * STATE)
    project = rng.normal(size=(WIDTH * STATE, mamba.OUT)).astype(np.float32)
    turned, offset = mamba.principal(states @ project, project)
    columns = states @ turned + offset
    assert np.abs(columns.mean(axis=0)).max() < 1e-4
    assert np.abs(np.cov(columns.T) - np.eye(mamba.OUT)).max() < 1e-3
    assert (turned[np.abs(turned).argmax(axis=0), np.arange(mamba.OUT)] > 0).all()
    again, _ = mamba.principal(states @ -project, -project)
    assert np.allclose(turned, again, atol=1e-5)


def test_days_are_what_the_lines_say() -> None:
    view = View(synthetic.tables(), synthetic.AS_OF)
    found = view.daily_series(60)
    lines = plain_view.purchases(synthetic.tables(), synthetic.AS_OF).filter(pl.col("days_ago") <= 60)
    for (row, ago), group in lines.group_by("row", "days_ago"):
        events = np.arange(found.start[row], found.start[row + 1])
        (e,) = events[found.days_ago[events] == ago]
        angle = group["hour"].cast(pl.Float64).to_numpy() * (2 * np.pi / 24)
        expected = [
            np.log1p(group.height),
            np.log1p(group["amount"].sum()),
            np.log1p(group["amount"].max()),
            np.log1p(group["category_l1"].drop_nulls().n_unique()),
            np.cos(angle).mean(),
            np.sin(angle).mean(),
        ]
        assert found.values[e, :6] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    every = plain_view.lines(synthetic.tables(), synthetic.AS_OF).filter(pl.col("days_ago") <= 60)
    ever = every.select(pl.struct("row", "days_ago").n_unique()).item()
    assert len(found.days_ago) == ever
    assert found.length.max() == 60


def test_group_says_how_well_it_forecasts_and_who_has_no_memory() -> None:
    tables = synthetic.tables()
    views = [View(synthetic.training_tables(tables), t) for t in synthetic.TRAIN]
    state = mamba.GROUP.fit(views, [{}] * len(views), 0)
    assert set(state.meta["squared_error"]) == {"encoder", "last", "week", "mean"}
    assert state.meta["held_out"] > 0
    frame = mamba.GROUP.compute(View(tables, synthetic.AS_OF), state, {})
    values = frame.drop("customer_id").to_numpy()
    bought = ~np.isnan(values).any(axis=1)
    assert not bought[0]  # c000 never bought
    assert bought[1:].sum() > 80
    assert (values[bought].std(axis=0) > 0.01).all()
    copies = np.abs(np.corrcoef(values[bought].T) - np.eye(mamba.OUT))
    assert copies.max() < 0.999
