"""Maps from raw model outputs to predictions, fitted on validation rows (never on training or test rows).

| kind               | raw output       | calibrator                                     | prediction           |
|--------------------|------------------|------------------------------------------------|----------------------|
| binary             | [n] logit        | Platt: σ(a·x + b), a > 0                       | [n] probability      |
| multiclass         | [n, K] logits    | softmax(a·x + b), a > 0, b ∈ R^K               | [n, K] probabilities |
| regression, uplift | [n] label's unit | a·x + b, a > 0, clipped                        | [n] label's unit     |
| the same           | [n, O]           | the same for each output                       | [n, O] label's unit  |
| contrastive        | [n, M] scores    | softmax(a·x), a > 0                            | [n, M] brand shares  |

A calibrator keeps the order of a row's classes (binary, contrastive) and of rows (binary, regression), since a > 0.
With few rows it stays near the identity; with too few, or where the fit would be worse than none on its own rows, it is
the identity and `note` says why.
`apply` works row by row: a row's prediction has the same bytes whatever batch it comes in.

Sources: Platt (1999) with the target smoothing of his §2.2; Guo et al., "On Calibration of Modern Neural Networks"
(ICML 2017) §4.2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.calibration.base import MIN_ROWS, Calibrator
from ple_model.evaluation.calibration.probability import BinaryCalibrator, ContrastiveCalibrator, MulticlassCalibrator
from ple_model.evaluation.calibration.regression import OutputsCalibrator, RegressionCalibrator
from ple_model.evaluation.kind import EvaluatedKind
from ple_model.evaluation.metrics import take_rows

__all__ = [
    "BinaryCalibrator",
    "Calibrator",
    "ContrastiveCalibrator",
    "MulticlassCalibrator",
    "OutputsCalibrator",
    "RegressionCalibrator",
    "fit_calibrator",
    "from_dict",
]

_CLASSES: dict[str, type[Calibrator]] = {
    calibrator.kind: calibrator
    for calibrator in (
        BinaryCalibrator,
        MulticlassCalibrator,
        RegressionCalibrator,
        OutputsCalibrator,
        ContrastiveCalibrator,
    )
}


def fit_calibrator(kind: EvaluatedKind, outputs: NDArray, labels: NDArray, mask: NDArray | None = None) -> Calibrator:
    """Fit on validation rows.

    Args:
        kind: of the task.
        outputs: raw outputs of the table above.
        labels: as for `metrics.evaluate`.
        mask: as for `metrics.evaluate`.

    Raises:
        ValueError: as `metrics.evaluate`, or outputs that are not finite.
    """
    x, y = take_rows(kind, outputs, labels, mask)
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise ValueError(f"{kind.name}: raw outputs of {bad} validation cells are not finite")
    calibrator = kind.calibrator(x)
    if len(y) < MIN_ROWS:
        return calibrator.identity(len(y), f"identity: {len(y)} validation rows, {MIN_ROWS} are needed")
    return calibrator.fit(x, y)


def from_dict(data: Mapping[str, Any]) -> Calibrator:
    """The calibrator that `Calibrator.to_dict` described.

    Raises:
        ValueError: an unknown kind.
        TypeError: an unknown or missing field.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in _CLASSES:
        raise ValueError(f"calibrator of unknown kind {kind!r}; known: {sorted(_CLASSES)}")
    return _CLASSES[kind].from_fields(fields)
