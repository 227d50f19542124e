"""The reference of a version of the model: binned inputs and scores of the newest snapshot of its training.

It travels in the bundle, so a night is compared with what the version that scores it learnt from, in the scale of that
version's own fitted state. A version without one (registered before there were any) takes its first night.
"""

import json
from collections.abc import Callable, Iterator
from datetime import date

import polars as pl

from feature_assets.events.view import View
from feature_assets.labels import eligible
from pipeline.monitoring.bins import reference_of
from pipeline.resources.files import publish_frame
from pipeline.resources.lake import DRIFT_REFERENCES, Lake
from pipeline.resources.tracking import RegisteredVersion
from pipeline.scores.table import Scores, score_matrix, with_eligibility
from pipeline.training.workspace import Workspace

FILE = "reference.parquet"
"""In the bundle: `bins.SCHEMA`."""
SCORED = ("u", "fallback", "eligible", "")
"""Columns of scores that are watched, by what stands behind `<task>__`; the last is the prediction itself."""


def add_reference(work: Workspace, view_of: Callable[[date], View]) -> None:
    """Write the reference into the bundle that is about to be registered. Snapshots must still be there."""
    newest = work.labels()["as_of"].max()
    assert isinstance(newest, date)
    matrix = pl.read_parquet(work.snapshot(newest))
    tasks = json.loads((work.candidate / "tasks.json").read_text())
    view = view_of(newest)
    scores = with_eligibility(
        score_matrix(matrix, work.candidate), eligible(view, [task["name"] for task in tasks]), tasks
    )
    present = work.state().present
    names = [task["name"] for task in tasks]
    publish_frame(reference_of(watched(matrix, scores, present, names)), work.candidate / FILE)


def reference(
    champion: RegisteredVersion, lake: Lake, tonight: Callable[[], Iterator[pl.DataFrame]]
) -> tuple[pl.DataFrame, str]:
    """The reference of a version (`bins.SCHEMA`) and its name. Where there is none, the first slice of `tonight`
    (`watched`) becomes it."""
    if (champion.folder / FILE).exists():
        return pl.read_parquet(champion.folder / FILE), f"training of version {champion.version}"
    file = lake.path(DRIFT_REFERENCES, f"version-{champion.version}.parquet")
    if not file.exists():
        publish_frame(reference_of(next(tonight())), file)
    return pl.read_parquet(file), f"first night of version {champion.version}"


def scored_columns(scores: Scores, tasks: list[str]) -> pl.DataFrame:
    """customer_id and the columns of the scores that are compared."""
    named = {name if not suffix else f"{name}__{suffix}" for name in tasks for suffix in SCORED}
    return scores.lazy().select("customer_id", *(n for n in scores.collect_schema().names() if n in named)).collect()


def watched(matrix: pl.DataFrame, scores: Scores, present: list[str], tasks: list[str]) -> pl.DataFrame:
    """Inputs and scores side by side, one row a customer [R]: the columns that are compared."""
    own = scored_columns(scores, tasks)
    inputs = matrix.select("customer_id", *(name for name in present if name in matrix.columns))
    return inputs.join(own, on="customer_id", how="inner", maintain_order="left", suffix="__score").drop("customer_id")
