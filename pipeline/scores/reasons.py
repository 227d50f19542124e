"""Reasons of predictions: of a task over a sample of rows, for its evaluation, and of one customer on request.

How attributions are made belongs to `ple_model.interpretation`, how they are shown to `pipeline.reports`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from ple_model.inputs import Inputs
    from ple_model.interpretation.attribution import Attribution
    from ple_model.interpretation.sources import Sources
    from ple_model.serving.bundle import Bundle

SAMPLE_ROWS, SAMPLE_BACKGROUND = 24, 2
"""Rows of an evaluation that are explained at most, and rows that the network's part compares each with."""
SAMPLE_SHARE, LEAST_SAMPLE = 20, 6
"""One customer in so many is explained, and at least so many: the time of a row does not shrink with the data."""
BACKGROUND = 16
"""Customers that one customer is compared with."""
SHOWN = 10
"""Reasons that a page shows."""
STRONGEST = 20
"""Sources of a task that an evaluation keeps."""
EXAMPLES = 3
"""Rows with the highest predictions of a task, and as many with the lowest."""


def sample_reasons(
    bundle: "Bundle", inputs: "Inputs", customers: Sequence[str], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What moves the predictions of each task over a sample of the rows, at most `SAMPLE_ROWS`, spread evenly.

    Args:
        bundle: that predicts.
        inputs: rows of an evaluation, each customer once.
        customers: of the rows.
        seed: of the orders of the sources.

    Returns:
        The `STRONGEST` sources of each task (task, unit, rows, and the columns of `strengths`), with a last one a task
        of source "" for what is left unexplained; and examples: task, unit, customer_id and the values of `example`.
    """
    import torch

    from ple_model.experts.base import spread_rows
    from ple_model.interpretation.attribution import attribute
    from ple_model.interpretation.sources import Sources
    from ple_model.interpretation.strengths import strengths
    from ple_model.serving.blend import flat_matrix

    config = bundle.model.config
    sources = Sources.of(config.inputs)
    at = spread_rows(len(inputs), min(SAMPLE_ROWS, max(len(inputs) // SAMPLE_SHARE, LEAST_SAMPLE)))
    between = spread_rows(len(inputs), SAMPLE_BACKGROUND + 2)[1:-1]
    background = inputs.index(between if len(between) else torch.zeros(1, dtype=torch.int64))
    some = inputs.index(at)
    values = flat_matrix(some, config.inputs)
    found, examples = [], []
    for task, own in attribute(bundle, some, background, seed).items():
        table = strengths(own, sources, values)
        unit = {"task": task, "unit": own.unit, "rows": len(some)}
        found += [{**unit, **row} for row in table.head(STRONGEST).to_dicts()]
        rest = float(np.abs(own.unexplained).mean())
        nothing = {"source": "", "family": "", "strength": rest, "error": None, "direction": None, "share": None}
        found.append(unit | nothing)
        order = np.argsort(-own.explained, kind="stable")
        shown = dict.fromkeys([*order[:EXAMPLES].tolist(), *order[-EXAMPLES:].tolist()])
        examples += [
            {"task": task, "unit": own.unit, "customer_id": customers[int(at[r])], **example(own, sources, r)}
            for r in shown
        ]
    return found, examples


def example(own: "Attribution", sources: "Sources", row: int, shown: int = 3) -> dict[str, Any]:
    """One row: explained, base, class, unexplained, rest (the sum of the reasons that are not shown), and reasons,
    strongest first: source, contribution, error."""
    values = own.contributions[row]
    order = np.argsort(-np.abs(values), kind="stable")[:shown]
    order = order[values[order] != 0]
    return {
        "explained": float(own.explained[row]),
        "base": float(own.base[row]),
        "class": own.chosen[row] if own.chosen else "",
        "unexplained": float(own.unexplained[row]),
        "rest": float(values.sum() - values[order].sum()),
        "reasons": [
            {
                "source": sources.names[i],
                "contribution": float(values[i]),
                "error": None if np.isnan(own.errors[row, i]) else float(own.errors[row, i]),
            }
            for i in order.tolist()
        ],
    }


def customer_reasons(matrix: pl.DataFrame, bundle: Path, customer: str, seed: int = 0) -> list[dict[str, Any]]:
    """What moves the predictions of one customer, compared with `BACKGROUND` others of the same night: an `example` a
    task, with its name and the unit.

    Args:
        matrix: feature matrix of an as-of date.
        bundle: folder of the version that scored it.
        customer: its id.
        seed: of the orders of the sources.

    Raises:
        KeyError: the matrix has no such customer.
        ValueError: it has nobody else to compare with.
    """
    from ple_model.interpretation.attribution import attribute
    from ple_model.interpretation.sources import Sources
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.frames import inputs_from_frame

    row = matrix.filter(pl.col("customer_id") == customer)
    if row.is_empty():
        raise KeyError(f"no customer {customer!r} on this as-of date")
    others = matrix.filter(pl.col("customer_id") != customer).sort("customer_id")
    if others.is_empty():
        raise ValueError("there is nobody to compare with on this as-of date")
    at = np.unique(np.linspace(0, others.height - 1, BACKGROUND).round().astype(np.int64))
    loaded = load_bundle(bundle)
    config = loaded.model.config.inputs
    found = attribute(loaded, inputs_from_frame(row, config), inputs_from_frame(others[at], config), seed)
    sources = Sources.of(config)
    return [{"task": task, "unit": own.unit, **example(own, sources, 0, SHOWN)} for task, own in found.items()]
