"""A challenger beside the champion and boosted trees: the same later rows, task by task, paired by customer.

Evaluation fit stands against evaluation fit. A champion that was fitted again after its evaluation has learnt from the
very rows on which it would be judged, and would win by memory; so its kept evaluation fit answers, on rows whose date
lies at or after the last label that this fit has learnt from. Customers of test rows are the same half in every
training, so neither fit has calibrated anything on them. Each model reads features of its own fitted state.

What the figures decide belongs to `promotion.py`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.labels import get_task
from pipeline.resources.files import publish_json
from pipeline.resources.tracking import RegisteredVersion
from pipeline.settings import PromotionSettings, Settings
from pipeline.training import baselines
from pipeline.training.evaluation import MODEL, side_by_side
from pipeline.training.fits import LEARNT_UNTIL
from pipeline.training.model import tensors
from pipeline.training.training_set import rows_of
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.evaluation.bootstrap import Interval
    from ple_model.evaluation.kind import Headline
    from ple_model.serving.bundle import Bundle
    from ple_model.tasks.kind import Kind

CHAMPION = "champion"
TIMES_LEVEL = 2.0
"""A task without a margin of its own: so many times the difference within which two models are level."""
Matrices = Callable[[date], pl.DataFrame]
"""A test date → the feature matrix by the champion's fitted state, as a night writes it."""


@dataclass(frozen=True)
class Beside:
    """The challenger beside another model on one task.

    difference: challenger less the other, in the metric's own direction, with its 95 % interval (`Interval.to_dict`).
    margin: what the challenger may be worse by, in the metric's unit. verdict: the challenger's (`evaluation.verdict`).
    note: why there is no figure, or which rows are left out. comparable: whether both models answer the same question.
    """

    task: str
    metric: str
    better: int
    rows: int
    customers: int
    challenger: float | None
    other: float | None
    difference: dict[str, Any]
    margin: float
    verdict: str
    note: str = ""
    comparable: bool = True

    @property
    def measured(self) -> bool:
        """Whether there is an interval."""
        return self.difference.get("low") is not None

    @property
    def worst(self) -> float:
        """The end of the interval that is worse for the challenger; below 0 it is behind there."""
        return float(self.difference["low"] if self.better > 0 else -self.difference["high"])

    @property
    def no_worse(self) -> bool:
        """Whether the whole interval is better than the margin (non-inferior)."""
        return self.measured and self.worst >= -self.margin


