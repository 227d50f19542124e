"""Segment of a customer, and encodings of the two segments without history.

Segments, by a rule: 0 anonymous, as stated by `customers.segment`; 1 cold start, joined less than `COLD_DAYS` days ago
or with purchases on fewer than `COLD_PURCHASE_DAYS` days before t; 2 warm, everybody else.

`coldstart` [40] and `anonymous` [15] describe a customer by static columns, the day of joining, age and (cold start)
the first days. All values lie in [0, 1]. Static columns are encoded without a target: one slot for the frequency of the
customer's value, one for each of its most frequent values; slots are assigned to the columns in turn, and `static_…` of
the state's meta describes each one. `channels_present` lists the slots that a data set fills. The first days of a
customer who joined before the data began are unknown and encoded as 0. Source: MODEL §1, §15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import polars as pl

from feature_assets.events.numbers import sum_at
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values

COLD_DAYS = 56
COLD_PURCHASE_DAYS = 3
EARLY = 28  # first days after joining that describe a cold start
_CALENDAR = ("joined_month_sin", "joined_month_cos", "joined_weekday_sin", "joined_weekday_cos")
_EARLY = (
    "early_purchases",
    "early_spend",
    "early_categories",
    "early_sessions",
    "early_searches",
    "early_contacts",
    "early_impressions",
    "early_clicks",
    "early_products",
)
_KNOWN = (*_CALENDAR, "tenure", "age", "age_known", *_EARLY)
COLDSTART = (*_KNOWN, *(f"static_{i:02d}" for i in range(1, 41 - len(_KNOWN))))
ANONYMOUS = (*_CALENDAR, *(f"visitor_{i:02d}" for i in range(1, 12)))
_NOT_STATIC = {"customer_id", "joined_on", "birth_year", "segment"}
_RARE = 0.005  # share of the customers under which a value gets no slot of its own
_OLDEST = 100  # years


class Segment(FeatureGroup):
    """Segment and encodings. Fitted: the value of each static slot, frequencies, scales of the first days."""

    name = "segment"
    description = "Anonymous, cold start or warm, and static encodings for the two segments without history"
    side_inputs = (
        SideInput("segment", "0 anonymous, 1 cold start, 2 warm", (1,), pl.Float32),
        SideInput("coldstart", "static columns, joining, age, first days", (len(COLDSTART),), pl.Float32, COLDSTART),
        SideInput("anonymous", "static columns and joining of a visitor", (len(ANONYMOUS),), pl.Float32, ANONYMOUS),
    )
    sources = ("customers",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Vocabularies from the customers of all dates, each counted once: those of `anonymous` from the anonymous
        ones, or from everybody where a data set has none (`anonymous_of` says which)."""
        views = training.views
        everyone = pl.concat([view.customers for view in views]).unique("customer_id", maintain_order=True)
        everyone = everyone.sort("customer_id")
        visitors = everyone.filter(_is_anonymous(everyone))
        meta: dict[str, object] = {"anonymous_of": "anonymous" if visitors.height else "everybody"}
        present = [*_CALENDAR, "tenure"]
        for slots, frame in ((COLDSTART, everyone), (ANONYMOUS, visitors if visitors.height else everyone)):
            names = [slot for slot in slots if slot.startswith(("static_", "visitor_"))]
            dealt = dict(zip(names, _deal(frame, len(names)), strict=False))
            meta |= dealt
            present += list(dealt)
        if _has_age(everyone):
            present += ["age", "age_known"]
        early = np.concatenate([_early(view) for view in views])
        scale = np.array([np.quantile(v[v > 0], 0.95) if (v > 0).any() else 0.0 for v in early.T])
        present += [name for name, some in zip(_EARLY, scale > 0, strict=True) if some]
        chosen = set(present)
        meta["channels_present"] = [c for c in (*COLDSTART, *ANONYMOUS[len(_CALENDAR) :]) if c in chosen]
        return GroupState({"early_scale": np.where(scale > 0, scale, 1.0)}, meta)

    def _values(self, inputs: Inputs) -> Values:
        """Side inputs segment [1], coldstart [40], anonymous [15]."""
        view, state = inputs.view, inputs.state
        values = _calendar(view) | _age(view)
        early = np.log1p(_early(view)) / np.log1p(state.arrays["early_scale"])
        values |= {name: np.minimum(early[:, i], 1.0) for i, name in enumerate(_EARLY)}
        for slot in (*COLDSTART, *ANONYMOUS):
            if slot in state.meta and slot not in values:
                values[slot] = _encode(view.customers, state.meta[slot])
        nothing, present = np.zeros(view.customers.height), set(state.meta["channels_present"])
        sides = {
            name: np.stack([values[slot] if slot in present else nothing for slot in slots], axis=1)
            for name, slots in (("coldstart", COLDSTART), ("anonymous", ANONYMOUS))
        }
        return Values(sides={"segment": segments(view)} | sides)


def segments(view: View) -> np.ndarray:
    """0 anonymous, 1 cold start, 2 warm, int64 [customers]; the rule is that of the module."""
    days = np.zeros(view.customers.height)
    if view.has("transactions"):
        part = view.purchases
        fresh = np.ones(len(part.row), dtype=bool)
        fresh[1:] = (part.row[1:] != part.row[:-1]) | (part.days_ago[1:] != part.days_ago[:-1])
        days += np.bincount(part.row[fresh], minlength=part.customers)
    cold = (_tenure(view) < COLD_DAYS) | (days < COLD_PURCHASE_DAYS)
    return np.where(_is_anonymous(view.customers), 0, np.where(cold, 1, 2))


