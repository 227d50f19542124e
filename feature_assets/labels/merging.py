"""Classes that too few customers are in, merged: nobody learns a class that three customers have ever been in.

Classes in an order (days, hours) merge with a neighbour. Others merge with each other, and with the next rarest ones
where they are too few together. Decided on training labels; the label state keeps it, so that later nights do the same.
Source: DATA §1, §3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.labels.constants import LEAST_OF_CLASS

Groups = list[list[int]]
"""Classes that become one, each by its index."""
NAMED = 3  # classes whose names a merged one bears; more are "other"
OTHER = ("other", "all other")
"""Name of many merged classes, and where a class bears it already."""


@dataclass(frozen=True)
class Merging:
    """How the classes of a task merge.

    Attributes:
        block: neighbours merge, first within blocks of so many; 0: the classes have no order.
        name: of a merged class, from the names of its parts in order and those of all classes.
    """

    block: int
    name: Callable[[Sequence[str], Sequence[str]], str]

    def merged(self, has: NDArray[np.bool_], names: Sequence[str], kept: str | None = None) -> dict[str, str]:
        """Name of each class → name of the class that it is part of, in the order of the classes; its own where it
        stays.

        Args:
            has: whether a customer has a training label of a class [customers, classes].
            names: of the classes.
            kept: a class that stays alone.
        """
        alone = names.index(kept) if kept in names else None
        groups = _neighbours(has, self.block) if self.block else _rarest(has, alone)
        found: dict[str, str] = {}
        for group in groups:
            parts = [names[c] for c in sorted(group)]
            found |= dict.fromkeys(parts, parts[0] if len(parts) == 1 else self.name(parts, names))
        return {name: found[name] for name in names}


def having(label: pl.Series, customer: pl.Series, classes: int) -> NDArray[np.bool_]:
    """Whether a customer has a label of a class [customers, classes], from labels [n] and whose they are [n]."""
    has = np.zeros((customer.n_unique(), classes), dtype=np.bool_)
    has[customer.rank("dense").to_numpy() - 1, label.to_numpy()] = True
    return has


def relabelled(label: pl.Series, merged: Mapping[str, str]) -> pl.Series:
    """Indices of classes → those of the classes that they are part of, in the order in which these come."""
    place = {name: i for i, name in enumerate(dict.fromkeys(merged.values()))}
    new = [place[name] for name in merged.values()]
    return label.replace_strict(list(range(len(new))), new, return_dtype=label.dtype)


def pooled(shares: NDArray[np.float64], merged: Mapping[str, str]) -> NDArray[np.float64]:
    """Probabilities of classes [N, K] → those of the classes that they are part of, in the order of `relabelled`."""
    names = list(dict.fromkeys(merged.values()))
    part_of = np.array([[name == whole for whole in names] for name in merged.values()], dtype=np.float64)
    return shares @ part_of


def customers_with(has: NDArray[np.bool_], group: Sequence[int]) -> int:
    """Customers with a label of one of these classes."""
    return int(has[:, list(group)].any(axis=1).sum())


def _neighbours(has: NDArray[np.bool_], block: int) -> Groups:
    """The rarest class goes to its rarer neighbour until none is too rare: within blocks, then everywhere."""
    groups: Groups = [[c] for c in range(has.shape[1])]
    for within in (True, False):
        while True:
            counts = [customers_with(has, group) for group in groups]

            def beside(i: int, within: bool = within) -> list[int]:
                near = [j for j in (i - 1, i + 1) if 0 <= j < len(groups)]
                return [j for j in near if not within or groups[i][0] // block == groups[j][0] // block]

            rare = [i for i in range(len(groups)) if counts[i] < LEAST_OF_CLASS and beside(i)]
            if not rare:
                break
            i = min(rare, key=counts.__getitem__)
            j = min(beside(i), key=counts.__getitem__)
            first, second = sorted((i, j))
            groups[first : second + 1] = [groups[first] + groups[second]]
    return groups


def _rarest(has: NDArray[np.bool_], kept: int | None) -> Groups:
    """All classes that are too rare, and as many of the next ones as it takes, are one."""
    free = [c for c in range(has.shape[1]) if c != kept]
    order = sorted(free, key=lambda c: customers_with(has, [c]))
    together = [c for c in order if customers_with(has, [c]) < LEAST_OF_CLASS]
    while together and customers_with(has, together) < LEAST_OF_CLASS and len(together) < len(order):
        together.append(order[len(together)])
    return [*([together] if together else []), *([c] for c in range(has.shape[1]) if c not in together)]


def any_of(parts: Sequence[str], names: Sequence[str]) -> str:
    """`a or b`, or `other`."""
    return " or ".join(parts) if len(parts) <= NAMED else OTHER[OTHER[0] in names]


def days_of(parts: Sequence[str], _names: Sequence[str]) -> str:
    """`2–3 days`, `4–6 days` → `2–6 days`."""
    start, end = (part.split()[0] for part in (parts[0], parts[-1]))
    since = start.partition("–")[0]
    return f"{since}+ days" if end.endswith("+") else f"{since}–{end.rpartition('–')[2]} days"


def times_of(parts: Sequence[str], names: Sequence[str]) -> str:
    """`Mon 00–06`, `Mon 06–12` → `Mon 00–12`; all of a day → `Mon`; days one by one."""
    by_day: dict[str, list[str]] = {}
    for part in parts:
        day, _, hours = part.partition(" ")
        by_day.setdefault(day, []).append(hours)
    whole = len(names) // len({name.partition(" ")[0] for name in names})
    told = []
    for day, spans in by_day.items():
        span = f"{spans[0].partition('–')[0]}–{spans[-1].rpartition('–')[2]}"
        told.append(day if len(spans) == whole else f"{day} {span}")
    return " or ".join(told)


BY_NAME, BY_DAYS, BY_TIME = Merging(0, any_of), Merging(100, days_of), Merging(4, times_of)
"""Classes without an order; spans of days; parts of days, four each."""
