"""The candidate beside its baselines, on test rows: later than any training label, customers that calibrated nothing.

Baselines: the constant of the training rows, LightGBM with a fixed budget (one model a task on the same matrix), and
for brands the customer's own past purchases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from pipeline.reports import plots
from pipeline.reports.describe import markdown
from pipeline.resources.lake import publish_json
from pipeline.resources.tracking import Tracking

if TYPE_CHECKING:
    from pipeline.candidate import Candidate
    from ple_model.evaluation.compare import Comparison
    from ple_model.model import PLEClusterAdaTT
    from ple_model.training.data import TensorTable

MODEL, CONSTANT, BOOSTING, OWN_PAST = "model", "constant", "LightGBM", "own past"
PAST_DAYS = 180
IMPORTANCE_ROWS = 6_000
CONCEPT_CUSTOMERS, CONCEPTS_SHOWN = 1_000, 40

Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Task → (predicted probability [n], whether it happened [n])."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured, as JSON can hold it: it travels with the version and is shown again on later nights.

    table: a row a task for people. metrics: task, model, metric, value. verdicts: baseline → task → better, level,
    worse or unknown, of the model. gates: task → expert → mean weight. reliability: task → bins of (predicted,
    observed, rows). inputs: what shuffling an input adds to a task's loss (`permutation_importance`).
    concepts: latents of the autoencoder, most frequent first, as text; concept_statistics: `Decomposition`.
    """

    table: list[dict[str, str]]
    metrics: list[dict[str, Any]]
    verdicts: dict[str, dict[str, str]]
    gates: dict[str, dict[str, float]]
    reliability: dict[str, list[tuple[float, float, int]]]
    notes: dict[str, str]
    inputs: list[dict[str, Any]] = field(default_factory=list)
    concepts: list[dict[str, Any]] = field(default_factory=list)
    concept_statistics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        comparisons: "Sequence[Comparison]",
        gates: Mapping[str, Mapping[str, float]],
        curves: "Curves",
        notes: Mapping[str, str],
        inputs: Sequence[dict[str, Any]],
        concepts: tuple[list[dict[str, Any]], dict[str, float]],
    ) -> "Evaluation":
        """From the comparisons by task."""
        from ple_model.evaluation.compare import table

        rows = table(comparisons)
        columns = dict.fromkeys(name for row in rows for name in row)
        metrics: list[dict[str, Any]] = []
        verdicts: dict[str, dict[str, str]] = {}
        for comparison in comparisons:
            models = {MODEL: comparison.metrics}
            for name, against in comparison.baselines.items():
                verdicts.setdefault(name, {})[comparison.task] = against.verdict
                models[name] = against.metrics
            metrics += [
                {"task": comparison.task, "model": model, "metric": metric, "value": value}
                for model, measured in models.items()
                for metric, value in measured.values.items()
            ]
        return cls(
            table=[{name: row.get(name, "–") for name in columns} for row in rows],
            metrics=metrics,
            verdicts=verdicts,
            gates={task: dict(weights) for task, weights in gates.items()},
            reliability={task: plots.reliability_bins(*curve) for task, curve in curves.items()},
            notes={task: note for task, note in notes.items() if note},
            inputs=list(inputs),
            concepts=concepts[0],
            concept_statistics=concepts[1],
        )

    def summary(self) -> str:
        """How often the model is better, level or worse than each baseline, and which tasks it loses (Markdown)."""
        lines = []
        for baseline, found in self.verdicts.items():
            count = {v: [task for task, verdict in found.items() if verdict == v] for v in ("better", "level", "worse")}
            lost = f" (worse: {', '.join(count['worse'])})" if count["worse"] else ""
            lines.append(
                f"- against {baseline}: better on {len(count['better'])}, level on {len(count['level'])}, "
                f"worse on {len(count['worse'])} of {len(found)} tasks{lost}"
            )
        return "\n".join([*lines, *(f"- LightGBM, {task}: {note}" for task, note in self.notes.items())])

    def shown(self) -> dict[str, Any]:
        """Metadata for the UI."""
        return {
            "comparison": markdown(pl.DataFrame(self.table)),
            "verdict": dg.MetadataValue.md(self.summary()),
            "all metrics": markdown(pl.DataFrame(self.metrics, infer_schema_length=None), rows=500),
            "reliability": plots.as_markdown(plots.reliability(self.reliability)),
            "gates": plots.as_markdown(plots.gate_heatmap(self.gates)),
            **({"inputs": plots.as_markdown(plots.input_heatmap(self.inputs))} if self.inputs else {}),
            **({"concepts": markdown(pl.DataFrame(self.concepts)), **self.concept_statistics} if self.concepts else {}),
        }

    def log(self, tracking: Tracking, run_id: str) -> None:
        """Metrics, tables and figures to the candidate's MLflow run."""
        values = {}
        for row in self.metrics:
            suffix = "" if row["model"] == MODEL else "/" + row["model"].replace(" ", "_")
            values[f"test/{row['task']}/{row['metric']}{suffix}"] = row["value"]
        tracking.log_metrics(run_id, values)
        tracking.log_json(run_id, asdict(self), "evaluation.json")
        figures = {
            "plots/calibration.png": plots.reliability(self.reliability),
            "plots/gates.png": plots.gate_heatmap(self.gates),
            "plots/inputs.png": plots.input_heatmap(self.inputs),
        }
        tracking.log_figures(run_id, figures)


