"""The embedding groups beside geoopt and torch_geometric: called by `libraries.ratios`, same form as its own."""

from typing import Any

import numpy as np
from libraries import alternate, line


def poincare(view: Any, state: Any) -> None:
    """One epoch over the product tree's closure, 10 negatives an edge, 8 dimensions; geoopt in batches of 2,048, which
    favours it: ours takes a step every 10 edges."""
    import geoopt
    import torch

    from feature_assets.groups.embeddings.poincare import training
    from feature_assets.groups.embeddings.poincare.tree import Tree
    from feature_assets.kernels.poincare import rsgd_epoch

    _ = view
    fitted = state.groups["poincare"]
    tree = Tree.of_parts(fitted.meta["names"]["product"], fitted.arrays["product_parent"])
    child, ancestor = tree.closure()
    rng = np.random.default_rng(0)
    ball, points = geoopt.PoincareBall(), training.start(tree, 8)
    parameter = geoopt.ManifoldParameter(torch.tensor(points), manifold=ball)
    optimiser = geoopt.optim.RiemannianSGD([parameter], lr=0.05)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        return rng.permutation(len(child)), rng.integers(0, len(tree), (len(child), training.NEGATIVES))

    def ours() -> None:
        order, others = drawn()
        constants = (tree.parent, 0.05, training.BATCH, training.ORDER, training.MARGIN, training.LIMIT)
        rsgd_epoch(points, child[order], ancestor[order], others, *constants)

    def theirs() -> None:
        order, others = drawn()
        near = torch.tensor(np.column_stack([ancestor[order], others]))
        far = torch.tensor(child[order])
        for first in range(0, len(child), 2048):
            part = slice(first, first + 2048)
            optimiser.zero_grad()
            distance = ball.dist(parameter[far[part]][:, None], parameter[near[part]])
            (-torch.log_softmax(-distance, dim=1)[:, 0].sum()).backward()
            optimiser.step()

    line("Poincaré: an epoch", "geoopt RiemannianSGD, batch 2,048", alternate(ours, theirs), len(child), "edges")


def lightgcn(view: Any, state: Any) -> None:
    """Customers by one propagation of the fitted merchants; torch_geometric's LGConv on the edge_index of the
    different pairs of a customer and a merchant, which both sides derive from the same lines."""
    import torch
    from torch_geometric.nn import LGConv

    from feature_assets.groups.embeddings.axes import numbered
    from feature_assets.kernels.propagation import neighbour_sums

    fitted, part = state.groups["lightgcn"], view.purchases
    vectors = fitted.arrays["vectors"][:-1]
    item, start = numbered(part, "merchant_id", fitted.meta["merchants"]), part.start
    nodes = torch.tensor(np.concatenate([np.zeros((part.customers, vectors.shape[1])), vectors]), dtype=torch.float32)
    layer = LGConv(normalize=False)

    def ours() -> np.ndarray:
        sums, count = neighbour_sums(start, item, vectors)
        return sums / np.sqrt(np.maximum(count, 1))[:, None]

    def theirs() -> np.ndarray:
        known = item >= 0
        row, merchant = np.divmod(np.unique(part.row[known] * len(vectors) + item[known]), len(vectors))
        edges = torch.tensor(np.stack([merchant + part.customers, row]))
        weight = torch.tensor(1 / np.sqrt(np.bincount(row)[row]), dtype=torch.float32)
        with torch.no_grad():
            return layer(nodes, edges, weight)[: part.customers].numpy()

    np.testing.assert_allclose(ours(), theirs(), atol=1e-4)
    what = "LGConv on edge_index"
    line("LightGCN: customers", what, alternate(ours, theirs), part.customers, "customers")


def lightgcn_training(view: Any, state: Any) -> None:
    """Ten BPR steps over all edges on a CSR adjacency (and the customers' propagation, which the plain model lacks)
    against LightGCN on an edge_index, which normalises the graph and gathers and scatters every edge in each layer."""
    import torch
    from torch_geometric.nn.models import LightGCN

    from feature_assets.groups.embeddings.lightgcn import training
    from feature_assets.groups.embeddings.lightgcn.graph import purchases_graph

    _ = state
    graph, merchants = purchases_graph([view], "merchant_id")
    first, (n, m), steps = training.start(graph, merchants, 0), graph.shape, 10
    coo = graph.tocoo()
    edges = torch.tensor(np.stack([coo.row, coo.col + n]), dtype=torch.int64)
    edge_index = torch.cat([edges, edges.flip(0)], dim=1)

    def ours() -> None:
        training._tuned(graph, first, 0, steps, None)

    def theirs() -> None:
        model = LightGCN(n + m, training.FACTORS, training.LAYERS)
        optimiser = torch.optim.Adam(model.parameters(), lr=training.RATE)
        rng = np.random.default_rng(0)
        for _ in range(steps):
            others = torch.stack([edges[0], torch.tensor(rng.integers(n, n + m, coo.nnz))])
            ranks = model(edge_index, torch.cat([edges, others], dim=1))
            loss = model.recommendation_loss(*ranks.chunk(2), lambda_reg=training.DECAY)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    line("LightGCN: 10 BPR steps", "LightGCN on edge_index", alternate(ours, theirs), coo.nnz, "edges")
