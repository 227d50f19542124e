"""Metrics of probabilities of classes: how well they order and how well they name.

A text in place of a number says why a metric is not defined on the rows at hand. Ties are never decided by the order in
which rows or classes are listed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ple_model.evaluation.kind import Floats, Ints

TOP_K = 3
ONE_CLASS = "only one class among the labels"


def auc(score: Floats, label: NDArray) -> float | str:
    """Area under the ROC curve of scores [n] for labels 0 and 1 [n]: the share of pairs of a 1 and a 0 that the score
    orders rightly, ties one half (Mann and Whitney, 1947)."""
    positive = label == 1
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return ONE_CLASS
    won = rankdata(score)[positive].sum() - ones * (ones + 1) / 2
    return float(won / (ones * zeros))


def average_precision(score: Floats, label: NDArray) -> float | str:
    """Area under the precision-recall curve of scores [n] for labels 0 and 1 [n], as a sum of steps.

    Σ (recall_k − recall_{k−1}) · precision_k over the distinct scores from the highest down; tied rows enter together.
    The base rate is what a constant reaches.
    """
    positive = label == 1
    if not positive.any():
        return "no positive label"
    ends, order = tied_ends(score)
    hits = np.cumsum(positive[order])[ends]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (ends + 1)).sum() / hits[-1])


def tied_ends(score: Floats) -> tuple[Ints, Ints]:
    """Positions, in the order from the highest score down, of the last row of each group of ties; and that order."""
    order = np.argsort(-score, kind="stable")
    return np.flatnonzero(np.append(np.diff(score[order]) < 0, True)), order


def top_k_accuracy(probabilities: Floats, label: Ints, k: int = TOP_K) -> float | str:
    """Share of rows whose label is among the k likeliest of [n, K] classes; a class tied with it counts before it."""
    classes = probabilities.shape[1]
    if classes <= k:
        return f"{classes} classes: the first {k} are all of them"
    own = probabilities[np.arange(len(label)), label]
    return float(((probabilities >= own[:, None]).sum(axis=1) <= k).mean())


def macro_f1(predicted: Ints, label: Ints) -> float:
    """Mean F1 over the classes that occur among labels or predictions, 2·right / (true + predicted) of each."""
    size = int(max(predicted.max(), label.max())) + 1
    both = np.bincount(predicted, minlength=size) + np.bincount(label, minlength=size)
    right = np.bincount(label[predicted == label], minlength=size)
    return float((2 * right[both > 0] / both[both > 0]).mean())
