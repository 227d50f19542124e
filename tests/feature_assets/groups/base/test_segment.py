"""Who is anonymous, cold or warm, and what the static slots hold."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.base.segment import ANONYMOUS, COLD_DAYS, COLD_PURCHASE_DAYS, COLDSTART, EARLY, GROUP
from tests.deliveries import synthetic
from tests.feature_assets.sources_by_hand import people


def _computed(tables: Tables) -> tuple[View, GroupState, np.ndarray, np.ndarray, np.ndarray]:
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = View(tables, synthetic.AS_OF)
    frame = GROUP.compute(view, state, {})
    sides = [frame[side.name].explode().to_numpy().reshape(frame.height, -1) for side in GROUP.side_inputs]
    return view, state, sides[0][:, 0], sides[1], sides[2]


@lru_cache(maxsize=1)
def whole() -> tuple[View, GroupState, np.ndarray, np.ndarray, np.ndarray]:
    return _computed(synthetic.tables())


def test_segments_follow_the_rule() -> None:
    view, _, segment, *_ = whole()
    known = people(synthetic.tables(), synthetic.AS_OF)
    for found, customer in zip(segment, view.customers.to_dicts(), strict=True):
        days = {r["age"] for r in known[customer["customer_id"]].rows("transactions", kind="purchase")}
        tenure = (synthetic.AS_OF - customer["joined_on"]).days
        cold = tenure < COLD_DAYS or len(days) < COLD_PURCHASE_DAYS
        assert found == (0 if customer["segment"] == "anonymous" else 1 if cold else 2)
    assert set(segment.tolist()) == {0.0, 1.0, 2.0}


def test_slots_are_within_0_and_1_and_named() -> None:
    _, state, _, cold, anonymous = whole()
    assert cold.shape[1] == 40 == len(set(COLDSTART))
    assert anonymous.shape[1] == 15 == len(set(ANONYMOUS))
    assert min(cold.min(), anonymous.min()) >= 0
    assert max(cold.max(), anonymous.max()) <= 1
    present = state.meta["channels_present"]
    for slots, values in ((COLDSTART, cold), (ANONYMOUS, anonymous)):
        kept = np.array([slot in present for slot in slots])
        assert not values[:, ~kept].any()
        assert (np.ptp(values[:, kept], axis=0) > 0).all()


def test_static_slots_are_target_free_encodings() -> None:
    view, state, _, cold, anonymous = whole()
    fitted = synthetic.tables().frames["customers"].filter(pl.col("joined_on") < max(synthetic.TRAIN))
    for slots, values, chosen in (
        (COLDSTART, cold, fitted),
        (ANONYMOUS, anonymous, fitted.filter(pl.col("segment") == "anonymous")),
    ):
        for i, slot in enumerate(slots):
            if slot not in state.meta:
                continue
            what = state.meta[slot]
            shares = Counter(chosen[what["column"]].to_list())
            own = view.customers[what["column"]].to_list()
            if "value" in what:
                expected = [float(v == what["value"]) for v in own]
            else:
                expected = [shares[v] / chosen.height if v is not None else 0.0 for v in own]
            np.testing.assert_allclose(values[:, i], expected, atol=1e-6)
    assert state.meta["anonymous_of"] == "anonymous"
    columns = {state.meta[slot]["column"] for slot in COLDSTART if slot in state.meta}
    assert columns == {"device", "gender", "occupation", "referrer", "region_l1", "region_l2"}


def test_first_days_are_counted_from_joining_and_before_t() -> None:
    view, state, _, cold, _ = whole()
    known, scale = people(synthetic.tables(), synthetic.AS_OF), state.arrays["early_scale"]
    for row, customer in enumerate(view.customers.to_dicts()):
        tenure = (synthetic.AS_OF - customer["joined_on"]).days

        def early(rows: list[dict[str, object]], tenure: int = tenure) -> list[dict[str, object]]:
            return [r for r in rows if tenure - int(str(r["age"])) < EARLY]

        person = known[customer["customer_id"]]
        bought = early(person.rows("transactions", kind="purchase"))
        opened = {(r["product_kind"], r["opened_on"]) for r in person.rows("holdings")}
        raw = {
            "early_purchases": len(bought),
            "early_sessions": len(early(person.rows("sessions"))),
            "early_searches": len(early(person.rows("sessions", event="search"))),
            "early_contacts": len(early(person.rows("contacts"))),
            "early_impressions": len(early(person.rows("campaign_events", event="impression"))),
            "early_clicks": len(early(person.rows("campaign_events", event="click"))),
            "early_products": sum((day - customer["joined_on"]).days < EARLY for _, day in opened),
            "early_spend": sum(float(str(r["amount"])) for r in bought),
        }
        for name, value in raw.items():
            i = COLDSTART.index(name)
            most = scale[i - COLDSTART.index("early_purchases")]
            assert cold[row, i] == pytest.approx(min(np.log1p(value) / np.log1p(most), 1.0), abs=1e-6), name


def test_without_static_columns_the_slots_are_absent() -> None:
    tables = synthetic.tables()
    bare = tables.frames["customers"].select("customer_id", "joined_on")
    _, state, segment, cold, anonymous = _computed(Tables(tables.dataset, {**tables.frames, "customers": bare}))
    assert not {slot for slot in state.meta["channels_present"] if "static" in slot or "visitor" in slot}
    assert set(segment.tolist()) == {1.0, 2.0}
    assert state.meta["anonymous_of"] == "everybody"
    assert not anonymous[:, 4:].any()
    assert not cold[:, COLDSTART.index("age")].any()
    assert cold[:, COLDSTART.index("tenure")].all()


def test_a_fitted_column_that_is_gone_is_an_error() -> None:
    tables = synthetic.tables()
    lost = Tables(tables.dataset, {**tables.frames, "customers": tables.frames["customers"].drop("occupation")})
    with pytest.raises(ValueError, match="no column 'occupation'"):
        GROUP.compute(View(lost, synthetic.AS_OF), whole()[1], {})


def test_slots_survive_a_refit_on_similar_data() -> None:
    """Another sample of the same population: what a slot stands for stays, but for values about as frequent as the
    last ones that got a slot."""
    rng = np.random.default_rng(0)
    names = [f"v{i}" for i in range(12)]
    odds = 0.7 ** np.arange(12)

    def sample() -> pl.DataFrame:
        chosen = {f"s{k}": rng.choice(names, 20_000, p=odds / odds.sum()).tolist() for k in range(3)}
        ids = [f"c{i:05d}" for i in range(20_000)]
        return pl.DataFrame({"customer_id": ids, "joined_on": [date(2017, 1, 1)] * 20_000, **chosen})

    dataset = synthetic.dataset()
    states = [
        GROUP.fit([View(Tables(dataset, {"customers": sample()}), date(2017, 1, 1) + timedelta(days=9))], [{}], 0)
        for _ in range(2)
    ]
    slots = [
        [(s.meta[f"static_{i:02d}"]["column"], s.meta[f"static_{i:02d}"].get("value")) for i in range(1, 25)]
        for s in states
    ]
    assert slots[0] == slots[1]
