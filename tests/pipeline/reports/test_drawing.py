"""Pictures of nothing are drawn, and a picture that cannot be drawn costs nobody else anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import numpy as np
import polars as pl
import pytest

from feature_assets.group import GroupState
from feature_assets.normalise import fit
from feature_assets.state import FeatureState
from pipeline.assets import features
from pipeline.intake.lost_sources import Lost
from pipeline.reports import feature_plots, plots
from pipeline.reports.drawing import DRAWN, Drawing
from pipeline.reports.feature_plots import PICTURES
from pipeline.resources.lake import Lake, ParquetIOManager
from pipeline.resources.publication import Published
from pipeline.resources.tracking import Tracking
from pipeline.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from feature_assets.events.view import View

DAY = "2017-10-02"


def _diagrams(given: list[bool | None]) -> pl.DataFrame:
    """Customers with two pairs, none, or no diagram at all (null)."""
    pairs = [[0.0, 1.0, 0.0, 0.5, 2.0, 1.0]] * len(given)
    masks = [None if some is None else [some, some] for some in given]
    return pl.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(len(given))],
            "tda_short": [None if some is None else pair for some, pair in zip(given, pairs, strict=True)],
            "tda_short_mask": masks,
        },
        schema={
            "customer_id": pl.String,
            "tda_short": pl.List(pl.Float32),
            "tda_short_mask": pl.List(pl.Boolean),
        },
    )


@pytest.mark.parametrize("given", [[], [None], [False], [False, None], [True], [None, True, False]])
def test_persistence_of_few_or_none(given: list[bool | None]) -> None:
    frame = _diagrams(given)
    draw = feature_plots.persistence("tda_short")
    figure = draw(cast("View", None), cast("FeatureState", None), frame, {})
    assert plots.as_markdown(figure).value.startswith("![figure]")
    assert len(figure.axes) == (2 if True in given else 1)


def test_pictures_of_nobody() -> None:
    nobody = pl.DataFrame(
        schema={
            "customer_id": pl.String,
            "cluster_probs": pl.List(pl.Float32),
            "hmm_summary__path_entropy": pl.Float32,
            "hmm_summary__change_rate": pl.Float32,
            "hmm_summary__dominant_duration": pl.Float32,
        }
    )
    state = FeatureState({"poincare": GroupState(), "normalise": fit(["a"], np.arange(9.0)[:, None])}, [])
    for name in ("gmm", "hmm_summary", "poincare"):
        figure = PICTURES[name](cast("View", None), state, nobody, {})
        assert "data:image/png" in plots.as_markdown(figure).value, name


@pytest.mark.parametrize("fitted", [6, 20])
def test_clusters_that_were_not_fitted_are_not_drawn(fitted: int) -> None:
    probs = np.zeros((9, 20))
    probs[:, :fitted] = 1 / fitted
    frame = pl.DataFrame({"cluster_probs": probs.tolist()}, schema={"cluster_probs": pl.List(pl.Float32)})
    spend = pl.DataFrame({"customer_id": [str(i) for i in range(9)], "base__recency": np.arange(9.0)})
    mixture = GroupState({"weights": np.full(fitted, 1 / fitted)})
    state = FeatureState({"gmm": mixture, "normalise": fit(["base__recency"], np.arange(9.0)[:, None])}, [])
    rows = PICTURES["gmm"](cast("View", None), state, frame, {"base": spend}).axes[0].get_yticklabels()
    assert [row.get_text() for row in rows] == [f"{k}  ({1 / fitted:.1%})" for k in range(fitted)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.learning_curve([]),
        lambda: plots.reliability({}),
        lambda: plots.reliability({"churn": [], "cvr": [(0.1, 0.2, 10)]}),
        lambda: plots.risk_coverage({}),
        lambda: plots.gate_heatmap({}),
        lambda: plots.gate_heatmap({"churn": {}}),
        lambda: plots.expert_heatmap([]),
        lambda: plots.input_heatmap([]),
    ],
)
def test_figures_of_an_empty_training(draw: Callable[[], Figure]) -> None:
    assert "data:image/png" in plots.as_markdown(draw()).value


def _fails() -> Figure:
    raise IndexError("nobody\n has a pair")


def test_a_failure_is_a_warning_with_its_reason() -> None:
    said: list[str] = []
    drawing = Drawing(said.append)
    assert drawing.check().passed
    shown = drawing.figure("persistence", _fails) | drawing.figure("curve", lambda: plots.learning_curve([]))
    assert shown["persistence"] == "could not be shown: IndexError: nobody has a pair"
    assert isinstance(shown["curve"], dg.MarkdownMetadataValue)
    assert said == ["persistence could not be shown, and nothing else depends on it: IndexError: nobody has a pair"]
    check = drawing.check()
    assert (check.passed, check.severity, check.check_name) == (False, dg.AssetCheckSeverity.WARN, DRAWN)
    assert check.metadata["persistence"].value == "IndexError: nobody has a pair"


def test_an_asset_whose_picture_fails_is_materialised_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_assets import registry
    from feature_assets.data.dataset import load_dataset
    from pipeline.partitions import as_of_partitions
    from tests.conftest import DATA_ROOT

    class Night(Lake):
        """A lake whose view is made by hand."""

        def views(self, as_of: str) -> Any:
            del as_of
            return OneView([SimpleNamespace(customers=computed)])

    class OneView(list[Any]):
        whole = True

    dataset = load_dataset("completejourney", DATA_ROOT)
    group = registry.registry()["tda_short"]
    computed = pl.DataFrame({"customer_id": ["1"], **{c.name: [0.5] for c in group.columns}})
    state = FeatureState({"tda_short": GroupState()}, [])
    monkeypatch.setattr(features, "champion_state", lambda _: (SimpleNamespace(version="3"), state))
    monkeypatch.setattr(features, "compute_group", lambda *_: computed)
    monkeypatch.setattr(features, "tonights_losses", lambda *_: Lost())
    monkeypatch.setitem(PICTURES, "tda_short", lambda *_: _fails())
    partitions = as_of_partitions(dataset)
    asset = features._group_asset(group, dataset, partitions, features.champion_dep(7))
    result = dg.materialize(
        [asset],
        partition_key=DAY,
        resources={
            "lake": Night(root=str(tmp_path)),
            "tracking": Tracking(uri="", artifacts="", dataset=dataset.name),
            "settings": Settings(home=tmp_path),
            "io_manager": ParquetIOManager(root=str(tmp_path)),
        },
    )
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(checks) == {DRAWN, features.SOUND}
    assert checks[features.SOUND].passed
    assert (checks[DRAWN].passed, checks[DRAWN].severity) == (False, dg.AssetCheckSeverity.WARN)
    (made,) = result.asset_materializations_for_node(asset.node_def.name)
    assert "IndexError: nobody has a pair" in str(made.metadata["picture"].value)
    assert Published(tmp_path, "features/tda_short").read(DAY).height == 1
