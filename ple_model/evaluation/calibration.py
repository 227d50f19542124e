"""Maps from raw model outputs to predictions, fitted on validation rows (never on training or test rows).

| kind        | raw output       | calibrator                                     | prediction           |
|-------------|------------------|------------------------------------------------|----------------------|
| binary      | [n] logit        | Platt: σ(a·x + b), a > 0                       | [n] probability      |
| multiclass  | [n, K] logits    | softmax(a·x + b), a > 0, b ∈ R^K               | [n, K] probabilities |
| regression  | [n] label's unit | a·x + b, a > 0, clipped; conformal half-width  | [n] label's unit     |
| contrastive | [n, M] scores    | softmax(a·x), a > 0                            | [n, M] brand shares  |

A calibrator keeps the order of a row's classes (binary, contrastive) and of rows (binary, regression), since a > 0.
With too few rows, or where the fit would be worse than none on its own rows, it is the identity and `note` says why.
`apply` works row by row: a row's prediction has the same bytes whatever batch it comes in.

Sources: Platt (1999) with the target smoothing of his §2.2; Guo et al., "On Calibration of Modern Neural Networks"
(ICML 2017) §4.2; Vovk, "Conditional validity of inductive conformal predictors" (2012), for the Mondrian conformal set.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from ple_model.evaluation.metrics import EPSILON, Floats, Ints, Kind, take_rows

MIN_ROWS = 100  # fewer eligible validation rows: identity
MIN_CLASS_ROWS = 10  # binary: fewer rows of the rarer class: identity
SLOPES = (0.01, 100.0)  # bounds of every slope: positive, so that order is kept, and finite
CONFORMAL_LEVEL = 0.90
CONFORMAL_BINS = 5  # quintiles of the prediction
MIN_BIN_ROWS = 50  # fewer rows a bin: fewer bins


@dataclass(frozen=True)
class BinaryCalibrator:
    """σ(slope · logit + intercept)."""

    kind: ClassVar[Kind] = "binary"
    slope: float = 1.0
    intercept: float = 0.0
    rows: int = 0
    note: str = ""

    def apply(self, logits: NDArray) -> NDArray[np.float64]:
        return expit(self.slope * np.asarray(logits, dtype=np.float64) + self.intercept)


@dataclass(frozen=True)
class MulticlassCalibrator:
    """softmax(slope · logits + bias); slope is 1 / temperature. An empty bias is 0 for every class."""

    kind: ClassVar[Kind] = "multiclass"
    slope: float = 1.0
    bias: tuple[float, ...] = ()
    rows: int = 0
    note: str = ""

    def apply(self, logits: NDArray) -> NDArray[np.float64]:
        scaled = self.slope * np.ascontiguousarray(logits, dtype=np.float64)
        return softmax(scaled + np.asarray(self.bias) if self.bias else scaled)


@dataclass(frozen=True)
class RegressionCalibrator:
    """clip(intercept + slope · x, floor, ceiling), and the conformal half-width of the bin that the result falls in.

    `floor`, `ceiling`: smallest and largest label that the map was fitted on (label's unit); None does not clip.
    `half_widths[i]` belongs to predictions in (edges[i−1], edges[i]]; without any, the half-width is infinite.
    On rows exchangeable with the validation rows, |label − prediction| ≤ half-width with probability ≥ `level`, in
    every bin.
    """

    kind: ClassVar[Kind] = "regression"
    slope: float = 1.0
    intercept: float = 0.0
    floor: float | None = None
    ceiling: float | None = None
    edges: tuple[float, ...] = ()
    half_widths: tuple[float, ...] = ()
    level: float = CONFORMAL_LEVEL
    rows: int = 0
    note: str = ""

    def apply(self, values: NDArray) -> NDArray[np.float64]:
        moved = self.slope * np.asarray(values, dtype=np.float64) + self.intercept
        if self.floor is None and self.ceiling is None:
            return moved
        return np.clip(moved, self.floor, self.ceiling)

    def half_width(self, predictions: Floats) -> NDArray[np.float64]:
        """[n] half-width in the label's unit of *calibrated* predictions [n]."""
        if not self.half_widths:
            return np.full(np.shape(predictions), np.inf)
        return np.asarray(self.half_widths)[np.searchsorted(self.edges, predictions, side="left")]


@dataclass(frozen=True)
class ContrastiveCalibrator:
    """softmax(slope · scores) over the whole brand table; slope is 1 / temperature."""

    kind: ClassVar[Kind] = "contrastive"
    slope: float = 1.0
    rows: int = 0
    note: str = ""

    def apply(self, scores: NDArray) -> NDArray[np.float64]:
        return softmax(self.slope * np.ascontiguousarray(scores, dtype=np.float64))


Calibrator = BinaryCalibrator | MulticlassCalibrator | RegressionCalibrator | ContrastiveCalibrator
_CLASSES: dict[str, Callable[..., Calibrator]] = {
    "binary": BinaryCalibrator,
    "multiclass": MulticlassCalibrator,
    "regression": RegressionCalibrator,
    "contrastive": ContrastiveCalibrator,
}


def identity(kind: Kind, rows: int = 0, note: str = "") -> Calibrator:
    """The calibrator that only applies the task's output function."""
    return _CLASSES[kind](rows=rows, note=note)


def to_dict(calibrator: Calibrator) -> dict[str, Any]:
    """JSON form; `from_dict` gives back an equal calibrator."""
    return {"kind": calibrator.kind, **asdict(calibrator)}


def from_dict(data: Mapping[str, Any]) -> Calibrator:
    """Raises ValueError for an unknown kind, TypeError for an unknown or missing field."""
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in _CLASSES:
        raise ValueError(f"calibrator of unknown kind {kind!r}; known: {sorted(_CLASSES)}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return _CLASSES[kind](**values)


def fit_calibrator(
    kind: Kind, outputs: NDArray, labels: NDArray, mask: NDArray | None = None, seed: int = 0
) -> Calibrator:
    """Fit on validation rows. `outputs`: raw outputs of the table above; `labels`, `mask`: as `metrics.evaluate`.

    `seed` splits the rows of a regression in two (see `_fit_regression`); the other kinds use no chance.

    Raises
        ValueError: as `metrics.evaluate`, or outputs that are not finite.
    """
    x, y = take_rows(kind, outputs, labels, mask)
    if not np.isfinite(x).all():
        raise ValueError(f"{kind}: raw outputs of {int((~np.isfinite(x)).sum())} validation cells are not finite")
    if len(y) < MIN_ROWS:
        return identity(kind, len(y), f"identity: {len(y)} validation rows, {MIN_ROWS} are needed")
    if kind == "regression":
        return _fit_regression(x, y, seed)
    if kind == "binary":
        rarer = int(min(y.sum(), len(y) - y.sum()))
        if rarer < MIN_CLASS_ROWS:
            return identity(kind, len(y), f"identity: {rarer} rows of the rarer class, {MIN_CLASS_ROWS} are needed")
        fitted: Calibrator = _fit_binary(x, y)
    else:
        fitted = _fit_multiclass(x, y) if kind == "multiclass" else _fit_contrastive(x, y)
    if _loss(fitted, x, y) > _loss(identity(kind), x, y):
        return identity(kind, len(y), "identity: the fitted map has a higher validation log loss")
    return fitted


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, K] → [n, K], rows sum to 1."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def _fit_binary(x: Floats, y: NDArray) -> BinaryCalibrator:
    positives = y.sum()
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        z = theta[0] * x + theta[1]
        error = expit(z) - target
        value = -(target * log_expit(z) + (1 - target) * log_expit(-z)).mean()
        return float(value), np.array([(error * x).mean(), error.mean()])

    slope, intercept = _minimise(loss, 2)
    return BinaryCalibrator(float(slope), float(intercept), len(y))


def _fit_multiclass(x: Floats, y: Ints) -> MulticlassCalibrator:
    """Most likely log-slope and biases under a unit normal prior on each: few rows stay close to the identity."""
    n, classes = x.shape
    one_hot = np.eye(classes)[y]

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        slope, bias = theta[0], theta[1:]
        p = softmax(slope * x + bias)
        prior = (np.log(slope) ** 2 + (bias**2).sum()) / (2 * n)
        value = -np.log(np.maximum(p[np.arange(n), y], 1e-300)).mean() + prior
        error = (p - one_hot) / n
        return float(value), np.concatenate([[(error * x).sum() + np.log(slope) / slope / n], error.sum(0) + bias / n])

    theta = _minimise(loss, 1 + classes)
    return MulticlassCalibrator(float(theta[0]), tuple(theta[1:].tolist()), n)


def _fit_contrastive(x: Floats, y: Ints) -> ContrastiveCalibrator:
    """Slope that makes softmax(slope · scores) the likeliest distribution of a positive drawn from its row."""
    share = _brand_shares(y, x.shape[1])
    own = (share * x).sum(axis=1)

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        z = theta[0] * x
        top = z.max(axis=1)
        power = np.exp(z - top[:, None])
        total = power.sum(axis=1)
        value = (top + np.log(total) - theta[0] * own).mean()
        return float(value), np.array([((power * x).sum(axis=1) / total - own).mean()])

    return ContrastiveCalibrator(float(_minimise(loss, 1)[0]), len(y))


def _fit_regression(x: Floats, y: Floats, seed: int) -> RegressionCalibrator:
    """Affine map and bin edges from one half of the rows, residual quantiles from the other.

    The halves are what makes the half-width valid at its finite-sample level: the residuals it is read from are those
    of a map that has not seen their labels.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    fit, held = order[: len(y) // 2], order[len(y) // 2 :]
    centred = x[fit] - x[fit].mean()
    power = float((centred**2).sum())
    slope = float(np.clip((centred * y[fit]).sum() / power, *SLOPES)) if power > 0 else 1.0
    moved = RegressionCalibrator(
        slope, float(y[fit].mean() - slope * x[fit].mean()), float(y[fit].min()), float(y[fit].max())
    )
    note = ""
    if ((moved.apply(x[fit]) - y[fit]) ** 2).mean() > ((x[fit] - y[fit]) ** 2).mean():
        moved, note = RegressionCalibrator(), "no affine map: it has a higher validation error"
    predictions = moved.apply(x)
    bins = max(1, min(CONFORMAL_BINS, len(held) // MIN_BIN_ROWS))
    edges = np.unique(np.quantile(predictions[fit], np.linspace(0, 1, bins + 1)[1:-1]))
    which = np.searchsorted(edges, predictions[held], side="left")
    residual = np.abs(y[held] - predictions[held])
    # A bin can run short where predictions are tied; it then joins its left neighbour (the first one its right).
    while len(edges) and (short := np.bincount(which, minlength=len(edges) + 1)).min() < MIN_BIN_ROWS / 2:
        edges = np.delete(edges, max(int(short.argmin()) - 1, 0))
        which = np.searchsorted(edges, predictions[held], side="left")
    widths = [conformal_quantile(residual[which == b], CONFORMAL_LEVEL) for b in range(len(edges) + 1)]
    return RegressionCalibrator(
        moved.slope,
        moved.intercept,
        moved.floor,
        moved.ceiling,
        tuple(edges.tolist()),
        tuple(widths),
        CONFORMAL_LEVEL,
        len(y),
        note,
    )


def conformal_quantile(residuals: Floats, level: float) -> float:
    """The ⌈(n + 1)·level⌉-th smallest of n residuals: the finite-sample quantile of split conformal prediction.

    Raises
        ValueError: fewer residuals than a finite quantile needs (9 at a level of 0.9).
    """
    k = int(np.ceil((len(residuals) + 1) * level - 1e-9))
    if k > len(residuals):
        raise ValueError(f"{len(residuals)} residuals have no finite conformal quantile at {level}")
    return float(np.partition(residuals, k - 1)[k - 1])


def _brand_shares(positives: Ints, brands: int) -> NDArray[np.float64]:
    """[n, P] padded indices → [n, brands], each row uniform over its positives."""
    share = np.zeros((len(positives), brands))
    rows, columns = np.nonzero(positives >= 0)
    np.add.at(share, (rows, positives[rows, columns]), 1.0)
    return share / share.sum(axis=1, keepdims=True)


def _loss(calibrator: Calibrator, x: Floats, y: NDArray) -> float:
    p = np.clip(calibrator.apply(x), EPSILON, 1 - EPSILON)
    if calibrator.kind == "binary":
        return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())
    if calibrator.kind == "multiclass":
        return float(-np.log(p[np.arange(len(y)), y]).mean())
    return float(-(_brand_shares(y, x.shape[1]) * np.log(p)).sum(axis=1).mean())


def _minimise(loss: Any, size: int) -> NDArray[np.float64]:
    """From the identity; the first parameter is a slope, bounded to `SLOPES`. `loss` returns value and gradient."""
    start = np.zeros(size)
    start[0] = 1.0
    bounds = [SLOPES] + [(None, None)] * (size - 1)
    options = {"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
