"""The uncertainty of one task: its published signal, its fallback, its region, fitted on validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import RESAMPLES
from ple_model.evaluation.conformal import LEVEL, Region, region_from_dict
from ple_model.evaluation.kind import Bools, EvaluatedKind, Floats
from ple_model.evaluation.uncertainty.base_rates import BaseRates
from ple_model.evaluation.uncertainty.choice import ERROR_MODEL, Choice, choose, quarters
from ple_model.evaluation.uncertainty.error_model import apply_weights
from ple_model.evaluation.uncertainty.fallback import COVERAGE, Fallback
from ple_model.evaluation.uncertainty.scale import Scale

#: What a signal says, in plain words; a signal without an entry is called by its name.
WORDS: Mapping[str, str] = {
    ERROR_MODEL: "how large an error the customer's columns lead to expect at an equal prediction",
    "missing": "how much of what the model reads is missing for the customer",
    "evidence": "how little evidence the task's evidential head found",
    "spread": "how far the network's members disagree",
    "halves": "how far the network and the boosted trees disagree",
}


@dataclass(frozen=True)
class Validation:
    """Validation rows of one task: final predictions [n, …], labels [n, …], mask [n] of the labelled ones, customers
    [n], posteriors [n, C], candidate signals by name [n], and the columns [n, c] that an error model may read."""

    predictions: NDArray
    labels: NDArray
    mask: NDArray
    customers: NDArray
    cluster_probs: NDArray
    signals: Mapping[str, NDArray]
    columns: NDArray | None = None


@dataclass(frozen=True)
class Judged:
    """Predictions in final form, fallback rows replaced; u [n] in [0, 1], None where none is published; fallback [n];
    region as `Region.of` gives it, None where there is none."""

    predictions: NDArray[np.float64]
    u: NDArray[np.float64] | None
    fallback: Bools
    region: NDArray | None


@dataclass(frozen=True)
class TaskUncertainty:
    """Fitted state of one task.

    `choice` is the signal and how it was tested; `scale` maps it to u, the share of validation rows that are less
    uncertain; without a signal it is None and nothing is published. `rows` counts labelled validation rows.
    """

    kind: str
    choice: Choice
    scale: Scale | None
    fallback: Fallback
    base_rates: BaseRates
    region: Region | None
    rows: int

    @property
    def signal(self) -> str | None:
        """Name of the published signal; None where none is."""
        return self.choice.signal

    def u(self, signals: Mapping[str, NDArray], columns: NDArray | None) -> NDArray[np.float64] | None:
        """[n] u in [0, 1] of rows with these signals and columns; None where none is published.

        Raises:
            ValueError: the signal, or the columns of the error model, are missing.
        """
        if self.signal is None or self.scale is None:
            return None
        if self.signal == ERROR_MODEL:
            if columns is None or columns.shape[1] != len(self.choice.weights):
                given = "none" if columns is None else columns.shape[1]
                raise ValueError(f"the error model reads {len(self.choice.weights)} columns, {given} given")
            return self.scale.apply(apply_weights(np.asarray(self.choice.weights), columns))
        if self.signal not in signals:
            raise ValueError(f"no signal {self.signal!r} among {sorted(signals)}")
        return self.scale.apply(np.asarray(signals[self.signal], dtype=np.float64))

    def judge(
        self,
        predictions: NDArray,
        cluster_probs: NDArray,
        signals: Mapping[str, NDArray],
        columns: NDArray | None = None,
    ) -> Judged:
        """u and region of calibrated predictions, and base rates in place of those that fall back."""
        u = self.u(signals, columns)
        shown = np.array(predictions, dtype=np.float64)
        fallback = self.fallback.rows(u, len(shown))
        shown[fallback] = self.base_rates.of(np.asarray(cluster_probs)[fallback])
        region = None if self.region is None else self.region.of(predictions, u, shown)
        return Judged(shown, u, fallback, region)

    def meanings(self) -> dict[str, str]:
        """What u, fallback and region say, for people."""
        u = f"none: {self.choice.note}"
        if self.signal is not None:
            u = f"share of validation rows that are less uncertain, by {WORDS.get(self.signal, self.signal)}"
        region = "" if self.region is None else f"{self.region.level:.0%}"
        return {"uncertainty": u, "fallback": self.fallback.meaning(), "region_level": region}

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "region": None if self.region is None else self.region.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The state that `to_dict` described. Raises TypeError for an unknown or missing field."""
        fields = dict(data)
        fields["choice"] = Choice.from_dict(fields["choice"])
        fields["scale"] = None if fields["scale"] is None else Scale.from_dict(fields["scale"])
        fields["fallback"] = Fallback.from_dict(fields["fallback"])
        fields["base_rates"] = BaseRates.from_dict(fields["base_rates"])
        fields["region"] = None if fields["region"] is None else region_from_dict(fields["region"])
        return cls(**fields)


