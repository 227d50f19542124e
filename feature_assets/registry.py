"""The feature schema: which group fills which positions, and what each column means.

Index ranges, the catalogue, the checks, the report and the model's input slices are derived from here and written
nowhere else. The built-in groups fill the positions of `LAYOUT`: first those of `REFERENCE`, the sections of FEATURES
§1, then `plain`, raw columns behind them. A plug-in adds a section of its own with `register`. Which columns a data set
can feed is known by the fitted state (`FeatureState.present`).

The computation of columns belongs to `groups/`, fitted values belong to `state.py`. Source: FEATURES §1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

import polars as pl

from feature_assets.group import Column, FeatureGroup, SideInput
from feature_assets.groups import implemented


class SchemaError(ValueError):
    """The declarations of a group and the layout, or the columns at hand, do not agree."""


@dataclass(frozen=True)
class Part:
    """A run of `width` positions of a section; the group of the same name fills it."""

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


REFERENCE: tuple[Section, ...] = (
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
"""The sections of FEATURES §1, whose columns the design's networks and budgets are made for."""

LAYOUT: tuple[Section, ...] = (
    *REFERENCE,
    _section(
        "plain",
        normalised=False,
        periods=26,
        waits=20,
        calendar=28,
        departments=42,
        repeats=19,
        channel_counts=9,
        exposure=9,
        held=15,
        stages=4,
    ),
)
"""The sections of the built-in groups."""


@dataclass(frozen=True)
class _Plugin:
    group: FeatureGroup
    section: str
    normalised: bool


_plugins: list[_Plugin] = []


def register(group: FeatureGroup, section: str | None = None, normalised: bool = True) -> None:
    """Add a group that is not built in. Its columns form a part of `section`, which no built-in group uses; normalised
    sections come before the raw ones, so that the normalised columns stay one run.

    Registering the same object again changes nothing.

    Args:
        group: the group; its columns begin with `<name>__`.
        section: section of its columns; by default one of the group's own name.
        normalised: whether its columns are scaled by `normalise.py`; the same for all groups of a section.

    Raises:
        SchemaError: the name of the group, of a column or of a side input is taken, the section is a built-in one or is
            normalised otherwise, or the group needs one that does not exist.
    """
    plugin = _Plugin(group, section if section is not None else group.name, normalised)
    if any(known.group is group for known in _plugins):
        return
    if group.name in registry():
        raise SchemaError(f"there is a group {group.name!r} already")
    if plugin.section in {built_in.name for built_in in LAYOUT}:
        raise SchemaError(f"section {plugin.section!r} belongs to the built-in groups; choose another name")
    if any(other.section == plugin.section and other.normalised != normalised for other in _plugins):
        raise SchemaError(f"section {plugin.section!r} cannot hold both normalised and raw columns")
    _plugins.append(plugin)
    _forget()
    try:
        columns()
        _check_sides()
    except SchemaError:
        unregister(group.name)
        raise


def unregister(name: str) -> None:
    """Remove the plug-in group of this name.

    Raises:
        SchemaError: no plug-in group bears it, or another group needs it.
    """
    if name not in {plugin.group.name for plugin in _plugins}:
        raise SchemaError(f"no plug-in group is called {name!r}")
    dependants = [plugin.group.name for plugin in _plugins if name in plugin.group.needs]
    if set(dependants) - {name}:
        raise SchemaError(f"groups {dependants} need group {name!r}")
    _plugins[:] = [plugin for plugin in _plugins if plugin.group.name != name]
    _forget()


def _forget() -> None:
    for derived in (registry, layout, columns, positions, normalised):
        derived.cache_clear()


@lru_cache(maxsize=1)
def layout() -> tuple[Section, ...]:
    """All sections in the order of their positions: normalised ones first, plug-ins behind the built-in ones."""
    added: dict[str, Section] = {}
    for plugin in _plugins:
        if plugin.group.columns:
            before = added[plugin.section].parts if plugin.section in added else ()
            part = Part(plugin.group.name, len(plugin.group.columns))
            added[plugin.section] = Section(plugin.section, (*before, part), plugin.normalised)
    return tuple(sorted((*LAYOUT, *added.values()), key=lambda section: not section.normalised))


