"""The same work by the plain library call, beside ours, on the same customers: alternated, in CPU time of one core.

Each comparison first asserts that both sides give the same values, then prints seconds and the ratio. Used by
`features.py`; the state and the customers are the benchmark's.
"""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 3


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, float]:
    """CPU seconds of each side, the best of `repeats` alternated runs (the first pair warms both up)."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for i, side in enumerate((ours, theirs)):
            started = time.process_time()
            side()
            best[i] = min(best[i], time.process_time() - started)
    return best[0], best[1]


def line(what: str, library: str, seconds: tuple[float, float], units: int, unit: str) -> None:
    """One row of the table."""
    ours, theirs = seconds
    print(
        f"{what:<34}{library:<50}{1e6 * ours / units:>12.1f}{1e6 * theirs / units:>12.1f}{theirs / ours:>9.1f}×"
        f"   {units:,} {unit}"
    )


def ratios(tables: Any, state_folder: Path, as_of: str) -> None:
    """Print every comparison."""
    from feature_assets.events.view import View
    from feature_assets.state import FeatureState

    state = FeatureState.load(state_folder)
    view = View(tables, date.fromisoformat(as_of))
    print(f"\n{'what':<34}{'plain library':<50}{'ours µs':>12}{'theirs µs':>12}{'ratio':>10}   units")
    from embeddings import lightgcn, lightgcn_training, poincare

    for compare in (base_columns, persistence, hidden_markov, gmm, poincare, lightgcn, lightgcn_training):
        compare(view, state)


def base_columns(view: Any, state: Any) -> None:
    """45 of the base columns (nine moments and quantiles of daily spend, five windows) by pandas; ours computes the
    whole of the transaction statistics (80 columns)."""
    import pandas as pd

    from feature_assets.groups.base import history, transaction_stats

    past = view.purchases.frame("amount")
    frame = pd.DataFrame(
        {
            "row": past["row"].to_numpy(),
            "days_ago": past["days_ago"].to_numpy(),
            "amount": past["amount"].to_numpy(),
        }
    )
    quantiles = {"q25": 0.25, "median": 0.5, "q90": 0.9}

    def theirs() -> dict[str, Any]:
        result = {}
        for days in transaction_stats.WINDOWS:
            recent = frame[frame["days_ago"] <= days]
            daily = recent.groupby(["row", "days_ago"], sort=True)["amount"].sum().groupby("row")
            result |= {
                f"spend_sum_{days}d": daily.sum(),
                f"day_spend_mean_{days}d": daily.mean(),
                f"day_spend_std_{days}d": daily.std(),
                f"day_spend_skew_{days}d": daily.skew(),
                f"day_spend_kurtosis_{days}d": daily.apply(pd.Series.kurt),
                f"day_spend_max_{days}d": daily.max(),
                **{f"day_spend_{name}_{days}d": daily.quantile(q) for name, q in quantiles.items()},
            }
        return result

    def ours() -> list[np.ndarray]:
        return transaction_stats.compute(history.History.of(view))

    _ = state
    names = [column.name for column in transaction_stats.columns()]
    values, expected = dict(zip(names, ours(), strict=True)), theirs()
    for name in ("spend_sum_90d", "day_spend_mean_365d", "day_spend_median_180d", "day_spend_max_30d"):
        theirs_values = expected[name].to_numpy()
        mine = values[f"base__{name}"][expected[name].index.to_numpy()]
        np.testing.assert_allclose(mine, theirs_values, rtol=1e-6, atol=1e-6)
    line(
        "base: transaction statistics",
        "pandas groupby (45 of the 80)",
        alternate(ours, theirs),
        frame.shape[0],
        "lines",
    )


def gmm(view: Any, state: Any) -> None:
    """Posteriors of 20 components by scikit-learn's GaussianMixture in float64, from the same scaled columns."""
    from sklearn.mixture import GaussianMixture

    from feature_assets import normalise
    from feature_assets.build import compute_group
    from feature_assets.groups.domain import gmm

    fitted = state.groups["gmm"]
    outputs = {name: compute_group(name, view, state, {}) for name in gmm.Gmm.needs}
    upstream = {name: normalise.apply(state.groups["normalise"], frame) for name, frame in outputs.items()}
    matrix = np.nan_to_num(gmm._matrix(gmm._joined(upstream), fitted.meta["columns"]))
    mixture = GaussianMixture(gmm.CLUSTERS, covariance_type="full")
    mixture.weights_, mixture.means_ = fitted.arrays["weights"], fitted.arrays["means"]
    mixture.precisions_cholesky_ = fitted.arrays["precisions"]

    def theirs() -> np.ndarray:
        return mixture.predict_proba((matrix - fitted.arrays["mean"]) @ fitted.arrays["projection"])

    def ours() -> np.ndarray:
        return gmm.evaluate(fitted, matrix)[0]

    np.testing.assert_allclose(ours(), theirs(), atol=1e-9)
    line("GMM: 20 posteriors", "scikit-learn predict_proba", alternate(ours, theirs), len(matrix), "customers")


