"""Training of the encoder, without labels: sequences that end before t, forecasts of days that also lie before t.

For a training date t the encoder reads 180 days that end `HORIZON` days before t and, at the end of every chunk of 20
days, forecasts the 14 days that follow; so all that it reads or forecasts happened before t. One customer in ten (by a
stable hash) is held out to measure the forecast error. Imported by the fit only, since it imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from feature_assets.events.daily import CHANNELS, DailySeries
from feature_assets.groups.embeddings.mamba.encoder import Encoder

STEPS, HORIZON, CHUNK = 180, 14, 20
FIRST_ANCHOR = 2  # forecasts begin with the end of the third chunk
LEAST_KNOWN = 28  # known days that an anchor must have behind it
PASSES, MOST_EPOCHS, BATCH, RATE = 16_000, 8, 32, 3e-3
LEVEL_RIDGE, DAY_RIDGE = 0.1, 1.0
_DECAY = 0.01


@dataclass(frozen=True)
class Sequences:
    """values [S, 194, 8] float32 scaled, known [S, 194] bool, weekday [S, 194] int64 of each day, oldest first."""

    values: np.ndarray
    known: np.ndarray
    weekday: np.ndarray

    def part(self, rows: np.ndarray) -> Sequences:
        return Sequences(self.values[rows], self.known[rows], self.weekday[rows])


def sequences(days: DailySeries, rows: np.ndarray, scale: np.ndarray) -> Sequences:
    """The days of the customers `rows`, as dense arrays; `scale` [8] divides."""
    span = STEPS + HORIZON
    values = np.zeros((len(rows), span, len(CHANNELS)), dtype=np.float32)
    counts = days.start[rows + 1] - days.start[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    event = (
        np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(days.start[rows], counts)
    )
    values[owner, span - days.days_ago[event]] = days.values[event] / scale
    known = np.arange(span)[None, :] >= span - days.length[rows][:, None]
    weekday = (days.weekday - np.arange(span - 1, -1, -1)) % 7
    return Sequences(values, known, np.broadcast_to(weekday, known.shape).astype(np.int64))


def anchors(known: np.ndarray) -> np.ndarray:
    """True for chunks with enough known days before their end, bool [S, K]."""
    behind = np.cumsum(known[:, :STEPS], axis=1)[:, CHUNK - 1 :: CHUNK]
    return (behind >= LEAST_KNOWN) & (np.arange(STEPS // CHUNK) >= FIRST_ANCHOR)


def targets(values: np.ndarray) -> np.ndarray:
    """The days after the end of each chunk, [S, K, HORIZON, 8]."""
    ends = np.arange(CHUNK, STEPS + 1, CHUNK)
    return values[:, ends[:, None] + np.arange(HORIZON)]


@contextmanager
def one_thread() -> Iterator[None]:
    """The same bits whatever the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(data: Sequences, seed: int) -> Encoder:
    """Adam on the squared error of the forecasts, one cycle of the learning rate, about `PASSES` sequences in all. The
    head is a regression on the untrained encoder before, and on the trained one after; one thread."""
    epochs = min(max(PASSES // len(data.values), 2), MOST_EPOCHS)
    rng = np.random.default_rng(seed)
    with one_thread():
        model = Encoder(HORIZON, CHUNK, rng)
        solve_head(model, data)
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": _DECAY}, {"params": others, "weight_decay": 0.0}], lr=RATE
        )
        batches = -(-len(data.values) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches, pct_start=0.2)
        for _ in range(epochs):
            order = rng.permutation(len(data.values))
            for first in range(0, len(order), BATCH):
                optimiser.zero_grad(set_to_none=True)
                loss = _loss(model, data.part(order[first : first + BATCH]))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
        solve_head(model, data)
    return model.eval()


def solve_head(model: Encoder, data: Sequences) -> None:
    """Set the head to the regression of the days to come on what the encoder says now, along its principal axes.

    The ridge is `LEVEL_RIDGE` for the mean of the days to come and `DAY_RIDGE` for how each of them differs from it,
    in units of the variance of an axis: a level is learnt from 14 days, a deviation from one.
    """
    with torch.no_grad(), threadpool_limits(limits=1):
        found = [(_encode(model, batch).numpy(), batch) for batch in _batches(data)]
        points = np.concatenate([encoded[anchors(b.known)] for encoded, b in found]).astype(np.float64)
        truth = np.concatenate([targets(b.values)[anchors(b.known)] for _, b in found]).astype(np.float64)
        if len(points) == 0:
            return
        mean, level = points.mean(axis=0), truth.mean(axis=0)
        centred = points - mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(points))
        axes /= np.sqrt(np.maximum(variances, 1e-6 * variances[-1] + 1e-30))
        weights = (centred @ axes).T @ (truth - level).reshape(len(points), -1) / len(points)
        weights = weights.reshape(-1, HORIZON, len(CHANNELS))
        common = weights.mean(axis=1, keepdims=True)
        weights = common / (1 + LEVEL_RIDGE) + (weights - common) / (1 + DAY_RIDGE)
        weights = axes @ weights.reshape(len(axes), -1)
        model.head.copy_(torch.from_numpy(weights))
        model.head_bias.copy_(torch.from_numpy(level.reshape(-1) - mean @ weights))


