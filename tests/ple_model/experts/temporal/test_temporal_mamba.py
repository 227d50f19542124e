import sys
import warnings
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_model.config import MambaBranchConfig
from ple_model.experts.temporal.mamba import MambaBranch, with_earlier
from ple_model.experts.temporal.scan import fused_scan, selective_scan


def recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan by its definition, one step after the other."""
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[-1])
    y = []
    for t in range(x.shape[1]):
        keep = (dt[:, t] * a).exp()[..., None, None]
        state = keep * state + torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        y.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(y, 1)


def arguments(steps: int, dtype: torch.dtype, heads: int = 3) -> tuple[Tensor, ...]:
    batch, width, states = 4, 5, 6
    dt = F.softplus(torch.randn(batch, steps, heads, dtype=dtype) - 1)
    dt[1, steps // 3 : steps // 2] = 0.0
    rates = -torch.rand(heads, dtype=dtype) - 0.1
    parts = [torch.randn(batch, steps, *shape, dtype=dtype) for shape in ((heads, width), (states,), (states,))]
    return tuple(t.requires_grad_() for t in (parts[0], dt, rates, parts[1], parts[2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("steps", "chunk"), [(1, 4), (12, 12), (12, 4), (13, 4), (26, 30), (47, 10)])
def test_chunked_form_equals_the_recurrence_with_gradients(steps: int, chunk: int, dtype: torch.dtype) -> None:
    given = arguments(steps, dtype)
    got, want = selective_scan(*given, chunk=chunk), recurrence(*given)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(want)
    gradients = [torch.autograd.grad((y * weight).sum(), given) for y in (got, want)]
    for ours, theirs in zip(*gradients, strict=True):
        scale = max(theirs.abs().max().item(), 1.0)
        torch.testing.assert_close(ours / scale, theirs / scale, atol=1e-5, rtol=1e-5)


def test_large_steps_forget_and_stay_finite() -> None:
    given = arguments(24, torch.float32)
    with torch.no_grad():
        given[1].mul_(500)
    y = selective_scan(*given, chunk=8)
    torch.testing.assert_close(y, recurrence(*given), rtol=1e-4, atol=1e-4)
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), given))


def test_scan_is_float32_under_autocast() -> None:
    given = arguments(12, torch.float32)
    want = selective_scan(*given, chunk=4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(*given, chunk=4), want)


def test_mamba_ssm_is_taken_where_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments: x [B, S, H, P], dt [B, S, H], A [H], B and C [B, S, groups, N], chunk_size."""
    module = ModuleType("mamba_ssm.ops.triton.ssd_combined")

    def mamba_chunk_scan_combined(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk_size: int) -> Tensor:
        assert chunk_size in (16, 32)
        return recurrence(x, dt, a, b.squeeze(2), c.squeeze(2))

    module.mamba_chunk_scan_combined = mamba_chunk_scan_combined  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    fused_scan.cache_clear()
    try:
        assert fused_scan() is mamba_chunk_scan_combined
        monkeypatch.setattr("ple_model.experts.temporal.scan.on_gpu", lambda _: True)
        monkeypatch.setattr("ple_model.experts.temporal.scan.chunked_scan", lambda *_: pytest.fail("not the kernel"))
        given = arguments(20, torch.float32)
        for chunk in (6, 20):
            torch.testing.assert_close(selective_scan(*given, chunk=chunk), recurrence(*given))
        monkeypatch.undo()
    finally:
        fused_scan.cache_clear()


@pytest.mark.parametrize("broken", [False, True])
def test_a_kernel_that_does_not_import_is_told_from_none(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    def missing(_: str) -> ModuleType:
        raise ImportError("undefined symbol") if broken else ModuleNotFoundError("none", name="mamba_ssm")

    monkeypatch.setattr("importlib.import_module", missing)
    fused_scan.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert fused_scan() is None
        assert len(caught) == broken
    finally:
        fused_scan.cache_clear()


def test_earlier_steps_stand_beside_each_step() -> None:
    x = torch.randn(2, 6, 3)
    got = with_earlier(x, 3).unflatten(-1, (3, 3))
    for t in range(6):
        for k in range(3):
            want = x[:, t - 2 + k] if t - 2 + k >= 0 else torch.zeros(2, 3)
            assert torch.equal(got[:, t, k], want)


def test_empty_steps_in_front_and_their_values_change_nothing() -> None:
    branch = MambaBranch(MambaBranchConfig(chunk=5), patches=12, channels=7).eval()
    x, valid = torch.randn(4, 12, 7), torch.ones(4, 12, dtype=torch.bool)
    want, _ = branch(x, valid)
    longer = torch.cat([torch.zeros(4, 9, 7), x], dim=1)
    got, looked = branch(longer, F.pad(valid, (9, 0)))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert bool((looked["step_size"][:, :9] == 0).all())
    assert bool((looked["kept"][:, :9] == 1).all())
    assert bool((looked["step_size"][:, 9:] > 0).all())


def test_the_past_reaches_the_newest_step_and_the_future_no_earlier_one() -> None:
    config = MambaBranchConfig(chunk=4, layers=1)
    layer = MambaBranch(config, patches=20, channels=3).eval().layers[0]
    x = torch.randn(1, 20, config.model_width, requires_grad=True)
    valid = torch.ones(1, 20, dtype=torch.bool)
    y = layer(x, valid)[0]
    newest = torch.autograd.grad(y[0, -1].square().sum(), x, retain_graph=True)[0]
    assert bool((newest[0].abs().sum(-1) > 0).all())
    tenth = torch.autograd.grad(y[0, 10].square().sum(), x)[0]
    assert bool((tenth[0, 11:] == 0).all())


def test_heads_start_with_memories_from_two_steps_to_the_whole_sequence() -> None:
    branch = MambaBranch(MambaBranchConfig(heads=4), patches=26, channels=3)
    size = F.softplus(branch.layers[0].project.bias[-4:])
    torch.testing.assert_close(size[0], torch.tensor(0.5))
    torch.testing.assert_close(size[-1], torch.tensor(1 / 26))
