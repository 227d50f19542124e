"""The evaluation of a candidate: its metrics on test rows beside those of the baselines, and what its inputs are worth.

Test rows are later than any training label, and their customers took no part in calibration. `Evaluation` is the
result as plain values: it travels with the version and is shown again on later nights.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, get_task
from pipeline.reports import plots
from pipeline.resources.files import publish_json
from pipeline.scores.reasons import SAMPLE_ROWS, sample_reasons
from pipeline.settings import Settings
from pipeline.training import baselines, repeat_buying
from pipeline.training.model import natural_inverses, tensors
from pipeline.training.row_groups import Groups, row_groups
from pipeline.training.training_set import rows_of
from pipeline.training.workspace import Workspace
from ple_model.evaluation.verdict import Verdict

if TYPE_CHECKING:
    from ple_model.boosting.files import Trees
    from ple_model.epochs import Network
    from ple_model.evaluation.compare import Comparison
    from ple_model.evaluation.intervals import PredictedIntervals
    from ple_model.evaluation.kind import EvaluatedKind
    from ple_model.inputs import Inputs
    from ple_model.serving.bundle import Bundle
    from ple_model.serving.scorer import Predicted, Scorer
    from ple_model.training.data import TensorTable

MODEL = "model"
_INTERVAL = re.compile(r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]")
"""A metric of the table with its interval (`ple_model.evaluation.compare.table`)."""
CONCEPT_CUSTOMERS, CONCEPTS_SHOWN = 1_000, 40

Curves = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Task → (predicted probability [n], whether it happened [n])."""


