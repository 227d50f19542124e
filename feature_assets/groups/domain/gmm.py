"""GMM group: 20 soft clusters of customers, as posteriors, their entropy, and the distance to the nearest centre.

Fitted on the normalised RFM and category-mix columns of base and the campaign columns (those that at least 70 % of the
training rows have; missing = 0, the middle): principal components that hold 90 % of the variance, at most 16, whitened;
then a Gaussian mixture of 20 components with k-means++ start, 3 restarts, diagonal or full covariances by BIC, on at
most 12,000 training rows. Components are ordered by the mean log spend of their members, so that a number keeps its
meaning after a refit on similar data. Few customers carry fewer components (`components.py`): one for every 10 of them;
the clusters beyond have no columns and probability 0. Source: FEATURES §3.4; Pedregosa et al. 2011 (scikit-learn); the
posteriors equal scikit-learn's within 1e-9.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.base import category_mix, rfm
from feature_assets.groups.components import fitted_components, training_customers, words
from feature_assets.groups.multi_source import campaign

CLUSTERS = 20
CUSTOMERS_EACH = 10  # training customers for each cluster: from 200 on all are fitted
COMPONENTS = 16
VARIANCE = 0.9
KNOWN = 0.7  # share of training rows that a column must have to be used
MAX_ROWS = 12_000
RESTARTS = 3
NEAR_EMPTY = 0.005  # share of the training rows below which a component is reported
_REGULAR = 1e-3  # added to the whitened variances: no component collapses onto one customer
_CHUNK = 4096  # rows at a time


def _columns() -> tuple[Column, ...]:
    posteriors = [
        Column(
            f"gmm__posterior_{k:02d}",
            f"probability of cluster {k} (0 spends least, the last one most)",
            "share",
            "all history",
        )
        for k in range(CLUSTERS)
    ]
    return (
        *posteriors,
        Column("gmm__entropy", "entropy of the cluster probabilities over its maximum", "share", "all history"),
        Column(
            "gmm__distance", "Mahalanobis distance to the nearest cluster centre", "standard deviations", "all history"
        ),
    )


class Gmm(FeatureGroup):
    """Soft clusters of customers. Fitted: principal components and the mixture."""

    name = "gmm"
    description = (
        "Up to 20 soft clusters of the normalised columns: posteriors, entropy, distance to the nearest centre"
    )
    columns = _columns()
    side_inputs = (SideInput("cluster_probs", "probability of each cluster", (CLUSTERS,), pl.Float32),)
    sources = ("transactions",)
    needs = ("base", "campaign")

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays: projection [C, D], centre [D], weights [K], means [K, D], precisions [K, D, D] (Cholesky factors,
        upper triangular as in scikit-learn) of the K ≤ 20 clusters that the customers carry."""
        frames = [_joined(frames) for frames in training.upstream]
        shared = [name for name in frames[0].columns if all(name in frame.columns for frame in frames)]
        chosen = [name for name in shared if name in _subset()]
        matrix = np.concatenate([_matrix(frame, chosen) for frame in frames])
        keep = np.isfinite(matrix).mean(axis=0) >= KNOWN
        chosen = [name for name, kept in zip(chosen, keep, strict=True) if kept]
        spend = np.concatenate([_log_spend(view) for view in training.views])
        rows = np.arange(len(matrix))
        if len(rows) > MAX_ROWS:
            rows = np.sort(np.random.default_rng(training.seed).choice(rows, MAX_ROWS, replace=False))
        customers = training_customers(training.views)
        clusters = fitted_components(customers, CLUSTERS, CUSTOMERS_EACH)
        fitted = fit_mixture(np.nan_to_num(matrix[rows][:, keep]), spend[rows], chosen, training.seed, clusters)
        return GroupState(fitted.arrays, {**fitted.meta, "clusters": clusters, "customers": customers})

    def facts(self, state: GroupState) -> dict[str, str]:
        clusters = len(state.arrays["weights"])
        return {"clusters": words(clusters, CLUSTERS, state.meta.get("customers", 0))}

    def _values(self, inputs: Inputs) -> Values:
        """22 columns and the side input cluster_probs [20]; every customer has values, of the clusters that were
        fitted."""
        state = inputs.state
        matrix = np.nan_to_num(_matrix(_joined(inputs.upstream), state.meta["columns"]))
        posteriors, distance = evaluate(state, matrix)
        logs = np.log(posteriors, out=np.zeros_like(posteriors), where=posteriors > 0)
        customers, clusters = posteriors.shape
        entropy = -_row_sums(posteriors * logs) / np.log(clusters)
        absent = np.full((customers, CLUSTERS - clusters), np.nan)
        values = np.column_stack([posteriors, absent, np.clip(entropy, 0.0, 1.0), distance])
        return Values(values, {"cluster_probs": np.column_stack([posteriors, np.zeros_like(absent)])})


