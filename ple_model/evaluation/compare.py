"""The model beside its baselines on the same rows: one row a task, to be shown in a terminal, MLflow or the UI.

What a difference says is a `verdict`: ahead or behind only beyond its interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, resample
from ple_model.evaluation.intervals import PredictedIntervals
from ple_model.evaluation.kind import EvaluatedKind
from ple_model.evaluation.metrics import TaskMetrics, evaluate
from ple_model.evaluation.verdict import SIGNS, Verdict, verdict


@dataclass(frozen=True)
class Against:
    """One baseline of a task.

    `difference` = subject − baseline of the headline metric, in the metric's own direction; `verdict` is the subject's.
    """

    metrics: TaskMetrics
    headline: Interval
    difference: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """One task: the subject's metrics and each baseline. `metric` names the headline and `title` is its name for
    people; `better` is +1 where a higher one is better, else −1."""

    task: str
    kind: str
    metric: str
    title: str
    better: int
    rows: int
    customers: int
    metrics: TaskMetrics
    headline: Interval
    baselines: dict[str, Against]

    def to_dict(self) -> dict[str, Any]:
        """JSON form: all metrics of all models, intervals, differences, verdicts."""
        return {
            "task": self.task,
            "kind": self.kind,
            "metric": self.metric,
            "higher_is_better": self.better > 0,
            "rows": self.rows,
            "customers": self.customers,
            "metrics": self.metrics.to_dict(),
            "headline": self.headline.to_dict(),
            "baselines": {
                name: {
                    "metrics": b.metrics.to_dict(),
                    "headline": b.headline.to_dict(),
                    "difference": b.difference.to_dict(),
                    "verdict": b.verdict,
                }
                for name, b in self.baselines.items()
            },
        }


def compare(
    task: str,
    kind: EvaluatedKind,
    predictions: Mapping[str, NDArray],
    labels: NDArray,
    mask: NDArray | None,
    customers: NDArray | Sequence[Any],
    *,
    subject: str = "model",
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    intervals: PredictedIntervals | None = None,
) -> Comparison:
    """Metrics of every model in `predictions`, and the subject's paired difference to each other one.

    Args:
        task: name of the task.
        kind: of the task.
        predictions: model → its predictions, as for `metrics.evaluate`.
        labels: as for `metrics.evaluate`.
        mask: as for `metrics.evaluate`.
        customers: [n] ids that are resampled.
        subject: the model that is compared with the others.
        resamples: how many.
        level: coverage of the intervals.
        seed: of the draws.
        intervals: of the subject, as for `metrics.evaluate`.
    """
    headline = kind.headline
    metrics = {
        name: evaluate(kind, p, labels, mask, intervals if name == subject else None) for name, p in predictions.items()
    }
    drawn = resample(
        kind, predictions, labels, mask, customers, subject=subject, resamples=resamples, level=level, seed=seed
    )
    return Comparison(
        task,
        kind.name,
        headline.metric,
        headline.title,
        headline.better,
        drawn.rows,
        drawn.customers,
        metrics[subject],
        drawn.metrics[subject][headline.metric],
        {
            name: Against(
                metrics[name],
                drawn.metrics[name][headline.metric],
                difference[headline.metric],
                verdict(difference[headline.metric], headline, drawn.metrics[name][headline.metric].estimate),
            )
            for name, difference in drawn.differences.items()
        },
    )


def table(comparisons: Iterable[Comparison]) -> list[dict[str, str]]:
    """Rows of text: task, metric, rows, model with interval, and for each baseline its value and the verdict.

    ▲ the model is ahead, ▼ behind, = level, ○ open, ? not comparable.
    """
    return [
        {
            "task": c.task,
            "metric": f"{c.title} {'↑' if c.better > 0 else '↓'}",
            "rows": f"{c.rows:,}",
            "customers": f"{c.customers:,}",
            "model": _with_interval(c.headline),
            **{name: f"{_number(b.headline.estimate)} {SIGNS[b.verdict]}" for name, b in c.baselines.items()},
        }
        for c in comparisons
    ]


def markdown(comparisons: Iterable[Comparison]) -> str:
    """`table` as Markdown; a baseline that a task does not have is "–"."""
    rows = table(comparisons)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([row.get(c, "–") for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _with_interval(interval: Interval) -> str:
    if interval.low is None:
        return f"{_number(interval.estimate)} ({interval.reason})"
    return f"{_number(interval.estimate)} [{_number(interval.low)}, {_number(interval.high)}]"
