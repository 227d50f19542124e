"""What a night computes of each shard: feature groups, their matrix, the scores of the champion or of a challenger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from feature_assets.build import assemble
from feature_assets.events.view import View
from feature_assets.labels import eligible
from feature_assets.state import FeatureState
from pipeline.intake import lost_sources
from pipeline.intake.lost_sources import Lost
from pipeline.resources.publication import scanned
from pipeline.scores.table import STATE_VERSION, Described, score_matrix, with_eligibility
from pipeline.shards.work import Own

ROWS = "rows"
"""Name of the frame of a task that has one."""


@lru_cache(maxsize=1)
def stored_state(folder: Path) -> FeatureState:
    """The fitted state in a bundle that was verified; kept for the next shard or step of the process."""
    return FeatureState.load(folder)


@dataclass(frozen=True)
class Groups:
    """Feature groups, a frame each.

    Attributes:
        state: folder of the fitted state.
        lost: what the delivery lacks.
        groups: names.
    """

    state: Path
    lost: Lost
    groups: tuple[str, ...]

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        """As the assets of a night make them."""
        outputs = lost_sources.outputs_of(view, stored_state(self.state), self.lost, self.groups)
        return {name: outputs[name] for name in self.groups}


@dataclass(frozen=True)
class Matrix:
    """The feature matrix of published groups.

    Attributes:
        state: folder of the fitted state.
        groups: group → its published file.
    """

    state: Path
    groups: Mapping[str, Path]

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        """Scaled, and marked with the state."""
        state = stored_state(self.state)
        frame = assemble(view, {name: own(scanned(file)) for name, file in self.groups.items()}, state)
        return {ROWS: frame.with_columns(pl.lit(state.version).alias(STATE_VERSION))}


@dataclass(frozen=True)
class Scores:
    """Scores of a published matrix by a bundle.

    Attributes:
        matrix: the published file.
        bundle: its folder.
        tasks: of the bundle, with those withheld that the delivery has no sources for.
        active_days: of the data set the bundle was trained on.
    """

    matrix: Path
    bundle: Path
    tasks: Sequence[Described]
    active_days: int | None

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        """With eligibility; what a task withholds is null."""
        return {ROWS: _scored(view, own(scanned(self.matrix)), self.bundle, self.tasks, self.active_days)}


@dataclass(frozen=True)
class OwnFeatures:
    """Scores of a version by features of its own state, as `Scores` but for the matrix.

    Attributes:
        bundle: its folder, with the fitted state in it.
        lost: what the delivery lacks of what it was trained with.
        tasks, active_days: as of `Scores`.
    """

    bundle: Path
    lost: Lost
    tasks: Sequence[Described]
    active_days: int | None

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        """Nothing is read but the delivery."""
        matrix = lost_sources.matrix_of(view, FeatureState.load(self.bundle / "state"), self.lost)
        return {ROWS: _scored(view, matrix, self.bundle, self.tasks, self.active_days)}


def _scored(
    view: View, matrix: pl.DataFrame, bundle: Path, tasks: Sequence[dict[str, Any] | Described], active: int | None
) -> pl.DataFrame:
    names = [task["name"] for task in tasks]
    return with_eligibility(score_matrix(matrix, bundle), eligible(view, names, active), tasks)
