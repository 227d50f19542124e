"""The candidate beside its baselines, on test rows: later than any training label, customers that calibrated nothing.

Baselines: the constant of the training rows, LightGBM with a fixed budget (one model a task on the same matrix), and
for brands the customer's own past purchases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.tables import Tables
from pipeline.reports import plots
from pipeline.resources.lake import publish_json
from pipeline.resources.tracking import Tracking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.candidate import Candidate
    from ple_model.evaluation.compare import Comparison
    from ple_model.training.data import TensorTable

MODEL, CONSTANT, BOOSTING, OWN_PAST = "model", "constant", "LightGBM", "own past"
PAST_DAYS = 180


@dataclass(frozen=True)
class Evaluation:
    """Comparisons by task, gates, reliability curves, and what the baselines cost."""

    comparisons: "Sequence[Comparison]"
    gates: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(repr=False)
    notes: Mapping[str, str]

    @property
    def table(self) -> pl.DataFrame:
        """Headline metric of each task: model with interval, baselines with verdict."""
        from ple_model.evaluation.compare import table

        return pl.DataFrame(table(self.comparisons)).fill_null("–")

    @property
    def metrics(self) -> pl.DataFrame:
        """Every metric of every model, long."""
        rows = []
        for comparison in self.comparisons:
            models = {MODEL: comparison.metrics} | {name: b.metrics for name, b in comparison.baselines.items()}
            for model, metrics in models.items():
                rows += [
                    {"task": comparison.task, "model": model, "metric": name, "value": value}
                    for name, value in metrics.values.items()
                ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @property
    def verdict(self) -> str:
        """How often the model is better, level or worse than each baseline, and which tasks it loses."""
        lines = []
        for baseline in (CONSTANT, BOOSTING, OWN_PAST):
            against = {c.task: c.baselines[baseline].verdict for c in self.comparisons if baseline in c.baselines}
            count = {v: [task for task, found in against.items() if found == v] for v in ("better", "level", "worse")}
            lost = f" (worse: {', '.join(count['worse'])})" if count["worse"] else ""
            lines.append(
                f"- against {baseline}: better on {len(count['better'])}, level on {len(count['level'])}, "
                f"worse on {len(count['worse'])} of {len(against)} tasks{lost}"
            )
        notes = [f"- {task}: {note}" for task, note in self.notes.items() if note]
        return "\n".join([*lines, *notes])

    def calibration_figure(self) -> "Figure":
        """Reliability of every probability on test rows."""
        return plots.reliability(self.curves)

    def gate_figure(self) -> "Figure":
        """Mean gate weights on test rows."""
        return plots.gate_heatmap(self.gates)

    def to_dict(self) -> dict[str, Any]:
        """What travels with the version: the table, all metrics and intervals, gates, verdict."""
        return {
            "table": self.table.to_dicts(),
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "gates": {task: dict(weights) for task, weights in self.gates.items()},
            "verdict": self.verdict,
        }

    def log(self, tracking: Tracking, run_id: str) -> None:
        """Metrics, tables and figures to the candidate's MLflow run."""
        metrics = {}
        for row in self.metrics.to_dicts():
            suffix = "" if row["model"] == MODEL else "/" + row["model"].replace(" ", "_")
            metrics[f"test/{row['task']}/{row['metric']}{suffix}"] = row["value"]
        tracking.log_metrics(run_id, metrics)
        tracking.log_json(run_id, self.to_dict(), "evaluation.json")
        tracking.log_figures(
            run_id, {"plots/calibration.png": self.calibration_figure(), "plots/gates.png": self.gate_figure()}
        )


def evaluate_candidate(work: "Candidate") -> Evaluation:
    """Predict the test rows with the bundle and with every baseline, and compare."""
    from ple_model.bundle import load_bundle
    from ple_model.evaluation.compare import compare
    from ple_model.serving import Scorer

    scorer = Scorer(load_bundle(work.folder / "bundle"))
    train, validation, test = (work.table(role) for role in ("train", "validation", "test"))
    rows = work.frame("test", ["customer_id", "as_of"])
    found = scorer.predict(test.inputs)
    baselines, notes = fit_baselines(work, train, validation, test)
    past = past_brands(work.tables, rows, work.label_state.classes.get("brand_prediction", []))
    comparisons, curves = [], {}
    for task in scorer.config.tasks:
        labels, mask = test.targets.values[task.name].numpy(), test.targets.mask[task.name].numpy()
        predictions = {MODEL: found.predictions[task.name], **baselines[task.name]}
        if task.kind == "contrastive":
            from ple_model.evaluation.constant import own_past_brands

            predictions[OWN_PAST] = own_past_brands(past, baselines[task.name][CONSTANT][0])
        comparisons.append(
            compare(
                task.name,
                task.kind,
                predictions,
                labels,
                mask,
                rows["customer_id"].to_numpy(),
                resamples=work.settings.bootstrap_resamples,
                seed=work.settings.seed,
            )
        )
        if task.kind in ("binary", "multiclass") and mask.any():
            curves[task.name] = _curve(task.kind, predictions[MODEL][mask], labels[mask])
    result = Evaluation(comparisons, found.gates, curves, notes)
    publish_json(result.to_dict(), work.folder / "evaluation.json")
    return result