@dataclass(frozen=True)
class Promise:
    """The model's headline metric of a task on test rows. title: with its direction, e.g. "AUC ↑". error: standard
    error, from the interval. better: +1 where higher is better, else -1."""

    title: str
    value: float
    low: float
    high: float
    rows: int

    @property
    def error(self) -> float:
        """The interval of 95 % is 3.92 standard errors wide."""
        return (self.high - self.low) / 3.92

    @property
    def better(self) -> int:
        """The direction in the title."""
        return -1 if "↓" in self.title else 1


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a candidate and its baselines, as JSON can hold them.

    table: a row a task for people. metrics: task, model, metric, value. verdicts: baseline → task → `verdict` of the
    model: what is registered, and for a blend its network alone and its trees alone are among the baselines. gates:
    task → expert → mean weight. reliability: task → bins of (predicted, observed, rows). notes: task → a remark of
    LightGBM. absent: task → why it has no baseline BG/NBD though it asks for one. inputs: the loss that shuffling an
    input adds to a task (`permutation_importance`). groups: the model's headline metric by segment, tenure and cluster.
    totals: task, unit and the `Totals` of the model's values in natural units. uncertainty: task → what its u and its
    region are worth (`trust_of`). experts: the shares of the experts in each task's gate by segment and cluster
    (`expert_shares`). reasons, examples: what moves the predictions of each task over a sample of rows
    (`sample_reasons`). concepts: latents of the autoencoder, most selective first, as text; concept_statistics:
    `Decomposition`; both empty without one.
    """

    table: list[dict[str, str]]
    metrics: list[dict[str, Any]]
    verdicts: dict[str, dict[str, str]]
    gates: dict[str, dict[str, float]]
    reliability: dict[str, list[tuple[float, float, int]]]
    notes: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    concepts: list[dict[str, Any]] = field(default_factory=list)
    concept_statistics: dict[str, float] = field(default_factory=dict)
    uncertainty: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    experts: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    totals: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        comparisons: "Sequence[Comparison]",
        gates: Mapping[str, Mapping[str, float]],
        curves: Curves,
        notes: Mapping[str, str],
        inputs: Sequence[dict[str, Any]] = (),
        concepts: tuple[list[dict[str, Any]], dict[str, float]] = ([], {}),
        uncertainty: Mapping[str, dict[str, Any]] | None = None,
        groups: Sequence[dict[str, Any]] = (),
        totals: Sequence[dict[str, Any]] = (),
        classes: Mapping[str, Sequence[str]] | None = None,
        explained: Mapping[str, list[dict[str, Any]]] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> Self:
        """From the comparisons by task; `classes`: task → names of its classes, brands or outputs; `explained`:
        experts, reasons and examples."""
        from ple_model.evaluation.compare import table
        from ple_model.tasks import kind_of

        rows = table(comparisons)
        columns = dict.fromkeys(name for row in rows for name in row)
        metrics: list[dict[str, Any]] = []
        verdicts: dict[str, dict[str, str]] = {}
        for comparison in comparisons:
            models = {MODEL: comparison.metrics}
            kind, names = kind_of(comparison.kind), (classes or {}).get(comparison.task, ())
            for baseline, against in comparison.baselines.items():
                verdicts.setdefault(baseline, {})[comparison.task] = against.verdict
                models[baseline] = against.metrics
            metrics += [
                {"task": comparison.task, "model": model, "metric": kind.metric_title(metric, names), "value": value}
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
            absent=dict(absent or {}),
            inputs=list(inputs),
            concepts=concepts[0],
            concept_statistics=concepts[1],
            uncertainty=dict(uncertainty or {}),
            groups=list(groups),
            totals=list(totals),
            **(explained or {}),
        )

    def save(self, file: Path) -> None:
        """Write JSON that `load` reads."""
        publish_json(asdict(self), file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        content = json.loads(file.read_text())
        bins = {task: [(p, o, int(n)) for p, o, n in rows] for task, rows in content.pop("reliability").items()}
        return cls(**content, reliability=bins)

    def promise(self, task: str) -> Promise | None:
        """The headline metric of a task, as the table has it; None where it has none with an interval."""
        row = next((row for row in self.table if row["task"] == task), None)
        found = _INTERVAL.fullmatch(row["model"]) if row else None
        if row is None or found is None:
            return None
        value, low, high = (float(text) for text in found.groups())
        return Promise(row["metric"], value, low, high, int(row.get("rows", "0").replace(",", "")))

    def summary(self) -> str:
        """Counts of the verdicts against each baseline, and the tasks on which the model is behind."""
        lines = []
        for baseline, by_task in self.verdicts.items():
            count = {v: [task for task, given in by_task.items() if given == v] for v in get_args(Verdict)}
            lost = f" (behind: {', '.join(count['behind'])})" if count["behind"] else ""
            lines.append(
                f"- against {baseline}: ahead on {len(count['ahead'])}, level on {len(count['level'])}, "
                f"behind on {len(count['behind'])}, open on {len(count['open'])} of {len(by_task)} tasks{lost}"
            )
        lines += [f"- LightGBM, {task}: {note}" for task, note in self.notes.items()]
        lines += [f"- no {baselines.REPEAT_BUYING} for {task}: {why}" for task, why in self.absent.items()]
        return "\n".join(lines)


def evaluate(workspace: Workspace, tables: Tables, settings: Settings, log: Callable[[str], None]) -> Evaluation:
    """Predict the test rows with the bundle and with every baseline, compare, and save the result."""
    from ple_model.evaluation.breakdown import breakdown
    from ple_model.evaluation.compare import compare
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer
    from ple_model.tasks import kind_of

    scorer = Scorer(load_bundle(workspace.bundle))
    test = tensors(workspace, "test", scorer.config)
    rows = pl.concat([part for part, _ in rows_of(workspace, "test", ["customer_id", "as_of"])])
    trees = workspace.trees()
    predicted, models = side_by_side(scorer, trees, test.inputs)
    past = baselines.past_brands(tables, rows, workspace.label_state().classes.get("brand_prediction", []))
    buying, absent = repeat_buying.answers(workspace, tables, rows, scorer.config.tasks)
    grouped = row_groups(tables, rows, test)
    comparisons = []
    curves = {}
    trust = {}
    groups = []
    for task in scorer.config.tasks:
        labels, mask = test.targets.values[task.name].numpy(), test.targets.mask[task.name].numpy()
        kind, predictions = kind_of(task), models[task.name]
        if task.name in buying:
            answer, constant = buying[task.name], predictions[baselines.CONSTANT]
            predictions[baselines.REPEAT_BUYING] = kind.in_range(np.where(np.isfinite(answer), answer, constant))
        own_past = kind.own_past(past, predictions[baselines.CONSTANT][0])
        if own_past is not None:
            predictions[baselines.OWN_PAST] = own_past
        comparisons.append(
            compare(
                task.name,
                kind,
                predictions,
                labels,
                mask,
                rows["customer_id"].to_numpy(),
                resamples=settings.bootstrap_resamples,
                seed=settings.seed,
                intervals=intervals_of(kind, scorer, predicted, task.name),
            )
        )
        trust[task.name] = trust_of(kind, scorer, predicted, task.name, labels, mask, rows, settings)
        for by, (names, order) in grouped.items():
            found = breakdown(
                kind,
                predictions[MODEL],
                labels,
                mask,
                rows["customer_id"].to_numpy(),
                names,
                order=order,
                resamples=settings.bootstrap_resamples,
                seed=settings.seed,
            )
            groups += [{"task": task.name, "by": by, **value.to_dict()} for value in found]
        curve = kind.curve(predictions[MODEL][mask], labels[mask]) if mask.any() else None
        if curve is not None:
            curves[task.name] = curve
    model = scorer.bundle.model
    importance = input_importance(model, test, settings, log)
    notes = {name: boosted.note for name, boosted in trees.items()}
    classes = scorer.bundle.classes
    latents = concept_rows(model, test, rows, classes)
    totals = total_rows(predicted.natural, test, rows["customer_id"], workspace.label_state(), settings)
    explained = explanations(scorer.bundle, predicted, test, rows, grouped, settings.seed, log)
    result = Evaluation.of(
        comparisons,
        predicted.gates,
        curves,
        notes,
        importance,
        latents,
        uncertainty=trust,
        groups=groups,
        totals=totals,
        classes=classes,
        explained=explained,
        absent=absent,
    )
    result.save(workspace.evaluation)
    return result


def intervals_of(
    kind: "EvaluatedKind", scorer: "Scorer", predicted: "Predicted", task: str
) -> "PredictedIntervals | None":
    """The intervals of all rows of a task whose values have some."""
    from ple_model.evaluation.intervals import PredictedIntervals

    region = scorer.bundle.calibration[task].uncertainty.region
    if not kind.has_intervals or region is None or task not in predicted.regions:
        return None
    return PredictedIntervals(predicted.regions[task], region.level)


def trust_of(
    kind: "EvaluatedKind",
    scorer: "Scorer",
    predicted: "Predicted",
    task: str,
    labels: NDArray,
    mask: NDArray,
    rows: pl.DataFrame,
    settings: Settings,
) -> dict[str, Any]:
    """What the u and the region of one task are worth on test rows: its `signal`, what it means in words
    (`TaskUncertainty.meanings`), `fallback_share`, `selective` (`selective.Selective`, None where no u is published),
    `coverage` (`selective.Coverage`, None without a region)."""
    from ple_model.evaluation.selective import coverage, selective

    fitted = scorer.bundle.calibration[task].uncertainty
    customers = rows["customer_id"].to_numpy()
    chance = {"resamples": settings.bootstrap_resamples, "seed": settings.seed}
    u, found = predicted.u.get(task), predicted.regions.get(task)
    worth = None if u is None else selective(kind, predicted.predictions[task], labels, mask, customers, u, **chance)
    held = None
    if found is not None and fitted.region is not None:
        held = coverage(kind, fitted.region, found, labels, mask, customers, **chance)
    return {
        "signal": fitted.signal,
        **fitted.meanings(),
        "fallback_share": float(predicted.fallback[task].mean()),
        "selective": None if worth is None else worth.to_dict(),
        "coverage": None if held is None else held.to_dict(),
    }


def total_rows(
    natural: Mapping[str, NDArray[np.float64]],
    test: "TensorTable",
    customers: pl.Series,
    label_state: LabelState,
    settings: Settings,
) -> list[dict[str, Any]]:
    """Task, unit and `Totals` of the values in natural units [R] over the test rows that have a label."""
    from ple_model.evaluation.totals import compare_totals

    rows = []
    for task, inverse in natural_inverses(label_state, natural).items():
        labels, mask = test.targets.values[task].numpy(), test.targets.mask[task].numpy()
        if mask.any():
            totals = compare_totals(
                natural[task][mask],
                inverse(labels[mask].astype(np.float64)),
                customers.to_numpy()[mask],
                resamples=settings.bootstrap_resamples,
                seed=settings.seed,
            )
            declared = get_task(task).natural
            rows.append({"task": task, "unit": declared.unit if declared else "", **asdict(totals)})
    return rows


def side_by_side(
    scorer: "Scorer", trees: "Mapping[str, Trees]", inputs: "Inputs"
) -> "tuple[Predicted, dict[str, dict[str, NDArray]]]":
    """What the scorer predicts; and task → model → predictions, of the registered version (`MODEL`) and of its parts:
    network alone, trees alone, the constant of the training rows.

    Args:
        scorer: of the bundle.
        trees: of every task, blended in or not.
        inputs: the rows to predict.
    """
    from ple_model.serving.blend import tree_predictions
    from ple_model.tasks import kind_of

    predicted, grown = scorer.predict(inputs), tree_predictions(trees, inputs, scorer.config.inputs)
    models = {}
    for task in scorer.config.tasks:
        kind, halves = kind_of(task), scorer.bundle.calibration[task.name].halves
        assert halves is not None  # every training grows trees
        models[task.name] = {
            MODEL: predicted.predictions[task.name],
            baselines.CONSTANT: trees[task.name].constants(len(inputs)),
            baselines.NETWORK: predicted.network[task.name],
            baselines.BOOSTING: kind.in_range(halves.trees.apply(kind.outputs_of(grown[task.name]))),
        }
    return predicted, models


def input_importance(
    model: "Network", test: "TensorTable", settings: Settings, log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows of `permutation_importance` over a spread of the test rows."""
    from ple_model.interpretation.permutation import permutation_importance

    log(f"shuffling each input over at most {settings.importance_rows:,} test rows that read it")
    found = permutation_importance(model, test.inputs, test.targets, settings.importance_rows, seed=settings.seed)
    return found.to_dicts()


