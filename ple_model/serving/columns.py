"""What the uncertainty reads of a batch beside the network's outputs."""

import numpy as np
from numpy.typing import NDArray

from ple_model.config import InputConfig
from ple_model.inputs import Inputs

MISSING = "missing"
"""The signal that is the share of the columns that a row lacks."""

_BOUND = 4.0  # standard deviations: an error model is linear, and one far value must not decide it


def error_columns(inputs: Inputs, config: InputConfig) -> NDArray[np.float32]:
    """[R, 2·c] the c normalised columns of the data set, bounded, 0 where missing, and 1 where each is missing."""
    at = list(config.present_normalised)
    missing = ~inputs.features_mask[:, at].numpy()
    values = np.clip(inputs.features[:, at].numpy(), -_BOUND, _BOUND)
    values[missing] = 0.0
    return np.concatenate([values, missing.astype(np.float32)], axis=1, dtype=np.float32)


def missing_share(inputs: Inputs, config: InputConfig) -> NDArray[np.float64]:
    """[R] share of the data set's columns that a row lacks."""
    at = list(config.present)
    if not at:
        return np.zeros(len(inputs))
    return np.asarray(1.0 - inputs.features_mask[:, at].numpy().mean(axis=1))
