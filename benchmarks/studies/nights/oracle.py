"""The bank simulation's oracle for the rows to judge: the best possible prediction of each, where it knows one.

The oracle samples customers and has dates of its own; rows without it are NaN (contrastive: −1). Its labels' constants
(edges of life stages, quantiles of spend) are those of the simulation's last date; an earlier origin fits its own, so
that its oracle of life_stage and spending_bucket is a little off.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.oracle import oracle_frame, oracle_scores
from benchmarks.studies.store import Judged
from feature_assets.labels import LabelState
from feature_assets.simulation.oracle import OracleConfig, write

CONFIG = OracleConfig(customers=4_000, weeks=10)
"""Ten weekly dates, so that those of an origin eight weeks before the end are among them."""
DONE = "studies.json"


def oracle_predictions(
    delivery: Path, keys: pl.DataFrame, judged: Judged, state: LabelState, log: Callable[[str], None]
) -> dict[str, NDArray]:
    """Task → predictions of its labelled rows, NaN where the oracle has none. The oracle is written if it is missing.

    Args:
        delivery: folder of the simulation.
        keys: customer_id and as_of of the rows.
        judged: of the same rows.
        state: classes and brands of the labels.
        log: receives a line after each block of the oracle.
    """
    _ensure(delivery, log)
    told = json.loads((delivery / "oracle" / "classes.json").read_text(encoding="utf-8"))
    known = pl.concat([oracle_frame(delivery, date.fromisoformat(day)) for day in told["dates"]])
    known = known.with_columns(known=pl.lit(True))
    aligned = keys.join(known, on=["customer_id", "as_of"], how="left", maintain_order="left")
    there = aligned["known"].fill_null(False).to_numpy()
    found = {}
    for task, mask in judged.mask.items():
        name = task if task in aligned.columns else f"{task}__top"
        if name not in aligned.columns:
            continue
        given = there & aligned[name].is_not_null().to_numpy()
        scores = oracle_scores(task, aligned.filter(pl.Series(given)), told["classes"], state)
        whole = np.full((len(given), *scores.shape[1:]), np.nan, dtype=np.float32)
        whole[given] = scores
        found[task] = whole[mask]
    return found


def _ensure(delivery: Path, log: Callable[[str], None]) -> None:
    """Write an oracle of `CONFIG` unless it is there."""
    mark, wanted = delivery / "oracle" / DONE, CONFIG.model_dump()
    if not mark.is_file() or json.loads(mark.read_text()) != wanted:
        write(delivery, CONFIG, workers=2, progress=log)
        mark.write_text(json.dumps(wanted))