def persistence(view: Any, state: Any) -> None:
    """Diagrams of the 90-day clouds (H0, H1) and of the 12-month ones (H0–H2): GUDHI as usually called, and its binding
    of Ripser."""
    from feature_assets.groups.domain.tda.diagrams import LONG, SHORT, points_of
    from feature_assets.kernels.farthest import farthest_points
    from feature_assets.kernels.persistence import rips_diagrams

    points = points_of(view, state.groups["tda_short"])
    for cut, few in ((SHORT, 60), (LONG, 30)):
        first, last = points.between(cut.newest, cut.oldest)
        largest = np.argsort(first - last, kind="stable")[:600:3]  # of the customers with most events, every third
        sampled, starts, stops = farthest_points(points.values, first[largest], last[largest], cut.points)
        clouds = [sampled[a:b] for a, b in zip(starts, stops, strict=True)]

        def ours(n: int = len(clouds), cut: Any = cut, at: Any = (sampled, starts, stops)) -> Any:
            return rips_diagrams(at[0], at[1][:n], at[2][:n], cut.max_dimension, cut.room)

        def ripser(cut: Any = cut, at: Any = (sampled, starts, stops)) -> Any:
            return rips_diagrams(*at, cut.max_dimension, cut.room, engine="gudhi")

        def simplex_tree(n: int = few, cut: Any = cut, clouds: Any = clouds) -> None:
            from gudhi import RipsComplex

            for cloud in clouds[:n]:
                RipsComplex(points=cloud).create_simplex_tree(max_dimension=cut.max_dimension + 1).persistence()

        mine, theirs = ours(), ripser()
        np.testing.assert_array_equal(mine[1], theirs[1])
        for a, b in zip(mine[0], theirs[0], strict=True):  # pairs of equal persistence may stand in either order
            np.testing.assert_allclose(_ordered(a), _ordered(b), atol=1e-5)
        size = int(np.mean(stops - starts))
        what = f"TDA {cut.name}: {size} points, H0–H{cut.max_dimension}"
        line(what, "GUDHI, binding of Ripser", alternate(ours, ripser), len(clouds), "clouds")
        seconds = alternate(lambda few=few, ours=ours: ours(few), simplex_tree, repeats=2)
        line(what, "GUDHI, RipsComplex + SimplexTree", seconds, few, "clouds")


def _ordered(pairs: np.ndarray) -> np.ndarray:
    """Pairs [n, 3] by dimension, birth and death."""
    rounded = np.round(pairs, 4)
    return pairs[np.lexsort((rounded[:, 1], rounded[:, 0], rounded[:, 2]))]


def hidden_markov(view: Any, state: Any) -> None:
    """Posteriors of every step of three modes: hmmlearn, sequence by sequence."""
    from feature_assets.groups.model_derived.hmm import restored
    from feature_assets.groups.model_derived.hmm.model import smooth
    from feature_assets.groups.model_derived.hmm.observations import MODES, steps

    for mode in MODES:
        observed, model, _ = restored(state.groups["hmm_summary"], mode)
        part = steps(view, mode, observed, range(min(1_000, view.customers.height)))

        def ours(model: Any = model, part: Any = part) -> Any:
            return smooth(model, part)

        def theirs(model: Any = model, part: Any = part) -> Any:
            return smooth(model, part, "hmmlearn")

        np.testing.assert_allclose(ours().posterior, theirs().posterior, atol=1e-8)
        seconds = alternate(ours, theirs)
        line(
            f"HMM {mode.name}: {model.states} states",
            "hmmlearn score_samples",
            seconds,
            len(part.start) - 1,
            "sequences",
        )
