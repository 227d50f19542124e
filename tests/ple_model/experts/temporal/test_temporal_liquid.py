from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn import functional as F

from ple_model.config import LiquidBranchConfig
from ple_model.experts.temporal.liquid import LiquidBranch, LiquidCell, elapsed_patches

WIDTH, BACKBONE = 3, 5


@pytest.fixture
def cell() -> LiquidCell:
    return LiquidCell(WIDTH, BACKBONE, shortest=0.5, longest=6.0).double()


def liquid(cell: LiquidCell, u: Tensor) -> Callable[[float, np.ndarray, np.ndarray | None], np.ndarray]:
    """ds/dt of the liquid ODE for one row's input, in numpy. `held`: the state that f and A are evaluated at."""
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    inputs = u.detach().numpy()[0]

    def slope(_: float, state: np.ndarray, held: np.ndarray | None = None) -> np.ndarray:
        at = state if held is None else held
        hidden = np.tanh(inputs + weights["recurrent.weight"] @ at)
        drive, level = np.split(weights["heads.weight"] @ hidden + weights["heads.bias"], 2)
        drive, base = np.log1p(np.exp(drive)), np.log1p(np.exp(weights["base"]))
        return -(base + drive) * state + drive * np.tanh(level)

    return slope


def solved(slope: Callable, state: Tensor, days: float, *args: np.ndarray) -> np.ndarray:
    return solve_ivp(slope, (0, days), state.numpy()[0], args=args, rtol=1e-10, atol=1e-12).y[:, -1]


@pytest.mark.parametrize("days", [0.0, 0.3, 7.0, 90.0])
def test_a_step_solves_the_ode_with_its_gates_held(cell: LiquidCell, days: float) -> None:
    u, state = torch.randn(1, BACKBONE, dtype=torch.float64), torch.randn(1, WIDTH, dtype=torch.float64)
    got, _ = cell(u, state, torch.full((1, 1), days, dtype=torch.float64))
    want = solved(liquid(cell, u), state, days, state.numpy()[0])
    np.testing.assert_allclose(got.detach().numpy()[0], want, atol=1e-8)
    if days == 0:
        assert torch.equal(got, state)


def test_short_steps_converge_to_the_ode_at_first_order(cell: LiquidCell) -> None:
    u, start = torch.randn(1, BACKBONE, dtype=torch.float64), torch.randn(1, WIDTH, dtype=torch.float64)
    want, errors = solved(liquid(cell, u), start, 4.0), []
    for parts in (8, 16, 512):
        state, days = start, torch.full((1, 1), 4.0 / parts, dtype=torch.float64)
        for _ in range(parts):
            state, _ = cell(u, state, days)
        errors.append(np.abs(state.detach().numpy()[0] - want).max())
    assert errors[0] > 1e-5  # the gates do depend on the state
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.1)
    assert errors[2] < errors[0] / 50


def test_gradients_equal_finite_differences(cell: LiquidCell) -> None:
    u, state = (torch.randn(2, n, dtype=torch.float64, requires_grad=True) for n in (BACKBONE, WIDTH))
    days = torch.tensor([[7.0], [0.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u, s: cell(u, s, days)[0], (u, state))


def test_units_start_with_log_spaced_time_constants() -> None:
    cell = LiquidCell(4, 8, shortest=7.0, longest=182.0)
    drive = F.softplus(cell.heads.bias[:4])
    torch.testing.assert_close(1 / drive, torch.logspace(np.log10(7), np.log10(182), 4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(1 / F.softplus(cell.base), torch.full((4,), 182.0), rtol=1e-3, atol=1e-3)


def test_time_runs_between_valid_patches() -> None:
    valid = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]], dtype=torch.bool)
    want = [[1, 1, 1, 1, 1], [0, 0, 1, 0, 2], [0, 0, 0, 0, 0], [1, 0, 0, 3, 0]]
    assert elapsed_patches(valid).tolist() == want


def test_invalid_patches_leave_the_state_and_a_longer_gap_moves_it_further() -> None:
    branch = LiquidBranch(LiquidBranchConfig(), patches=12, channels=7).eval()
    x, valid = torch.randn(4, 6, 7), torch.ones(4, 6, dtype=torch.bool)
    want, _ = branch(x, valid)
    for pad in ((5, 0), (0, 5), (2, 3)):
        got, looked = branch(F.pad(x, (0, 0, *pad)), F.pad(valid, pad))
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
        assert bool((looked["time_constant"] > 0).all())
    gap = torch.cat([x[:, :3], torch.zeros(4, 4, 7), x[:, 3:]], dim=1)
    there = torch.cat([valid[:, :3], torch.zeros(4, 4, dtype=torch.bool), valid[:, 3:]], dim=1)
    assert not torch.allclose(branch(gap, there)[0], want, atol=1e-4)


def test_liquid_branch_is_float32_under_autocast() -> None:
    branch = LiquidBranch(LiquidBranchConfig(), patches=6, channels=7).eval()
    x, valid = torch.randn(4, 6, 7), torch.ones(4, 6, dtype=torch.bool)
    want, _ = branch(x, valid)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(branch(x, valid)[0], want)
