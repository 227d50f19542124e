"""Figures of features, where people would rather look than read: persistence diagrams, clusters, state paths, disks."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_assets import normalise
from feature_assets.events.view import View
from feature_assets.state import FeatureState
from pipeline.reports.plots import new_figure, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = Callable[[View, FeatureState, pl.DataFrame, Mapping[str, pl.DataFrame]], "Figure"]
"""From what is known, the fitted state, a group's own frame and the frames of the groups that it needs."""

_SHAPES = {0: "components (H0)", 1: "loops (H1)", 2: "voids (H2)"}
_PROFILE = (
    "base__frequency_30d",
    "base__frequency_365d",
    "base__spend_sum_90d",
    "base__monetary_90d",
    "base__recency",
    "base__gap_cv",
    "base__gap_mean",
    "base__weekend_share_365d",
    "base__night_share_365d",
    "base__merchant_dispersion_365d",
    "base__channel_dispersion_365d",
    "base__p_alive",
    "base__spend_trend_30d_90d",
    "campaign__click_rate",
    "campaign__fatigue",
)
"""Columns by which a reader recognises a cluster."""


def persistence(side: str) -> Picture:
    """Persistence diagrams of the customer with most persistence in loops, and of the whole population, from the side
    input `side` (pairs of birth, death, homology dimension) and its mask."""

    def draw(view: View, state: FeatureState, frame: pl.DataFrame, needs: Mapping[str, pl.DataFrame]) -> "Figure":
        del view, state, needs
        given = frame.filter(pl.col(side).is_not_null() & pl.col(f"{side}_mask").list.any())
        if given.is_empty():
            return nothing("nobody has enough events for a diagram")
        mask = given[f"{side}_mask"].explode().to_numpy().reshape(given.height, -1).astype(bool)
        pairs = given[side].explode().to_numpy().reshape(given.height, -1, 3)
        length = np.where(mask, pairs[:, :, 1] - pairs[:, :, 0], 0.0)
        loops = (length * (pairs[:, :, 2] == 1)).sum(axis=1)
        figure, (left, right) = new_figure(9, 4.2, 1, 2)
        chosen = int(loops.argmax())
        _diagram(left, pairs[chosen][mask[chosen]], size=22)
        left.set_title(f"customer {given['customer_id'][chosen]}, most persistent loops", fontsize=9)
        everyone = pairs[mask]
        some = np.random.default_rng(0).permutation(len(everyone))[:5_000]
        _diagram(right, everyone[some], size=4)
        right.set_title(f"{given.height:,} customers ({min(len(everyone), 5_000):,} pairs)", fontsize=9)
        return figure

    return draw


def _diagram(axis: "Axes", pairs: np.ndarray, size: float) -> None:
    for dimension in np.unique(pairs[:, 2]).astype(int).tolist():
        of = pairs[pairs[:, 2] == dimension]
        axis.scatter(of[:, 0], of[:, 1], s=size, alpha=0.6, label=_SHAPES.get(dimension, f"dimension {dimension}"))
    top = float(pairs[:, 1].max()) * 1.05
    axis.plot([0, top], [0, top], color="grey", lw=1, ls="--")
    axis.set_xlabel("birth (distance)")
    axis.set_ylabel("death (distance)")
    axis.legend(fontsize=8, loc="lower right")


def cluster_profile(
    view: View, state: FeatureState, frame: pl.DataFrame, needs: Mapping[str, pl.DataFrame]
) -> "Figure":
    """Posterior-weighted mean of scaled columns (columns of the picture) in each cluster (rows), with its share."""
    del view
    if frame.is_empty():
        return nothing("there is no customer yet")
    posterior = frame["cluster_probs"].explode().to_numpy().reshape(frame.height, -1).astype(np.float64)
    posterior = posterior[:, : len(state.groups["gmm"].arrays["weights"])]  # of fewer where customers are few
    scaled = [normalise.apply(state.groups["normalise"], f).drop("customer_id") for f in needs.values()]
    columns = pl.concat(scaled, how="horizontal")
    names = [name for name in _PROFILE if name in columns.columns]
    values = columns.select(names).to_numpy()
    known = np.isfinite(values)
    weight = posterior.T @ known
    mean = posterior.T @ np.where(known, values, 0.0) / np.maximum(weight, 1e-9)
    shares = posterior.mean(axis=0)
    figure, (axis,) = new_figure(1.8 + 0.55 * len(names), 1.6 + 0.26 * len(shares))
    limit = max(1.0, float(np.abs(mean).max()))
    image = axis.imshow(mean, vmin=-limit, vmax=limit, cmap="RdBu_r", aspect="auto")
    axis.set_xticks(range(len(names)), [n.split("__")[1] for n in names], rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(shares)), [f"{k}  ({share:.1%})" for k, share in enumerate(shares)], fontsize=8)
    axis.set_ylabel("cluster (share of customers)")
    axis.set_title("mean scaled value by cluster", fontsize=9)
    axis.set_xlabel("column")
    figure.colorbar(image, ax=axis, label="standard units: 0 is the mean customer")
    return figure


