"""The prediction that stands in for a too uncertain one: the base rates of a row's clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import EvaluatedKind

SHRINKAGE_ROWS = 50.0  # rows' worth of the population in each cluster's base rate


@dataclass(frozen=True)
class BaseRates:
    """Base rates of one task.

    `population` is that of all training rows, as a tuple of width 1 (binary: probability, regression: mean), of O
    means, or of K or M (a distribution); `clusters` [C] holds the same for each cluster, each mean shrunk by
    `SHRINKAGE_ROWS` rows of the population.
    """

    population: tuple[float, ...]
    clusters: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, kind: EvaluatedKind, labels: NDArray, mask: NDArray, cluster_probs: NDArray, width: int) -> Self:
        """From training rows.

        Args:
            kind: of the task.
            labels: [n], [n, O] or [n, P].
            mask: [n] bool, True = labelled.
            cluster_probs: [n, C] posteriors.
            width: number of classes, brands or outputs.

        Raises:
            ValueError: no training row has a label.
        """
        given = np.asarray(mask, dtype=bool)
        known = np.asarray(labels)[given]
        if len(known) == 0:
            raise ValueError(f"{kind.name}: no training row has a label, so there is no base rate")
        posterior = np.asarray(cluster_probs, dtype=np.float64)[given]
        values = kind.base_values(known, width)
        population = values.mean(axis=0)
        weight = posterior.sum(axis=0)[:, None]
        clusters = (posterior.T @ values + SHRINKAGE_ROWS * population) / (weight + SHRINKAGE_ROWS)
        return cls(tuple(population.tolist()), tuple(tuple(row) for row in clusters.tolist()))

    def of(self, cluster_probs: NDArray) -> NDArray[np.float64]:
        """[n] or [n, width] base rate of rows with posteriors [n, C]; a posterior's missing weight is the population's.

        Summed cluster by cluster, so that a row has the same bytes whatever batch it comes in.

        Raises:
            ValueError: posteriors of another number of clusters.
        """
        posterior = np.asarray(cluster_probs, dtype=np.float64)
        if posterior.ndim != 2 or posterior.shape[1] != len(self.clusters):
            raise ValueError(f"posteriors {posterior.shape} for {len(self.clusters)} clusters")
        rates = np.asarray(self.clusters)
        rest = np.ones(len(posterior))
        total = np.zeros((len(posterior), rates.shape[1]))
        for cluster, rate in enumerate(rates):
            rest -= posterior[:, cluster]
            total += posterior[:, cluster, None] * rate
        total += rest[:, None] * np.asarray(self.population)
        return total[:, 0] if len(self.population) == 1 else total

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From its fields as JSON holds them."""
        return cls(tuple(data["population"]), tuple(tuple(row) for row in data["clusters"]))
