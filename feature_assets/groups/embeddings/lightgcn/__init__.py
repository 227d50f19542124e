"""LightGCN group: 64 coordinates of a customer in the graph of customers and merchants.

Fitted: an embedding of each merchant of the training dates (`training.py`). A customer's embedding is one propagation
of them, e = d^−½ Σ d_m^−½ e_m over the d different merchants of the purchases before t, whether or not the customer was
in the fit; the result is divided by its root mean square over the fit. A customer whose merchants are all new since the
fit gets the embedding of an average purchase; a customer without a merchant has none (null). Source: FEATURES §3.6; He
et al. (2020), LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.embeddings.axes import numbered
from feature_assets.groups.embeddings.lightgcn.graph import normalised, purchases_graph
from feature_assets.groups.embeddings.lightgcn.training import FACTORS, train
from feature_assets.kernels.propagation import neighbour_sums

__all__ = ["GROUP", "LightGcn"]


class LightGcn(FeatureGroup):
    """Collaborative embedding. Fitted: one vector for each merchant."""

    name = "lightgcn"
    description = "Collaborative embedding of a customer by the merchants of their purchases"
    side_inputs = (SideInput("collaborative", "LightGCN embedding of the customer", (FACTORS,), pl.Float32),)
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Array `vectors` float64 [merchants + 1, 64]: d_m^−½ e_m, scaled; the last one is that of an average purchase.
        meta: merchants, and recall@20 on hidden edges of popularity, the start and the fit."""
        graph, merchants = purchases_graph(training.views, "merchant_id")
        if not merchants:
            return GroupState({"vectors": np.zeros((1, FACTORS))}, {"merchants": []})
        trained = train(graph, merchants, training.seed)
        degree = np.asarray(graph.sum(axis=0)).ravel()
        vectors = trained.items / np.sqrt(degree)[:, None]
        customers = normalised(graph) @ trained.items
        average = (degree[:, None] * vectors).sum(axis=0) / degree.sum()
        scale = np.sqrt(np.mean(customers**2))
        arrays = {"vectors": np.concatenate([vectors, average[None]]) / scale}
        return GroupState(arrays, {"merchants": merchants, **trained.measured})

    def _values(self, inputs: Inputs) -> Values:
        """Side input collaborative [64], null for a customer without a merchant."""
        state, part = inputs.state, inputs.view.purchases
        codes, vectors = part.codes("merchant_id"), state.arrays["vectors"]
        item = numbered(part, "merchant_id", state.meta["merchants"])
        sums, count = neighbour_sums(part.start, item, vectors)
        embedding = sums / np.sqrt(np.maximum(count, 1))[:, None]
        known = (np.bincount(part.row[codes >= 0], minlength=part.customers) > 0) & (len(vectors) > 1)
        embedding[known & (count == 0)] = vectors[-1]
        return Values(sides={"collaborative": embedding}, known={"collaborative": known})


GROUP = LightGcn()
