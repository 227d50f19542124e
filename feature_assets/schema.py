"""The registry of the 734 columns: which positions exist, which group fills them, what each one means.

Index ranges, the catalogue, the checks, the report and the model's input slices are derived from here and written
nowhere else. Every position is filled by a group; which of them a data set can feed is the state's to say
(`FeatureState.present`). Source: FEATURES §1.

What does not belong here: how a column is computed (`groups/`), and what was fitted (`state.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import polars as pl

if TYPE_CHECKING:
    from feature_assets.data.tables import View
    from feature_assets.state import GroupState


@dataclass(frozen=True)
class Column:
    """One of the 734 columns.

    `unit` is the natural unit ("USD", "days", "share", "count" …), `window` the time that it looks back over ("30
    days", "all history"), `sources` the contract tables that it cannot be computed without.
    """

    name: str
    meaning: str
    unit: str
    window: str
    sources: tuple[str, ...] = ("transactions",)


@dataclass(frozen=True)
class SideInput:
    """An input of the model beside the 734 columns; `shape` is one customer's, stored flat and row-major in a List."""

    name: str
    meaning: str
    shape: tuple[int, ...]
    dtype: type[pl.DataType]
    channels: tuple[str, ...] = ()  # names along the last axis, where it has names


PADDING = "padding"
"""Name of a channel of a side input that is always 0, to give inputs of different sizes one width."""


@dataclass(frozen=True)
class Part:
    """A run of `width` positions of a section; a group of the same name fills it."""

    name: str
    width: int


@dataclass(frozen=True)
class Section:
    """A row of the table of FEATURES §1; its parts lie one after the other."""

    name: str
    parts: tuple[Part, ...]
    normalised: bool = True

    @property
    def width(self) -> int:
        return sum(part.width for part in self.parts)


def _section(name: str, normalised: bool = True, **parts: int) -> Section:
    return Section(name, tuple(Part(part, width) for part, width in parts.items()), normalised)


LAYOUT: tuple[Section, ...] = (
    _section("base", rfm=34, category_mix=64, transaction_statistics=80, temporal=60),
    _section("multi_source", deposit=20, membership=15, investment=18, credit=12, digital=14, product=12),
    _section(
        "domain",
        tda_short=24,
        tda_long=36,
        phase_transition=10,
        gmm=22,
        mamba=50,
        income_decomposition=8,
        financial_behaviour=9,
    ),
    _section("multidisciplinary", reaction_kinetics=6, epidemic=5, interference=8, routine_activity=5),
    _section("model_derived", bandit=4, hmm_summary=5, series_dynamics=18),
    _section("extended_source", insurance=25, consultation=18, campaign=12, overseas=6, other_channel=23),
    _section("merchant", category_level_1=4, category_level_2=4, brand=8, statistics=4, radius=1),
    _section("raw_power_law", normalised=False, raw_power_law=90),
)

WIDTH = sum(section.width for section in LAYOUT)
normalised = sum(section.width for section in LAYOUT if section.normalised)
"""Columns 0 … normalised−1 are scaled by `normalise.py`; the rest keep their natural units."""


class Group(Protocol):
    """One feature group: what it declares, how it is fitted, how it is computed. Source: ARCHITECTURE §2.

    `columns` fill the part (or whole section) of `LAYOUT` that bears the group's name, in order. A group whose
    `sources` are not all in the data set is absent. `needs` names the groups whose *normalised* columns it reads.
    """

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def side_inputs(self) -> tuple[SideInput, ...]: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...

    def fit(
        self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int
    ) -> GroupState | None:
        """What must be learnt from training dates, or None where nothing is.

        `views`: one View a training date (already a bounded sample). `upstream[i][group]`: the normalised columns of
        each group of `needs` for `views[i]`, rows in the order of `views[i].customers`.
        """
        ...

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """`customer_id`, then `columns`, then `side_inputs`, one row a customer of `view.customers` in that order.

        Columns are Float32 or Float64 in natural units, null where missing; no NaN, no infinity.
        """
        ...


class SchemaError(ValueError):
    """What a group declares and what the layout or its output say do not agree."""


@lru_cache(maxsize=1)
def registry() -> dict[str, Group]:
    """The implemented groups by name, each after the groups that it `needs`."""
    from feature_assets.groups import implemented

    given = {group.name: group for group in implemented()}
    ordered: dict[str, Group] = {}
    while len(ordered) < len(given):
        ready = [g for g in given.values() if g.name not in ordered and all(n in ordered for n in g.needs)]
        if not ready:
            left = sorted(set(given) - set(ordered))
            raise SchemaError(f"groups {left} need each other or a group that is not registered")
        ordered.update({g.name: g for g in ready})
    return ordered


@lru_cache(maxsize=1)
def columns() -> tuple[Column, ...]:
    """All 734 columns in their order."""
    groups = registry()
    result: list[Column] = []
    for section in LAYOUT:
        if section.name in groups:
            result += _fill(groups[section.name], section.width)
            continue
        for part in section.parts:
            if part.name not in groups:
                raise SchemaError(f"no group fills {part.name} of {section.name}")
            result += _fill(groups[part.name], part.width)
    names = [column.name for column in result]
    if len(set(names)) != len(names):
        raise SchemaError(f"declared twice: {sorted({n for n in names if names.count(n) > 1})}")
    return tuple(result)


def _fill(group: Group, width: int) -> tuple[Column, ...]:
    if len(group.columns) != width:
        raise SchemaError(f"group {group.name} declares {len(group.columns)} columns; the layout has {width} for it")
    strangers = [c.name for c in group.columns if not c.name.startswith(f"{group.name}__")]
    if strangers:
        raise SchemaError(f"columns of group {group.name} must begin with '{group.name}__': {strangers[:5]}")
    return group.columns


def names() -> tuple[str, ...]:
    """The 734 names in their order."""
    return tuple(column.name for column in columns())


@lru_cache(maxsize=1)
def positions() -> dict[str, int]:
    """Column name → position 0 … 733."""
    return {name: i for i, name in enumerate(names())}


def ranges() -> dict[str, tuple[int, int]]:
    """Section → [first, last + 1) of its positions."""
    result, start = {}, 0
    for section in LAYOUT:
        result[section.name] = (start, start + section.width)
        start += section.width
    return result


def group_positions(group: str) -> tuple[int, ...]:
    """Positions of an implemented group's columns, in the group's order."""
    index = positions()
    return tuple(index[column.name] for column in registry()[group].columns)


def is_normalised(name: str) -> bool:
    """Whether the column of this name is scaled by the normaliser (positions 0–643)."""
    return positions()[name] < normalised


def side_inputs() -> tuple[SideInput, ...]:
    """The side inputs of all implemented groups, in registry order."""
    return tuple(side for group in registry().values() for side in group.side_inputs)


def digest(present: Iterable[str]) -> str:
    """12 hex digits that change when a name, its place, the present columns or a side input's shape change."""
    chosen = set(present)
    unknown = chosen - set(names())
    if unknown:
        raise SchemaError(f"not in the schema: {sorted(unknown)[:5]}")
    text = json.dumps(
        {
            "columns": names(),
            "present": [name for name in names() if name in chosen],
            "side_inputs": [(s.name, s.shape, s.channels) for s in side_inputs()],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def catalogue() -> pl.DataFrame:
    """One row a position: position, name, section, group, meaning, unit, window, sources."""
    owner = {column.name: group.name for group in registry().values() for column in group.columns}
    section_of = {i: name for name, (first, end) in ranges().items() for i in range(first, end)}
    return pl.DataFrame(
        [
            {
                "position": i,
                "name": column.name,
                "section": section_of[i],
                "group": owner[column.name],
                "meaning": column.meaning,
                "unit": column.unit,
                "window": column.window,
                "sources": ", ".join(column.sources),
                "normalised": i < normalised,
            }
            for i, column in enumerate(columns())
        ]
    )
