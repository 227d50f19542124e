"""From the stored predictions of a study to its findings: predictions averaged over seeds, compared over origins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.run import cells_of
from benchmarks.studies.store import CellAbout, CellFiles, Judged, Store
from benchmarks.studies.study import Comparison, Study, source_of, variant_of
from pipeline.training.trees import stack_labels
from ple_model.evaluation.bootstrap import Interval
from ple_model.evaluation.metrics import evaluate
from ple_model.evaluation.pooled import RESAMPLES, OriginRows, Pooled, pool, pooled_calibration, seed_mean
from ple_model.evaluation.reliability import Calibration
from ple_model.evaluation.selective import selective
from ple_model.tasks import kind_of

ORACLE = "oracle"


@dataclass(frozen=True)
class Coverage:
    """Share of labels inside the intervals of a model's seeds, and how many rows of all origins that is."""

    rows: int
    share: float


@dataclass(frozen=True)
class Finding:
    """One task of a comparison. pooled: subject and one other. single: model → mean and standard deviation over seeds
    of the metric of one seed's predictions, averaged over origins."""

    task: str
    kind: str
    other: str
    pooled: Pooled
    single: dict[str, tuple[float, float]]


class Results:
    """The finished cells of a study."""

    def __init__(self, study: Study, root: Path, any_code: bool = False) -> None:
        self.study, self.store, self.root, self.any_code = study, Store(root), root, any_code
        self.abouts: dict[tuple[str, str, int], CellAbout] = {}
        self.cells: dict[tuple[str, str, int], CellFiles] = {}
        for task in cells_of(study, root):
            files = task.files
            about = files.about()
            if about is not None and files.done(any_code):
                key = task.origin, task.variant.name, task.seed
                self.abouts[key], self.cells[key] = about, files
        prepared = {origin: self.store.origin(study, origin) for origin in study.origins}
        self.origins = {day: files for day, files in prepared.items() if files.prepared}
        self.judged = {day: Judged.load(files.judged(study.role)) for day, files in self.origins.items()}
        self.kinds: dict[str, str] = {}
        for files in self.origins.values():
            self.kinds |= files.about()["tasks"]
        self._singles: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def wanted(self) -> int:
        """Cells that the whole study has."""
        return len(self.study.origins) * len(self.study.seeds) * len(self.study.variants)

    def seeds(self, day: str, models: Sequence[str]) -> list[int]:
        """Seeds of an origin that every one of the models has."""
        names = {variant_of(model) for model in models if model != ORACLE}
        return [seed for seed in self.study.seeds if all((day, name, seed) in self.abouts for name in names)]

    def predictions(self, day: str, model: str, seed: int, task: str, part: str = "") -> NDArray | None:
        """Predictions (or `part` of them: u, fallback, held) of the labelled rows; None where the model has none
        for the task."""
        if model == ORACLE:
            file, key = self.origins[day].extra(self.study.role, ORACLE), task
        else:
            cell = self.cells[day, variant_of(model), seed]
            file, key = cell.folder / f"{self.study.role}.npz", f"{source_of(model)}|{task}" + (part and f"|{part}")
        if not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[key] if key in arrays.files else None

    def origin_rows(self, task: str, models: Sequence[str], seed: int | None = None) -> Iterator[OriginRows]:
        """Labelled rows by origin with the models' predictions, averaged over seeds or of one seed. Where the oracle is
        among the models, rows that it does not know are left out."""
        for day in self.origins:
            seeds = [s for s in self.seeds(day, models) if seed in (None, s)]
            found = {}
            for model in models:
                of_seeds = [self.predictions(day, model, s, task) for s in (seeds if model != ORACLE else seeds[:1])]
                given = [p for p in of_seeds if p is not None]
                if given and len(given) == len(of_seeds):
                    found[model] = seed_mean(given)
            if len(found) < len(models):
                continue
            judged = self.judged[day]
            mask = judged.mask[task]
            known = np.ones(int(mask.sum()), dtype=bool)
            if ORACLE in found:
                known = np.isfinite(found[ORACLE].reshape(len(known), -1)).all(axis=1)
            yield OriginRows(
                day,
                judged.customers[mask][known],
                judged.labels[task][mask][known],
                np.ones(int(known.sum()), dtype=bool),
                {model: values[known] for model, values in found.items()},
            )

    def findings(self, comparison: Comparison) -> list[Finding]:
        """Every task on which the subject stands beside another model."""
        return [
            finding
            for other in comparison.others
            for task in self.kinds
            if (finding := self.finding(comparison.subject, other, task)) is not None
        ]

    def finding(self, subject: str, other: str, task: str) -> Finding | None:
        """One task; None where no origin has both models."""
        kind = kind_of(self.kinds[task])
        rows = list(self.origin_rows(task, (subject, other)))
        if not rows:
            return None
        single = {model: self._single(task, model) for model in (subject, other) if model != ORACLE}
        return Finding(task, kind.name, other, pool(kind, rows, subject), single)

    def alone(self, model: str, task: str) -> Finding | None:
        """What a model reaches on a task; None where it has no predictions."""
        rows = list(self.origin_rows(task, (model,)))
        if not rows:
            return None
        kind = kind_of(self.kinds[task])
        return Finding(task, kind.name, model, pool(kind, rows, model), {model: self._single(task, model)})

    def _single(self, task: str, model: str) -> tuple[float, float]:
        """Mean and standard deviation over seeds, computed once for all comparisons."""
        if (task, model) not in self._singles:
            self._singles[task, model] = self._over_seeds(task, model)
        return self._singles[task, model]

    def _over_seeds(self, task: str, model: str) -> tuple[float, float]:
        kind = kind_of(self.kinds[task])
        values = []
        for seed in self.study.seeds:
            found = [
                evaluate(kind, rows.predictions[model], rows.labels).values[kind.headline.metric]
                for rows in self.origin_rows(task, (model,), seed)
            ]
            given = [value for value in found if value is not None]
            if given:
                values.append(float(np.mean(given)))
        mean = float(np.mean(values)) if values else float("nan")
        return mean, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def calibrations(self, model: str) -> dict[str, Calibration]:
        """Task → calibration of a model's probabilities over all origins, averaged over seeds."""
        found = {}
        for task, kind in self.kinds.items():
            rows = list(self.origin_rows(task, (model,)))
            judged = pooled_calibration(kind_of(kind), rows, model) if rows else None
            if judged is not None:
                found[task] = judged
        return found

    def coverages(self, model: str) -> dict[str, Coverage]:
        """Task → coverage of the intervals that each seed's version gives."""
        found = {}
        for task in self.kinds:
            rows = 0
            inside: list[NDArray] = []
            for day in self.origins:
                held = [self.predictions(day, model, seed, task, "held") for seed in self.seeds(day, (model,))]
                given = [known for known in held if known is not None]
                rows += len(given[0]) if given else 0
                inside += given
            if inside:
                found[task] = Coverage(rows, float(np.concatenate(inside).mean()))
        return found

    def rankings(self, model: str) -> dict[str, tuple[Interval, int, int]]:
        """Task → how well the published uncertainty ranks errors among equal predictions over all origins (a
        correlation), the rows, and the cells that publish one. Predictions and u are averaged over seeds."""
        found = {}
        for task, kind in self.kinds.items():
            rows, us, cells = [], [], 0
            for origin in self.origin_rows(task, (model,)):
                seeds = self.seeds(origin.origin, (model,))
                told = [self.predictions(origin.origin, model, seed, task, "u") for seed in seeds]
                given = [u for u in told if u is not None]
                if given:
                    rows.append(origin)
                    us.append(seed_mean(given))
                    cells += len(given)
            if not rows:
                continue
            worth = selective(
                kind_of(kind),
                np.concatenate([part.predictions[model] for part in rows]),
                stack_labels([part.labels for part in rows]),
                None,
                np.concatenate([part.customers for part in rows]),
                np.concatenate(us),
                resamples=RESAMPLES,
            )
            if worth is not None:
                found[task] = worth.ranking, worth.rows, cells
        return found

    def faults(self) -> list[str]:
        """Variants with identical predictions at an origin with a seed: a switch that does nothing, or a harness that
        does not pass it on."""
        groups: dict[tuple[str, int, str], list[str]] = defaultdict(list)
        for (day, variant, seed), about in self.abouts.items():
            groups[day, seed, about.predictions].append(variant)
        return [
            f"{' = '.join(variants)}: identical predictions at {day} with seed {seed}"
            for (day, seed, _), variants in groups.items()
            if len(variants) > 1
        ]

    def codes(self) -> dict[str, int]:
        """Digest of the code → cells that it computed."""
        counts: dict[str, int] = defaultdict(int)
        for about in self.abouts.values():
            counts[about.code] += 1
        return dict(counts)