def explanations(
    bundle: "Bundle",
    predicted: "Predicted",
    test: "TensorTable",
    rows: pl.DataFrame,
    grouped: Groups,
    seed: int,
    log: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """`experts`, `reasons` and `examples` of an evaluation; for the last two each customer at their last test date."""
    import torch

    from ple_model.interpretation.expert_shares import expert_shares

    by: Groups = {name: group for name, group in grouped.items() if name in ("segment", "cluster")}
    shares = expert_shares(predicted.row_gates, predicted.tasks, predicted.experts, by)
    last = last_rows(rows)
    log(f"explaining the predictions of at most {SAMPLE_ROWS} test rows")
    inputs = test.inputs.index(torch.from_numpy(last["at"].to_numpy().astype(np.int64)))
    reasons, examples = sample_reasons(bundle, inputs, last["customer_id"].to_list(), seed)
    return {"experts": shares.to_dicts(), "reasons": reasons, "examples": examples}


def last_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """customer_id and position (`at`) of each customer's last row."""
    return rows.with_row_index("at").group_by("customer_id", maintain_order=True).agg(pl.col("at").last())


def concept_rows(
    model: "Network", test: "TensorTable", rows: pl.DataFrame, classes: Mapping[str, Sequence[str]]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The features and tasks behind the autoencoder's most selective latents, each customer at their last test date;
    nothing of a model without one."""
    import torch

    from ple_model.experts.base import spread_rows
    from ple_model.interpretation.concepts import concepts

    if model.autoencoder is None:
        return [], {}
    last = last_rows(rows)
    chosen = last[spread_rows(len(last), CONCEPT_CUSTOMERS).tolist()]
    at = torch.from_numpy(chosen["at"].to_numpy().astype(np.int64))
    latents, statistics = concepts(model, test.inputs.index(at), chosen["customer_id"].to_list(), classes)

    def text(pairs: list[dict[str, Any]]) -> str:
        return ", ".join(f"{pair['name']} {pair['correlation']:+.2f}" for pair in pairs[:3])

    table = [
        {
            "latent": row["latent"],
            "selectivity": f"{row['selectivity']:.2f}",
            "customers": f"{row['frequency']:.1%}",
            "features": text(row["features"]),
            "tasks": text(row["tasks"]),
            "strongest in": ", ".join(pair["customer_id"] for pair in row["top_customers"][:3]),
        }
        for row in latents.head(CONCEPTS_SHOWN).to_dicts()
    ]
    return table, statistics
