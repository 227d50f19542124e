"""HMM group: three hidden Markov models of a customer's own steps, as 3 × 16 side inputs, and a summary of 5 columns.

| mode | step | states | side input |
|---|---|---|---|
| journey | day, 90 | 5 | hmm_journey |
| lifecycle | 30 days, up to 24 | 5 | hmm_lifecycle |
| behavior | 30 days, up to 24 | 6 | hmm_behavior |

One sequence a customer. Each side input has base 10 (posterior at the last step, padded to 6; entropy; expected
remaining dwell; probability that the next state is less active; log-likelihood a step) and dynamics 6 (`bridge.py`).
Probabilities, entropy and distance to π stay as they are; measures with a unit are divided by their root mean square
over the training rows and clipped, without centring except for the log-likelihood. The summary is of the lifecycle
mode, whose states last for months; a journey hardly ever changes within its 90 days. Few customers carry fewer states
(`components.py`): one for every 15 of them, at least 2; the posteriors of the states beyond are absent.

`observations.py` defines the observations, `fit.py` fits the parameters with hmmlearn, `model.py` runs a model,
`picture.py` prepares one customer for a plot. Source: FEATURES §3.5; Rabiner 1989.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from feature_assets.group import PADDING, Column, FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.components import fitted_components, training_customers, words
from feature_assets.groups.model_derived.hmm.bridge import MEASURES, WIDTH, Bridge, measures
from feature_assets.groups.model_derived.hmm.model import Implementation, Model, Steps, decode, smooth, uncertainty
from feature_assets.groups.model_derived.hmm.observations import MODES, MONTH, Mode, Observed, steps, tables_of

SUMMARISED = MODES[1]
CUSTOMERS_EACH = 15  # training customers for each state: from 90 on all of every mode are fitted
SCALED = (
    "remaining_dwell",
    "log_likelihood",
    "speed",
    "acceleration",
    "hitting_time",
    "drift",
    "curvature",
)
LIMIT = 4.0  # scaled measures are clipped to ±LIMIT
CHUNK = 4_096  # customers at a time: 4096 × 90 × 5 observations are 15 MB
_SCALED = [MEASURES.index(name) for name in SCALED]
_LIKELIHOOD = MEASURES.index("log_likelihood")
_WINDOW = "up to 24 months"


def _column(measure: str, meaning: str, unit: str) -> Column:
    return Column(f"hmm_summary__{measure}", f"lifecycle HMM: {meaning}", unit, _WINDOW)


_COLUMNS = (
    _column(
        "dominant_state", "state of most months on the most probable path, 0 (least active) to 4 at most", "number"
    ),
    _column("dominant_duration", "longest stay in the dominant state", "days"),
    _column("stability", "share of the months in the dominant state", "share"),
    _column("path_entropy", "entropy of the whole path given what was observed, a month, over its maximum", "share"),
    _column("change_rate", "changes of state on the most probable path, of the months that follow another", "share"),
)


def _meaning(mode: Mode) -> str:
    step = "day" if mode.days == 1 else f"{mode.days} days"
    return f"{mode.name} HMM at the last of {mode.steps} steps of {step}: base 10, continuous-time dynamics 6"


def _channels(mode: Mode) -> tuple[str, ...]:
    """Names of the 16 values; a mode with fewer states than the others has padding among its posteriors."""
    return tuple(PADDING if mode.states <= i < WIDTH else name for i, name in enumerate(MEASURES))


class Hmm(FeatureGroup):
    """Three HMMs. Fitted: their parameters, channels and scales.

    Args:
        implementation: of forward–backward and Viterbi, in the fit and after it: the kernel, or hmmlearn.
    """

    name = "hmm_summary"
    description = "Hidden Markov models of the customer's days and months: states, their dynamics, a summary"
    columns = _COLUMNS
    side_inputs = tuple(
        SideInput(f"hmm_{mode.name}", _meaning(mode), (len(MEASURES),), pl.Float32, _channels(mode)) for mode in MODES
    )
    sources = ("transactions",)

    def __init__(self, implementation: Implementation = "numba") -> None:
        self._implementation: Implementation = implementation

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays and meta of each mode, under its name: the model's parameters, the bridge, channels and scales."""
        from threadpoolctl import threadpool_limits

        from feature_assets.groups.model_derived.hmm.fit import Fitted, fit_mode

        arrays: dict[str, np.ndarray] = {}
        customers = training_customers(training.views)
        carried = {mode.name: fitted_components(customers, mode.states, CUSTOMERS_EACH) for mode in MODES}
        posteriors = MEASURES[:WIDTH][: max(carried.values())]
        meta: dict[str, Any] = {
            "customers": customers,
            "channels_present": [*posteriors, *MEASURES[WIDTH:]],  # fewer of a mode with fewer states: `_channels`
        }
        with threadpool_limits(limits=1):
            for mode in MODES:
                reduced = replace(mode, states=carried[mode.name])
                fitted: Fitted = fit_mode(training.views, reduced, training.seed, self._implementation)
                bridge = Bridge.of(fitted.model.transmat, fitted.activity)
                natural = _measured(fitted.model, bridge, fitted.sample, self._implementation)
                own = {
                    **_model_arrays(fitted.model),
                    **_bridge_arrays(bridge),
                    **fitted.observed.arrays(),
                    **_scales(natural),
                }
                arrays |= {f"{mode.name}_{name}": array for name, array in own.items()}
                meta[mode.name] = {
                    **fitted.observed.meta(),
                    "states": fitted.model.states,
                    "sequences": len(fitted.sample.start) - 1,
                    "log_likelihood": fitted.log_likelihood,
                    "iterations": fitted.iterations,
                    "embedding_error": bridge.embedding_error(),
                }
        return GroupState(arrays, meta)

    def uses(self, state: GroupState) -> tuple[str, ...]:
        return tables_of(channel for mode in MODES for channel in state.meta.get(mode.name, {}).get("channels", ()))

    def facts(self, state: GroupState) -> dict[str, str]:
        customers = state.meta.get("customers", 0)
        return {
            f"{mode.name} states": words(len(state.arrays[f"{mode.name}_startprob"]), mode.states, customers)
            for mode in MODES
        }

    def _values(self, inputs: Inputs) -> Values:
        """5 columns and three side inputs [16]; every customer has values."""
        view, state = inputs.view, inputs.state
        n = view.customers.height
        summary = np.full((n, len(_COLUMNS)), np.nan)
        sides = {mode.name: np.zeros((n, len(MEASURES)), dtype=np.float32) for mode in MODES}
        for mode in MODES:
            observed, model, bridge = restored(state, mode)
            for rows in chunks(n):
                part = steps(view, mode, observed, rows)
                natural = _measured(model, bridge, part, self._implementation)
                sides[mode.name][rows.start : rows.stop] = scaled(natural, state, mode)
                if mode is SUMMARISED:
                    summary[rows.start : rows.stop] = summarise(model, part, self._implementation)
        return Values(summary, {f"hmm_{name}": values for name, values in sides.items()})


