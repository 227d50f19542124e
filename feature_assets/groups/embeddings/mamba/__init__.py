"""Mamba, 50 columns: the last state of a selective state-space encoder of the customer's last 180 days.

The encoder is trained without labels to forecast the next 14 days of the customer's own sequence (`training.py`), on a
bounded sample of the training rows; all that it reads and forecasts lies before the training date. Its last state,
projected to 50, is rotated to the principal axes of the training rows and scaled to unit variance there: the columns
are uncorrelated, ordered by explained variance, and have fixed signs. `encoder.py` is the model in torch,
`kernels/state_space.py` computes it one customer at a time.
Source: FEATURES §3.6; Gu & Dao (2023), arXiv 2312.00752; Dao & Gu (2024), arXiv 2405.21060.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_assets.data.shards import stable_shard
from feature_assets.events.daily import CHANNELS, DailySeries
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.kernels.state_space import last_states

if TYPE_CHECKING:
    from feature_assets.groups.embeddings.mamba.encoder import Encoder

OUT = 50
DAYS = 180
MAX_SEQUENCES = 6_000
HELD_OUT = 10  # one customer in so many is not trained on
WEIGHTS = (
    "embed",
    "weekday",
    "norm_1",
    "inward_1",
    "taps_1",
    "taps_bias_1",
    "step_bias_1",
    "rate_1",
    "skip_1",
    "gate_norm_1",
    "outward_1",
    "norm_2",
    "inward_2",
    "taps_2",
    "taps_bias_2",
    "step_bias_2",
    "rate_2",
    "project",
    "offset",
)
"""Arrays of the state in the order of the kernel's arguments, float32."""


def _columns() -> tuple[Column, ...]:
    return tuple(
        Column(
            f"mamba__{i:02d}",
            f"memory of the daily sequence along principal axis {i} of the training rows (0 holds most variance)",
            "standard deviations",
            f"{DAYS} days",
        )
        for i in range(OUT)
    )


class Mamba(FeatureGroup):
    """The group `mamba`. Fitted: scales of the channels, weights of the encoder, principal axes."""

    name = "mamba"
    description = "Last state of a selective state-space encoder that forecasts the customer's next days"
    columns = _columns()
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """`scale` [8] and `WEIGHTS`; the meta holds the forecast error on held-out customers.

        Raises:
            ValueError: no training row has an event to learn from.
        """
        from feature_assets.groups.embeddings.mamba.training import HORIZON, STEPS, joined, sequences, skill, train

        views = training.views
        taken = [_sample(view, i, len(views), training.seed) for i, view in enumerate(views)]
        recent = [view.daily_series(STEPS + HORIZON) for view in views]
        scale = _scale(recent)
        parts = [sequences(d, rows, scale) for d, (rows, _) in zip(recent, taken, strict=True)]
        data = joined(parts)
        held = np.concatenate([held for _, held in taken])
        if held.all():
            raise ValueError("mamba: no training row has an event in its last days; nothing can be learnt")
        model = train(data.part(np.flatnonzero(~held)), training.seed)
        weights = named_weights(model)
        rows = np.concatenate(
            [
                raw_states(view.daily_series(DAYS), scale, weights)[rows]
                for view, (rows, _) in zip(views, taken, strict=True)
            ]
        )
        weights["project"], weights["offset"] = principal(rows, weights["project"])
        meta: dict[str, Any] = {
            "sequences": int((~held).sum()),
            "held_out": int(held.sum()),
            "channels": list(CHANNELS),
            "squared_error": skill(model, data.part(np.flatnonzero(held))),
        }
        return GroupState({"scale": scale, **weights}, meta)

    def _values(self, inputs: Inputs) -> Values:
        """50 columns; null for a customer who never bought anything before t."""
        view, state = inputs.view, inputs.state
        weights = {name: state.arrays[name] for name in WEIGHTS}
        values = raw_states(view.daily_series(DAYS), state.arrays["scale"], weights)
        values[~_ever(view)] = np.nan
        return Values(values)


def _ever(view: View) -> np.ndarray:
    """True for customers who bought anything before t, bool [customers]."""
    part = view.purchases
    return np.bincount(part.row, minlength=part.customers) > 0


def _sample(view: View, number: int, views: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the view to use, ascending, and whether each is held out; only customers that ever bought."""
    ids = view.customers["customer_id"]
    rows = np.flatnonzero(_ever(view))
    share = MAX_SEQUENCES // views
    if len(rows) > share:
        rows = np.sort(np.random.default_rng((seed, number)).choice(rows, share, replace=False))
    return rows, stable_shard(ids.gather(rows), HELD_OUT).to_numpy() == 0


def _scale(recent: Sequence[DailySeries]) -> np.ndarray:
    """Root mean square of each channel over days on which it is not 0, float32 [8]; 1 where it never is."""
    squares, count = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for part in recent:
        values = part.values.astype(np.float64)
        squares += (values**2).sum(axis=0)
        count += (values != 0).sum(axis=0)
    return np.where(count > 0, np.sqrt(squares / np.maximum(count, 1)), 1.0).astype(np.float32)


def named_weights(model: Encoder) -> dict[str, np.ndarray]:
    """The encoder's weights by their names in `WEIGHTS`, float32, with the projection as trained."""
    parameters = {name: p.detach().numpy().astype(np.float32) for name, p in model.named_parameters()}
    found = {"embed": parameters["embed"], "weekday": parameters["weekday"], "project": parameters["project"]}
    for number, block in ((1, "first"), (2, "second")):
        for name in ("norm", "inward", "taps", "taps_bias", "step_bias", "skip", "gate_norm", "outward"):
            if f"{block}.{name}" in parameters:
                found[f"{name}_{number}"] = parameters[f"{block}.{name}"]
        found[f"rate_{number}"] = -np.exp(parameters[f"{block}.log_rate"])
    found["offset"] = np.zeros(found["project"].shape[1], dtype=np.float32)
    return {name: np.ascontiguousarray(found[name]) for name in WEIGHTS}


def raw_states(recent: DailySeries, scale: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """The projected last state of each customer, [customers, 50], in the precision of `weights`."""
    kind = weights["embed"].dtype
    values = recent.values.astype(kind) / scale.astype(kind)
    arrays = (np.ascontiguousarray(weights[name]) for name in WEIGHTS)
    return last_states(recent.start, recent.days_ago, values, recent.length, recent.weekday, *arrays)


def principal(rows: np.ndarray, project: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projection [512, 50] and offset [50] that turn `rows` [n, 50] to uncorrelated ones of mean 0 and variance 1.

    An axis along which the rows do not vary is scaled by the smallest variance that float32 can tell from rounding. The
    component of largest size of each axis, in terms of the 512 numbers, is positive.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        points = rows.astype(np.float64)
        mean = points.mean(axis=0)
        centred = points - mean
        variances, axes = np.linalg.eigh(centred.T @ centred / max(len(points) - 1, 1))
        variances, axes = variances[::-1], axes[:, ::-1]
        least = max(1e-10 * float(variances[0]), 1e-30)
        turned = project.astype(np.float64) @ (axes / np.sqrt(np.maximum(variances, least)))
        signs = np.sign(turned[np.abs(turned).argmax(axis=0), np.arange(turned.shape[1])])
        offset = -(mean @ (axes / np.sqrt(np.maximum(variances, least)))) * signs
    return (turned * signs).astype(np.float32), offset.astype(np.float32)


GROUP = Mamba()
