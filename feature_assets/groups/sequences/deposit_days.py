"""The deposit half of `txn_seq`: inflows and outflows of each day, and the balances at its start.

The balance of a day is carried forward from the latest statements that were known before it; it is low when the current
accounts hold less than the training dates' lower decile. Source: FEATURES §3.9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.data.contract import INFLOWS
from feature_assets.events.numbers import runs, sum_at
from feature_assets.events.statements import STALE, Statements
from feature_assets.events.view import View
from feature_assets.group import StateError
from feature_assets.groups.multi_source.deposit import ACCOUNTS, low_threshold

CHANNELS = (
    "deposit_in",
    "deposit_out",
    "deposit_net",
    "deposit_balance",
    "deposit_count",
    "deposit_transfer",
    "deposit_salary",
    "deposit_low_balance",
)
_FLAGS = ("deposit_salary", "deposit_low_balance")
_OF_BALANCES = ("deposit_balance", "deposit_low_balance")


def fit(views: Sequence[View], steps: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays `deposit_scale` [8] (root mean square of the non-zero values of a channel, 1 for a flag) and `low_balance`
    [1], and the channels that are not 0 throughout on the training dates; nothing where there is none."""
    balances = views[0].has("balances")
    low = np.array([low_threshold(views) if balances else 0.0])
    squares, count = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for view in views:
        for i, (_, values) in enumerate(days(view, steps, low[0]).values()):
            squares[i] += (values**2).sum()
            count[i] += np.count_nonzero(values)
    present = [name for name, some in zip(CHANNELS, count, strict=True) if some]
    if not present:
        return {}, []
    unscaled = (squares == 0) | np.isin(CHANNELS, _FLAGS)
    scale = np.where(unscaled, 1.0, np.sqrt(squares / np.maximum(count, 1)))
    return {"deposit_scale": scale, "low_balance": low}, present


def days(view: View, steps: int, low: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Channel → cells int64 [U] (customer · steps + step) where it may differ from 0, and unscaled values float64 [U].

    Amounts are log1p, signed for the net flow and the balance; count is log1p; flags are 0 or 1.
    """
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
    found = dict.fromkeys(CHANNELS, nothing)
    if view.has("transactions"):
        found |= _flow_days(view, steps)
    if view.has("balances"):
        deposits = _carried_forward(view.statements.of(*ACCOUNTS), steps)
        current = _carried_forward(view.statements.of("current"), steps)
        cells = np.flatnonzero(~np.isnan(deposits))
        found["deposit_balance"] = cells, _signed_log(deposits[cells])
        below = np.flatnonzero(current < low)
        found["deposit_low_balance"] = below, np.ones(len(below))
    return found


def uses(present: Sequence[str]) -> tuple[str, ...]:
    """Tables that the fitted channels need."""
    return ("balances",) if set(present) & set(_OF_BALANCES) else ()


def check(view: View, present: Sequence[str]) -> None:
    """StateError if a fitted channel needs a table that this delivery does not have."""
    lost = [name for name in present if name in _OF_BALANCES and not view.has("balances")]
    if lost:
        raise StateError(f"txn_seq was fitted with channels {lost}, and this delivery has no table balances")


def _flow_days(view: View, steps: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    recent = view.money_flows.recent(steps)
    cells, at = runs(recent.row * steps + (steps - recent.days_ago))
    amount = recent.values("amount")

    def total(chosen: np.ndarray) -> np.ndarray:
        return sum_at(at, amount * chosen, len(cells))

    inflow = recent.is_in("kind", *INFLOWS)
    come, go = total(inflow), total(~inflow)
    return {
        "deposit_in": (cells, np.log1p(come)),
        "deposit_out": (cells, np.log1p(go)),
        "deposit_net": (cells, _signed_log(come - go)),
        "deposit_count": (cells, np.log1p(np.bincount(at, minlength=len(cells)))),
        "deposit_transfer": (cells, np.log1p(total(recent.is_in("kind", "transfer_in", "transfer_out")))),
        "deposit_salary": (cells, (total(recent.is_in("kind", "salary")) > 0).astype(np.float64)),
    }


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def _carried_forward(accounts: Statements, steps: int) -> np.ndarray:
    """Sum of the latest balances known before each day, float64 [customers · steps], NaN without a live account.

    Each statement adds its balance from the day after on, and takes it away again when the next one of its account
    comes, or when it is stale.
    """
    events, n = accounts.events, accounts.events.customers
    last = np.ones(len(events.row), dtype=bool)
    last[:-1] = accounts.account[1:] != accounts.account[:-1]
    ends_ago = events.days_ago - STALE - 1  # the first day, counted back from t, on which it is stale
    following = np.append(events.days_ago[1:], 0) - 1
    ends_ago = np.where(last, ends_ago, np.maximum(ends_ago, following))
    begins = np.maximum(steps - (events.days_ago - 1), 0)
    ends = np.maximum(steps - ends_ago, 0)
    width = steps + 1  # changes at t itself or later lie behind the window
    change, alive = np.zeros(n * width), np.zeros(n * width)
    for step, sign in ((begins, 1.0), (ends, -1.0)):
        cell = events.row * width + np.minimum(step, steps)
        change += sum_at(cell, sign * accounts.balance, n * width)
        alive += sum_at(cell, np.full(len(cell), sign), n * width)
    level = np.cumsum(change.reshape(n, width), axis=1)[:, :steps]
    live = np.cumsum(alive.reshape(n, width), axis=1)[:, :steps] > 0
    return np.where(live, np.round(level, 6), np.nan).ravel()  # rounded: sums of differences are not exact
