"""Transaction sequence: the last 180 days of each customer, 16 values a day, oldest day first.

Card 8: count, log amount, mean, max, category entropy, top category, channel share, hour resultant. Deposit 8: in, out,
net, balance, count, transfer, salary flag, low-balance flag (`deposit_days.py`). Channels that the data set does not
have are *absent*: not in `channels_present` of the state, and 0 in the array. A day without a purchase is a fact
(zeros, mask true); a day before the customer joined is not (mask false). Values are divided by a fitted scale and not
centred, so that 0 keeps its meaning. Source: FEATURES §3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from feature_assets.events.numbers import sum_at
from feature_assets.events.purchases import top_by_spend
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.sequences import deposit_days as _deposit_days

STEPS = 180
CATEGORIES = 12
LIMIT = 4.0  # scaled values are clipped to [−LIMIT, LIMIT]; only net flow and balance can be negative
CARD = (
    "card_count",
    "card_log_amount",
    "card_mean",
    "card_max",
    "card_category_entropy",
    "card_top_category",
    "card_channel_share",
    "card_hour_resultant",
)
DEPOSIT = _deposit_days.CHANNELS
CHANNELS = CARD + DEPOSIT
_SCALED = 4  # the first four card channels have a unit; the other four are shares already
_CHUNK = 1024  # customers at a time: 1024 × 180 × 13 cells of float64 are 19 MB


class TxnSeq(FeatureGroup):
    """Daily sequence. Fitted: scales of the amounts and counts, the order of categories, the most frequent channel."""

    name = "txn_seq"
    description = "180 days × 16: what was bought each day, for the sequence branch of the model"
    side_inputs = (
        SideInput("txn_seq", "180 days × 16, oldest day first", (STEPS, len(CHANNELS)), pl.Float32, CHANNELS),
        SideInput("txn_seq_mask", "whether the customer had joined on that day", (STEPS,), pl.Boolean),
    )
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """`scale` [4]: root mean square of the non-zero values of each card channel with a unit, over the training
        dates; and what `_deposit_days.fit` says, where the data set has deposits."""
        views = training.views
        meta: dict[str, list[str]] = {
            "categories": top_by_spend(views, "category_l1", CATEGORIES),
            "common_channel": top_by_spend(views, "channel", 1),
            "channels": list(CHANNELS),
        }
        lost: set[str] = set()
        if not meta["categories"]:
            lost |= {"card_category_entropy", "card_top_category"}
        if not meta["common_channel"]:
            lost |= {"card_channel_share"}
        meta["channels_present"] = [name for name in CARD if name not in lost]
        squares, count = np.zeros(_SCALED), 0
        for view in views:
            _, values = _card(view.recent_purchases(STEPS), meta["categories"], meta["common_channel"])
            squares += (values[:, :_SCALED] ** 2).sum(axis=0)
            count += len(values)
        scale = np.sqrt(squares / max(count, 1))
        deposits, present = _deposit_days.fit(views, STEPS)
        meta["channels_present"] += present
        return GroupState({"scale": np.where(scale > 0, scale, 1.0), **deposits}, meta)

    def uses(self, state: GroupState) -> tuple[str, ...]:
        return _deposit_days.uses(state.meta.get("channels_present", ()))

    def _values(self, inputs: Inputs) -> Values:
        """Side inputs txn_seq [180, 16] and txn_seq_mask [180]."""
        view, state = inputs.view, inputs.state
        part = view.recent_purchases(STEPS)
        cells, card = _card(part, state.meta["categories"], state.meta["common_channel"])
        card[:, :_SCALED] /= state.arrays["scale"]
        card[:, [i for i, name in enumerate(CARD) if name not in state.meta["channels_present"]]] = 0.0
        sequence = np.zeros((part.customers * STEPS, len(CHANNELS)), dtype=np.float32)
        sequence[cells, : len(CARD)] = np.clip(card, 0.0, LIMIT)
        _add_deposits(sequence, view, state)
        mask = view.joined_days(STEPS)
        sequence[~mask.ravel()] = 0.0
        return Values(sides={"txn_seq": sequence.reshape(part.customers, STEPS, len(CHANNELS)), "txn_seq_mask": mask})


def _add_deposits(sequence: np.ndarray, view: View, state: GroupState) -> None:
    """Write the deposit channels that the state knows into `sequence` [customers · 180, 16]."""
    present = [name for name in DEPOSIT if name in state.meta["channels_present"]]
    if not present:
        return
    _deposit_days.check(view, present)
    days = _deposit_days.days(view, STEPS, state.arrays["low_balance"][0])
    for name in present:
        cells, values = days[name]
        scaled = values / state.arrays["deposit_scale"][DEPOSIT.index(name)]
        sequence[cells, CHANNELS.index(name)] = np.clip(scaled, -LIMIT, LIMIT)


def _card(part: Events, categories: Sequence[str], common_channel: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Days with a purchase, int64 [U] (customer · 180 + step), and their unscaled card channels, float64 [U, 8].

    0 log1p lines; 1 log1p spend; 2 log1p mean line; 3 log1p largest line; 4 entropy of spend over categories as a share
    of its maximum; 5 rank of the category with the most spend, from 1 (the population's largest) down to 1/13; 6 share
    of spend outside of the commonest channel; 7 length of the mean of the purchases' hour angles.
    """
    amount, cell = part.values("amount"), part.row * STEPS + (STEPS - part.days_ago)
    size = part.customers * STEPS
    count = np.bincount(cell, minlength=size)
    used = np.flatnonzero(count)
    position = np.zeros(size, dtype=np.int64)
    position[used] = np.arange(len(used))
    at = position[cell]

    def total(weights: np.ndarray) -> np.ndarray:
        return sum_at(at, weights, len(used))

    lines, spend = count[used].astype(np.float64), total(amount)
    largest = np.zeros(len(used))
    np.fmax.at(largest, at, amount)
    angle = part.values("hour") * (2 * np.pi / 24)
    channel = part.ranked("channel", common_channel)
    other_channel = (channel == len(common_channel)) & (part.codes("channel") >= 0)
    entropy, top = _categories(part, at, len(used), categories, amount)
    positive = np.where(spend > 0, spend, 1.0)
    values = [
        np.log1p(lines),
        np.log1p(np.maximum(spend, 0.0)),
        np.log1p(np.maximum(spend, 0.0) / lines),
        np.log1p(largest),
        entropy,
        top,
        total(amount * other_channel) / positive,
        np.hypot(total(np.cos(angle)), total(np.sin(angle))) / lines,
    ]
    return used, np.stack(values, axis=1)