def poincare_disks(view: View, state: FeatureState, frame: pl.DataFrame, needs: Mapping[str, pl.DataFrame]) -> "Figure":
    """Each fitted tree on the Poincaré disk: two levels, a line from each node to its parent."""
    del view, frame, needs
    from feature_assets.groups.embeddings.poincare.disk import TREES, disk

    fitted = state.groups["poincare"]
    trees = {name: disk(fitted, name) for name in TREES if f"{name}_points" in fitted.arrays}
    if not trees:
        return nothing("no tree of categories was fitted")
    figure, axes = new_figure(5.2 * len(trees), 5.2, 1, len(trees))
    for axis, (name, nodes) in zip(axes, trees.items(), strict=False):
        place = {node: (x, y) for node, x, y in nodes.select("node", "x", "y").iter_rows()}
        angle = np.linspace(0, 2 * np.pi, 200)
        axis.plot(np.cos(angle), np.sin(angle), color="grey", lw=0.8)
        for node, parent in nodes.select("node", "parent").iter_rows():
            if parent in place:
                (x0, y0), (x1, y1) = place[parent], place[node]
                axis.plot([x0, x1], [y0, y1], color="lightgrey", lw=0.6, zorder=1)
        axis.scatter(nodes["x"], nodes["y"], c=nodes["depth"], s=14, cmap="viridis", zorder=2)
        for text, x, y in nodes.filter(pl.col("depth") == 1).select("name", "x", "y").head(30).iter_rows():
            axis.text(x, y, text.title()[:18], fontsize=6)
        axis.set_title(f"{name} tree: {nodes.height} nodes of the first levels", fontsize=9)
        axis.set_aspect("equal")
        axis.axis("off")
    return figure


def state_paths(view: View, state: FeatureState, frame: pl.DataFrame, needs: Mapping[str, pl.DataFrame]) -> "Figure":
    """The customer whose lifecycle path is the most uncertain, of those who changed their state: posteriors by step in
    each of the three modes (areas, from the least to the most active state), and the most probable path (line)."""
    del needs
    from matplotlib.dates import ConciseDateFormatter

    from feature_assets.groups.model_derived.hmm.observations import MODES
    from feature_assets.groups.model_derived.hmm.picture import state_path

    entropy = pl.col("hmm_summary__path_entropy")
    changed = (pl.col("hmm_summary__change_rate") > 0) & (pl.col("hmm_summary__dominant_duration") >= 90)
    some = frame.filter(entropy.is_not_null() & changed)
    some = some if some.height else frame.filter(entropy.is_not_null())
    if some.is_empty():
        return nothing("nobody has a step yet")
    figure, axes = new_figure(9, 2.1 * len(MODES), len(MODES), 1)
    customer = some.sort(entropy, "customer_id", descending=[True, False])["customer_id"][0]
    for axis, mode in zip(axes, MODES, strict=True):
        path = state_path(view, state.groups["hmm_summary"], customer, mode.name)
        posterior = path.select(pl.col("^posterior_.*$")).to_numpy().T
        dates = path["from"].to_list()
        axis.stackplot(dates, posterior, colors=_shades(len(posterior)), step="post")
        line = axis.twinx()
        line.step(dates, path["state"].to_list(), color="black", lw=1.2, where="post")
        line.set_ylim(-0.3, len(posterior) - 0.7)
        line.set_yticks(range(len(posterior)))
        line.set_ylabel("state", fontsize=8)
        axis.set_ylim(0, 1)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))
        axis.set_ylabel("probability of each state", fontsize=8)
        axis.set_xlabel("date", fontsize=8)
        states = f"0 is the least active of {len(posterior)} states"
        axis.set_title(f"customer {customer}: {mode.name} ({states})", fontsize=9)
    return figure


def _shades(n: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](k / max(n - 1, 1))) for k in range(n)]


PICTURES: dict[str, Picture] = {
    "gmm": cluster_profile,
    "hmm_summary": state_paths,
    "poincare": poincare_disks,
    "tda_short": persistence("tda_short"),
    "tda_long": persistence("tda_long"),
}
"""Group → its picture in the UI."""
