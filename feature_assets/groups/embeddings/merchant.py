"""Merchant group, 21 columns: kinds of merchants and brands of the purchases, and movement between them.

- Category level 1 and 2, four coordinates each: the Einstein midpoint, weighted by spend, of the customer's merchants
  in a four-dimensional Poincaré embedding of the merchant categories (Nickel & Kiela 2017), each merchant placed at
  its category of that level; given in the tangent space at the origin (logarithm map), where coordinates add.
- Brand, eight: the mean embedding of the different brands bought. Brands are embedded by the leading eigenvectors of
  their positive pointwise mutual information over customers (Levy & Goldberg 2014), axes fixed by the brands' names.
- Statistics: entropy rate, exploration, staying, self-information of the sequence of visits; a visit is a run of lines
  of one day at one merchant.
- Radius: hyperbolic distance of the midpoint at full depth from the origin; near 0 where spend is spread over branches.

Columns of categories are absent where the data set has no merchants. Source: FEATURES §3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from feature_assets.events.numbers import sum_at
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.groups.embeddings.axes import fixed_axes, numbered
from feature_assets.groups.embeddings.lightgcn.graph import purchases_graph
from feature_assets.groups.embeddings.poincare import line_weights
from feature_assets.groups.embeddings.poincare.training import embed
from feature_assets.groups.embeddings.poincare.tree import Tree, bought_nodes, bought_paths
from feature_assets.kernels.merchants import entropy_rate, exploration, staying
from feature_assets.kernels.poincare import midpoints
from feature_assets.kernels.propagation import neighbour_sums

CATEGORY, BRAND = 4, 8  # dimensions
BRANDS = 1024  # with the most customers
LEAST_CUSTOMERS = 5  # of a brand that is embedded
LONGEST = 100  # visits that the entropy rate looks at


def _columns() -> tuple[Column, ...]:
    categories = [
        Column(
            f"merchant__category_level_{level}_{i}",
            f"coordinate {i} of the spend-weighted midpoint of the merchants' categories of level {level}, in the "
            "tangent space of their Poincaré ball",
            "hyperbolic distance",
            "all history",
            ("transactions", "merchants"),
        )
        for level in (1, 2)
        for i in range(CATEGORY)
    ]
    brands = [
        Column(
            f"merchant__brand_{i}",
            f"coordinate {i} of the mean of the brands bought, embedded by who buys them together",
            "none",
            "all history",
            ("transactions", "products"),
        )
        for i in range(BRAND)
    ]
    return (
        *categories,
        *brands,
        Column(
            "merchant__entropy_rate",
            f"entropy rate of the sequence of merchants over the last {LONGEST} visits, Lempel–Ziv estimator (Song et "
            "al. 2010, Science); from two visits on",
            "bits a visit",
            "all history",
        ),
        Column(
            "merchant__exploration",
            "exponent of the number of different merchants in the number of visits (Song et al. 2010, Nature Physics); "
            "from three visits on",
            "exponent",
            "all history",
        ),
        Column(
            "merchant__staying",
            "share of visits at the merchant of the visit before: loyalty as the diagonal of a Markov chain (Massy et "
            "al. 1970); from two visits on",
            "share",
            "all history",
        ),
        Column(
            "merchant__self_information",
            "mean self-information of the merchants visited by their share of training visits: how far from the "
            "mainstream the customer buys (Vargas & Castells 2011)",
            "bits",
            "all history",
        ),
        Column(
            "merchant__radius",
            "hyperbolic distance from the origin of the spend-weighted midpoint of the merchants' categories",
            "hyperbolic distance",
            "all history",
            ("transactions", "merchants"),
        ),
    )


class Merchant(FeatureGroup):
    """Merchants and brands of a customer. Fitted: category tree, brand vectors, shares of merchants."""

    name = "merchant"
    description = "Kinds of merchants and brands that a customer chooses, and movement between them"
    columns = _columns()
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays: brands [B, 8], information [M + 1] (bits of each merchant, the last of an unknown one), and of the
        category tree points [n, 4] and parent [n]."""
        views = training.views
        brands, vectors = _brand_vectors(*purchases_graph(views, "brand"))
        merchants, information = _information(views)
        arrays = {"brands": vectors, "information": information}
        meta: dict[str, Any] = {"brands": brands, "merchants": merchants}
        if views[0].has("merchants"):
            tree = Tree.of(bought_paths(views, "merchant"))
            fitted = embed(tree, CATEGORY, training.seed)
            arrays |= {"points": fitted.points, "parent": tree.parent}
            meta |= {"names": tree.names, "quality": fitted.quality}
        return GroupState(arrays, meta)

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        part = view.purchases
        sums, count = neighbour_sums(part.start, numbered(part, "brand", state.meta["brands"]), state.arrays["brands"])
        brand = sums / np.where(count > 0, count, np.nan)[:, None]
        levels, radius = _categories(view, state)
        values = np.column_stack([levels, brand, _statistics(part, state), radius])
        return Values(values)