def _is_anonymous(customers: pl.DataFrame) -> np.ndarray:
    if "segment" not in customers.columns:
        return np.zeros(customers.height, dtype=bool)
    return (customers["segment"] == "anonymous").fill_null(False).to_numpy()


def _tenure(view: View) -> np.ndarray:
    """Days since joining, int64 [customers] ≥ 1."""
    return (pl.Series([view.as_of]) - view.customers["joined_on"]).dt.total_days().to_numpy()


def _calendar(view: View) -> dict[str, np.ndarray]:
    joined = view.customers["joined_on"]
    month = (joined.dt.month().to_numpy() - 1) * (2 * np.pi / 12)
    weekday = (joined.dt.weekday().to_numpy() - 1) * (2 * np.pi / 7)
    waves = (np.sin(month), np.cos(month), np.sin(weekday), np.cos(weekday))
    values = {name: (1 + wave) / 2 for name, wave in zip(_CALENDAR, waves, strict=True)}
    return values | {"tenure": np.minimum(np.log1p(_tenure(view)) / np.log1p(365), 1.0)}


def _has_age(customers: pl.DataFrame) -> bool:
    return "birth_year" in customers.columns and customers["birth_year"].is_not_null().any()


def _age(view: View) -> dict[str, np.ndarray]:
    if "birth_year" not in view.customers.columns:
        return dict.fromkeys(("age", "age_known"), np.zeros(view.customers.height))
    years = view.as_of.year - view.customers["birth_year"].cast(pl.Float64).to_numpy()
    return {
        "age": np.nan_to_num(np.clip(years / _OLDEST, 0.0, 1.0)),
        "age_known": (~np.isnan(years)).astype(np.float64),
    }


def _early(view: View) -> np.ndarray:
    """Counts and sums of the first `EARLY` days after joining, before t: float64 [customers, 9] as in `_EARLY`."""
    n, tenure = view.customers.height, _tenure(view)
    result = np.zeros((n, len(_EARLY)))

    def counted(found: Events) -> np.ndarray:
        return np.bincount(found.row[tenure[found.row] - found.days_ago < EARLY], minlength=n)

    if view.has("transactions"):
        part = view.purchases
        first = tenure[part.row] - part.days_ago < EARLY
        row, amount = part.row[first], part.values("amount")[first]
        category = part.codes("category_l1")[first].astype(np.int64)
        width = int(category.max(initial=0)) + 1
        different = np.unique((row * width + category)[category >= 0]) // width
        result[:, 0] = np.bincount(row, minlength=n)
        result[:, 1] = np.maximum(sum_at(row, amount, n), 0.0)
        result[:, 2] = np.bincount(different, minlength=n)
    if view.has("sessions"):
        result[:, 3] = counted(view.sessions)
        result[:, 4] = counted(view.sessions.of("event", "search"))
    if view.has("contacts"):
        result[:, 5] = counted(view.contacts)
    if view.has("campaign_events"):
        result[:, 6] = counted(view.campaign_events.of("event", "impression"))
        result[:, 7] = counted(view.campaign_events.of("event", "click"))
    if view.has("holdings"):
        row, ago = view.holdings.openings()
        result[:, 8] = np.bincount(row[tenure[row] - ago < EARLY], minlength=n)
    return result


def _deal(customers: pl.DataFrame, slots: int) -> list[dict[str, object]]:
    """Contents of at most `slots` slots, assigned in turn to the static columns (by name), to each the
    frequencies of its values, then its most frequent values; a column's slots stand together, its values by name, so
    that they keep their places on similar data. A column with one value has nothing to say; one with two and no gap
    needs one slot only."""
    offers: dict[str, list[dict[str, object]]] = {}
    for name in sorted(set(customers.columns) - _NOT_STATIC):
        if customers[name].dtype != pl.String:
            continue
        count = Counter(customers[name].drop_nulls().to_list())
        whole = sum(count.values()) == customers.height
        if len(count) + (not whole) < 2:
            continue
        ranked = sorted(count, key=lambda value: (-count[value], value))
        common = [value for value in ranked if count[value] >= _RARE * customers.height]
        table = {value: count[value] / customers.height for value in ranked[:1000]}
        offers[name] = [] if len(count) <= 2 else [{"column": name, "frequency": table}]
        offers[name] += [{"column": name, "value": value} for value in (common[:-1] if whole else common)]
    turns = [(turn, name) for turn in range(slots) for name in offers if turn < len(offers[name])][:slots]
    dealt: list[dict[str, object]] = []
    for name, offer in offers.items():
        dealt += sorted(offer[: sum(taker == name for _, taker in turns)], key=lambda what: str(what.get("value", "")))
    return dealt


def _encode(customers: pl.DataFrame, what: Mapping[str, object]) -> np.ndarray:
    """A static slot, float64 [customers] in [0, 1]: 0 where the value is missing or is another one."""
    column = str(what["column"])
    if column not in customers.columns:
        raise ValueError(f"customers has no column {column!r}, on which the state's vocabulary was fitted")
    if "value" in what:
        return (customers[column] == str(what["value"])).fill_null(False).to_numpy().astype(np.float64)
    table = what["frequency"]
    assert isinstance(table, Mapping)
    shares = customers[column].replace_strict(dict(table), default=0.0, return_dtype=pl.Float64)
    return shares.fill_null(0.0).to_numpy()


GROUP = Segment()