def _categories(
    part: Events, at: np.ndarray, cells: int, categories: Sequence[str], amount: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Entropy share and top rank of spend over the categories (and "other") of each of `cells` days, float64 [U]."""
    width = CATEGORIES + 1
    entropy, top = np.zeros(cells), np.zeros(cells)
    rank = part.ranked("category_l1", categories)
    rank[rank == len(categories)] = CATEGORIES  # "other" is the last one, however many there are
    step = _CHUNK * STEPS
    bounds = np.searchsorted(at, np.arange(0, cells + step, step))  # lines are in the order of their cells
    for chunk, (first, last) in enumerate(pairwise(bounds)):
        low, high = chunk * step, min((chunk + 1) * step, cells)
        key = (at[first:last] - low) * width + rank[first:last]
        spend = np.maximum(sum_at(key, amount[first:last], (high - low) * width), 0.0)
        spend = spend.reshape(-1, width)
        sums = spend.sum(axis=1, keepdims=True)
        share = spend / np.where(sums > 0, sums, 1.0)
        some, logs = np.flatnonzero(share), np.zeros(share.size)
        logs[some] = np.log(share.ravel()[some])
        entropy[low:high] = -(share * logs.reshape(share.shape)).sum(axis=1) / np.log(width)
        top[low:high] = np.where(sums[:, 0] > 0, 1.0 - spend.argmax(axis=1) / width, 0.0)
    return entropy, top


GROUP = TxnSeq()