def width() -> int:
    """Number of positions: those of the built-in groups and of plug-ins."""
    return sum(section.width for section in layout())


def reference() -> tuple[int, ...]:
    """Positions of the columns of `REFERENCE`, ascending: the first ones, but for normalised plug-ins among them."""
    names = {section.name for section in REFERENCE}
    return tuple(i for name, (first, end) in ranges().items() if name in names for i in range(first, end))


@lru_cache(maxsize=1)
def normalised() -> int:
    """Number of normalised columns, which come first: `normalise.py` scales them, the rest keep natural units."""
    return sum(section.width for section in layout() if section.normalised)


@lru_cache(maxsize=1)
def registry() -> dict[str, FeatureGroup]:
    """The groups by name, each after the groups that it needs.

    They come in rounds: a round holds the groups whose needs earlier rounds fulfil, in the order in which they are
    listed.
    """
    groups = {group.name: group for group in (*implemented(), *(plugin.group for plugin in _plugins))}
    unknown = {need for group in groups.values() for need in group.needs} - set(groups)
    if unknown:
        raise SchemaError(f"groups need {sorted(unknown)}, which no registered group is called")
    sorter = TopologicalSorter({name: group.needs for name, group in groups.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise SchemaError(f"groups need each other: {' → '.join(error.args[1])}") from error
    place = {name: i for i, name in enumerate(groups)}
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=place.__getitem__)
        sorter.done(*ready)
        order += ready
    return {name: groups[name] for name in order}


@lru_cache(maxsize=1)
def columns() -> tuple[Column, ...]:
    """All columns in the order of their positions."""
    groups = registry()
    result: list[Column] = []
    for section in layout():
        if section.name in groups and section in LAYOUT:  # one group fills the whole section
            result += _declared(groups[section.name], section.width)
            continue
        for part in section.parts:
            if part.name not in groups:
                raise SchemaError(f"no group fills {part.name} of {section.name}")
            result += _declared(groups[part.name], part.width)
    _refuse_repeated([column.name for column in result])
    return tuple(result)


def _declared(group: FeatureGroup, positions: int) -> tuple[Column, ...]:
    if len(group.columns) != positions:
        raise SchemaError(
            f"group {group.name} declares {len(group.columns)} columns; the layout has {positions} for it"
        )
    strangers = [c.name for c in group.columns if not c.name.startswith(f"{group.name}__")]
    if strangers:
        raise SchemaError(f"columns of group {group.name} must begin with '{group.name}__': {strangers[:5]}")
    return group.columns


def _check_sides() -> None:
    _refuse_repeated([*names(), *(side.name for side in side_inputs())])


def _refuse_repeated(declared: list[str]) -> None:
    if len(set(declared)) != len(declared):
        raise SchemaError(f"declared twice: {sorted({n for n in declared if declared.count(n) > 1})}")


def names() -> tuple[str, ...]:
    """The names of all columns in the order of their positions."""
    return tuple(column.name for column in columns())


@lru_cache(maxsize=1)
def positions() -> dict[str, int]:
    """Column name → position."""
    return {name: i for i, name in enumerate(names())}


def ranges() -> dict[str, tuple[int, int]]:
    """Section → [first, last + 1) of its positions."""
    result, start = {}, 0
    for section in layout():
        result[section.name] = (start, start + section.width)
        start += section.width
    return result


def group_positions(group: str) -> tuple[int, ...]:
    """Positions of a group's columns, in the group's order."""
    index = positions()
    return tuple(index[column.name] for column in registry()[group].columns)


def is_normalised(name: str) -> bool:
    """True if the normaliser scales the column of this name."""
    return positions()[name] < normalised()


def side_inputs() -> tuple[SideInput, ...]:
    """The side inputs of all groups, in registry order."""
    return tuple(side for group in registry().values() for side in group.side_inputs)


def digest(present: Iterable[str]) -> str:
    """12 hex digits that change when a name, its position, the present columns or a side input's shape change."""
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
    """One row a position: position, name, section, group, meaning, unit, window, sources, normalised."""
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
                "normalised": i < normalised(),
            }
            for i, column in enumerate(columns())
        ]
    )