def evaluate_candidate(work: "Candidate") -> Evaluation:
    """Predict the test rows with the bundle and with every baseline, and compare."""
    from ple_model.evaluation.compare import compare
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    scorer = Scorer(load_bundle(work.folder / "bundle"))
    train, validation, test = (work.table(role) for role in ("train", "validation", "test"))
    rows = work.frame("test", ["customer_id", "as_of"])
    found = scorer.predict(test.inputs)
    baselines, notes = fit_baselines(work, train, validation, test)
    past = past_brands(work.tables, rows, work.label_state.classes.get("brand_prediction", []))
    comparisons = []
    curves: Curves = {}
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
    model = scorer.bundle.model
    importance, latents = input_importance(model, test, work), concept_rows(model, test, rows)
    result = Evaluation.of(comparisons, found.gates, curves, notes, importance, latents)
    publish_json(asdict(result), work.folder / "evaluation.json")
    return result


def input_importance(model: "PLEClusterAdaTT", test: "TensorTable", work: "Candidate") -> list[dict[str, Any]]:
    """Rows of `permutation_importance` over a spread of the test rows."""
    from ple_model.interpretation.permutation import permutation_importance

    work.log(f"shuffling each input over at most {IMPORTANCE_ROWS:,} test rows that read it")
    found = permutation_importance(model, test.inputs, test.targets, IMPORTANCE_ROWS, seed=work.settings.seed)
    return found.to_dicts()


def concept_rows(
    model: "PLEClusterAdaTT", test: "TensorTable", rows: pl.DataFrame
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """What the most frequent latents of the autoencoder stand for, each customer at her last test date, as text."""
    import torch

    from ple_model.experts.base import spread_rows
    from ple_model.interpretation.concepts import concepts

    if model.autoencoder is None:
        return [], {}
    last = rows.with_row_index("at").group_by("customer_id", maintain_order=True).agg(pl.col("at").last())
    chosen = last[spread_rows(len(last), CONCEPT_CUSTOMERS).tolist()]
    at = torch.from_numpy(chosen["at"].to_numpy().astype(np.int64))
    found, statistics = concepts(model, test.inputs.index(at), chosen["customer_id"].to_list())

    def text(pairs: list[dict[str, Any]]) -> str:
        return ", ".join(f"{pair['name']} {pair['correlation']:+.2f}" for pair in pairs[:3])

    table = [
        {
            "latent": row["latent"],
            "customers": f"{row['frequency']:.1%}",
            "features": text(row["features"]),
            "tasks": text(row["tasks"]),
            "strongest in": ", ".join(pair["customer_id"] for pair in row["top_customers"][:3]),
        }
        for row in found.head(CONCEPTS_SHOWN).to_dicts()
    ]
    return table, statistics


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
        view = View(tables, day)
        where = view.customers.select("customer_id").with_row_index("row").join(part, on="customer_id")
        lines = view.events("transactions", ("brand",), longest=PAST_DAYS).frame("brand")
        bought = lines.join(index, on="brand").group_by("row", "column").len().join(where, on="row")
        counts[bought["at"].to_numpy(), bought["column"].to_numpy()] = bought["len"].to_numpy()
    return counts


def _curve(kind: str, predictions: NDArray, labels: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(predicted probability, whether it happened): of the class 1, or of the most likely class."""
    if kind == "binary":
        return predictions, labels.astype(np.float64)
    return predictions.max(axis=1), (predictions.argmax(axis=1) == labels).astype(np.float64)