def fit_baselines(
    work: "Candidate", train: "TensorTable", validation: "TensorTable", test: "TensorTable"
) -> tuple[dict[str, dict[str, NDArray]], dict[str, str]]:
    """Predictions of the constant and of LightGBM for the test rows, by task, and what LightGBM has to say."""
    from ple_model.evaluation.boosting import BinnedMatrix, Boosted, BoostingTask, fit_all
    from ple_model.evaluation.constant import repeat

    config = work.model_config()
    present = np.asarray(config.inputs.present)
    matrices = [flat_matrix(table, present) for table in (train, validation)]
    features = np.concatenate(matrices)
    is_train = np.arange(len(features)) < len(train)
    matrix = BinnedMatrix(features, is_train, ~is_train, work.settings.boosting)
    del features, matrices
    tested = flat_matrix(test, present)
    tasks: dict[str, BoostingTask] = {}
    for task in config.tasks:
        both = [(t.targets.values[task.name].numpy(), t.targets.mask[task.name].numpy()) for t in (train, validation)]
        labels = _stack([values for values, _ in both])
        width = {"multiclass": task.out, "contrastive": task.candidates or 0}.get(task.kind, 1)
        tasks[task.name] = BoostingTask(task.kind, labels, np.concatenate([mask for _, mask in both]), width)

    def tell(name: str, boosted: Boosted) -> None:
        work.log(f"LightGBM {name}: {boosted.trees} trees on {boosted.train_rows:,} rows")

    fitted = fit_all(matrix, tasks, seed=work.settings.seed, on_fitted=tell)
    predictions = {
        name: {CONSTANT: repeat(boosted.constant, len(test)), BOOSTING: boosted.predict(tested)}
        for name, boosted in fitted.items()
    }
    return predictions, {name: boosted.note for name, boosted in fitted.items()}


def flat_matrix(table: "TensorTable", present: NDArray[np.int64]) -> NDArray[np.float32]:
    """[n, present] features as the model reads them, NaN where missing."""
    features = table.inputs.features[:, present].numpy().copy()
    features[~table.inputs.features_mask[:, present].numpy()] = np.nan
    return features


def _stack(parts: Sequence[NDArray]) -> NDArray:
    """Labels of several tables; lists of brands are padded with −1 to one width."""
    width = max(part.shape[1] for part in parts) if parts[0].ndim == 2 else 0
    if width:
        parts = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in parts]
    return np.concatenate(parts)


def past_brands(tables: Tables, rows: pl.DataFrame, brands: Sequence[str]) -> NDArray[np.float64]:
    """[n, brands] lines of each brand that a customer bought in the `PAST_DAYS` before the row's as-of date."""
    counts = np.zeros((rows.height, len(brands)))
    index = pl.DataFrame({"brand": list(brands)}, schema={"brand": pl.String}).with_row_index("column")
    for (day,), part in rows.with_row_index("at").group_by("as_of", maintain_order=True):
        assert isinstance(day, date)
        view = tables.view(day)
        where = view.customers.select("customer_id").with_row_index("row").join(part, on="customer_id")
        lines = view.lines.filter(pl.col("days_ago") <= PAST_DAYS).select("row", "brand")
        bought = lines.join(index, on="brand").group_by("row", "column").len().join(where, on="row")
        counts[bought["at"].to_numpy(), bought["column"].to_numpy()] = bought["len"].to_numpy()
    return counts


def _curve(kind: str, predictions: NDArray, labels: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(predicted probability, whether it happened): of the class 1, or of the most likely class."""
    if kind == "binary":
        return predictions, labels.astype(np.float64)
    return predictions.max(axis=1), (predictions.argmax(axis=1) == labels).astype(np.float64)