def fit_mixture(
    matrix: np.ndarray, spend: np.ndarray, names: Sequence[str], seed: int, clusters: int = CLUSTERS
) -> GroupState:
    """PCA and the better of the diagonal and the full mixture on `matrix` [n, C] (complete), float64.

    `spend` [n] orders the components. BLAS is held to one thread, so that the fit does not depend on their number.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    if len(matrix) < 5 * clusters or not names:
        raise ValueError(f"{clusters} clusters need at least {5 * clusters} training rows and a column: {matrix.shape}")
    with threadpool_limits(limits=1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        mean, projection, explained = _principal(matrix)
        points = _product(matrix - mean, projection)
        fits = {
            kind: GaussianMixture(
                clusters,
                covariance_type=kind,
                init_params="k-means++",
                n_init=RESTARTS,
                max_iter=200,
                reg_covar=_REGULAR,
                random_state=seed,
            ).fit(points)
            for kind in ("diag", "full")
        }
        bic = {kind: float(mixture.bic(points)) for kind, mixture in fits.items()}
        kind = min(bic, key=lambda k: (bic[k], k))
        best = fits[kind]
        members = best.predict_proba(points)
    level = (members * spend[:, None]).sum(axis=0) / np.maximum(members.sum(axis=0), 1e-12)
    order = np.argsort(level, kind="stable")
    factors = best.precisions_cholesky_[order]
    if kind == "diag":
        factors = np.stack([np.diag(row) for row in factors])
    weights = best.weights_[order]
    meta: dict[str, Any] = {
        "columns": list(names),
        "components": int(projection.shape[1]),
        "explained": explained,
        "covariance": kind,
        "bic": bic,
        "rows": len(matrix),
        "converged": bool(best.converged_),
        "warnings": sorted({str(w.message).split(".")[0] for w in caught}),
        "shares": [float(w) for w in weights],
        "log_spend": [float(v) for v in level[order]],
        "near_empty": [int(k) for k in np.flatnonzero(weights < NEAR_EMPTY)],
    }
    arrays = {
        "mean": mean,
        "projection": projection,
        "weights": weights,
        "means": best.means_[order],
        "precisions": factors,
    }
    return GroupState(arrays, meta)


def _principal(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Column means [C], whitening projection [C, D], and the share of variance that D components hold."""
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(matrix) - 1, 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    values = np.maximum(values, 0.0)
    reached = np.cumsum(values) / values.sum()
    dimensions = min(int(np.searchsorted(reached, VARIANCE)) + 1, COMPONENTS, int((values > 1e-9 * values[0]).sum()))
    vectors = vectors[:, :dimensions]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dimensions)])  # a fixed sign
    return mean, vectors / np.sqrt(values[:dimensions]), float(reached[dimensions - 1])


def evaluate(state: GroupState, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors [n, K] and the Mahalanobis distance to the nearest centre [n] of complete rows [n, C], float64.

    log N = −½(D log 2π + ‖(x − μ)P‖²) + log det P for the Cholesky factor P of the precision.
    """
    posteriors, distance = np.zeros((len(matrix), len(state.arrays["weights"]))), np.zeros(len(matrix))
    for first in range(0, len(matrix), _CHUNK):
        rows = slice(first, first + _CHUNK)
        posteriors[rows], distance[rows] = _evaluate(state, matrix[rows])
    return posteriors, distance


def _evaluate(state: GroupState, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arrays = state.arrays
    means, factors = arrays["means"], arrays["precisions"]
    points = _product(matrix - arrays["mean"], arrays["projection"])
    squared = np.zeros((len(points), len(means)))
    for k in range(len(means)):
        squared[:, k] = _row_sums(_product(points - means[k], factors[k]) ** 2)
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    log_joint = -0.5 * (means.shape[1] * np.log(2 * np.pi) + squared) + log_det + np.log(arrays["weights"])
    # softmax, but with sums in the order of K: scipy's would differ in the last bits
    joint = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return joint / _row_sums(joint)[:, None], np.sqrt(squared.min(axis=1))


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left [n, C] @ right [C, D], adding in the order of C: the same bits for a row whatever rows are beside it, which
    BLAS does not promise."""
    result = np.zeros((right.shape[1], len(left)))
    columns = np.ascontiguousarray(left.T)
    for c in range(right.shape[0]):
        result += right[c][:, None] * columns[c]
    return result.T


def _row_sums(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis of [n, K] in the order of K."""
    result = np.zeros(len(values))
    for k in range(values.shape[1]):
        result += values[:, k]
    return result


def _subset() -> set[str]:
    """Names of the columns that the clusters may be fitted on."""
    return {column.name for column in (*rfm.columns(), *category_mix.columns(), *campaign.GROUP.columns)}


def _joined(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The upstream columns side by side; a group that the data set does not have is left out."""
    return pl.concat([frames[name].drop("customer_id") for name in Gmm.needs if name in frames], how="horizontal")


def _matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """float64 [n, C], NaN = missing."""
    return np.column_stack([frame[name].cast(pl.Float64).to_numpy() for name in names])


def _log_spend(view: View) -> np.ndarray:
    part = view.purchases
    return np.log1p(np.maximum(sum_at(part.row, part.values("amount"), part.customers), 0.0))


GROUP = Gmm()
