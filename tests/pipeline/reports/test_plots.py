"""Plots can be read without the source: axes and colours are named, and words stand out from what is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pipeline.reports import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = [{"task": "churn", "by": "all", "group": "all", "rows": 10, "wide": 0.9, "deepfm": 0.1}]
IMPORTANCE = [
    {"input": "txn_seq", "task": "churn", "loss": 0.5, "increase": 0.1, "error": 0.01, "share": 0.87},
    {"input": "txn_seq", "task": "ctr", "loss": 0.5, "increase": 0.001, "error": 0.01, "share": 0.87},
    {"input": "features_raw", "task": "churn", "loss": 0.5, "increase": -0.1, "error": 0.01, "share": 1.0},
    {"input": "features_raw", "task": "ctr", "loss": 0.5, "increase": 0.0, "error": 0.0, "share": 1.0},
]
TRANSFER = {
    "tasks": ["churn", "ctr"],
    "affinity": [[1.0, 0.2], [0.2, 1.0]],
    "weights": [[0.7, 0.3], [0.3, 0.7]],
    "conflicts": {},
    "epoch": 3,
    "phase": 1,
    "prior_share": 0.5,
    "share": 0.1,
}
HEAT_MAPS = {
    "gates": lambda: plots.gate_heatmap({"churn": {"wide": 0.9, "deepfm": 0.1}}),
    "experts": lambda: plots.expert_heatmap(SHARES),
    "inputs": lambda: plots.input_heatmap(IMPORTANCE),
    "transfer": lambda: plots.transfer_heatmaps(TRANSFER),
}


@pytest.mark.parametrize("name", HEAT_MAPS)
def test_axes_and_colours_of_a_heat_map_are_named(name: str) -> None:
    for axis in HEAT_MAPS[name]().axes:
        assert axis.get_ylabel(), axis
        assert axis.get_xlabel() or axis.get_label() == "<colorbar>"


@pytest.mark.parametrize("name", ["gates", "experts", "inputs"])
def test_words_in_a_heat_map_stand_out(name: str) -> None:
    axis = HEAT_MAPS[name]().axes[0]
    (image,) = axis.images
    shades = image.cmap(image.norm(np.asarray(image.get_array())))
    for text in axis.texts:
        column, row = (int(at) for at in text.get_position())
        assert contrast(shades[row, column, :3], to_rgb(text.get_color())) > 4, text.get_text()


def contrast(one: np.ndarray, other: tuple[float, float, float]) -> float:
    """Contrast ratio of two colours. Source: WCAG 2.2."""

    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(np.asarray(one)), luminance(np.asarray(other))))
    return (light + 0.05) / (dark + 0.05)


def texts(figure: Figure) -> str:
    axis = figure.axes[0]
    return " ".join([axis.get_title(), *(text.get_text() for text in [*axis.texts, *axis.get_yticklabels()])])


def test_inputs_are_in_one_unit_with_the_share_of_rows_that_read_them_and_what_a_negative_number_means() -> None:
    figure = plots.input_heatmap(IMPORTANCE)
    said = texts(figure)
    assert "20.0" in said
    assert "-20.0" in said
    assert "(0.2)" in said  # within two standard errors of 0
    assert "txn_seq (87% of rows)" in said
    assert "Below 0" in said
    (image,) = figure.axes[0].images
    assert float(np.abs(np.asarray(image.get_array())).max()) == pytest.approx(20.0)
    assert figure.axes[1].get_ylabel() == "loss added, % of the task's loss"


def test_curves_have_axes_with_names() -> None:
    figure = plots.reliability({"churn": [(0.1, 0.2, 10), (0.5, 0.6, 10)]})
    assert figure.get_supxlabel()
    assert figure.get_supylabel()
    told = {"curve": [(0.5, 0.1), (1.0, 0.2)], "error": [0.1, 0.2], "aurc_random": 0.2}
    figure = plots.risk_coverage({"churn": told})
    assert figure.get_supxlabel()
    assert figure.get_supylabel()
    assert all(axis.get_ylabel() for axis in plots.learning_curve([]).axes)
