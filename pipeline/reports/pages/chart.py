"""A small chart of shares: one night's bars beside those of the night before. The page's template draws it.

Numbers fall into bins of equal width, names are their own bins. Positions are in units of the drawing (360 wide).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

BINS = 20
CLASSES = 8
"""Names with a bar of their own; the others share one."""
TAIL = 0.99
"""Above this quantile values share the last bin, where the largest one would flatten all others."""
WIDTH, LEFT, RIGHT, TOP, HEIGHT = 360.0, 44.0, 12.0, 8.0, 120.0
ROW, NAMES, SHARES = 26.0, 132.0, 48.0
"""Height of the row of a name, and the widths of the names and of the shares behind the bars."""
LONGEST = 20
"""Characters of a name that fit."""


@dataclass(frozen=True)
class Chart:
    """Shares of rows by bin.

    title: what is drawn. across: what the bins are, with the unit. series: name → a share a bin, the night first.
    names: of the bins, where they are names. edges: [bins + 1] of numbers otherwise. open: values above the last edge
    are in the last bin. percent: the numbers are shares themselves.
    """

    title: str
    across: str
    series: dict[str, tuple[float, ...]]
    names: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    open: bool = False
    percent: bool = False

    @property
    def height(self) -> float:
        """Of the drawing."""
        return ROW * len(self.names) if self.names else TOP + HEIGHT + 34

    @property
    def most(self) -> float:
        """The largest share."""
        return max((share for shares in self.series.values() for share in shares), default=0.0) or 1.0

    def bar(self, series: int, at: int) -> dict[str, float]:
        """x, y, width, height of the bar of a bin; of the night before it is a thin line beside the other one."""
        share = list(self.series.values())[series][at] / self.most
        if self.names:
            room = WIDTH - NAMES - SHARES
            return {"x": NAMES, "y": ROW * at + (5 if series == 0 else 16), "width": room * share,
                    "height": 10 if series == 0 else 3}  # fmt: skip
        room = (WIDTH - LEFT - RIGHT) / (len(self.edges) - 1)
        return {"x": LEFT + room * at + 0.5, "y": TOP + HEIGHT * (1 - share), "width": max(room - 1, 1),
                "height": HEIGHT * share}  # fmt: skip

    def outline(self, series: int) -> str:
        """Points of the steps of a series of numbers."""
        room = (WIDTH - LEFT - RIGHT) / (len(self.edges) - 1)
        points = []
        for at, share in enumerate(list(self.series.values())[series]):
            y = TOP + HEIGHT * (1 - share / self.most)
            points += [f"{LEFT + room * at:.1f},{y:.1f}", f"{LEFT + room * (at + 1):.1f},{y:.1f}"]
        return " ".join(points)

    def ticks(self) -> list[tuple[float, str]]:
        """Place and words of the marks below the bars: first, middle and last edge."""
        last = len(self.edges) - 1
        return [
            (LEFT + (WIDTH - LEFT - RIGHT) * at / last, self._number(self.edges[at], self.open and at == last))
            for at in (0, last // 2, last)
        ]

    def _number(self, value: float, beyond: bool) -> str:
        text = f"{value:.3g}%" if self.percent else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"≥ {text}" if beyond else text


def histogram(
    title: str, across: str, nights: dict[str, pl.Series], percent: bool = False, shares: bool = False
) -> Chart | None:
    """The chart of numbers; None where tonight has none.

    Args:
        title: what is drawn.
        across: what the numbers are, with their unit.
        nights: name → values [R], tonight first.
        percent: whether the values are shares of 1, which are shown as percentages.
        shares: whether the axis begins at 0.
    """
    values = {name: column.drop_nulls().cast(pl.Float64).to_numpy() for name, column in nights.items()}
    values = {name: found[np.isfinite(found)] * (100 if percent else 1) for name, found in values.items()}
    if not values or not len(next(iter(values.values()))):
        return None
    together = np.concatenate(list(values.values()))
    low, high = float(together.min()), float(together.max())
    low = min(low, 0.0) if percent or shares else low
    tail = float(np.quantile(together, TAIL))
    beyond = high - low > 1.5 * (tail - low) > 0
    high = _round_up(tail if beyond else high)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, BINS + 1)
    counted = {
        name: np.histogram(np.clip(found, low, high), edges)[0] / max(len(found), 1) for name, found in values.items()
    }
    series = {name: tuple(found.tolist()) for name, found in counted.items()}
    return Chart(title, across, series, edges=tuple(edges.tolist()), open=beyond, percent=percent)


def _round_up(value: float) -> float:
    """The next number of two digits, for an axis that people read."""
    if value <= 0:
        return value
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / step - 1e-9) * step)


def bars(title: str, across: str, nights: dict[str, pl.Series]) -> Chart | None:
    """The chart of names, tonight's most common first; None where tonight has none."""
    counted = {name: _shares(column) for name, column in nights.items()}
    tonight = next(iter(counted.values()), {})
    if not tonight:
        return None
    shown = sorted(tonight, key=lambda name: (-tonight[name], name))[:CLASSES]
    series = {}
    for name, shares in counted.items():
        own = [shares.get(each, 0.0) for each in shown]
        series[name] = own, max(sum(shares.values()) - sum(own), 0.0)
    others = any(rest > 1e-9 for _, rest in series.values())
    return Chart(
        title,
        across,
        {name: (*own, rest) if others else tuple(own) for name, (own, rest) in series.items()},
        names=(*shown, "all others") if others else tuple(shown),
    )


def short(name: str) -> str:
    """A name that fits beside its bar."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _shares(column: pl.Series) -> dict[str, float]:
    some = column.drop_nulls().cast(pl.String)
    found: Sequence[tuple[str, int]] = list(some.rename("name").value_counts().iter_rows())
    return {name: count / len(some) for name, count in found}
