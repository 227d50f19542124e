"""Scores from a bundle and a feature matrix: the table a business reads. The only module of this package that accepts
pandas.

Also the loader that MLflow asks for (`loader_module="ple_model.serving.scorer"`): a registered version loads with the
copy of this package that was logged with it, and unpickles nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.inputs import Inputs
from ple_model.serving.blend import blend, tree_predictions
from ple_model.serving.bundle import Bundle, load_bundle
from ple_model.serving.columns import MISSING, error_columns, missing_share
from ple_model.serving.frames import inputs_from_frame, side_columns
from ple_model.serving.inference import BLOCK, raw_outputs
from ple_model.tasks import kind_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TOP_EXPERTS", "LoadedModel", "Predicted", "Scorer", "inputs_from_frame", "side_columns"]

TOP_EXPERTS = 3
_CHUNK = 16 * BLOCK  # rows whose inputs are held at once


@dataclass(frozen=True)
class Predicted:
    """Final predictions of R rows by task: binary [R], multiclass [R, K], regression [R] or [R, O] in the label's unit,
    contrastive [R, M] shares; rows in `fallback` [R] carry a base rate. natural [R]: expected values in the natural
    unit, of tasks whose label's unit is another one; natural_ends [R, 2]: their regions in it. u [R] in [0, 1] of the
    tasks that publish one, regions as `conformal.Region.of` gives them of the tasks that have one. row_gates [R, T, N].
    network: predictions of the network alone, none of them replaced."""

    predictions: dict[str, NDArray[np.float64]]
    natural: dict[str, NDArray[np.float64]]
    natural_ends: dict[str, NDArray[np.float64]]
    network: dict[str, NDArray[np.float64]]
    u: dict[str, NDArray[np.float64]]
    fallback: dict[str, NDArray[np.bool_]]
    regions: dict[str, NDArray]
    row_gates: NDArray[np.float32]
    tasks: tuple[str, ...]
    experts: tuple[str, ...]

    @property
    def gates(self) -> dict[str, dict[str, float]]:
        """Task → expert → mean weight over the rows."""
        means = self.row_gates.mean(axis=0, dtype=np.float64).tolist()
        return {task: dict(zip(self.experts, row, strict=True)) for task, row in zip(self.tasks, means, strict=True)}


class Scorer:
    """Calibrated predictions of a bundle. Same rows, same bytes: in any order and with any other rows beside them."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.config = bundle.model.config

    def score(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row a row of the feature matrix, in its order.

        Args:
            frame: `customer_id`, the columns that `inputs_from_frame` reads, and `as_of` if it is to be carried along.

        Returns:
            customer_id, as_of, and for each task the columns of its kind (`Kind.score_columns`): `<task>`, a
            probability (binary), a value in the label's unit (regression, uplift), the name of the likeliest class or
            brand; `<task>__p`, the class probabilities in the order of the bundle's classes, `<task>__probability`,
            that of the likeliest one, and where a class says that nothing happens `<task>__next`, the likeliest other,
            and `<task>__lift`, its probability over its base rate (multiclass); `<task>__each`, the values of several
            outputs; `<task>__top`, brands, likeliest first (contrastive). Then `<task>__value`, the expected value in
            the natural unit where the label's is another one, and `<task>__value_low` and `<task>__value_high`, the
            ends of its interval; the columns of its region (`Kind.region_columns`): `<task>__low` and `<task>__high` of
            the interval that holds the value in the label's unit (regression), `<task>__set`, the classes that hold the
            right one (multiclass), null where there were too few validation rows. Then `<task>__u` in [0, 1], null
            where the task publishes none; `<task>__fallback`, true where a base rate stands in. Last `top_experts`, the
            experts with most weight over the tasks, heaviest first, without those the row gives no weight.

        Raises:
            ValueError: as `inputs_from_frame`, no `customer_id`, or a prediction that is not finite.

        Source: MODEL §2, §11.
        """
        ids = [name for name in ("customer_id", "as_of") if name in frame.columns]
        if "customer_id" not in ids:
            raise ValueError("the feature matrix lacks customer_id")
        if not len(frame):
            return self._score_chunk(frame, ids)
        order = frame.select(ids).with_row_index("_row").sort(ids, maintain_order=True)["_row"]
        parts = [self._score_chunk(frame[order[i : i + _CHUNK]], ids) for i in range(0, len(frame), _CHUNK)]
        return pl.concat(parts)[order.arg_sort()]

    def predict(self, inputs: Inputs) -> Predicted:
        """Final predictions as arrays, for evaluation and for `score`.

        Raises:
            ValueError: a prediction that is not finite.
        """
        alone = raw_outputs(self.bundle.model, inputs)
        halves = {name: task.halves for name, task in self.bundle.calibration.items() if task.halves is not None}
        trees = tree_predictions(self.bundle.trees, inputs, self.config.inputs)
        raw = blend(alone, halves, trees, self.config.tasks)
        posterior = inputs.cluster_probs.numpy()
        columns = error_columns(inputs, self.config.inputs)
        missing = missing_share(inputs, self.config.inputs)
        predictions, natural, natural_ends, network, u, fallback, regions = {}, {}, {}, {}, {}, {}, {}
        for task in self.config.tasks:
            fitted = self.bundle.calibration[task.name]
            calibrated = fitted.calibrator.apply(raw.outputs[task.name])
            signals: dict[str, NDArray] = {**raw.signals[task.name], MISSING: missing}
            judged = fitted.uncertainty.judge(calibrated, posterior, signals, columns)
            finite = np.isfinite(judged.predictions).all(axis=tuple(range(1, judged.predictions.ndim)))
            if not finite.all():
                raise ValueError(f"{task.name}: predictions of rows {np.flatnonzero(~finite)[:5]} are not finite")
            predictions[task.name] = kind_of(task).in_range(judged.predictions)
            if fitted.natural is not None:
                natural[task.name] = fitted.natural.apply(predictions[task.name])
            own_half = fitted.halves.network if fitted.halves is not None else fitted.calibrator
            network[task.name] = kind_of(task).in_range(own_half.apply(alone.outputs[task.name]))
            fallback[task.name] = judged.fallback
            if judged.u is not None:
                u[task.name] = judged.u
            if judged.region is not None:
                regions[task.name] = judged.region
                if fitted.natural is not None and (ends := fitted.natural.ends(judged.region)) is not None:
                    natural_ends[task.name] = ends
        model = self.bundle.model
        names, experts = model.task_names, model.expert_names
        return Predicted(predictions, natural, natural_ends, network, u, fallback, regions, raw.gates, names, experts)

    def _score_chunk(self, frame: pl.DataFrame, ids: Sequence[str]) -> pl.DataFrame:
        found = self.predict(inputs_from_frame(frame, self.config.inputs))
        columns: list[pl.Series] = [frame[name] for name in ids]
        for task in self.config.tasks:
            names = self.bundle.classes.get(task.name, ())
            kind, predictions, u = kind_of(task), found.predictions[task.name], found.u.get(task.name)
            base = self.bundle.calibration[task.name].uncertainty.base_rates.population
            columns += kind.score_columns(task, predictions, names, base)
            if task.name in found.natural:
                ends = found.natural_ends.get(task.name)
                low, high = ([None] * len(predictions),) * 2 if ends is None else ends.T
                for name, value in (("value", found.natural[task.name]), ("value_low", low), ("value_high", high)):
                    columns.append(pl.Series(f"{task.name}__{name}", value, dtype=pl.Float64))
            columns += kind.region_columns(task.name, predictions, found.regions.get(task.name), names)
            shown = [None] * len(predictions) if u is None else u
            columns.append(pl.Series(f"{task.name}__u", shown, dtype=pl.Float64))
            columns.append(pl.Series(f"{task.name}__fallback", found.fallback[task.name], dtype=pl.Boolean))
        return pl.DataFrame([*columns, _top_experts(found)])


def _top_experts(found: Predicted) -> pl.Series:
    weights = found.row_gates.astype(np.float64).mean(axis=1)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :TOP_EXPERTS]
    heavy = np.take_along_axis(weights, order, axis=1) > 0
    kinds, which = np.unique(np.where(heavy, order, -1), axis=0, return_inverse=True)
    names = [[found.experts[i] for i in kind if i >= 0] for kind in kinds]
    return pl.Series("top_experts", names, dtype=pl.List(pl.String)).gather(which.reshape(-1))


class LoadedModel:
    """The model that `mlflow.pyfunc.load_model` wraps: a scorer that takes and returns data frames."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(self, model_input: "pl.DataFrame | pd.DataFrame") -> "pl.DataFrame | pd.DataFrame":
        """`Scorer.score` for a feature matrix of pandas or polars, in the same library."""
        if isinstance(model_input, pl.DataFrame):
            return self.scorer.score(model_input)
        frame = pl.from_pandas(model_input)
        if "as_of" in frame.columns:  # pandas and MLflow make an instant of a day
            frame = frame.with_columns(pl.col("as_of").cast(pl.Date))
        return self.scorer.score(frame).to_pandas()


def _load_pyfunc(path: str) -> LoadedModel:
    """MLflow's entry; `path` is the logged copy of the folder that `data_path` named."""
    return LoadedModel(Scorer(load_bundle(Path(path))))