def _batches(data: Sequences) -> Iterator[Sequences]:
    for first in range(0, len(data.values), 256):
        yield data.part(np.arange(first, min(first + 256, len(data.values))))


def _loss(model: Encoder, batch: Sequences) -> Tensor:
    weight = torch.from_numpy(anchors(batch.known).astype(np.float32))[..., None, None]
    error = (_forecast(model, batch) - torch.from_numpy(targets(batch.values))) ** 2
    return (error * weight).sum() / (weight.sum() * HORIZON * len(CHANNELS)).clamp(min=1.0)


def _encode(model: Encoder, batch: Sequences) -> Tensor:
    return model.encode(
        torch.from_numpy(batch.values[:, :STEPS]),
        torch.from_numpy(batch.known[:, :STEPS]),
        torch.from_numpy(batch.weekday[:, :STEPS]),
    )


def _forecast(model: Encoder, batch: Sequences) -> Tensor:
    return model.forecast(_encode(model, batch))


def skill(model: Encoder, data: Sequences) -> dict[str, list[float]]:
    """Mean squared error by channel (scaled units) of the encoder's forecast, of repeating the last known day, of
    repeating the last week, and of the mean of the customer's known days, over the anchors of `data`."""
    squared = {name: np.zeros(len(CHANNELS)) for name in ("encoder", "last", "week", "mean")}
    count = 0
    with one_thread(), torch.no_grad():
        for batch in _batches(data):
            use, truth = anchors(batch.known), targets(batch.values)
            past = batch.values[:, :STEPS]
            ends = np.arange(CHUNK - 1, STEPS, CHUNK)
            days = np.cumsum(batch.known[:, :STEPS], axis=1)[:, ends]
            mean = np.cumsum(past.astype(np.float64), axis=1)[:, ends] / np.maximum(days, 1)[..., None]
            guesses = {
                "encoder": _forecast(model, batch).numpy(),
                "last": past[:, ends][:, :, None],
                "week": past[:, ends[:, None] - 6 + np.arange(HORIZON) % 7],
                "mean": mean[:, :, None],
            }
            count += int(use.sum()) * HORIZON
            for name, guess in guesses.items():
                squared[name] += ((guess - truth) ** 2)[use].sum(axis=(0, 1), dtype=np.float64)
    return {name: (value / max(count, 1)).tolist() for name, value in squared.items()}


def joined(parts: Sequence[Sequences]) -> Sequences:
    """Sequences of several dates as one."""
    return Sequences(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.weekday for part in parts]),
    )
