"""From a feature matrix (polars) to the model's inputs. Columns are found by name, never by position."""

import math

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ple_model.config import InputConfig, SideConfig
from ple_model.inputs import Inputs


def inputs_from_frame(frame: pl.DataFrame, config: InputConfig) -> Inputs:
    """Inputs of R rows from a feature matrix.

    Args:
        frame: the present columns of `config` by name, numeric, null or NaN where missing; `cluster_probs`, a list of
            `clusters` numbers; and for each side input of `config` a list of its numbers (row-major), with, where it is
            masked, `<name>_mask`, a list of booleans; null for a row without it. Other columns are ignored.

    Returns:
        Inputs in float32 with a true mask exactly where the frame holds a value; values beyond `config.bounds` are
        moved to them.

    Raises:
        ValueError: columns that are missing or not numeric, lists of another length, values that are not finite,
            posteriors that do not sum to 1; with the column and the first rows.

    Source: MODEL §1.
    """
    names = [config.columns[i] for i in config.present]
    if missing := [name for name in [*names, *side_columns(config)] if name not in frame.columns]:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise ValueError(f"the feature matrix lacks {len(missing)} columns: {', '.join(missing[:8])}{more}")
    if wrong := [name for name in names if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Null)]:
        raise ValueError(f"column {wrong[0]} is {frame[wrong[0]].dtype}; a number was expected")
    rows = len(frame)
    present = frame.select(pl.col(names).cast(pl.Float32)).to_numpy().reshape(rows, len(names))
    given = ~np.isnan(present)
    if len(bad := np.argwhere(np.isinf(present))):
        raise ValueError(f"column {names[bad[0][1]]} is infinite in rows {sorted({int(row) for row, _ in bad})[:5]}")
    if config.bounds:
        low, high = np.asarray(config.bounds, dtype=np.float32).T
        present = np.clip(present, low, high)
    features = np.zeros((rows, len(config.columns)), dtype=np.float32)
    mask = np.zeros(features.shape, dtype=bool)
    features[:, config.present] = np.where(given, present, np.float32(0))
    mask[:, config.present] = given
    sides: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    rows_given: dict[str, Tensor] = {}
    for side in config.sides:
        values, valid, given_rows = _side(frame, side)
        sides[side.name], rows_given[side.name] = torch.from_numpy(values), torch.from_numpy(given_rows)
        if side.masked:
            masks[side.name] = torch.from_numpy(valid)
    return Inputs(
        features=torch.from_numpy(features),
        features_mask=torch.from_numpy(mask),
        cluster_probs=torch.from_numpy(_cluster_probs(frame["cluster_probs"], config.clusters)),
        sides=sides,
        masks=masks,
        present=rows_given,
    )


def side_columns(config: InputConfig) -> list[str]:
    """Columns of a feature matrix beside the flat ones that the model reads."""
    masked = [f"{side.name}_mask" for side in config.sides if side.masked]
    return ["cluster_probs", *(side.name for side in config.sides), *masked]


def _cluster_probs(column: pl.Series, clusters: int) -> np.ndarray:
    values, given = _lists(column, clusters, np.float32)
    sums = values.sum(axis=1, dtype=np.float64)
    if len(bad := np.flatnonzero(~(np.abs(sums - 1.0) <= 1e-3) | ~given)):
        raise ValueError(f"cluster_probs of rows {bad[:5].tolist()} sum to {sums[bad[:5]].tolist()}, not to 1")
    return values


def _side(frame: pl.DataFrame, side: SideConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [R, *shape] with 0 where nothing is valid, validity [R, shape[0]] (or [R] without a mask), and rows that
    have the side input [R]. Channels that the data set does not have are 0."""
    values, given = _lists(frame[side.name], math.prod(side.shape), np.float32)
    values = values.reshape(len(frame), *side.shape)
    if side.masked:
        valid, _ = _lists(frame[f"{side.name}_mask"], side.shape[0], np.bool_)
        valid &= given[:, None]
        given = np.asarray(valid.any(axis=1))
        values[~valid] = 0.0
    else:
        valid = given
    if side.channels is not None:
        values[..., [i for i in range(side.shape[-1]) if i not in side.channels]] = 0.0
    if len(bad := np.flatnonzero(~np.isfinite(values.reshape(len(frame), math.prod(side.shape))).all(axis=1))):
        raise ValueError(f"{side.name} holds values that are not finite in rows {bad[:5].tolist()}")
    return values, valid, given


def _lists(column: pl.Series, width: int, kind: type[np.generic]) -> tuple[np.ndarray, np.ndarray]:
    """A list column as [R, width], zero where the list is null, and whether it is given [R]."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype != pl.Null and not isinstance(column.dtype, pl.List):
        raise ValueError(f"column {column.name} is {column.dtype}; a list of {width} values was expected")
    values = np.zeros((len(column), width), dtype=kind)
    given = column.is_not_null().to_numpy()
    if given.any():
        lengths = column.list.len().to_numpy()
        if len(bad := np.flatnonzero(given & (lengths != width))):
            found = lengths[bad[:5]].astype(int).tolist()
            raise ValueError(f"column {column.name}: rows {bad[:5].tolist()} have {found} values, not {width}")
        dtype = pl.Boolean if kind is np.bool_ else pl.Float32
        values[given] = column.drop_nulls().explode().cast(dtype).to_numpy().astype(kind).reshape(-1, width)
    return values, given