def chunks(n: int) -> Iterator[range]:
    """The rows 0 … n − 1, `CHUNK` at a time."""
    for first in range(0, n, CHUNK):
        yield range(first, min(first + CHUNK, n))


def restored(state: GroupState, mode: Mode) -> tuple[Observed, Model, Bridge]:
    """A mode's channels, model and bridge from the fitted state."""
    arrays = {k.removeprefix(f"{mode.name}_"): a for k, a in state.arrays.items() if k.startswith(f"{mode.name}_")}
    model = Model(*(arrays[name] for name in ("startprob", "transmat", "poisson", "location", "spread")))
    bridge = Bridge(*(arrays[name] for name in ("transmat", "generator", "stationary", "activity", "hitting")))
    return Observed.of(arrays, state.meta[mode.name]), model, bridge


def scaled(natural: np.ndarray, state: GroupState, mode: Mode) -> np.ndarray:
    """The side input [n, 16] from measures in natural units: `SCALED` over their fitted scale, clipped to ±`LIMIT`."""
    result = natural.copy()
    result[:, _LIKELIHOOD] -= float(state.arrays[f"{mode.name}_likelihood"])
    result[:, _SCALED] = np.clip(result[:, _SCALED] / state.arrays[f"{mode.name}_measure_scale"], -LIMIT, LIMIT)
    return result


def _measured(model: Model, bridge: Bridge, part: Steps, implementation: Implementation) -> np.ndarray:
    """16 measures in natural units of each sequence, [n, 16]."""
    smoothed = smooth(model, part, implementation)
    return measures(bridge, smoothed.posterior[part.start[1:] - 1], smoothed.log_likelihood / np.diff(part.start))


def _scales(natural: np.ndarray) -> dict[str, np.ndarray]:
    likelihood = natural[:, _LIKELIHOOD].mean()
    values = natural[:, _SCALED].copy()
    values[:, SCALED.index("log_likelihood")] -= likelihood
    scale = np.sqrt((values**2).mean(axis=0))
    return {"likelihood": np.array(likelihood), "measure_scale": np.where(scale > 1e-12, scale, 1.0)}


def summarise(model: Model, part: Steps, implementation: Implementation = "numba") -> np.ndarray:
    """The five columns of each sequence, [n, 5]; a single month has no change rate."""
    path, size = decode(model, part, implementation), np.diff(part.start)
    n, owner = len(size), np.repeat(np.arange(len(size)), size)
    occupied = np.bincount(owner * model.states + path, minlength=n * model.states).reshape(n, model.states)
    # of states with as many months, the one that was left last
    latest = np.zeros((n, model.states), dtype=np.int64)
    latest[owner, path] = np.arange(len(path)) - part.start[owner] + 1
    dominant = (occupied * (int(size.max(initial=0)) + 1) + latest).argmax(axis=1)
    begins = np.ones(len(path), dtype=bool)
    begins[1:] = (path[1:] != path[:-1]) | (owner[1:] != owner[:-1])
    run = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    longest = np.zeros((n, model.states), dtype=np.int64)
    np.maximum.at(longest, (owner[first], path[first]), np.bincount(run))
    changes = np.bincount(owner[first], minlength=n) - 1
    rows = np.arange(n)
    return np.column_stack(
        [
            dominant.astype(np.float64),
            longest[rows, dominant] * float(MONTH),
            occupied[rows, dominant] / size,
            np.maximum(uncertainty(model, part), 0.0) / (size * np.log(model.states)),
            np.where(size > 1, changes / np.maximum(size - 1, 1), np.nan),
        ]
    )


def _model_arrays(model: Model) -> dict[str, np.ndarray]:
    return {
        "startprob": model.startprob,
        "transmat": model.transmat,
        "poisson": model.poisson,
        "location": model.location,
        "spread": model.spread,
    }


def _bridge_arrays(bridge: Bridge) -> dict[str, np.ndarray]:
    return {
        "generator": bridge.generator,
        "stationary": bridge.stationary,
        "activity": bridge.activity,
        "hitting": bridge.hitting,
    }


GROUP = Hmm()
