"""Path of one customer through the states of a mode, for a plot. Source: FEATURES §3.5."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.model_derived.hmm import restored
from feature_assets.groups.model_derived.hmm.model import decode, smooth
from feature_assets.groups.model_derived.hmm.observations import MODES, raw, steps


def state_path(view: View, state: GroupState, customer_id: str, mode: str) -> pl.DataFrame:
    """One row a step, oldest first: `from` and `until` Date (first day of the step, and first day after it), `state`
    Int64 (Viterbi), `activity` Float64 of that state, `posterior_0` …, then each observed channel in natural units
    (null = not observed).

    Args:
        mode: "journey", "lifecycle" or "behavior".

    Raises:
        KeyError: the customer is not in the view, or there is no such mode.
    """
    known = {m.name: m for m in MODES}
    if mode not in known:
        raise KeyError(f"no HMM mode {mode!r}; there are {list(known)}")
    place = view.customers["customer_id"].index_of(customer_id)
    if place is None:
        raise KeyError(f"customer {customer_id!r} had not joined before {view.as_of}")
    chosen, rows = known[mode], range(place, place + 1)
    observed, model, bridge = restored(state, chosen)
    part = steps(view, chosen, observed, rows)
    size = len(part.values)
    posterior, path = smooth(model, part).posterior, decode(model, part)
    seen = raw(view, chosen, observed, rows)[0, -size:]
    known_from = max(view.customers["joined_on"][place], view.dataset.covers_from)
    ends = [view.as_of - timedelta(days=chosen.days * i) for i in range(size - 1, -1, -1)]
    return pl.DataFrame(
        {
            "from": [max(end - timedelta(days=chosen.days), known_from) for end in ends],  # of a shorter, only step
            "until": ends,
            "state": path,
            "activity": bridge.activity[path],
            **{f"posterior_{k}": posterior[:, k] for k in range(model.states)},
            **{name: pl.Series(name, seen[:, c], nan_to_null=True) for c, name in enumerate(observed.channels)},
        }
    )
