"""LightGCN on the graph of customers and merchants: initialised by singular vectors, fine-tuned by BPR while it helps.

1. Start: the 64 leading singular vectors of the normalised adjacency Ã, times the roots of their values (randomized
   SVD).
2. Two LGConv layers over the whole graph (torch_geometric), averaged with the start: the items. A customer's embedding
   is one more propagation, Ã times the items, so that every customer with an edge has one.
3. BPR steps (Adam) on that score, on a graph with a tenth of the edges hidden. Recall@20 on the hidden ones is measured
   every few steps and decides the number of steps of the final fit on the whole graph, which is often 0.

The number of steps is bounded by edges and not by time, so that the same data give the same bits. The merchants' names
fix the 64 axes (`fixed_axes`), so that a refit on similar data gives similar coordinates.
Sources: He et al. (2020), LightGCN; Rendle et al. (2009), BPR; Halko et al. (2011); PERFORMANCE §1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from feature_assets.groups.embeddings.axes import fixed_axes
from feature_assets.groups.embeddings.lightgcn.graph import held_out, normalised, recall

FACTORS = 64
LAYERS = 2
K = 20
HIDDEN, LEAST_EDGES = 0.1, 4  # share of edges hidden for validation, of customers with at least so many
SIZE = 0.3  # root mean square of the start: where the sigmoid of BPR is neither flat nor saturated
RATE, DECAY = 0.01, 1e-4
EVERY, PATIENCE, MOST_STEPS = 10, 3, 60
MOST_WORK = 4_000_000  # edges times steps: about 10 s; a larger graph keeps its start
SAMPLED = 0.5  # others are sampled by this power of their degree: by 0 recall falls first, by 0.75 it hardly rises


@dataclass(frozen=True)
class Trained:
    """`items` float64 [merchants, 64], and the metrics of the fit."""

    items: np.ndarray
    measured: dict[str, Any]


def train(graph: sp.csr_matrix, merchants: Sequence[str], seed: int) -> Trained:
    """Final item embeddings of a graph [customers, merchants] with at least one edge."""
    known, hidden = held_out(graph, HIDDEN, LEAST_EDGES, seed)
    measured: dict[str, Any] = {"customers": graph.shape[0], "edges": int(graph.nnz)}
    steps = 0
    with _one_thread():
        if hidden.nnz:
            popularity = np.asarray(known.sum(axis=0)).ravel()
            every = np.ones((graph.shape[0], 1))
            measured["recall_popularity"] = recall(every, popularity[:, None], known, hidden, K)
            history = _tuned(known, start(known, merchants, seed), seed, _most_steps(graph), hidden)[1]
            steps = max(history, key=lambda step: (history[step], -step))
            measured |= {"recall_start": history[0], "recall": history[steps]}
        items = _tuned(graph, start(graph, merchants, seed), seed, steps, None)[0]
    return Trained(items, {**measured, "steps": steps})


def _most_steps(graph: sp.csr_matrix) -> int:
    return int(min(MOST_STEPS, MOST_WORK // max(graph.nnz, 1)))


class _one_thread:
    """BLAS and torch held to one thread, so that the bits do not depend on how many there are."""

    def __enter__(self) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        self._torch_threads = torch.get_num_threads()
        self._limits = threadpool_limits(limits=1)
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self._torch_threads)
        self._limits.restore_original_limits()


def start(graph: sp.csr_matrix, merchants: Sequence[str], seed: int) -> np.ndarray:
    """Layer 0, float64 [customers + merchants, 64]: U√S above V√S of Ã = U S Vᵀ, on axes fixed by the names."""
    from sklearn.utils.extmath import randomized_svd

    adjacency = normalised(graph)
    rank = min(FACTORS, min(graph.shape))
    left, values, right = randomized_svd(adjacency, rank, n_iter=7, random_state=seed)
    axes = fixed_axes(right.T * np.sqrt(values), merchants, FACTORS)
    both = np.concatenate([left, right.T]) * np.sqrt(values) @ axes
    return both * (SIZE / np.sqrt(np.mean(both**2)))


def _tuned(
    graph: sp.csr_matrix, first: np.ndarray, seed: int, most: int, hidden: sp.csr_matrix | None
) -> tuple[np.ndarray, dict[int, float]]:
    """Items after at most `most` BPR steps; with `hidden` edges, recall after every few, stopping when it falls."""
    import torch
    from torch_geometric.nn.models import LightGCN

    n = graph.shape[0]
    half = normalised(graph)
    to_customers = _torch_csr(half)
    whole = _torch_csr(sp.bmat([[None, half], [half.T, None]]).tocsr())
    model = LightGCN(sum(graph.shape), FACTORS, LAYERS, normalize=False)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(first.astype(np.float32)))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    rng = np.random.default_rng(seed)
    edges = graph.tocoo()
    customer, item = torch.from_numpy(edges.row.astype(np.int64)), torch.from_numpy(edges.col.astype(np.int64))
    odds = np.cumsum(np.asarray(graph.sum(axis=0)).ravel() ** SAMPLED)
    history: dict[int, float] = {}
    for step in range(most + 1):
        items = model.get_embedding(whole)[n:]  # [m, 64]
        customers = to_customers @ items  # [n, 64]
        if hidden is not None and step % EVERY == 0:
            history[step] = recall(customers.detach().numpy(), items.detach().numpy(), graph, hidden, K)
            if step - max(history, key=lambda s: (history[s], -s)) >= PATIENCE * EVERY:
                break
        if step == most:
            break
        other = torch.from_numpy(np.searchsorted(odds, rng.random(edges.nnz) * odds[-1], side="right"))
        liked = (customers[customer] * items[item]).sum(dim=1)
        sampled = (customers[customer] * items[other]).sum(dim=1)
        loss = model.recommendation_loss(liked, sampled, lambda_reg=DECAY)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return items.detach().numpy().astype(np.float64), history


def _torch_csr(matrix: sp.csr_matrix) -> Any:
    """A scipy CSR matrix as torch CSR, float32."""
    import torch

    indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    values = torch.from_numpy(matrix.data.astype(np.float32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)  # that CSR is new in torch
        return torch.sparse_csr_tensor(indptr, indices, values, size=matrix.shape, check_invariants=True)
