"""The daily digital sequence against its plain definition, its mask, and the channels that a data set does not have."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

import numpy as np
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.sequences.session_seq import CHANNELS, GROUP, LIMIT, STEPS
from tests.deliveries import synthetic
from tests.feature_assets.sources_by_hand import Person, people


def _computed(tables: Tables) -> tuple[View, GroupState, np.ndarray, np.ndarray]:
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = View(tables, synthetic.AS_OF)
    frame = GROUP.compute(view, state, {})
    values = frame["session_seq"].explode().to_numpy().reshape(frame.height, STEPS, len(CHANNELS))
    return view, state, values, frame["session_seq_mask"].explode().to_numpy().reshape(frame.height, STEPS)


@lru_cache(maxsize=1)
def whole() -> tuple[View, GroupState, np.ndarray, np.ndarray]:
    return _computed(synthetic.tables())


def _without(*names: str) -> Tables:
    tables = synthetic.tables()
    return Tables(tables.dataset, {name: frame for name, frame in tables.frames.items() if name not in names})


def _by_hand(person: Person) -> np.ndarray:
    """Unscaled, float64 [90, 8]."""
    days = np.zeros((STEPS, len(CHANNELS)))
    for step in range(STEPS):
        visits = [r for r in person.rows("sessions") if r["age"] == STEPS - step]
        shown = [r["event"] for r in person.rows("campaign_events") if r["age"] == STEPS - step]
        events = [r["event"] for r in visits]
        days[step] = [
            events.count("visit"),
            sum(r["pages"] for r in visits),
            sum(r["seconds"] for r in visits),
            *(shown.count(event) for event in ("impression", "click", "conversion")),
            events.count("search"),
            events.count("support"),
        ]
    return np.log1p(days)


def test_days_are_their_definition() -> None:
    view, state, values, mask = whole()
    known = people(synthetic.tables(), synthetic.AS_OF)
    raw = np.stack([_by_hand(known[name]) for name in view.customers["customer_id"].to_list()])
    expected = np.minimum(raw / state.arrays["scale"], LIMIT) * mask[:, :, None]
    np.testing.assert_allclose(values, expected, atol=2e-6)
    assert (values > 0).any(axis=(0, 1)).all()
    assert state.meta["channels_present"] == list(CHANNELS) == list(GROUP.side_inputs[0].channels)


def test_scale_is_the_root_mean_square_of_days_with_something() -> None:
    _, state, *_ = whole()
    tables = synthetic.tables()
    squares, count = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for day in synthetic.TRAIN:
        known = people(tables, day)
        raw = np.stack([_by_hand(person) for person in known.values()])
        squares, count = squares + (raw**2).sum(axis=(0, 1)), count + np.count_nonzero(raw, axis=(0, 1))
    np.testing.assert_allclose(state.arrays["scale"], np.sqrt(squares / count))


def test_mask_begins_on_the_day_of_joining() -> None:
    view, _, values, mask = whole()
    first = synthetic.AS_OF - timedelta(days=STEPS)
    for row, joined in enumerate(view.customers["joined_on"].to_list()):
        assert mask[row].tolist() == [first + timedelta(days=step) >= joined for step in range(STEPS)]
    assert not mask.all()
    assert not values[~mask].any()


@pytest.mark.parametrize(
    ("lost", "present"),
    [
        (("sessions",), ["impressions", "clicks", "conversions"]),
        (("campaign_events", "campaigns"), ["visits", "pages", "seconds", "search", "support"]),
        (("sessions", "campaign_events", "campaigns"), []),
    ],
)
def test_channels_without_a_table_are_absent(lost: tuple[str, ...], present: list[str]) -> None:
    _, state, values, _ = _computed(_without(*lost))
    assert state.meta["channels_present"] == present
    kept = np.array([name in present for name in CHANNELS])
    assert not values[..., ~kept].any()
    np.testing.assert_array_equal(values[..., kept], whole()[2][..., kept])


def test_columns_that_sessions_lack_are_absent_channels() -> None:
    tables = synthetic.tables()
    bare = tables.frames["sessions"].drop("pages", "seconds")
    _, state, *_ = _computed(Tables(tables.dataset, tables.frames | {"sessions": bare}))
    assert set(CHANNELS) - set(state.meta["channels_present"]) == {"pages", "seconds"}


def test_a_delivery_that_lost_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table sessions"):
        GROUP.compute(View(_without("sessions"), synthetic.AS_OF), whole()[1], {})
