"""Metrics of ranked brands: recall, reciprocal rank and discounted gain of a row's positives among all M scores."""

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Floats, Ints

RECALL_AT = (1, 5, 10)
NDCG_AT = (5, 10)
RANKING = (*(f"recall_at_{k}" for k in RECALL_AT), "mrr", *(f"ndcg_at_{k}" for k in NDCG_AT))


def positive_ranks(scores: Floats, positives: Ints) -> NDArray[np.float64]:
    """[n, P] rank of each positive among all M scores of its row, 1 = best, inf where padded.

    Ties count against the positive (rank = number of scores at least as high), so a scorer that cannot tell brands
    apart earns nothing from the order in which they are listed.
    """
    ranks = np.full(positives.shape, np.inf)
    for column in range(positives.shape[1]):
        rows = np.flatnonzero(positives[:, column] >= 0)
        own = scores[rows, positives[rows, column]]
        ranks[rows, column] = (scores[rows] >= own[:, None]).sum(axis=1)
    return ranks


def ranking_parts(scores: Floats, positives: Ints) -> dict[str, Floats]:
    """[n] contributions of each row to the metrics of `RANKING`.

    recall@k = positives among the first k / min(k, positives), so that 1 can be reached whatever the basket's size
    (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, §4.2). MRR takes the best-ranked
    positive of the whole table. NDCG@k = Σ 1/log2(1 + rank) of the positives among the first k, over the largest such
    sum that a row with as many positives can have (Järvelin and Kekäläinen, TOIS 2002, with gains of 1).
    """
    ranks = positive_ranks(scores, positives)
    count = (positives >= 0).sum(axis=1)
    parts: dict[str, Floats] = {f"recall_at_{k}": (ranks <= k).sum(axis=1) / np.minimum(k, count) for k in RECALL_AT}
    parts["mrr"] = 1.0 / ranks.min(axis=1)
    for k in NDCG_AT:
        gain = np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0).sum(axis=1)
        parts[f"ndcg_at_{k}"] = gain / np.cumsum(1 / np.log2(np.arange(k) + 2))[np.minimum(k, count) - 1]
    return parts
