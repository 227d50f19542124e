"""The bipartite graph of customers and merchants: its edges, held-out edges, and recall@k on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from feature_assets.events.view import View


def purchases_graph(views: Sequence[View], name: str) -> tuple[sp.csr_matrix, list[str]]:
    """Graph of customers and the merchants (brands …) that they bought at before some training date.

    Args:
        views: the training dates.
        name: text column of the purchase lines.

    Returns:
        ones [customers, values], customers in the order of their ids, and the values, ascending; none without an edge.
    """
    ids = views[0].purchases.names(name)
    pairs = []
    for view in views:
        part = view.purchases
        code = part.codes(name)
        known = code >= 0
        pairs.append(np.unique(part.population.customer_of[part.row[known]] * max(len(ids), 1) + code[known]))
    customer, value = np.divmod(np.unique(np.concatenate(pairs)), max(len(ids), 1))
    used, column = np.unique(value, return_inverse=True)
    row = np.unique(customer, return_inverse=True)[1]
    shape = (int(row.max(initial=-1)) + 1, len(used))
    return sp.csr_matrix((np.ones(len(row)), (row, column)), shape), [ids[v] for v in used.tolist()]


def normalised(graph: sp.csr_matrix) -> sp.csr_matrix:
    """D_c^−½ A D_m^−½ [customers, merchants], half of LightGCN's adjacency. Source: He et al. (2020) eq. 3."""
    return (sp.diags(_inverse_root(graph, 1)) @ graph @ sp.diags(_inverse_root(graph, 0))).tocsr()


def _inverse_root(graph: sp.csr_matrix, axis: int) -> np.ndarray:
    degree = np.asarray(graph.sum(axis=axis)).ravel()
    return np.where(degree > 0, 1.0 / np.sqrt(np.maximum(degree, 1.0)), 0.0)


def held_out(graph: sp.csr_matrix, share: float, least: int, seed: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """The graph without, and with only, a random `share` of the edges of customers who have at least `least`."""
    rng = np.random.default_rng(seed)
    edges = graph.tocoo()
    out = (rng.random(edges.nnz) < share) & (np.diff(graph.indptr)[edges.row] >= least)
    parts = [sp.csr_matrix((edges.data[keep], (edges.row[keep], edges.col[keep])), graph.shape) for keep in (~out, out)]
    return parts[0], parts[1]


def recall(customers: np.ndarray, items: np.ndarray, known: sp.csr_matrix, hidden: sp.csr_matrix, k: int = 20) -> float:
    """Recall@k: share of a customer's hidden merchants among its k best new ones, mean over customers who have any.

    Args:
        customers, items: [customers, d] and [merchants, d]; the score is their inner product, ties by merchant number.
        known: edges that are not new.
        hidden: edges to find.
    """
    shares = []
    hidden_rows = np.flatnonzero(np.diff(hidden.indptr))
    for first in range(0, len(hidden_rows), 1024):
        rows = hidden_rows[first : first + 1024]
        scores = customers[rows] @ items.T
        scores[known[rows].nonzero()] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        wanted = hidden[rows].toarray() > 0
        shares.append(np.take_along_axis(wanted, best, axis=1).sum(axis=1) / wanted.sum(axis=1))
    return float(np.concatenate(shares).mean()) if shares else float("nan")