@dataclass(frozen=True)
class Challenge:
    """The comparisons of a challenger.

    champion, champion_as_of: the version it challenges; empty where there is none. counted_from: first date of the rows
    that count against the champion. against: model → one `Beside` a task. refused: why the champion could not be run.
    """

    champion: str = ""
    champion_as_of: str = ""
    counted_from: str = ""
    against: dict[str, list[Beside]] = field(default_factory=dict)
    refused: str = ""

    def of(self, model: str) -> dict[str, Beside]:
        """Task → comparison with a model."""
        return {beside.task: beside for beside in self.against.get(model, [])}

    def save(self, file: Path) -> None:
        """Write JSON that `load` reads."""
        publish_json(asdict(self), file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls.from_dict(json.loads(file.read_text()))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """From the JSON form."""
        against = {model: [Beside(**row) for row in rows] for model, rows in content["against"].items()}
        return cls(**{**content, "against": against})

    def table(self) -> pl.DataFrame:
        """A row a task: the metric of the challenger and of each other model, their difference with its interval, the
        margin, rows, and what is to be said of them."""
        from ple_model.evaluation.verdict import SIGNS

        rows: dict[str, dict[str, str]] = {}
        for model, found in self.against.items():
            for b in found:
                row = rows.setdefault(
                    b.task,
                    {"task": b.task, "metric": f"{b.metric} {'↑' if b.better > 0 else '↓'}", "rows": f"{b.rows:,}"},
                )
                sign = SIGNS.get(b.verdict, "?")  # type: ignore[call-overload]  # a verdict that was saved
                row["challenger"] = _number(b.challenger)
                row[model] = f"{_number(b.other)} {sign}"
                row[f"less {model} [95 %]"] = _difference(b)
                row["may be worse by"] = f"{b.margin:.3g}"
                if b.note:
                    row["note"] = b.note
        columns = dict.fromkeys(name for row in rows.values() for name in row)
        last = [name for name in ("may be worse by", "note") if name in columns]
        order = [*(name for name in columns if name not in last), *last]
        return pl.DataFrame([{name: row.get(name, "–") for name in order} for row in rows.values()])


def challenge(
    workspace: Workspace,
    champion: RegisteredVersion | None,
    matrices: Matrices,
    settings: Settings,
    log: Callable[[str], None],
) -> Challenge:
    """Compare the candidate of a workspace with its trees, and with the champion where there is one; save the result.

    Args:
        workspace: of the training, with its snapshots.
        champion: the standing one.
        matrices: feature matrices by the champion's fitted state.
        settings: of the deployment.
        log: gets a line about the progress.
    """
    from feature_assets.build import FeatureError
    from feature_assets.group import StateError
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.format import BundleError
    from ple_model.serving.scorer import Scorer
    from ple_model.tasks import kind_of

    scorer = Scorer(load_bundle(workspace.bundle, "evaluation"))
    test = tensors(workspace, "test", scorer.config)
    rows = pl.concat([part for part, _ in rows_of(workspace, "test", ["customer_id", "as_of"])])
    _, models = side_by_side(scorer, workspace.trees(), test.inputs)
    standing, counted_from, refused = None, None, ""
    if champion is not None:
        log(f"predicting {rows.height:,} test rows with the evaluation fit of version {champion.version}")
        try:
            bundle = load_bundle(champion.folder, "evaluation")
            standing = Standing(bundle, _predicted(bundle, rows, matrices))
            counted_from = first_unseen(bundle, champion)
        except (BundleError, StateError, FeatureError) as error:
            refused = f"version {champion.version} cannot be run by this code on these tables: {error}"
            log(refused)
    days, customers = rows["as_of"].to_numpy(), rows["customer_id"].to_numpy()
    against: dict[str, list[Beside]] = {baselines.BOOSTING: []}
    if standing is not None:
        against[CHAMPION] = []
    for task in scorer.config.tasks:
        labels, mask = test.targets.values[task.name].numpy(), test.targets.mask[task.name].numpy()
        kind, names = kind_of(task), scorer.bundle.classes.get(task.name, ())
        own, trees = models[task.name][MODEL], models[task.name][baselines.BOOSTING]
        judge = Judge(task.name, kind, customers, settings)
        against[baselines.BOOSTING].append(judge.beside(own, trees, labels, mask))
        if standing is None or counted_from is None:
            continue
        if not mask.any():
            against[CHAMPION].append(judge.nothing("no test row has a label"))
            continue
        unseen = mask & (days >= np.datetime64(counted_from))
        left_out = mask.sum() - unseen.sum()
        note = f"{left_out:,} rows before {counted_from}, which the champion has learnt from" if left_out else ""
        ahead = scorer.bundle.described.get(task.name, {}).get("window_days")
        against[CHAMPION].append(standing.beside(judge, own, labels, unseen, names, note, ahead))
    made = Challenge(
        champion.version if champion else "",
        champion.as_of.isoformat() if champion else "",
        counted_from.isoformat() if counted_from else "",
        against,
        refused,
    )
    made.save(workspace.challenge)
    return made


def first_unseen(bundle: "Bundle", version: RegisteredVersion) -> date:
    """The first date from which on a row's label is unknown to the evaluation fit of a version.

    A version that does not say what it has learnt from knows everything up to its training date.
    """
    noted = bundle.meta.get(LEARNT_UNTIL)
    return date.fromisoformat(noted) if noted else version.as_of


@dataclass(frozen=True)
class Judge:
    """Compares two predictions of one task's rows; `customers` [R] are resampled."""

    task: str
    kind: "Kind"
    customers: NDArray
    settings: Settings

    def beside(self, own: NDArray, other: NDArray, labels: NDArray, mask: NDArray, note: str = "") -> Beside:
        """The challenger's predictions `own` beside those of another model, on the rows of a mask [R]."""
        from ple_model.evaluation.bootstrap import resample
        from ple_model.evaluation.verdict import verdict

        drawn = resample(
            self.kind,
            {MODEL: own, "other": other},
            labels,
            mask,
            self.customers,
            subject=MODEL,
            resamples=self.settings.bootstrap_resamples,
            seed=self.settings.seed,
        )
        headline = self.kind.headline
        ours, theirs = (drawn.metrics[model][headline.metric].estimate for model in (MODEL, "other"))
        difference = drawn.differences["other"][headline.metric]
        said = verdict(difference, headline, theirs)
        return self._row(drawn.rows, drawn.customers, ours, theirs, difference, said, note)

    def nothing(self, note: str) -> Beside:
        """Where there is nothing to compare."""
        from ple_model.evaluation.bootstrap import Interval

        made = self._row(0, 0, None, None, Interval(None, None, None, note), "unknown", note)
        return replace(made, comparable=False)

    def _row(
        self,
        rows: int,
        customers: int,
        ours: float | None,
        theirs: float | None,
        difference: "Interval",
        verdict: str,
        note: str,
    ) -> Beside:
        headline = self.kind.headline
        margin = margin_of(self.task, headline, theirs, self.settings.promotion)
        words = "; ".join(part for part in (note, "" if note == difference.reason else difference.reason) if part)
        return Beside(
            self.task, headline.title, headline.better, rows, customers, ours, theirs, difference.to_dict(), margin,
            verdict, words,
        )  # fmt: skip


def margin_of(task: str, headline: "Headline", other: float | None, settings: PromotionSettings) -> float:
    """What a challenger may be worse by on a task, in the metric's unit, beside the other model's value."""
    beside = 0.0 if other is None else other
    if task in settings.margins:
        return settings.margins[task] * (abs(beside) if headline.relative else 1.0)
    return TIMES_LEVEL * headline.margin_at(beside)


@dataclass(frozen=True)
class Standing:
    """The champion's evaluation fit and its predictions of the test rows by task."""

    bundle: "Bundle"
    predictions: Mapping[str, NDArray]

    def beside(
        self,
        judge: Judge,
        own: NDArray,
        labels: NDArray,
        mask: NDArray,
        names: "tuple[str, ...] | list[str]",
        note: str,
        days: int | None = None,
    ) -> Beside:
        """The challenger, whose label looks so many `days` ahead, beside it on one task, by the classes that both
        know."""
        if judge.task not in self.predictions:
            return judge.nothing("the champion does not have this task")
        if self.bundle.model.config.task(judge.task).kind != judge.kind.name:
            return judge.nothing("the champion has this task as another kind")
        if self.bundle.described.get(judge.task, {}).get("window_days", days) != days:
            return judge.nothing("the champion looks another number of days ahead")
        if get_task(judge.task).fit is not None:
            return judge.nothing(
                "its classes or its unit are fitted anew by each training: two versions do not compare"
            )
        known = self.bundle.classes.get(judge.task, [])
        other = self.predictions[judge.task]
        if list(names) != list(known):
            if not judge.kind.retrieves and own.ndim == 2 and labels.ndim == 2:
                return judge.nothing("its outputs are other ones than the champion's")
            own, other, labels, shared = by_common_classes(own, other, labels, names, known)
            outside = int((mask & ~shared).sum())
            mask = mask & shared
            note = "; ".join(part for part in (note, f"{outside:,} rows of classes that only one knows") if part)
        return judge.beside(own, other, labels, mask, note)


def by_common_classes(
    own: NDArray, other: NDArray, labels: NDArray, names: "tuple[str, ...] | list[str]", known: "list[str]"
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Both predictions [R, K], the labels [R] or [R, P] (padded with −1) and a mask [R], over the classes of both.

    Probabilities of several classes are scaled to sum to 1 again; the mask leaves out rows whose label is of one
    vocabulary only.
    """
    common = [name for name in names if name in set(known)]
    ours, theirs = ([vocabulary.index(name) for name in common] for vocabulary in (list(names), list(known)))
    place = np.full(len(names) + 1, -1, dtype=np.int64)  # the last place answers the label −1
    place[ours] = np.arange(len(common))
    mapped = place[labels]
    if mapped.ndim == 2:
        return own[:, ours], other[:, theirs], -np.sort(-mapped, axis=1), (mapped >= 0).any(axis=1)
    return _scaled(own[:, ours]), _scaled(other[:, theirs]), np.maximum(mapped, 0), mapped >= 0


def _scaled(predictions: NDArray) -> NDArray:
    total = predictions.sum(axis=1, keepdims=True)
    even = np.full_like(predictions, 1.0 / max(predictions.shape[1], 1))
    return np.where(total > 0, predictions / np.where(total > 0, total, 1.0), even)


def _predicted(bundle: "Bundle", rows: pl.DataFrame, matrices: Matrices) -> dict[str, NDArray]:
    """Task → a bundle's predictions of rows (`customer_id`, `as_of`, date after date), in their order."""
    from ple_model.serving.scorer import Scorer, inputs_from_frame

    scorer, parts = Scorer(bundle), []
    for (day,), wanted in rows.group_by("as_of", maintain_order=True):
        assert isinstance(day, date)
        matrix = wanted.select("customer_id").join(matrices(day), on="customer_id", how="left", maintain_order="left")
        parts.append(scorer.predict(inputs_from_frame(matrix, scorer.config.inputs)).predictions)
    return {task.name: np.concatenate([part[task.name] for part in parts]) for task in scorer.config.tasks}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _difference(beside: Beside) -> str:
    estimate, low, high = (beside.difference.get(name) for name in ("estimate", "low", "high"))
    if estimate is None or low is None or high is None:
        return "–"
    return f"{estimate:+.4f} [{low:+.4f}, {high:+.4f}]"
