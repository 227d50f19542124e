"""The headline metric by groups of rows: segments, spans of tenure, clusters, or any other label of a row."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import RESAMPLES, resample
from ple_model.evaluation.kind import EvaluatedKind

LEAST_ROWS = 50
"""With fewer labels a group has no value: an AUC of a dozen rows says nothing."""


@dataclass(frozen=True)
class GroupValue:
    """A group's headline metric with its interval; `note` says why a figure is missing."""

    group: str
    rows: int
    customers: int
    value: float | None
    low: float | None
    high: float | None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def breakdown(
    kind: EvaluatedKind,
    predictions: NDArray,
    labels: NDArray,
    mask: NDArray | None,
    customers: NDArray | Sequence[Any],
    groups: NDArray | Sequence[str],
    *,
    order: Sequence[str] | None = None,
    least_rows: int = LEAST_ROWS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[GroupValue]:
    """A `GroupValue` for each group that has rows, labelled or not.

    Args:
        kind: of the task.
        predictions: as for `metrics.evaluate`.
        labels: as for `metrics.evaluate`.
        mask: as for `metrics.evaluate`.
        customers: [n] ids that are resampled.
        groups: [n] label of each row's group.
        order: of the groups in the result; sorted by name without one.
        least_rows: labels that a group needs for a value.
        resamples: behind each interval.
        seed: of the draws.

    Raises:
        ValueError: another number of groups than rows, or a group that `order` lacks.
    """
    names = np.asarray(groups).astype(str)
    if len(names) != len(labels):
        raise ValueError(f"{len(names)} groups for {len(labels)} rows")
    present = set(names.tolist())
    if order is not None and (lost := sorted(present - set(order))):
        raise ValueError(f"groups without a place in the order: {', '.join(lost)}")
    given = np.ones(len(names), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    ids = np.asarray(customers)
    found = []
    for group in sorted(present) if order is None else [name for name in order if name in present]:
        rows = given & (names == group)
        size, owners = int(rows.sum()), len(np.unique(ids[rows]))
        if size < least_rows:
            note = f"{size} labels, {least_rows} are needed"
            found.append(GroupValue(group, size, owners, None, None, None, note))
            continue
        drawn = resample(
            kind, {"": predictions[rows]}, labels[rows], None, ids[rows], subject="", resamples=resamples, seed=seed
        )
        value = drawn.metrics[""][kind.headline.metric]
        found.append(GroupValue(group, size, owners, value.estimate, value.low, value.high, value.reason))
    return found
