"""What an asset shows and nothing reads: pictures and other decoration, of which none may fail a night.

Tables, labels, features, scores and their checks belong elsewhere, and fail as loudly as they should.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg

from pipeline.reports.describe import markdown
from pipeline.reports.plots import as_markdown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

DRAWN = "everything_is_shown"
"""Check of an asset whose pictures are made by a `Drawing`: it warns where one could not be made."""
T = TypeVar("T")


class Drawing:
    """Makes the pictures of one asset. One that cannot be made is a warning, in the run's log and on the asset.

    Args:
        warn: gets one line for each.

    Attributes:
        failed: name → reason of what could not be made.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.failed: dict[str, str] = {}

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """What `make` makes; None, with a warning, where it raises."""
        try:
            return make()
        except Exception as error:  # whatever it was: the night does not depend on it
            said = " ".join(str(error).split())
            self.failed[name] = f"{type(error).__name__}: {said}" if said else type(error).__name__
            self._warn(f"{name} could not be shown, and nothing else depends on it: {self.failed[name]}")
            return None

    def figure(self, name: str, draw: "Callable[[], Figure]") -> dict[str, Any]:
        """Metadata with a figure inside the text, or with the reason why it is missing."""
        return self.facts(name, lambda: {name: as_markdown(draw(), name)})

    def table(self, name: str, make: "Callable[[], pl.DataFrame]", rows: int = 100) -> dict[str, Any]:
        """Metadata with a table, or with the reason why it is missing."""
        return self.facts(name, lambda: {name: markdown(make(), rows)})

    def facts(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Metadata, or the reason why they are missing under `name`."""
        made = self.attempt(name, make)
        return {name: f"could not be shown: {self.failed[name]}"} if made is None else dict(made)

    def check(self) -> dg.AssetCheckResult:
        """A warning on the asset where something could not be shown."""
        return dg.AssetCheckResult(
            check_name=DRAWN,
            passed=not self.failed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=dict(self.failed),
        )


def drawn_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The specification of `Drawing.check`."""
    return dg.AssetCheckSpec(DRAWN, asset=asset, description="Every picture could be made. One that fails only warns.")
