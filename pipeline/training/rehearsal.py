"""The rehearsal of a night: what gets registered scores the newest snapshot of its training, as a night would.

It finds what would stop a night of the new champion: customers without a row, values that are not finite, a schema or a
state of something else, a model that is too slow. What follows from it belongs to `promotion.py`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import polars as pl

from feature_assets import registry
from feature_assets.events.view import View
from feature_assets.labels import eligible
from pipeline.resources.files import publish_json
from pipeline.scores.table import find_problems, with_eligibility
from pipeline.training.workspace import Workspace


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found.

    customers: known on the day; scored: with one row. problems: of the scores, in words. fallback: task → share of
    eligible rows that carry a base rate. mismatch: of schema or state, empty where they fit. seconds_per_1000:
    processor time of scoring 1,000 customers, all threads together.
    """

    customers: int
    scored: int
    problems: list[str]
    fallback: dict[str, float]
    mismatch: str
    seconds_per_1000: float

    def save(self, file: Path) -> None:
        """Write JSON that `load` reads."""
        publish_json(asdict(self), file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(file.read_text()))


def rehearse(
    workspace: Workspace, view_of: Callable[[date], View], clock: Callable[[], float] = time.process_time
) -> Rehearsal:
    """Score the newest snapshot with the bundle that is registered, and save what was found.

    Args:
        workspace: of the training, with its snapshots.
        view_of: the view of a snapshot's customers.
        clock: seconds of processor time: what else the machine does refuses no version.
    """
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    newest = workspace.labels()["as_of"].max()
    assert isinstance(newest, date)
    matrix, view = pl.read_parquet(workspace.snapshot(newest)), view_of(newest)
    scorer = Scorer(load_bundle(workspace.candidate))
    started = clock()
    scored = scorer.score(matrix)
    seconds = clock() - started
    tasks = json.loads((workspace.candidate / "tasks.json").read_text())
    names = [task["name"] for task in tasks]
    frame = with_eligibility(scored, eligible(view, names), tasks)
    customers = view.customers["customer_id"]
    made = Rehearsal(
        customers=len(customers),
        scored=frame.filter(pl.col("customer_id").is_in(customers.implode()))["customer_id"].n_unique(),
        problems=find_problems(frame, customers, tasks),
        fallback={name: _share(frame, name) for name in names},
        mismatch=_mismatch(workspace),
        seconds_per_1000=seconds / max(matrix.height, 1) * 1_000,
    )
    made.save(workspace.rehearsal)
    return made


def _share(frame: pl.DataFrame, task: str) -> float:
    share: Any = frame.filter(pl.col(f"{task}__eligible"))[f"{task}__fallback"].mean()
    return float(share or 0.0)


def _mismatch(workspace: Workspace) -> str:
    """What a night would refuse of the bundle's schema and state; empty where they fit."""
    from feature_assets.state import FeatureState

    state, folder = workspace.state(), workspace.candidate
    trained = json.loads((folder / "schema.json").read_text())["digest"]
    if trained != registry.digest(state.present):
        return f"the schema of the bundle is {trained}, that of this code {registry.digest(state.present)}"
    own = FeatureState.load(folder / "state").version
    return "" if own == state.version else f"the state of the bundle is {own}, the training's {state.version}"