def fit_uncertainty(
    kind: EvaluatedKind,
    validation: Validation,
    base_rates: BaseRates,
    *,
    coverage: float = COVERAGE,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TaskUncertainty:
    """Choose the signal, decide whether rows may fall back, and fit the region.

    Rows by which something is tested have a u that their own labels took no part in: that of the other half's error
    model.

    Args:
        kind: of the task.
        validation: rows that took no part in training.
        base_rates: from training rows.
        coverage: least share of validation rows, labelled or not, that keep their own prediction.
        level: probability that a region holds the label.
        resamples: of the intervals.
        seed: splits the customers and draws the resamples.

    Raises:
        ValueError: coverage outside (0, 1], or a signal that is not finite.
    """
    for name, values in validation.signals.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{kind.name}: signal {name!r} of {(~np.isfinite(values)).sum()} rows is not finite")
    mask = np.asarray(validation.mask, dtype=bool)
    predictions = np.asarray(validation.predictions, dtype=np.float64)
    own, labels = predictions[mask], np.asarray(validation.labels)[mask].astype(kind.label_dtype)
    errors = kind.errors(own, labels) if len(labels) else None
    choice, scale, crossed = Choice(None, note=_NOTES[len(labels) > 0]), None, None
    if errors is not None:
        choice, scale, crossed = _published(kind, validation, mask, errors - kind.expected_errors(own), resamples, seed)
    fallback = Fallback.none(coverage, "no uncertainty is published")
    if scale is not None and crossed is not None and errors is not None:
        replaced = kind.errors(base_rates.of(np.asarray(validation.cluster_probs)[mask]), labels)
        assert replaced is not None  # a kind either sees errors or does not
        customers = np.asarray(validation.customers)[mask]
        fallback = Fallback.fit(crossed, mask, replaced - errors, customers, coverage, resamples=resamples, seed=seed)
    region = kind.region(own, labels, None if crossed is None else crossed[mask], level) if len(labels) else None
    return TaskUncertainty(kind.name, choice, scale, fallback, base_rates, region, len(labels))


_NOTES = {False: "no labelled validation row", True: "the error of a row cannot be seen"}


def _published(
    kind: EvaluatedKind, validation: Validation, mask: Bools, excess: Floats, resamples: int, seed: int
) -> tuple[Choice, Scale | None, Floats | None]:
    """The choice, its scale over all validation rows, and the u [n] of each row that its own label did not shape."""
    signals = {name: np.asarray(values, dtype=np.float64) for name, values in validation.signals.items()}
    columns = validation.columns
    customers = np.asarray(validation.customers)
    choice, models = choose(
        excess,
        kind.level(np.asarray(validation.predictions, dtype=np.float64)[mask]),
        customers[mask],
        {name: values[mask] for name, values in signals.items()},
        None if columns is None else columns[mask],
        resamples=resamples,
        seed=seed,
    )
    if choice.signal is None:
        return choice, None, None
    if choice.signal != ERROR_MODEL or columns is None:
        scale = Scale.fit(signals[choice.signal])
        return choice, scale, scale.apply(signals[choice.signal])
    scale = Scale.fit(apply_weights(np.asarray(choice.weights), columns))
    by_model = [apply_weights(weights, columns) for weights in models]
    by_half = [Scale.fit(values).apply(values) for values in by_model]
    # Customers without a label belong to no half: either model is as good for their rows.
    _, quarter = quarters(customers[mask], seed)
    half_of = dict(zip(customers[mask].tolist(), np.where(quarter < 2, 0, 1).tolist(), strict=True))
    half = np.array([half_of.get(customer, 0) for customer in customers.tolist()])
    return choice, scale, np.where(half == 0, by_half[1], by_half[0])