def _brand_vectors(graph: sp.csr_matrix, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The brands with enough customers, and their vectors float64 [B, 8].

    V √λ of the eight largest eigenvalues of the positive pointwise mutual information max(0, ln(n C_ij / (c_i c_j))),
    C_ij the customers of both brands, 0 on the diagonal.
    """
    from threadpoolctl import threadpool_limits

    customers = np.asarray(graph.sum(axis=0)).ravel()
    order = np.lexsort((np.arange(len(customers)), -customers))[:BRANDS]
    chosen = np.sort(order[customers[order] >= LEAST_CUSTOMERS])
    kept = [names[i] for i in chosen.tolist()]
    vectors = np.zeros((len(kept), BRAND))
    if len(kept) < 2:
        return kept, vectors
    used = graph[:, chosen]
    both = np.asarray((used.T @ used).todense())
    expected = np.outer(customers[chosen], customers[chosen]) / graph.shape[0]
    information = np.log(np.maximum(both / expected, 1.0))
    np.fill_diagonal(information, 0.0)
    with threadpool_limits(limits=1):
        eigenvalues, eigenvectors = np.linalg.eigh(information)
        best = slice(len(kept) - min(BRAND, len(kept)), None)
        factors = eigenvectors[:, best] * np.sqrt(np.maximum(eigenvalues[best], 0.0))
        vectors = factors @ fixed_axes(factors, kept, BRAND)
    return kept, vectors


def _information(views: Sequence[View]) -> tuple[list[str], np.ndarray]:
    """Merchants of the training visits, and −log2 of the share of each, one visit added to every one and to unknown."""
    visits: dict[str, int] = {}
    for view in views:
        part = view.purchases
        known = part.names("merchant_id")
        counts = np.bincount(_visits(part)[1], minlength=len(known))
        for i in np.flatnonzero(counts).tolist():
            visits[known[i]] = visits.get(known[i], 0) + int(counts[i])
    merchants = sorted(visits)
    counted = np.array([visits[m] for m in merchants] + [0], dtype=np.float64) + 1.0
    return merchants, -np.log2(counted / counted.sum())


def _visits(part: Events) -> tuple[np.ndarray, np.ndarray]:
    """Customer and merchant code of each visit: a run of lines of one customer and day at one merchant."""
    code, row, days_ago = part.codes("merchant_id"), part.row, part.days_ago
    first = np.ones(len(row), dtype=bool)
    first[1:] = (row[1:] != row[:-1]) | (days_ago[1:] != days_ago[:-1]) | (code[1:] != code[:-1])
    first &= code >= 0
    return row[first], code[first].astype(np.int64)


def _statistics(part: Events, state: GroupState) -> np.ndarray:
    """[customers, 4]: entropy rate, exploration, staying, self-information."""
    row, code = _visits(part)
    start = np.searchsorted(row, np.arange(part.customers + 1))
    place = {merchant: i for i, merchant in enumerate(state.meta["merchants"])}
    names = part.names("merchant_id")
    bits = state.arrays["information"][np.array([place.get(name, -1) for name in names], dtype=np.int64)]
    visits = np.bincount(row, minlength=part.customers)
    information = sum_at(row, bits[code], part.customers)
    return np.column_stack(
        [
            entropy_rate(start, code, LONGEST),
            exploration(start, code, len(names)),
            staying(start, code),
            information / np.where(visits > 0, visits, np.nan),
        ]
    )


def _categories(view: View, state: GroupState) -> tuple[np.ndarray, np.ndarray]:
    """Tangent coordinates of levels 1 and 2 [customers, 8] and the radius [customers]; NaN where there are none."""
    part = view.purchases
    if "points" not in state.arrays:
        return np.full((part.customers, 2 * CATEGORY), np.nan), np.full(part.customers, np.nan)
    tree, points = Tree.of_parts(state.meta["names"], state.arrays["parent"]), state.arrays["points"]
    node = bought_nodes(view, tree, "merchant")
    weight, start = line_weights(part.values("amount")), part.start
    levels = []
    for level in (1, 2):
        above = np.append(tree.above(level), -1)
        levels.append(_tangent(midpoints(start, above[node], weight, points)))
    return np.concatenate(levels, axis=1), _radius(midpoints(start, node, weight, points))


def _radius(points: np.ndarray) -> np.ndarray:
    """2 artanh ‖p‖ of points [n, 4], float64 [n]."""
    squares = points**2
    return 2.0 * np.arctanh(np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2] + squares[:, 3]))


def _tangent(points: np.ndarray) -> np.ndarray:
    """The logarithm map at the origin of points [n, 4]: direction kept, length the hyperbolic distance."""
    radius = _radius(points)
    norm = np.tanh(radius / 2.0)
    return points * (radius / np.where(norm > 0, norm, 1.0))[:, None]


GROUP = Merchant()
